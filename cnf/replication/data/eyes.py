"""DRIVE, STARE and CHASE_DB1: photographs of the retina and the vessels that observers drew."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.data.catalogue import Entry
from cnf.replication.data.examples import Example, ImageSet, Split
from cnf.replication.data.field_of_view import field_of_view
from cnf.replication.data.folders import find_picture, to_tensor
from cnf.replication.data.images import read_image, read_mask

STARE_IDS = (*range(1, 6), 44, 77, 81, 82, 139, 162, 163, 235, 236, 239, 240, 255, 291, 319, 324)
# A label with more pixels than this outside of the field of view belongs to another photograph.
# STARE's matching labels have 0 to 2 such pixels, the others at least 64.
BESIDE = 20


def read_drive(entry: Entry, split: Split, folder: Path, fold: int = 5) -> ImageSet:
    """DRIVE: files are found by their numbers; the folders may have their distributed names or
    "train" and "test"."""
    if split == "test":
        half = _inside(entry, folder, "test")
        parts = ["images", "1st_manual", "mask", "2nd_manual"]
    else:
        half = _inside(entry, folder, "training", "train")
        parts = ["images", "1st_manual", "mask"]
    eyes = []
    for key in (f"{number:02d}" for number in drive_ids(fold)[split]):
        eyes.append(_read(entry, key, *(find_picture(half / part, f"{key}_") for part in parts)))
    return ImageSet.of(entry, split, eyes)


def drive_ids(fold: int) -> dict[Split, Sequence[int]]:
    """Numbers of the photographs of each split. Of the twenty for training, the four of `fold` (1
    to 5) are held out for validation. The fifth fold, 37 to 40, is that of every choice we make."""
    valid = range(17 + 4 * fold, 21 + 4 * fold)
    return {
        "train": [n for n in range(21, 41) if n not in valid],
        "valid": valid,
        "test": range(1, 21),
    }


def read_stare(entry: Entry, split: Split, folder: Path, first: int = 1) -> ImageSet:
    """STARE from the photograph of number `first` on, with the first observer's labels. In some
    copies four photographs, im0002 to im0005, are other scans that do not match their labels: these
    are left out, and `describe` says so."""
    eyes = [e for e in all_of_stare(entry, folder) if int(e.name[-4:]) >= first]
    beside = [e.name for e in eyes if int((e.y[0].bool() & ~e.part("fov")).sum()) > BESIDE]
    note = ""
    if beside:
        note = f"; left out, the label beside the photograph: {', '.join(beside)}"
    return ImageSet.of(entry, split, [e for e in eyes if e.name not in beside], note)


def all_of_stare(entry: Entry, folder: Path) -> list[Example]:
    """All twenty, also those that `read_stare` leaves out."""
    images = _inside(entry, folder, "images", "stare-images")
    labels = _inside(entry, folder, "labels_ah", "labels-ah")
    eyes = []
    for key in (f"{number:04d}" for number in STARE_IDS):
        files = find_picture(images, f"im{key}."), find_picture(labels, f"im{key}.ah.")
        eyes.append(_read(entry, key, *files))
    return eyes


def read_chase(
    entry: Entry,
    split: Split,
    folder: Path,
    valid: Sequence[int] = (7,),
    test: Sequence[int] = (8, 9, 10),
) -> ImageSet:
    """CHASE_DB1: all files in one folder, as distributed, or in one folder for each kind of file.
    Its ten children are split by their numbers: those in `valid`, those in `test`, and the others,
    for training. chasedb1-all holds the pictures of all splits."""
    images, first, second = (
        _inside(entry, folder, kind, ".") for kind in ("images", "1st_manual", "2nd_manual")
    )
    train = [n for n in range(1, 11) if n not in (*valid, *test)]
    subjects = {"train": train, "valid": valid, "test": test}
    splits = list(subjects) if entry.name == "chasedb1-all" else [split]
    eyes = []
    for key in (f"{n:02d}{side}" for s in splits for n in subjects[s] for side in "LR"):
        image, label = (
            find_picture(images, f"Image_{key}."),
            find_picture(first, f"Image_{key}_1stHO."),
        )
        other = find_picture(second, f"Image_{key}_2ndHO.")
        eyes.append(_read(entry, key, image, label, second=other))
    return ImageSet.of(entry, split, eyes)


def _read(
    entry: Entry,
    key: str,
    image: Path,
    label: Path,
    mask: Path | None = None,
    second: Path | None = None,
) -> Example:
    """One example. Without a `mask` the field of view is found in the photograph. (Masks that
    others drew circulate for STARE and CHASE_DB1. Four of STARE's do not match, so none is
    read.)"""
    pixels = read_image(image)
    size = pixels.shape[:2]
    if mask is not None:
        fov = read_mask(mask, size)
    else:
        try:
            fov = field_of_view(pixels)
        except DataError as error:
            raise DataError(f"{image}: {error}") from None
    return Example(
        f"{entry.of or entry.name}-{key}",
        to_tensor(read_mask(label, size)),
        to_tensor(pixels),
        torch.from_numpy(fov),
        None if second is None else to_tensor(read_mask(second, size)),
    )


def _inside(entry: Entry, folder: Path, *names: str) -> Path:
    """The first of these folders in `folder` that exists."""
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise entry.missing(folder / names[0])


def scaled(eyes: Sequence[Example], old: int, new: int) -> list[Example]:
    """Eyes as a camera of another resolution shows them: `new` pixels a side for every `old`.

    Photographs are resized by the antialiased cubic kernel. Labels are resized by the same kernel
    and thresholded at 1/2; this keeps the area of vessels within half a per cent but breaks the
    thinnest of them. The field of view is resized by the nearest pixel.
    """
    cubic, nearest = Image.Resampling.BICUBIC, Image.Resampling.NEAREST

    def resized(t: Tensor, resampling: Image.Resampling) -> np.ndarray:
        pixels = t.numpy() if t.ndim == 2 else t.permute(1, 2, 0).numpy().squeeze()
        height, width = (round(new / old * side) for side in pixels.shape[:2])
        return np.array(Image.fromarray(pixels).resize((width, height), resampling))

    def label(y: Tensor) -> Tensor:
        return to_tensor(resized(y.float(), cubic) > 0.5)

    examples = []
    for e in eyes:
        x, fov = to_tensor(resized(e.part("x"), cubic)), resized(e.part("fov"), nearest)
        second = None if e.second is None else label(e.second)
        examples.append(Example(e.name, label(e.y), x, torch.from_numpy(fov), second))
    return examples
