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
from cnf.replication.data.folders import find, to_tensor
from cnf.replication.data.images import read_image, read_mask

STARE_IDS = (*range(1, 6), 44, 77, 81, 82, 139, 162, 163, 235, 236, 239, 240, 255, 291, 319, 324)
# pixels of a label outside of the field of view; more, and it belongs to another scan. STARE's own
# have 0 to 2, those beside their photographs at least 64
BESIDE = 20
CHASE_SUBJECTS = {"train": range(1, 7), "valid": range(7, 8), "test": range(8, 11)}


def read_drive(entry: Entry, split: Split, folder: Path, fold: int = 5) -> ImageSet:
    """Found by number, in the folders as distributed, or shorter."""
    if split == "test":
        half = _inside(entry, folder, "test")
        parts = ["images", "1st_manual", "mask", "2nd_manual"]
    else:
        half = _inside(entry, folder, "training", "train")
        parts = ["images", "1st_manual", "mask"]
    eyes = []
    for key in (f"{number:02d}" for number in drive_ids(fold)[split]):
        eyes.append(_read(entry, key, *(find(half / part, f"{key}_") for part in parts)))
    return entry.images(split, eyes)


def drive_ids(fold: int) -> dict[Split, Sequence[int]]:
    """Numbers of the photographs: of the twenty for training, the four of `fold`, 1 to 5, are held
    out for validation; of the fifth, 37 to 40, for every choice we make."""
    valid = range(17 + 4 * fold, 21 + 4 * fold)
    return {
        "train": [n for n in range(21, 41) if n not in valid],
        "valid": valid,
        "test": range(1, 21),
    }


def read_stare(entry: Entry, split: Split, folder: Path) -> ImageSet:
    """The first observer's labels. In some copies four photographs, im0002 to im0005, are other
    scans, which lie beside their labels: such are left out, and `describe` says so."""
    eyes = all_of_stare(entry, folder)
    beside = [e.name for e in eyes if int((e.y[0].bool() & ~e.fov).sum()) > BESIDE]
    note = ""
    if beside:
        note = f"; left out, the label beside the photograph: {', '.join(beside)}"
    return entry.images(split, [e for e in eyes if e.name not in beside], note)


def all_of_stare(entry: Entry, folder: Path) -> list[Example]:
    """All twenty, also those that `read_stare` leaves out."""
    images = _inside(entry, folder, "images", "stare-images")
    labels = _inside(entry, folder, "labels_ah", "labels-ah")
    eyes = []
    for key in (f"{number:04d}" for number in STARE_IDS):
        files = find(images, f"im{key}."), find(labels, f"im{key}.ah.")
        eyes.append(_read(entry, key, *files))
    return eyes


def read_chase(entry: Entry, split: Split, folder: Path) -> ImageSet:
    """One folder, as distributed, or one a kind of file; of chasedb1-all every split."""
    images, first, second = (
        _inside(entry, folder, kind, ".") for kind in ("images", "1st_manual", "2nd_manual")
    )
    splits = [split] if entry.name == "chasedb1" else list(CHASE_SUBJECTS)
    eyes = []
    for key in (f"{n:02d}{side}" for s in splits for n in CHASE_SUBJECTS[s] for side in "LR"):
        image, label = find(images, f"Image_{key}."), find(first, f"Image_{key}_1stHO.")
        other = find(second, f"Image_{key}_2ndHO.")
        eyes.append(_read(entry, key, image, label, second=other))
    return entry.images(split, eyes)


def _read(
    entry: Entry,
    key: str,
    image: Path,
    label: Path,
    mask: Path | None = None,
    second: Path | None = None,
) -> Example:
    """Where the set has no field of view it is found in the photograph. (Masks that others drew
    circulate for STARE and CHASE_DB1; four of STARE's are beside the picture, so none is read.)"""
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
    """The first of these folders in `folder` that is there."""
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    raise entry.missing(folder / names[0])


def scaled(eyes: Sequence[Example], own: int, new: int) -> list[Example]:
    """Eyes as a camera of another resolution shows them: `new` pixels a side for every `own`.

    The photograph by the antialiased cubic kernel; labels by the same, cut at one half, which keeps
    the area of vessels within half a per cent but breaks the thinnest; the field of view by the
    nearest pixel.
    """
    cubic, nearest = Image.Resampling.BICUBIC, Image.Resampling.NEAREST

    def resized(t: Tensor, how: Image.Resampling) -> np.ndarray:
        pixels = t.numpy() if t.ndim == 2 else t.permute(1, 2, 0).numpy().squeeze()
        height, width = (round(new / own * side) for side in pixels.shape[:2])
        return np.array(Image.fromarray(pixels).resize((width, height), how))

    def label(y: Tensor | None) -> Tensor | None:
        return None if y is None else to_tensor(resized(y.float(), cubic) > 0.5)

    found = []
    for e in eyes:
        x, fov = to_tensor(resized(e.x, cubic)), torch.from_numpy(resized(e.fov, nearest))
        found.append(Example(e.name, label(e.y), x, fov, label(e.second)))
    return found
