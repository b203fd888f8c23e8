"""Many small pictures in one file: Tiny-ImageNet as npz files of JPEGs, ImageNet as arrays."""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import error as ZlibError

import numpy as np
from PIL import Image

from cnf.errors import DataError
from cnf.replication.data.catalogue import Entry
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
        file_names, pixels = read_jpegs(folder / file)
        names += file_names
        parts.append(half_mean(pixels) if halve else pixels)
    return ImageSet.of(entry, split, stack(names, np.concatenate(parts)))


def read_jpegs(path: Path) -> tuple[list[str], np.ndarray]:
    """Names and decoded pictures, uint8 (N,64,64,3), of one npz of JPEG files."""

    def decode(file) -> tuple[list[str], np.ndarray]:
        blob, offsets = file["blob"].tobytes(), file["offsets"]
        names = file["name"].astype(str).tolist()
        pixels = np.empty((len(names), TINY_SIDE, TINY_SIDE, 3), np.uint8)
        for i, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            with Image.open(io.BytesIO(blob[start:end])) as image:
                pixels[i] = np.asarray(image.convert("RGB"))
        return names, pixels

    return read_npz(path, decode)


def read_npz(path: Path, decode: Callable[[Any], Any]) -> Any:
    """What `decode` makes of an npz file. Raises DataError if the file is truncated or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return decode(file)
    except BROKEN as error:
        raise DataError(f"{path}: cannot be decoded ({error}): truncated? get it again") from None


def half_mean(pixels: np.ndarray) -> np.ndarray:
    """Mean of each 2x2 block of uint8 (N,H,W,C), rounded to uint8, halves up."""
    n, height, width, channels = pixels.shape
    blocks = pixels.reshape(n, height // 2, 2, width // 2, 2, channels)
    return ((blocks.sum((2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)


def read_box(entry: Entry, split: Split, folder: Path, side: int) -> ImageSet:
    """Pictures of ImageNet from one file, uint8 (600,S,S,3)."""
    path = folder / entry.pictures[0]
    if not path.is_file():
        raise entry.missing(path)
    names, pixels = read_npz(path, lambda f: (f["name"].astype(str).tolist(), f["x"]))
    shape = (BOX_COUNT, side, side, 3)
    if pixels.dtype != np.uint8 or pixels.shape != shape or len(names) != BOX_COUNT:
        raise DataError(
            f"{path}: x is {pixels.dtype} {pixels.shape} with {len(names)} names, not uint8 "
            f"{shape}: see data/README.md for the layout"
        )
    return ImageSet.of(entry, split, stack(names, pixels))


def build_tiny(archive: Path, folder: Path, files: Sequence[str], selection_path: Path) -> None:
    """Make Tiny-ImageNet's files from the distributor's zip. The file `selection_path` lists the
    numbers of the pictures in their order: 500 a class in training. Members are read by name and
    nothing is unpacked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            np.load(selection_path, allow_pickle=False) as selection,
            zipfile.ZipFile(archive) as source,
        ):
            classes = selection["classes"].astype(str)
            for file in files:
                names, blobs = [], []
                for code in selection[file.removesuffix(".npz")]:
                    place, name = "val/images", f"val_{code}"
                    if file.startswith("train"):
                        wnid = classes[code // 500]
                        place, name = f"train/{wnid}/images", f"{wnid}_{code % 500}"
                    names.append(name)
                    blobs.append(source.read(f"tiny-imagenet-200/{place}/{name}.JPEG"))
                offsets = np.concatenate([[0], np.cumsum([len(b) for b in blobs])])
                blob = np.frombuffer(b"".join(blobs), np.uint8)
                np.savez(folder / file, blob=blob, offsets=offsets, name=np.array(names, "S16"))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot make tinyimagenet from {archive} in {folder}: {error}") from None
