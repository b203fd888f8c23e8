import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from cnf.errors import DataError
from cnf.replication.data.images import _UPRIGHT, check_size, read_image, read_mask, read_photograph


def one_line(error) -> str:
    """The message, which the command line prints: it must be a single line."""
    message = str(error.value)
    assert "\n" not in message
    return message


def test_greyscale_becomes_rgb_with_equal_channels(tmp_path, write, picture):
    grey = picture(6, 5)[..., 0]
    read = read_image(write(tmp_path / "a.png", grey))
    assert np.array_equal(read, np.repeat(grey[..., None], 3, 2))


def test_opaque_alpha_is_dropped(tmp_path, write, picture):
    pixels = picture(4, 4)
    assert np.array_equal(read_image(write(tmp_path / "a.png", pixels, "RGBA")), pixels)


def test_transparent_rgba_is_refused(tmp_path, write, picture):
    pixels = np.concatenate([picture(4, 4), np.full((4, 4, 1), 128, np.uint8)], 2)
    with pytest.raises(DataError) as error:
        read_image(write(tmp_path / "a.png", pixels))
    assert "a.png" in one_line(error) and "flatten" in one_line(error)


def test_a_photograph_keeps_alpha_grey_and_profile(tmp_path, picture):
    pixels, alpha = picture(4, 4), np.arange(1, 17, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png", icc_profile=b"colours")
    found = read_photograph(tmp_path / "a.png")
    assert np.array_equal(found.pixels, pixels) and np.array_equal(found.alpha, alpha)
    assert (found.is_grey, found.profile, found.notes) == (False, b"colours", ())
    Image.fromarray(np.dstack([pixels[..., 0], alpha])).save(tmp_path / "b.png")
    found = read_photograph(tmp_path / "b.png")
    assert found.is_grey and np.array_equal(found.alpha, alpha)
    assert np.array_equal(found.pixels, np.repeat(pixels[..., :1], 3, 2))


def test_opaque_pictures_have_no_alpha(tmp_path, write, picture):
    assert read_photograph(write(tmp_path / "a.png", picture(4, 4), "RGBA")).alpha is None


def test_transparency_of_a_palette_is_alpha(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.gif", transparency=0)
    alpha = read_photograph(tmp_path / "a.gif").alpha
    assert alpha[0, 0] == 0 and alpha.sum() == 255 * 15


def test_hidden_colour_is_that_of_the_nearest_visible_pixel_and_is_told(tmp_path, picture):
    pixels = np.dstack([picture(4, 6), np.full((4, 6), 255, np.uint8)])
    pixels[:, 2:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_photograph(tmp_path / "a.png")
    assert np.array_equal(found.pixels[:, :2], pixels[:, :2, :3])
    assert (found.pixels[:, 2:] == pixels[:, 1:2, :3]).all()
    assert np.array_equal(found.alpha, pixels[..., 3])
    assert found.notes == ("67 % fully transparent, coloured like the nearest visible pixel",)


def test_a_picture_transparent_everywhere_is_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="every pixel is transparent"):
        read_photograph(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_picture_is_upright_whatever_its_orientation(tmp_path, orientation, suffix):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8, 0] = pixels[:8, 8:16, 1] = 255  # tells all eight apart
    back = {6: 8, 8: 6}.get(orientation, orientation)  # the others undo themselves
    image = Image.fromarray(pixels)
    image = image.transpose(_UPRIGHT[back]) if back > 1 else image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    found = read_photograph(path)
    # JPEG keeps squares of 8 pixels to a few levels; its colour is halved: neighbours mix
    error = np.abs(found.pixels.astype(int) - pixels).mean()
    assert found.pixels.shape == pixels.shape and error < (12 if suffix == "jpg" else 0.1)
    assert np.array_equal(read_image(path), found.pixels)
    if suffix != "tif":  # Pillow turns those by itself
        assert bool(found.notes) == (orientation > 1)


def test_a_label_is_turned_like_its_picture(tmp_path):
    truth = np.random.default_rng(0).random((6, 5)) < 0.4
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = Image.fromarray(truth.astype(np.uint8) * 255).transpose(_UPRIGHT[8])
    turned.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_mask(tmp_path / "a.png", (6, 5)), truth)


def test_an_exif_block_that_cannot_be_read_says_nothing(tmp_path, picture):
    Image.fromarray(picture(8, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0no such thing")
    assert read_photograph(tmp_path / "a.jpg").notes == ()


def test_of_several_frames_the_first_is_read_and_told(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    found = read_photograph(tmp_path / "a.png")
    assert (found.pixels == (255, 0, 0)).all() and found.notes == ("the first of 2 frames",)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path, write, picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match="more than 20 pixels: cut it"):
        read_image(write(tmp_path / "a.png", picture(8, 8)))


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


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "webp"])
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


@pytest.mark.parametrize("height, width", [(2, 8), (8, 3)])
def test_too_small_sizes_are_refused_with_the_least(height, width):
    check_size("a.png", 4, 4)
    with pytest.raises(DataError) as error:
        check_size("a.png", height, width)
    assert f"{height}x{width}" in one_line(error) and "at least 4" in one_line(error)
