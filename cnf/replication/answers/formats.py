"""The files that hold answers: their names and formats, 8 or 16 bits a channel.

Pillow writes 8 bits a channel. For 16 there is a PNG of our own, and tifffile's TIFF.
"""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cnf.errors import ConfigError
from cnf.files import replaced

# what Pillow calls a format, and how it writes it: no grey level is changed
FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
    "tiff": {"compression": "tiff_adobe_deflate"},
    "webp": {"lossless": True, "exact": True},
}
LONGEST = {"webp": 16383}  # pixels a side
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's, by the number of channels


class Deep(NamedTuple):
    """A picture of 16 bits a channel, uint16 (H,W) or (H,W,C), and as it is shown."""

    levels: np.ndarray
    image: Image.Image


def check_format(name: str, side: int = 0, is_deep: bool = False) -> None:
    """Raise ConfigError for a format that is unknown, or cannot hold such a picture."""
    if name not in FORMATS:
        raise ConfigError(f"format '{name}': choose {', '.join(FORMATS)}")
    others = "choose png or tiff"
    if side > LONGEST.get(name, side):
        raise ConfigError(
            f"{name} holds at most {LONGEST[name]} pixels a side, not {side}: {others}"
        )
    if is_deep and name == "webp":
        raise ConfigError(f"webp holds 8 bits a channel, and this picture has 16: {others}")


def check_suffix(suffix: str) -> None:
    """Raise ConfigError for a suffix that would lead into another folder."""
    if Path(f"a{suffix}").name != f"a{suffix}":
        raise ConfigError(f"suffix '{suffix}': give a part of a file's name")


def named(folder: Path, stem: str, end: str, suffix: str = "", format: str = "png") -> Path:
    """The file of an answer: photo, mean.png -> folder/photo[suffix]-mean.[format]."""
    if end.endswith(".png"):
        end = end.removesuffix("png") + format
    return Path(folder, f"{stem}{suffix}-{end}")


def refuse_existing(paths: Sequence[Path], remedy: str) -> None:
    """Raise ConfigError if a file is there already."""
    existing = [path for path in paths if path.exists()]
    if existing:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ConfigError(f"{existing[0]}{others} would be replaced: {remedy}")


def save(content: Image.Image | Deep | np.ndarray | str, path: Path) -> None:
    """Write a file in one move: text, a picture in the format of its name, or an array as NumPy's.
    Raises ConfigError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as part, part.open("wb") as file:
            if isinstance(content, str):
                file.write(content.encode())
            elif isinstance(content, Deep):
                file.write(encoded(content, path.suffix[1:]))
            elif isinstance(content, Image.Image):
                kind, profile = path.suffix[1:], content.info.get("icc_profile")
                content.save(file, kind, icc_profile=profile, **FORMATS[kind])
            else:
                np.save(file, content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error}): give another --out") from None


def encoded(picture: Deep, kind: str) -> bytes:
    """A picture of 16 bits a channel as a file with its colour profile."""
    check_format(kind, is_deep=True)
    profile = picture.image.info.get("icc_profile")
    return (png16 if kind == "png" else tiff16)(picture.levels, profile)


def png16(levels: np.ndarray, profile: bytes | None = None) -> bytes:
    """uint16 (H,W) or (H,W,C) as PNG; every row is stored as its difference to the one above, its
    filter 2."""
    height, width, *channels = levels.shape
    rows = np.frombuffer(levels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    stored = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    stored[:, 1:] = np.diff(rows, axis=0, prepend=np.uint8(0))
    colour = COLOUR_TYPES[channels[0] if channels else 1]
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)}
    if profile:
        chunks[b"iCCP"] = b"profile\0\0" + zlib.compress(profile)
    chunks |= {b"IDAT": zlib.compress(stored.tobytes()), b"IEND": b""}
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks.items():
        check = struct.pack(">I", zlib.crc32(kind + data))
        file += struct.pack(">I", len(data)) + kind + data + check
    return file


def tiff16(levels: np.ndarray, profile: bytes | None = None) -> bytes:
    """uint16 (H,W) or (H,W,C) as TIFF."""
    import tifffile  # only here

    channels = 1 if levels.ndim == 2 else levels.shape[2]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        levels,
        photometric="rgb" if channels > 2 else "minisblack",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=profile,
        metadata=None,
    )
    return file.getvalue()
