"""What a program gives as a picture: a path, the bytes of a file, a picture of Pillow, an array."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnf.errors import DataError
from cnf.replication.answers.formats import png16

IN_PNG = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # modes of Pillow
IN_TIFF = ("CMYK", "LAB", "YCbCr")


def named(picture: Any, name: str) -> tuple[Path, bytes | None]:
    """The path of a picture, and None; or of one in memory the name, for messages and files, and
    what a file of it would hold.

    Args:
        picture: a path; bytes; a picture of Pillow, with its profile and orientation; or an array,
            such as one of NumPy, uint8 or uint16 (16 bits a channel), (H,W) or (H,W,C) with
            channels grey, grey and opacity, RGB, or RGB and opacity.
        name: of a picture that has none.

    Raises DataError for anything else.
    """
    if isinstance(picture, str | os.PathLike):
        return Path(picture), None
    if isinstance(picture, bytes | bytearray | memoryview):
        return Path(name), bytes(picture)
    if isinstance(picture, Image.Image):
        own_name = getattr(picture, "filename", "")
        return Path(own_name if isinstance(own_name, str) and own_name else name), of_image(picture)
    if hasattr(picture, "__array__"):
        return Path(name), of_array(np.asarray(picture), name)
    raise DataError(
        f"picture is a {type(picture).__name__}: give a path, bytes, a picture of Pillow, an array "
        "uint8 (H,W,3), or a list of these"
    )


def of_image(image: Image.Image) -> bytes:
    """A file that holds a picture of Pillow, uncompressed."""
    file = io.BytesIO()
    if image.mode in IN_PNG:
        image.save(file, "png", compress_level=0, exif=image.getexif())
    elif image.mode in IN_TIFF:
        image.save(file, "tiff")
    else:
        modes = ", ".join(IN_PNG + IN_TIFF)
        raise DataError(f"picture of mode {image.mode}: convert it to one of {modes}")
    return file.getvalue()


def of_array(array: np.ndarray, name: str) -> bytes:
    """A file that holds an array."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype not in (np.uint8, np.uint16):
        remedy = "give whole grey levels, 0 to 255 as uint8, or 0 to 65535 as uint16"
        raise DataError(f"{name} is an array of {array.dtype}: {remedy}")
    if not (array.ndim == 2 or array.ndim == 3 and array.shape[2] <= 4) or not array.size:
        raise DataError(
            f"{name} is an array of shape {array.shape}: give (H,W), or (H,W,C) with the 1 to 4 "
            "channels last"
        )
    return png16(array) if array.dtype == np.uint16 else of_image(Image.fromarray(array))
