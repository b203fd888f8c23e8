"""Many small pictures in one file: Tiny-ImageNet, as npz files of JPEG, and arrays of ImageNet."""

import io
import zipfile
from pathlib import Path
from zlib import error as ZlibError

import numpy as np
from PIL import Image

from cnf.errors import DataError
from cnf.replication.data.entry import Entry
from cnf.replication.data.examples import ImageSet, Split
from cnf.replication.data.photographs import stack

TINY_SIDE, BOX_COUNT = 64, 600
BROKEN = (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, ZlibError)


def read_tiny(entry: Entry, split: Split, folder: Path, halve: bool = False) -> ImageSet:
    """Tiny-ImageNet at 64, or halved at 32, by `half_mean`."""
    names, parts = [], []
    for file in entry.pictures:
        if not file.startswith({"valid": "val"}.get(split, split)):
            continue
        if not (folder / file).is_file():
            raise entry.missing(folder / file)
        more, pixels = read_jpegs(folder / file)
        names += more
        parts.append(half_mean(pixels) if halve else pixels)
    return entry.images(split, stack(names, np.concatenate(parts)))


def read_jpegs(path: Path) -> tuple[list[str], np.ndarray]:
    """Names and decoded pictures, uint8 (N,64,64,3), of one npz of JPEG files."""
    try:
        with np.load(path, allow_pickle=False) as file:
            blob, offsets, names = file["blob"].tobytes(), file["offsets"], file["name"]
        pixels = np.empty((len(names), TINY_SIDE, TINY_SIDE, 3), np.uint8)
        for i, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            with Image.open(io.BytesIO(blob[start:end])) as image:
                pixels[i] = np.asarray(image.convert("RGB"))
    except BROKEN as error:
        raise undecodable(path, error) from None
    return [name.decode() for name in names], pixels


def undecodable(path: Path, error: Exception) -> DataError:
    """The error of a file that was cut or damaged."""
    return DataError(f"{path}: cannot be decoded ({error}): truncated? get it again")


def half_mean(pixels: np.ndarray) -> np.ndarray:
    """Mean of each 2x2 block of uint8 (N,H,W,C), rounded to uint8, halves up."""
    n, height, width, channels = pixels.shape
    blocks = pixels.reshape(n, height // 2, 2, width // 2, 2, channels)
    return ((blocks.sum((2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)


def read_box(entry: Entry, split: Split, folder: Path, side: int) -> ImageSet:
    """Pictures of ImageNet, uint8 (600,S,S,3), one file."""
    path = folder / entry.pictures[0]
    if not path.is_file():
        raise entry.missing(path)
    try:
        with np.load(path, allow_pickle=False) as content:
            names, pixels = [str(name, "ascii") for name in content["name"]], content["x"]
    except BROKEN as error:
        raise undecodable(path, error) from None
    shape = (BOX_COUNT, side, side, 3)
    if pixels.dtype != np.uint8 or pixels.shape != shape or len(names) != BOX_COUNT:
        raise DataError(
            f"{path}: x is {pixels.dtype} {pixels.shape} with {len(names)} names, not uint8 "
            f"{shape}: see data/README.md for the layout"
        )
    return entry.images(split, stack(names, pixels))


def build_tiny(archive: Path, folder: Path, files: tuple[str, ...], draw: Path) -> list[str]:
    """Cut Tiny-ImageNet's files out of the distributor's zip; `draw` lists which pictures, in
    which order. Members are read by name and nothing is unpacked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with np.load(draw, allow_pickle=False) as chosen, zipfile.ZipFile(archive) as source:
            for file in files:
                names = _drawn(chosen[file.removesuffix(".npz")], chosen["classes"], file)
                members = (
                    f"val/images/{n}"
                    if n.startswith("val_")
                    else f"train/{n.split('_')[0]}/images/{n}"
                    for n in names
                )
                blobs = [source.read(f"tiny-imagenet-200/{member}.JPEG") for member in members]
                offsets = np.concatenate([[0], np.cumsum([len(b) for b in blobs])])
                blob = np.frombuffer(b"".join(blobs), np.uint8)
                np.savez(folder / file, blob=blob, offsets=offsets, name=np.array(names, "S16"))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot make tinyimagenet from {archive} in {folder}: {error}") from None
    return [f"tinyimagenet: written to {folder}"]


def _drawn(codes: np.ndarray, classes: np.ndarray, file: str) -> list[str]:
    """Names of pictures from their numbers in the draw: 500 a class in training."""
    if not file.startswith("train"):
        return [f"val_{code}" for code in codes]
    return [f"{classes[code // 500].decode()}_{code % 500}" for code in codes]
