"""A reader's own pictures: a folder of photographs, or of images with labels."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnf.data.examples import Example, ImageSet, Split
from cnf.data.images import SUFFIXES, check_size, read_image, read_mask
from cnf.errors import DataError


def read_folder(folder: Path, split: Split) -> ImageSet:
    """The pictures in `folder`, in order of their names.

    A folder with `images/` is for vessels: each picture has a label of the same stem in `labels/`
    and, if there is a `masks/`, a field of view. Any other folder is for super-resolution: its
    pictures are the targets, with even sides.

    If `folder` has subfolders named train, valid or test, they are the splits. If not, test is
    every picture, valid every tenth and train the others: enough to train on one's own pictures or
    to try a trained model on them, but test is then not held out from train.
    Raises DataError for a folder, picture or label that cannot be used.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: write folder:PATH with the path of your pictures")
    name = f"folder:{folder.name}"
    parted = [s for s in ("train", "valid", "test") if (folder / s).is_dir()]
    if parted and split not in parted:
        raise DataError(f"{folder} has no {split}/ beside {', '.join(parted)}: add it")
    folder = folder / split if parted else folder
    vessels = (folder / "images").is_dir()
    paths = pictures(folder / "images" if vessels else folder)
    if not parted and split != "test":
        if len(paths) < 2:
            raise DataError(f"{folder} has 1 picture: training needs 2, one to validate on")
        paths = [p for i, p in enumerate(paths) if (i % 10 == 0) == (split == "valid")]
    read = _labelled if vessels else _target
    examples = [read(folder, path) for path in paths]
    return ImageSet(name, split, "vessels" if vessels else "sr", examples, "own pictures")


def pictures(folder: Path) -> list[Path]:
    """The picture files of a folder by name. Raises DataError if there is none."""
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(f"{folder}: no picture in it (looked for {', '.join(SUFFIXES)})")
    return found


def find(folder: Path, prefix: str) -> Path:
    """The one picture in `folder` whose name starts with `prefix`, whatever its format."""
    found = [p for p in folder.glob(f"{prefix}*") if p.suffix.lower() in SUFFIXES]
    if len(found) != 1:
        raise DataError(
            f"{folder}: expected one picture named {prefix}*, found {len(found)}: "
            "see data/README.md for the layout"
        )
    return found[0]


def missing(name: str, where: Path) -> DataError:
    """The error of a set that is not where it was looked for."""
    return DataError(
        f"{name}: nothing at {where}: see `python -m cnf data prepare {name}` for how to get it, "
        "or set CNF_DATA to the folder that holds it"
    )


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(H,W,3) or (H,W) -> uint8 (C,H,W)."""
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels).astype(np.uint8, copy=False))


def _target(folder: Path, path: Path) -> Example:
    pixels = read_image(path)
    check_size(path, *pixels.shape[:2])
    return Example(path.stem, to_tensor(pixels))


def _labelled(folder: Path, path: Path) -> Example:
    pixels = read_image(path)
    size = pixels.shape[:2]
    label = read_mask(find(folder / "labels", f"{path.stem}."), size)
    fov = None
    if (folder / "masks").is_dir():
        fov = torch.from_numpy(read_mask(find(folder / "masks", f"{path.stem}."), size))
    return Example(path.stem, to_tensor(label), to_tensor(pixels), fov)
