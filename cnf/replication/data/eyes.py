"""DRIVE, STARE and CHASE_DB1: photographs of the retina and the vessels that observers drew."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.data.entry import Entry
from cnf.replication.data.examples import Example, ImageSet, Split
from cnf.replication.data.field_of_view import field_of_view
from cnf.replication.data.folders import find, to_tensor
from cnf.replication.data.images import read_image, read_mask

# DRIVE's own folders: ids 21-40 are its training half. 37-40 are kept for every choice we make.
DRIVE_IDS = {"train": range(21, 37), "valid": range(37, 41), "test": range(1, 21)}
STARE_IDS = (*range(1, 6), 44, 77, 81, 82, 139, 162, 163, 235, 236, 239, 240, 255, 291, 319, 324)
CHASE_SUBJECTS = {"train": range(1, 7), "valid": range(7, 8), "test": range(8, 11)}


class Files(NamedTuple):
    """Of one eye; `fov` and `second` are None where a set, or a split of it, has none."""

    key: str  # what its name ends in: 21, 0001, 01L
    image: Path
    label: Path  # of the first observer
    fov: Path | None = None
    second: Path | None = None


def read(
    entry: Entry, split: Split, folder: Path, files: Callable[[Entry, Split, Path], list[Files]]
) -> ImageSet:
    """The eyes of a split, in order.

    Where the set has no field of view it is found in the photograph. (Masks that others drew
    circulate for STARE and CHASE_DB1; four of STARE's are beside the picture, so none is read.)
    """
    return entry.images(split, [_read_eye(entry, eye) for eye in files(entry, split, folder)])


def _read_eye(entry: Entry, eye: Files) -> Example:
    pixels = read_image(eye.image)
    size = pixels.shape[:2]
    try:
        fov = field_of_view(pixels) if eye.fov is None else read_mask(eye.fov, size)
    except DataError as error:
        raise DataError(f"{eye.image}: {error}" if eye.fov is None else str(error)) from None
    return Example(
        f"{entry.of or entry.name}-{eye.key}",
        to_tensor(read_mask(eye.label, size)),
        to_tensor(pixels),
        torch.from_numpy(fov),
        None if eye.second is None else to_tensor(read_mask(eye.second, size)),
    )


def drive(entry: Entry, split: Split, folder: Path) -> list[Files]:
    """Found by number, in the folders as distributed, or shorter."""
    half = _inside(entry, folder, *(("test",) if split == "test" else ("training", "train")))
    found = []
    for number in DRIVE_IDS[split]:
        parts = ["images", "1st_manual", "mask"] + ["2nd_manual"] * (split == "test")
        found.append(Files(f"{number:02d}", *(find(half / p, f"{number:02d}_") for p in parts)))
    return found


def stare(entry: Entry, split: Split, folder: Path) -> list[Files]:
    """The first observer's labels."""
    images = _inside(entry, folder, "images", "stare-images")
    labels = _inside(entry, folder, "labels_ah", "labels-ah")
    names = [f"im{number:04d}" for number in STARE_IDS]
    return [Files(n[2:], find(images, f"{n}."), find(labels, f"{n}.ah.")) for n in names]


def chase(entry: Entry, split: Split, folder: Path) -> list[Files]:
    """One folder, as distributed, or one a kind of file; of chasedb1-all every split."""
    images, first, second = (
        _inside(entry, folder, kind, ".") for kind in ("images", "1st_manual", "2nd_manual")
    )
    splits = [split] if entry.name == "chasedb1" else list(CHASE_SUBJECTS)
    return [
        Files(
            key,
            find(images, f"Image_{key}."),
            find(first, f"Image_{key}_1stHO."),
            second=find(second, f"Image_{key}_2ndHO."),
        )
        for key in (f"{n:02d}{side}" for s in splits for n in CHASE_SUBJECTS[s] for side in "LR")
    ]


def _inside(entry: Entry, folder: Path, *names: str) -> Path:
    """The first of these folders in `folder` that is there."""
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise entry.missing(folder / names[0])


def scaled(eyes: Sequence[Example], ratio: float) -> list[Example]:
    """Eyes as a camera of another resolution shows them: `ratio` times as many pixels a side.

    The photograph by the antialiased cubic kernel; labels by the same, cut at one half, which keeps
    the area of vessels within half a per cent but breaks the thinnest; the field of view by the
    nearest pixel.
    """
    cubic, nearest = Image.Resampling.BICUBIC, Image.Resampling.NEAREST

    def resized(t: Tensor, how: Image.Resampling) -> np.ndarray:
        pixels = t.numpy() if t.ndim == 2 else t.permute(1, 2, 0).numpy().squeeze()
        size = (round(ratio * side) for side in pixels.shape[1::-1])
        return np.asarray(Image.fromarray(pixels).resize(tuple(size), how))

    def label(y: Tensor | None) -> Tensor | None:
        return None if y is None else to_tensor(resized(y.float(), cubic) > 0.5)

    return [
        Example(
            e.name,
            label(e.y),
            to_tensor(resized(e.x, cubic)),
            torch.from_numpy(resized(e.fov, nearest).copy()),
            label(e.second),
        )
        for e in eyes
    ]
