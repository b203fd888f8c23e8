"""Read one picture or label from a file, or say in one line why not."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from scipy import ndimage

from cnf.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".webp")
LUMA = (0.299, 0.587, 0.114)  # of R, G, B; ITU-R BT.601

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
# what undoes each EXIF orientation, from 2 on
_UPRIGHT = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_UPRIGHT = {n: Image.Transpose[name] for n, name in enumerate(_UPRIGHT.split(), start=2)}


@dataclass(frozen=True, eq=False)
class Photograph:
    """One decoded 8-bit picture, upright.

    `alpha` is None if every pixel is opaque. `notes` say how the file's content was changed when it
    was read, a phrase each.
    """

    pixels: np.ndarray  # RGB, uint8 (H,W,3)
    alpha: np.ndarray | None  # opacity, uint8 (H,W), 0 transparent to 255
    is_grey: bool  # one channel of colour
    profile: bytes | None  # ICC
    notes: tuple[str, ...]


def read_photograph(path: Path) -> Photograph:
    """Decode an 8-bit picture and keep its transparency and colour profile.

    It is turned as its EXIF orientation says. Greyscale and palette pictures become RGB, CMYK is
    converted without its colour profile; of several frames the first is read. The colour of fully
    transparent pixels, which nobody sees, is replaced by that of the nearest visible pixel, so that
    it cannot leak into its neighbours when the picture is resampled.
    Raises DataError for a file that is missing, truncated, no picture, deeper than 8 bits, or
    transparent everywhere.
    """
    image, notes = _open(Path(path))
    is_grey = image.mode in ("1", "L", "LA")
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ("CMYK", "LAB", "YCbCr"):
        profile = None  # it describes the colours before the conversion
        notes.append(f"converted from {image.mode} to RGB without its colour profile")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.asarray(image)[..., 3]
        if alpha.min() == 255:
            alpha = None
    pixels = np.asarray(image.convert("RGB"))
    if alpha is not None and (alpha == 0).any():
        hidden = alpha == 0
        if hidden.all():
            raise DataError(f"{path}: every pixel is transparent: there is nothing to see")
        nearest = ndimage.distance_transform_edt(
            hidden, return_distances=False, return_indices=True
        )
        pixels = pixels[tuple(nearest)]
        share = f"{100 * hidden.mean():.2g} %"
        notes.append(f"{share} fully transparent, coloured like the nearest visible pixel")
    return Photograph(pixels, alpha, is_grey, profile, tuple(notes))


def read_image(path: Path) -> np.ndarray:
    """RGB of an opaque 8-bit picture, uint8 (H,W,3), upright: see `read_photograph`. Raises
    DataError for transparent pixels."""
    photograph = read_photograph(path)
    if photograph.alpha is not None:
        raise DataError(
            f"{path}: has transparent pixels (RGBA): flatten it on a background of your choice"
        )
    return photograph.pixels


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """A label with two grey levels, bool (H,W); the larger level is True. A label with one level is
    all False if that is 0, and all True if it is 1 or 255. Raises DataError for more than two
    levels, a label drawn in its transparency, or another size than the picture's `shape` (H,W)."""
    image, _ = _open(Path(path))
    rgb = np.asarray(image.convert("RGB"))
    grey = rgb[..., 0]
    if (rgb != grey[..., None]).any():
        raise DataError(f"{path}: label is coloured: save it with two grey levels, 0 and 255")
    if grey.shape != tuple(shape):
        raise DataError(
            f"{path}: label is {grey.shape[0]}x{grey.shape[1]} but its picture is "
            f"{shape[0]}x{shape[1]} (HxW): make them the same size"
        )
    levels = np.unique(grey)
    if len(levels) == 1 and image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() != alpha.max():
            raise DataError(
                f"{path}: label is drawn in its transparency: flatten it, white on black"
            )
    if len(levels) > 2 or len(levels) == 1 and levels[0] not in (0, 1, 255):
        levels_text = ", ".join(str(v) for v in levels[:4]) + (", ..." if len(levels) > 4 else "")
        raise DataError(
            f"{path}: label is not binary: it has {len(levels)} grey level(s) ({levels_text}): "
            "threshold it to 0 and 255"
        )
    return grey > 0 if len(levels) == 1 else grey == levels[1]


def check_size(name: object, height: int, width: int, least: int = 4) -> None:
    """Raise DataError unless both sides have at least `least` pixels."""
    if height < least or width < least:
        raise DataError(f"{name} is {height}x{width} (HxW): sides must be at least {least} pixels")


def _open(path: Path) -> tuple[Image.Image, list[str]]:
    """A picture, decoded and turned upright, with notes. Files that Pillow would silently reduce to
    8 bits are refused."""
    if not path.is_file():
        raise DataError(f"{path}: no such file: give the path of a picture")
    try:
        with Image.open(path) as image:
            raw = " ".join(str(part) for tile in image.tile for part in tile[3:])
            deep = image.mode.startswith(("I", "F")) or ";16" in raw or "16B" in raw
            if not deep:
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                image.load()
                notes = [f"the first of {frames} frames"] if frames > 1 else []
                return _upright(image.copy(), notes)
    except Image.DecompressionBombError:
        raise DataError(
            f"{path}: more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels: cut it into parts"
        ) from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: no picture that can be read ({path.stat().st_size} bytes), or truncated: "
            "convert it to PNG, JPEG or WebP, or get it again"
        ) from None
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: cannot be decoded ({path.stat().st_size} bytes, {error}): truncated or not a "
            "picture; get it again"
        ) from None
    raise DataError(f"{path}: has more than 8 bits a channel ({image.mode}): convert it to 8 bits")


def _upright(image: Image.Image, notes: list[str]) -> tuple[Image.Image, list[str]]:
    """The picture turned as its EXIF orientation says. An EXIF block that cannot be read is
    ignored, as every viewer does."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _UNREADABLE:
        return image, notes
    if orientation not in _UPRIGHT:
        return image, notes
    turned = f"turned upright (EXIF orientation {orientation})"
    return image.transpose(_UPRIGHT[orientation]), [*notes, turned]
