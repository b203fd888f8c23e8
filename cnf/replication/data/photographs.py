"""Whole photographs for super-resolution, and patches cut from them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from cnf.errors import DataError
from cnf.replication.data.catalogue import Entry
from cnf.replication.data.examples import Example, ImageSet, Split, Stack
from cnf.replication.data.folders import find_picture, pictures, uniform, whole

VALID = 0.05  # share of a training set that is for validation, chosen by names
SIDE = 64  # pixels a side of a patch
STEP = 45  # pixels from patch to patch; odd, so that the blocks of JPEG lie differently in each


def read_benchmark(entry: Entry, split: Split, folder: Path) -> ImageSet:
    """The photographs that the entry names, with even sides as in published numbers."""
    photographs = [whole(find_picture(folder, f"{name}.")) for name in entry.pictures]
    cropped = ", ".join(example.name for example, odd in photographs if odd)
    note = f"; cropped to even sides at the right and bottom: {cropped}" if cropped else ""
    return ImageSet.of(entry, split, [example for example, _ in photographs], note)


def read_training(entry: Entry, split: Split, folder: Path, count: int) -> ImageSet:
    """All `count` photographs of a folder, with even sides. About one in twenty, chosen by its
    name, is for validation. Raises DataError for another number of photographs."""
    paths = pictures(folder)
    if len(paths) != count:
        raise DataError(f"{folder}: {len(paths)} pictures, not the {count} of {entry.name}")
    paths = [p for p in paths if (uniform(p.stem.encode()) < VALID) == (split == "valid")]
    return ImageSet.of(entry, split, [whole(path)[0] for path in paths])


def patches(photographs: Sequence[Example], only: str = "") -> Stack:
    """Patches of 64x64 of the photographs whose names begin with `only`."""
    chosen = (e for e in photographs if e.name.startswith(only))
    return grid(((e.name, e.y.permute(1, 2, 0).numpy(), STEP) for e in chosen), SIDE)


def grid(pictures: Iterable[tuple[str, np.ndarray, int]], side: int) -> Stack:
    """Patches, side x side, of pictures. A picture is a name, uint8 (H,W,3) and the step of its
    grid."""
    names, patches = [], []
    for name, pixels, step in pictures:
        for top in range(0, pixels.shape[0] - side + 1, step):
            for left in range(0, pixels.shape[1] - side + 1, step):
                names.append(f"{name}-{top}-{left}")
                patches.append(pixels[top : top + side, left : left + side])
    return stack(names, np.stack(patches))


def stack(names: Sequence[str], pixels: np.ndarray) -> Stack:
    """Pictures uint8 (N,H,W,3) as examples."""
    return Stack(names, torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
