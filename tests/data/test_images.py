import errno
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from cnf.replication.data.images import _UPRIGHT, check_size, read_image, read_mask, read_photograph
from tests.data.errors import message_of


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_whatever_its_orientation(tmp_path, orientation):
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8, 0] = pixels[:8, 8:16, 1] = 255  # tells all eight apart
    back = {6: 8, 8: 6}.get(orientation, orientation)  # the others undo themselves
    image = Image.fromarray(pixels)
    image = image.transpose(_UPRIGHT[back]) if back > 1 else image
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for suffix in ("jpg", "png", "tif"):
        path = tmp_path / f"a.{suffix}"
        image.save(path, exif=exif)
        found = read_photograph(path)
        # JPEG keeps squares of 8 pixels to a few levels; its colour is halved: neighbours mix
        error = np.abs(found.pixels.astype(int) - pixels).mean()
        assert found.pixels.shape == pixels.shape and error < (12 if suffix == "jpg" else 0.1)
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


def png(path, pixels, clear=()):
    """A PNG of 16 bits a channel, pixels (H,W,C), of which one colour may be transparent."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2}[channels], 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    if clear:
        parts.insert(1, chunk(b"tRNS", struct.pack(f">{channels}H", *clear)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("clear", [(0x1234,), (0x1234, 0x3412, 0)])
def test_of_16_bits_the_transparent_colour_is_one_of_16(tmp_path, clear):
    """Not one of those that have its low or its high bytes."""
    pixels = np.zeros((4, 4, len(clear)), np.uint16)
    pixels[0], pixels[1], pixels[2] = clear, 0x3434, 0x1200
    png(tmp_path / "a.png", pixels, clear)
    alpha = read_photograph(tmp_path / "a.png").alpha
    assert (alpha[0] == 0).all() and (alpha[1:] == 255).all()


def test_hidden_pixels_of_16_bits_have_the_colour_of_the_nearest_visible_one(tmp_path):
    path, pixels = tmp_path / "deep.png", np.full((4, 4, 1), 0x3434, np.uint16)
    pixels[0] = 0x1234
    png(path, pixels, (0x1234,))
    assert (read_photograph(path).deep == 0x3434).all()


def test_16_bits_are_rounded_to_the_nearest_of_8(tmp_path):
    path = tmp_path / "deep.png"
    levels = np.array([0, 128, 129, 257 * 7 - 129, 257 * 7 - 128, 65535], np.uint16)
    png(path, levels.reshape(1, 6, 1))
    assert read_photograph(path).pixels[0, :, 0].tolist() == [0, 0, 1, 6, 7, 255]


def test_16_bit_rgb_png_is_refused_although_pillow_would_cut_it_to_8(tmp_path):
    path = tmp_path / "a.png"
    png(path, np.zeros((4, 4, 3), np.uint16))
    assert Image.open(path).mode == "RGB"
    assert "more than 8 bits" in message_of(read_image, path)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path, write, picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    message = message_of(read_image, write(tmp_path / "a.png", picture(8, 8)))
    assert "more than 20 pixels: cut it" in message


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated_file_is_refused(tmp_path, write, picture, suffix):
    path = write(tmp_path / f"a.{suffix}", picture(64, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = message_of(read_image, path)
    assert f"a.{suffix}" in message and "truncated" in message


@pytest.mark.parametrize("content", [b"", b"these are words"])
def test_file_that_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert f"{len(content)} bytes" in message_of(read_image, tmp_path / "a.png")
    assert "b.png: no such file" in message_of(read_image, tmp_path / "b.png")


@pytest.mark.parametrize("levels", [(0, 1), (0, 255), (3, 253)])
def test_label_with_two_levels_is_read_as_its_larger_level(tmp_path, write, levels):
    truth = np.random.default_rng(0).random((6, 5)) < 0.4
    path = write(tmp_path / "a.png", np.where(truth, levels[1], levels[0]).astype(np.uint8))
    assert np.array_equal(read_mask(path, (6, 5)), truth)
    Image.fromarray(truth).save(path)  # of one bit
    assert np.array_equal(read_mask(path, (6, 5)), truth)


@pytest.mark.parametrize(
    "label, parts",
    [
        (np.full((4, 4), 100, np.uint8), ["not binary"]),
        (np.arange(16, dtype=np.uint8).reshape(4, 4), ["not binary", "16 grey level", "threshold"]),
        (np.arange(48, dtype=np.uint8).reshape(4, 4, 3), ["coloured"]),
        (np.zeros((4, 6), np.uint8), ["4x6", "4x4"]),
    ],
)
def test_what_is_no_label_of_its_picture_is_refused(tmp_path, write, label, parts):
    message = message_of(read_mask, write(tmp_path / "a.png", label), (4, 4))
    assert all(part in message for part in parts)


@pytest.mark.parametrize("level, value", [(0, False), (1, True), (255, True)])
def test_constant_label_is_background_at_0_and_vessel_at_1_or_255(tmp_path, write, level, value):
    mask = read_mask(write(tmp_path / "a.png", np.full((4, 4), level, np.uint8)), (4, 4))
    assert (mask == value).all()


@pytest.mark.parametrize("height, width", [(2, 8), (8, 3)])
def test_too_small_sizes_are_refused_with_the_least(height, width):
    check_size("a.png", 4, 4)
    message = message_of(check_size, "a.png", height, width)
    assert f"{height}x{width}" in message and "at least 4" in message


def test_greyscale_becomes_rgb_with_equal_channels_and_opaque_alpha_is_dropped(
    tmp_path, write, picture
):
    grey, pixels = picture(6, 5)[..., 0], picture(4, 4)
    read = read_image(write(tmp_path / "a.png", grey))
    assert np.array_equal(read, np.repeat(grey[..., None], 3, 2))
    path = write(tmp_path / "b.png", pixels, "RGBA")
    assert np.array_equal(read_image(path), pixels) and read_photograph(path).alpha is None


def transparent(level):
    """Pixels (4,4,4) of this alpha."""
    return np.full((4, 4, 4), level, np.uint8)


@pytest.mark.parametrize(
    "name, pixels, said",
    [
        ("a.png", np.full((4, 4), 40000, np.uint16), "more than 8 bits"),
        ("a.tif", np.zeros((4, 4), np.float32), "more than 8 bits"),
        ("a.png", transparent(128), "flatten"),
        ("a.png", transparent(0), "every pixel is transparent"),
    ],
)
def test_what_is_not_of_8_opaque_bits_is_refused(tmp_path, write, name, pixels, said):
    assert said in message_of(read_image, write(tmp_path / name, pixels))


def test_what_may_not_be_read_is_not_called_truncated(tmp_path, write, picture, monkeypatch):
    path = write(tmp_path / "a.png", picture(6, 8))
    says = {errno.EACCES: "no permission to read it: change", errno.EIO: "(Input/output error)"}
    for number, text in says.items():

        def refuse(*arguments, number=number):
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(Image, "open", refuse)
        message = message_of(read_image, path)
        assert message.startswith(f"{path}: ") and text in message and "truncated" not in message
