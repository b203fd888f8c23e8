"""Read one picture or label from a file, or say in one line why not."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from cnf.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".webp")

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)


def read_image(path: Path) -> np.ndarray:
    """Decode an 8-bit picture to RGB, uint8 (H,W,3).

    Greyscale and palette pictures become RGB, CMYK is converted without a colour profile, an alpha
    channel is dropped if it is opaque everywhere. Raises DataError for anything else.
    """
    image = _open(Path(path))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            raise DataError(
                f"{path}: has transparent pixels (RGBA): flatten it on a background of your choice"
            )
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Decode a label with two grey levels to bool (H,W); the larger level is True.

    A constant label is all False at 0 and all True at 1 or 255.
    Raises DataError if it has other than two levels or is not of the picture's `shape` (H,W).
    """
    image = _open(Path(path))
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
    if len(levels) > 2 or (len(levels) == 1 and levels[0] not in (0, 1, 255)):
        shown = ", ".join(str(v) for v in levels[:4]) + (", ..." if len(levels) > 4 else "")
        raise DataError(
            f"{path}: label is not binary: it has {len(levels)} grey level(s) ({shown}): "
            "threshold it to 0 and 255"
        )
    return grey > 0 if len(levels) == 1 else grey == levels[1]


def check_size(name: object, height: int, width: int, multiple: int = 2, least: int = 4) -> None:
    """Raise DataError unless both sides are multiples of `multiple` and at least `least`."""
    if height < least or width < least:
        raise DataError(f"{name} is {height}x{width} (HxW): sides must be at least {least} pixels")
    if height % multiple or width % multiple:
        raise DataError(
            f"{name} is {height}x{width} (HxW): sides must be multiples of {multiple}: crop it to "
            f"{height - height % multiple}x{width - width % multiple}"
        )


def _open(path: Path) -> Image.Image:
    """Open and fully decode, refusing what Pillow would silently cut to 8 bits."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with Image.open(path) as image:
            raw = " ".join(str(part) for tile in image.tile for part in tile[3:])
            deep = image.mode.startswith(("I", "F")) or ";16" in raw or "16B" in raw
            if not deep:
                image.load()
                return image.copy()
    except _UNREADABLE as error:
        size = path.stat().st_size
        raise DataError(
            f"{path}: cannot be decoded ({size} bytes, {error}): truncated or not a picture; "
            "get it again"
        ) from None
    raise DataError(f"{path}: has more than 8 bits a channel ({image.mode}): convert it to 8 bits")
