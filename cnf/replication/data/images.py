"""Read one picture or label from a file, or say in one line why not."""

import contextlib
import io
import struct
import sys
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError
from scipy import ndimage

from cnf.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".webp")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".7z", ".rar")
FILMS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
PER_LEVEL = 257  # steps of 16 bits in a grey level of 8
LUMA = (0.299, 0.587, 0.114)  # of R, G, B; ITU-R BT.601

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_FORBIDDEN = "{}: no permission to read it: change that (chmod u+r), or give a copy"
# what undoes each EXIF orientation, from 2 on
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_UPRIGHT = {n: Image.Transpose[name] for n, name in enumerate(_TURNS.split(), start=2)}


@dataclass(frozen=True, eq=False)
class Photograph:
    """One decoded picture, upright.

    `alpha` is None if every pixel is opaque. `notes` say how the file's content was changed when it
    was read, a phrase each. `deep` are the colours of a file of 16 bits a channel, which `pixels`
    round to 8 bits.
    """

    pixels: np.ndarray  # RGB, uint8 (H,W,3)
    alpha: np.ndarray | None  # opacity, uint8 (H,W), 0 transparent to 255
    is_grey: bool  # one channel of colour
    profile: bytes | None  # ICC
    notes: tuple[str, ...]
    deep: np.ndarray | None = None  # RGB, uint16 (H,W,3)

    @property
    def levels(self) -> np.ndarray:
        """RGB in grey levels, 0 to 255 (H,W,3): whole ones, or float32 if the file has 16 bits."""
        return self.pixels if self.deep is None else self.deep.astype(np.float32) / PER_LEVEL


def read_photograph(path: Path, bits: int = 16, content: bytes | None = None) -> Photograph:
    """Decode a picture of at most `bits` a channel, 8 or 16, and keep its transparency and colour
    profile. The `content` of a file may be given; then `path` is its name.

    It is turned as its EXIF orientation says. Greyscale and palette pictures become RGB, CMYK is
    converted without its colour profile; of several frames the first is read. The colour of fully
    transparent pixels, which nobody sees, is replaced by that of the nearest visible pixel, so that
    it cannot leak into its neighbours when the picture is resampled. Transparency has 8 bits.
    Raises DataError for a file that is missing, truncated, no picture, deeper than that, or
    transparent everywhere.
    """
    deep, (image, notes) = None, _open(Path(path), bits, content=content)
    if image.mode == "I;16":
        deep = np.asarray(image)
    elif image.info.get("is_deep"):
        high, low = (
            np.asarray(part, np.uint16)
            for part in (image, _open(Path(path), bits, low=True, content=content)[0])
        )
        deep = 256 * high + low
    if deep is not None:
        clear = image.info.pop("transparency", None)  # a colour of 16 bits: no pixel of 8 has it
        rounded = ((deep + np.uint32(PER_LEVEL // 2)) // PER_LEVEL).astype(np.uint8)
        info, image = image.info, Image.fromarray(rounded)
        image.info = info
        if clear is not None:
            is_clear = deep == np.asarray(clear)
            is_clear = is_clear.all(axis=-1) if deep.ndim == 3 else is_clear
            image.putalpha(Image.fromarray(np.where(is_clear, 0, 255).astype(np.uint8)))
        deep = deep[..., :3] if deep.ndim == 3 else np.repeat(deep[..., None], 3, axis=2)
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
        deep = None if deep is None else deep[tuple(nearest)]
        share = f"{100 * hidden.mean():.2g} %"
        notes.append(f"{share} fully transparent, coloured like the nearest visible pixel")
    return Photograph(pixels, alpha, is_grey, profile, tuple(notes), deep)


def read_image(path: Path) -> np.ndarray:
    """RGB of an opaque 8-bit picture, uint8 (H,W,3), upright: see `read_photograph`. Raises
    DataError for transparent pixels."""
    photograph = read_photograph(path, bits=8)
    if photograph.alpha is not None:
        raise DataError(
            f"{path}: has transparent pixels (RGBA): flatten it on a background of your choice"
        )
    return photograph.pixels


def read_mask(path: Path, shape: tuple[int, int], what: str = "label") -> np.ndarray:
    """A label with two grey levels, bool (H,W); the larger level is True. A label with one level is
    all False if that is 0, and all True if it is 1 or 255. Raises DataError for more than two
    levels, a label drawn in its transparency, or another size than the picture's `shape` (H,W).
    `what` is the name of such a label in errors."""
    image, _ = _open(Path(path))
    rgb = np.asarray(image.convert("RGB"))
    grey = rgb[..., 0]
    if (rgb != grey[..., None]).any():
        raise DataError(f"{path}: {what} is coloured: save it with two grey levels, 0 and 255")
    if grey.shape != tuple(shape):
        raise DataError(
            f"{path}: {what} is {grey.shape[0]}x{grey.shape[1]} but its picture is "
            f"{shape[0]}x{shape[1]} (HxW): make them the same size"
        )
    levels = np.unique(grey)
    if len(levels) == 1 and image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
        if alpha.min() != alpha.max():
            raise DataError(
                f"{path}: {what} is drawn in its transparency: flatten it, white on black"
            )
    if len(levels) > 2 or len(levels) == 1 and levels[0] not in (0, 1, 255):
        levels_text = ", ".join(str(v) for v in levels[:4]) + (", ..." if len(levels) > 4 else "")
        raise DataError(
            f"{path}: {what} is not binary: it has {len(levels)} grey level(s) ({levels_text}): "
            "threshold it to 0 and 255"
        )
    return grey > 0 if len(levels) == 1 else grey == levels[1]


def check_size(name: object, height: int, width: int, least: int = 4) -> None:
    """Raise DataError unless both sides have at least `least` pixels."""
    if height < least or width < least:
        raise DataError(f"{name} is {height}x{width} (HxW): sides must be at least {least} pixels")


def check_is_picture(path: Path) -> None:
    """Raise DataError for a file that is missing or no picture, as `read_photograph` does, but
    without decoding it: damage further inside is not found."""
    with _named_errors(path), Image.open(path):
        pass


def of_many(path: Path) -> str:
    """What to do with a file that holds many pictures, an archive or a film; "" for others."""
    if path.suffix.lower() in ARCHIVES or zipfile.is_zipfile(path):
        return "an archive: unpack it, and give the folder"
    if path.suffix.lower() in FILMS:
        return (
            f"a film: write its frames into a folder (ffmpeg -i {path.name} frames/%05d.png), and "
            "give that; in Python, the models that cnf.load gives take arrays"
        )
    return ""


@contextlib.contextmanager
def _named_errors(path: Path, content: bytes | None = None) -> Iterator[None]:
    """Turn what Pillow raises for this file, or such content, into a DataError that names it and
    the remedy."""
    try:
        is_file = content is not None or path.is_file()
    except PermissionError:  # to enter its folder
        raise DataError(_FORBIDDEN.format(path)) from None
    if not is_file:
        what = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what}: give the path of a picture")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in path.name):  # nor could answers have it
        said = "a name with control characters, or not in UTF-8"
        raise DataError(f"{ascii(str(path))}: {said}: rename the file")
    try:
        yield
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # without a limit nothing raises this error
        raise DataError(f"{path}: more than {most:,} pixels: cut it into parts") from None
    except PermissionError:
        raise DataError(_FORBIDDEN.format(path)) from None
    except UnidentifiedImageError:
        if content is None and (what := of_many(path)):
            raise DataError(f"{path}: {what}") from None
        size = path.stat().st_size if content is None else len(content)
        raise DataError(
            f"{path}: no picture that can be read ({size} bytes), or truncated: "
            "convert it to PNG, JPEG or WebP, or get it again"
        ) from None
    except _UNREADABLE as error:
        if isinstance(error, OSError) and error.errno:  # of the disk; Pillow's own have no number
            raise DataError(f"{path}: cannot be read ({error.strerror}): give a copy") from None
        size = path.stat().st_size if content is None else len(content)
        raise DataError(
            f"{path}: cannot be decoded ({size} bytes, {error}): truncated or not a "
            "picture; get it again"
        ) from None


def _open(
    path: Path, bits: int = 8, low: bool = False, content: bytes | None = None
) -> tuple[Image.Image, list[str]]:
    """A picture, decoded and turned upright, with notes. Files of more than `bits` a channel, which
    Pillow would silently reduce, are refused. Of 16-bit colours it gives the high bytes, with
    `is_deep` in `info`, or the `low` ones."""
    source = path if content is None else io.BytesIO(content)
    with _named_errors(path, content), Image.open(source) as image:
        raw = " ".join(str(part) for tile in image.tile for part in tile[3:])
        deep = image.mode.startswith(("I", "F")) or ";16" in raw or "16B" in raw
        is_colour = image.mode in ("RGB", "RGBA") and image.mode + ";16" in raw
        if not deep or bits == 16 and (is_colour or image.mode == "I;16"):
            image.info["is_deep"] = deep
            if low:
                image.tile = [_swapped(tile) for tile in image.tile]
            frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
            image.load()
            notes = [f"the first of {frames} frames"] if frames > 1 else []
            return _upright(image.copy(), notes)
    if bits == 16:
        raise DataError(
            f"{path}: has more than 8 bits a channel ({image.mode}), and is none of grey, RGB and "
            "RGBA of 16: convert it to one of these"
        )
    raise DataError(f"{path}: has more than 8 bits a channel ({image.mode}): convert it to 8 bits")


def _swapped(tile: ImageFile._Tile) -> ImageFile._Tile:
    """A part of a file of 16-bit colours as if the two bytes were in the other order: Pillow, which
    keeps the high one, then keeps the low one."""
    if tile.args is None:
        return tile
    kind, *others = [tile.args] if isinstance(tile.args, str) else tile.args
    is_big = kind[-1] == "B" or kind[-1] == "N" and sys.byteorder == "big"
    kind = kind[:-1] + ("L" if is_big else "B")
    return tile._replace(args=(kind, *others) if others else kind)


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
