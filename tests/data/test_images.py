import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnf.data.images import check_size, read_image, read_mask
from cnf.errors import DataError


def one_line(error) -> str:
    """The message, which the command line prints: it must be a single line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def test_rgb_png_is_read_pixel_for_pixel(tmp_path, write, picture):
    pixels = picture(6, 5)
    assert np.array_equal(read_image(write(tmp_path / "a.png", pixels)), pixels)


def test_greyscale_becomes_rgb_with_equal_channels(tmp_path, write, picture):
    grey = picture(6, 5)[..., 0]
    read = read_image(write(tmp_path / "a.png", grey))
    assert np.array_equal(read, np.repeat(grey[..., None], 3, 2))


def test_palette_picture_becomes_rgb(tmp_path, write):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 2:] = (51, 102, 153)  # in Pillow's default palette, so no dithering
    assert np.array_equal(read_image(write(tmp_path / "a.gif", pixels, "P")), pixels)


def test_cmyk_is_converted_to_rgb(tmp_path, write):
    pixels = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    read = read_image(write(tmp_path / "a.tif", pixels, "CMYK"))
    assert read.shape == (8, 8, 3)
    # Without a colour profile the conversion is R = 255 - C, up to rounding by one level.
    assert np.abs(read.astype(int) - pixels).max() <= 1


def test_opaque_alpha_is_dropped(tmp_path, write, picture):
    pixels = picture(4, 4)
    assert np.array_equal(read_image(write(tmp_path / "a.png", pixels, "RGBA")), pixels)


def test_transparent_rgba_is_refused(tmp_path, write, picture):
    pixels = np.concatenate([picture(4, 4), np.full((4, 4, 1), 128, np.uint8)], 2)
    with pytest.raises(DataError) as error:
        read_image(write(tmp_path / "a.png", pixels))
    assert "a.png" in one_line(error) and "flatten" in one_line(error)


def test_16_bit_greyscale_is_refused(tmp_path, write):
    with pytest.raises(DataError) as error:
        read_image(write(tmp_path / "a.png", np.full((4, 4), 40000, np.uint16)))
    assert "more than 8 bits" in one_line(error)


def test_16_bit_rgb_png_is_refused_although_pillow_would_cut_it_to_8(tmp_path):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b"".join(b"\0" + bytes(4 * 3 * 2) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    assert Image.open(path).mode == "RGB"
    with pytest.raises(DataError) as error:
        read_image(path)
    assert "more than 8 bits" in one_line(error)


def test_floating_point_tiff_is_refused(tmp_path, write):
    with pytest.raises(DataError, match="more than 8 bits"):
        read_image(write(tmp_path / "a.tif", np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif"])
def test_truncated_file_is_refused(tmp_path, write, picture, suffix):
    path = write(tmp_path / f"a.{suffix}", picture(64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError) as error:
        read_image(path)
    assert f"a.{suffix}" in one_line(error) and "truncated" in one_line(error)


@pytest.mark.parametrize("content", [b"", b"these are words"])
def test_file_that_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "a.png")
    assert f"{len(content)} bytes" in one_line(error)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"b\.png: no such file"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("levels", [(0, 1), (0, 255), (3, 253)])
def test_label_with_two_levels_is_read_as_its_larger_level(tmp_path, write, levels):
    truth = np.random.default_rng(0).random((6, 5)) < 0.4
    path = write(tmp_path / "a.png", np.where(truth, levels[1], levels[0]).astype(np.uint8))
    assert np.array_equal(read_mask(path, (6, 5)), truth)


def test_one_bit_label_is_read(tmp_path):
    truth = np.random.default_rng(0).random((6, 5)) < 0.4
    Image.fromarray(truth).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", (6, 5)), truth)


@pytest.mark.parametrize("level, value", [(0, False), (1, True), (255, True)])
def test_constant_label_is_background_at_0_and_vessel_at_1_or_255(tmp_path, write, level, value):
    mask = read_mask(write(tmp_path / "a.png", np.full((4, 4), level, np.uint8)), (4, 4))
    assert (mask == value).all()


def test_constant_grey_label_is_refused(tmp_path, write):
    with pytest.raises(DataError, match="not binary"):
        read_mask(write(tmp_path / "a.png", np.full((4, 4), 100, np.uint8)), (4, 4))


def test_label_that_is_not_binary_is_refused_naming_its_levels(tmp_path, write):
    path = write(tmp_path / "a.png", np.arange(16, dtype=np.uint8).reshape(4, 4))
    with pytest.raises(DataError) as error:
        read_mask(path, (4, 4))
    assert "not binary" in one_line(error) and "16 grey level" in one_line(error)
    assert "threshold" in one_line(error)


def test_coloured_label_is_refused(tmp_path, write, picture):
    with pytest.raises(DataError, match="coloured"):
        read_mask(write(tmp_path / "a.png", picture(4, 4)), (4, 4))


def test_label_of_another_size_is_refused_naming_both_sizes(tmp_path, write):
    path = write(tmp_path / "a.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(DataError) as error:
        read_mask(path, (6, 4))
    assert "4x6" in one_line(error) and "6x4" in one_line(error)


@pytest.mark.parametrize(
    "height, width, said", [(5, 8, "4x8"), (8, 7, "8x6"), (2, 8, "at least 4")]
)
def test_odd_or_too_small_sizes_are_refused_with_the_size_to_crop_to(height, width, said):
    with pytest.raises(DataError) as error:
        check_size("a.png", height, width)
    assert f"{height}x{width}" in one_line(error) and said in one_line(error)
