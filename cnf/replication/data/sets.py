"""`load`: every image set by name."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image

from cnf.errors import DataError
from cnf.replication.data import imagenet
from cnf.replication.data.embedded import embedded_sr, embedded_vessels
from cnf.replication.data.examples import Example, ImageSet, Split, Stack
from cnf.replication.data.field_of_view import field_of_view
from cnf.replication.data.folders import even, find, missing, read_folder, to_tensor
from cnf.replication.data.images import check_size, read_image, read_mask
from cnf.replication.data.oddities import NAMES as ODDITIES
from cnf.replication.data.oddities import ODD_EYES, odd_eyes, oddity

SPLITS = ("train", "valid", "test")

# DRIVE's own folders: ids 21-40 are its training half. 37-40 are kept for every choice we make.
DRIVE_IDS = {"train": range(21, 37), "valid": range(37, 41), "test": range(1, 21)}
STARE_IDS = (*range(1, 6), 44, 77, 81, 82, 139, 162, 163, 235, 236, 239, 240, 255, 291, 319, 324)
CHASE_SUBJECTS = {"train": range(1, 7), "valid": range(7, 8), "test": range(8, 11)}
TINY_FILES = {
    "train": ("train_0.npz", "train_1.npz", "train_2.npz", "train_3.npz"),
    "valid": ("val.npz",),
    "test": ("test.npz",),
}


class Photographs(NamedTuple):
    """A super-resolution benchmark of whole pictures: a test set, never trained on."""

    pictures: tuple[str, ...]  # names of files, without what follows the point
    source: str
    stand_in: bool = False


PHOTOGRAPHS = {
    "set5": Photographs(("baby", "bird", "butterfly", "head", "woman"), "Bevilacqua et al. 2012"),
    "set14": Photographs(
        (
            *("baboon", "barbara", "bridge", "coastguard", "comic", "face", "flowers"),
            *("foreman", "lenna", "man", "monarch", "pepper", "ppt3", "zebra"),
        ),
        "Zeyde et al. 2010; bridge is greyscale, converted to RGB",
    ),
    "bsd100": Photographs(
        tuple(f"img_{i:03d}" for i in range(1, 101)),
        "the test pictures of BSDS300, Martin et al. 2001",
    ),
    "urban100": Photographs(
        tuple(f"img_{i:03d}" for i in range(1, 101, 10)),
        "10 of the 100 pictures of Urban100, Huang et al. 2015: averages are not comparable with "
        "published Urban100 numbers",
        stand_in=True,
    ),
}
FOUND = "the field of view is found"  # in neither set; see `eye.field_of_view`
EYES = {
    "drive": "DRIVE, Staal et al. 2004",
    "stare": f"STARE, Hoover et al. 2000, first observer; {FOUND}",
    "chasedb1": "CHASE_DB1, Fraz et al. 2012, CC BY 4.0: subjects 01 to 10 of 14, split by "
    f"subject; {FOUND}",
    "chasedb1-all": "CHASE_DB1, Fraz et al. 2012, CC BY 4.0: both eyes of subjects 01 to 10 of 14; "
    + FOUND,
}
BOX_SIZES = {"imagenetbox64": 64, "imagenetbox32": 32}

NAMES = (
    *("embedded-sr", "embedded-sr64", "embedded-vessels", "tinyimagenet32", "tinyimagenet64"),
    *imagenet.SIZES,
    *PHOTOGRAPHS,
    *BOX_SIZES,
    *EYES,
)


def default_root() -> Path:
    """Where image sets are looked for: $CNF_DATA, else the repository's `data/`."""
    return Path(os.environ.get("CNF_DATA") or Path(__file__).resolve().parents[3] / "data")


def load(name: str, split: Split, root: Path | None = None) -> ImageSet:
    """Read the set `name`, one of `NAMES`, an oddity (see `oddities`) or `folder:PATH`; several,
    joined, as NAME+NAME. chasedb1-all is all of chasedb1 as one test set, for models trained on
    another set.

    ImageNet's two releases are told apart as imagenet32-chrabaszcz and imagenet32-vandenoord (and
    64); a name without one means the one that is there, and the set's name says which.
    `root` is the folder that holds the sets, by default $CNF_DATA, else `data/`.
    Raises DataError for an unknown name or split, a missing set (naming where it was looked for and
    how to get it), or a file that cannot be used.
    """
    if split not in SPLITS:
        raise DataError(f"no split '{split}': choose one of {', '.join(SPLITS)}")
    root = default_root() if root is None else Path(root)
    if "+" in name and not name.startswith("folder:"):
        return together([load(part, split, root) for part in name.split("+")])
    if name.startswith("folder:"):
        return read_folder(Path(name.removeprefix("folder:")), split)
    if name.split("-")[0] in imagenet.SIZES:
        return imagenet.load(name, split, root)
    if name in ODDITIES:
        return oddity(name, split)
    if name in ODD_EYES:
        _test_only(name, split)
        return odd_eyes(name, load(ODD_EYES[name].of, "test", root))
    if name not in NAMES:
        raise DataError(f"no image set '{name}': choose one of {', '.join(NAMES)}, folder:PATH")
    if name in ("embedded-sr", "embedded-sr64"):
        return embedded_sr(split, 64 if name.endswith("64") else 32)
    if name == "embedded-vessels":
        return embedded_vessels(split)
    if name in PHOTOGRAPHS:
        return _photographs(name, split, root)
    if name in BOX_SIZES:
        return _imagenet_box(name, split, root)
    if name in EYES:
        return _eyes(name, split, root)
    return _tinyimagenet(name, split, root)


def together(sets: Sequence[ImageSet]) -> ImageSet:
    """The pictures of several sets of one experiment and split, one after the other."""
    names, kinds = "+".join(s.name for s in sets), sorted({s.experiment for s in sets})
    if len(kinds) > 1:
        raise DataError(f"{names} joins sets for {' and for '.join(kinds)}: choose one of them")
    stacks = [s.examples for s in sets]
    if all(isinstance(s, Stack) and s.y.shape[1:] == stacks[0].y.shape[1:] for s in stacks):
        examples = Stack([n for s in stacks for n in s.names], torch.cat([s.y for s in stacks]))
    else:
        examples = [example for s in sets for example in s]
    source, stand_in = "; ".join(s.source for s in sets), any(s.stand_in for s in sets)
    return ImageSet(names, sets[0].split, kinds[0], examples, source, stand_in)


def read_tiny_file(path: Path) -> tuple[list[str], np.ndarray]:
    """Names and decoded pictures, uint8 (N,64,64,3), of one npz of JPEG files."""
    try:
        with np.load(path, allow_pickle=False) as file:
            blob, offsets, names = file["blob"].tobytes(), file["offsets"], file["name"]
        pixels = np.empty((len(names), 64, 64, 3), np.uint8)
        for i, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            with Image.open(io.BytesIO(blob[start:end])) as image:
                pixels[i] = np.asarray(image.convert("RGB"))
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: cannot be decoded ({error}): truncated? get it again") from None
    return [name.decode() for name in names], pixels


def _tinyimagenet(name: str, split: Split, root: Path) -> ImageSet:
    """Tiny-ImageNet at 64, or at 32: the mean of each 2x2 block, rounded (halves up)."""
    folder = root / "tinyimagenet"
    names, parts = [], []
    for file in TINY_FILES[split]:
        if not (folder / file).is_file():
            raise missing(name, folder / file)
        more, pixels = read_tiny_file(folder / file)
        names += more
        parts.append(half_mean(pixels) if name.endswith("32") else pixels)
    y = torch.from_numpy(np.concatenate(parts)).permute(0, 3, 1, 2).contiguous()
    source = "Tiny-ImageNet-200 subset, a stand-in for the ImageNet of the paper"
    return ImageSet(name, split, "sr", Stack(names, y), source, stand_in=True)


def half_mean(pixels: np.ndarray) -> np.ndarray:
    """Mean of each 2x2 block of uint8 (N,H,W,C), rounded to uint8, halves up."""
    n, height, width, channels = pixels.shape
    blocks = pixels.reshape(n, height // 2, 2, width // 2, 2, channels)
    return ((blocks.sum((2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)


def _photographs(name: str, split: Split, root: Path) -> ImageSet:
    pictures, source, stand_in = PHOTOGRAPHS[name]
    _test_only(name, split)
    folder = root / name
    if not folder.is_dir():
        raise missing(name, folder)
    examples, cropped = [], []
    for picture in pictures:
        pixels, odd = read_even(folder, picture)
        examples.append(Example(picture, to_tensor(pixels)))
        cropped += [picture] * odd
    if cropped:
        source += f"; cropped to even sides at the right and bottom: {', '.join(cropped)}"
    return ImageSet(name, split, "sr", examples, source, stand_in)


def read_even(folder: Path, picture: str) -> tuple[np.ndarray, bool]:
    """A photograph, uint8 (H,W,3), an odd row at the bottom and column at the right cut off, and
    whether there was any: x is half of y. (Published numbers are of such crops.)"""
    pixels = read_image(find(folder, f"{picture}."))
    whole = even(pixels)
    check_size(picture, *whole.shape[:2])
    return whole, whole.shape != pixels.shape


def _test_only(name: str, split: Split) -> None:
    if split != "test":
        other = "drive, chasedb1" if name in EYES or name in ODD_EYES else "tinyimagenet32"
        raise DataError(
            f"{name} has no {split} split: it is a test set, never trained or chosen on: "
            f"use {other} or pictures of your own"
        )


def read_box_file(path: Path, size: int) -> tuple[list[str], np.ndarray]:
    """Names and pictures, uint8 (600,S,S,3), of one file of imagenet_box."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names, pixels = [str(name, "ascii") for name in file["name"]], file["x"]
    except (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise DataError(f"{path}: cannot be decoded ({error}): truncated? get it again") from None
    if pixels.dtype != np.uint8 or pixels.shape != (600, size, size, 3) or len(names) != 600:
        raise DataError(
            f"{path}: x is {pixels.dtype} {pixels.shape} with {len(names)} names, not uint8 "
            f"{(600, size, size, 3)}: see data/README.md for the layout"
        )
    return names, pixels


def box_file(name: str, root: Path) -> Path:
    """Where imagenetbox64 or imagenetbox32 lies."""
    return root / "imagenet_box" / f"test{BOX_SIZES[name]}.npz"


def _imagenet_box(name: str, split: Split, root: Path) -> ImageSet:
    _test_only(name, split)
    path = box_file(name, root)
    if not path.is_file():
        raise missing(name, path)
    names, pixels = read_box_file(path, BOX_SIZES[name])
    y = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    source = (
        "600 ImageNet pictures, one a class, box-resized: a stand-in for the test split of "
        f"ImageNet{BOX_SIZES[name]}"
    )
    return ImageSet(name, split, "sr", Stack(names, y), source, stand_in=True)


class Eye(NamedTuple):
    """Where the parts of one fundus photograph lie; `fov` and `second` are None where a set, or a
    split of it, has none."""

    key: str  # what its name ends in: 21, 0001, 01L
    image: Path
    label: Path  # of the first observer
    fov: Path | None = None
    second: Path | None = None


def eyes(name: str, split: Split, root: Path) -> list[Eye]:
    """The photographs of a split of drive, stare, chasedb1 or chasedb1-all, in order.

    Raises DataError for a split that a set has not, and for folders or files that are missing.
    """
    if name in ("stare", "chasedb1-all"):
        _test_only(name, split)
    if name == "drive":
        return _drive(split, root)
    return _stare(root) if name == "stare" else _chase(name, split, root)


def read_eye(eye: Eye) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Photograph uint8 (H,W,3), label, field of view and second observer, bool (H,W).

    Where the set has no field of view it is found in the photograph. (Masks that others drew
    circulate for STARE and CHASE_DB1; four of STARE's are beside the picture, so none is read.)
    """
    pixels = read_image(eye.image)
    size = pixels.shape[:2]
    fov = _find_fov(eye.image, pixels) if eye.fov is None else read_mask(eye.fov, size)
    second = None if eye.second is None else read_mask(eye.second, size)
    return pixels, read_mask(eye.label, size), fov, second


def _eyes(name: str, split: Split, root: Path) -> ImageSet:
    examples = []
    for eye in eyes(name, split, root):
        pixels, label, fov, second = read_eye(eye)
        examples.append(
            Example(
                f"{name.removesuffix('-all')}-{eye.key}",
                to_tensor(label),
                to_tensor(pixels),
                torch.from_numpy(fov),
                None if second is None else to_tensor(second),
            )
        )
    return ImageSet(name, split, "vessels", examples, EYES[name])


def _find_fov(path: Path, pixels: np.ndarray) -> np.ndarray:
    try:
        return field_of_view(pixels)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _inside(name: str, folder: Path, *names: str) -> Path:
    """The first of these folders in `folder` that is there."""
    for one in names:
        if (folder / one).is_dir():
            return folder / one
    raise missing(name, folder / names[0])


def _drive(split: Split, root: Path) -> list[Eye]:
    halves = ("test",) if split == "test" else ("training", "train")  # as distributed, or shorter
    half, found = _inside("drive", root / "drive", *halves), []
    for number in DRIVE_IDS[split]:
        parts = ["images", "1st_manual", "mask"] + ["2nd_manual"] * (split == "test")
        found.append(Eye(f"{number:02d}", *(find(half / p, f"{number:02d}_") for p in parts)))
    return found


def _stare(root: Path) -> list[Eye]:
    images = _inside("stare", root / "stare", "images", "stare-images")
    labels = _inside("stare", root / "stare", "labels_ah", "labels-ah")
    names = [f"im{number:04d}" for number in STARE_IDS]
    return [Eye(n[2:], find(images, f"{n}."), find(labels, f"{n}.ah.")) for n in names]


def _chase(name: str, split: Split, root: Path) -> list[Eye]:
    """One folder, as distributed, or one a kind of file."""
    folder, found = root / "chase_db1", []
    images, first, second = (
        _inside(name, folder, kind, ".") for kind in ("images", "1st_manual", "2nd_manual")
    )
    splits = [split] if name == "chasedb1" else list(CHASE_SUBJECTS)
    for key in (f"{n:02d}{side}" for s in splits for n in CHASE_SUBJECTS[s] for side in "LR"):
        label, other = (
            find(where, f"Image_{key}_{observer}HO.")
            for where, observer in ((first, "1st"), (second, "2nd"))
        )
        found.append(Eye(key, find(images, f"Image_{key}."), label, second=other))
    return found
