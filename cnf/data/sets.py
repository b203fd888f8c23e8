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

from cnf.data import imagenet
from cnf.data.embedded import embedded_sr, embedded_vessels
from cnf.data.examples import Example, ImageSet, Split, Stack
from cnf.data.folders import even, find, missing, read_folder, to_tensor
from cnf.data.images import check_size, read_image, read_mask
from cnf.data.oddities import NAMES as ODDITIES
from cnf.data.oddities import oddity
from cnf.errors import DataError

SPLITS = ("train", "valid", "test")

# DRIVE's own folders: ids 21-40 are its training half. 37-40 are kept for every choice we make.
DRIVE_IDS = {"train": range(21, 37), "valid": range(37, 41), "test": range(1, 21)}
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
BOX_SIZES = {"imagenetbox64": 64, "imagenetbox32": 32}

NAMES = (
    *("embedded-sr", "embedded-sr64", "embedded-vessels", "tinyimagenet32", "tinyimagenet64"),
    *imagenet.SIZES,
    *PHOTOGRAPHS,
    *BOX_SIZES,
    "drive",
)


def default_root() -> Path:
    """Where image sets are looked for: $CNF_DATA, else the repository's `data/`."""
    return Path(os.environ.get("CNF_DATA") or Path(__file__).resolve().parents[2] / "data")


def load(name: str, split: Split, root: Path | None = None) -> ImageSet:
    """Read the set `name`, one of `NAMES`, an oddity (see `oddities`) or `folder:PATH`; several,
    joined, as NAME+NAME.

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
    if name == "drive":
        return _drive(split, root)
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
        raise DataError(
            f"{name} has no {split} split: it is a test set, never trained or chosen on: "
            "use tinyimagenet32 or pictures of your own"
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


def drive_half(split: Split, root: Path) -> Path:
    """The folder of a split's half of DRIVE: test/, or training/ (as distributed) or train/."""
    halves = ("test",) if split == "test" else ("training", "train")
    for half in halves:
        if (root / "drive" / half).is_dir():
            return root / "drive" / half
    raise missing("drive", root / "drive" / halves[0])


def _drive(split: Split, root: Path) -> ImageSet:
    half = drive_half(split, root)
    examples = []
    for number in DRIVE_IDS[split]:
        prefix = f"{number:02d}_"
        pixels = read_image(find(half / "images", prefix))
        size = pixels.shape[:2]
        label = read_mask(find(half / "1st_manual", prefix), size)
        fov = read_mask(find(half / "mask", prefix), size)
        second = None
        if split == "test":
            second = to_tensor(read_mask(find(half / "2nd_manual", prefix), size))
        examples.append(
            Example(
                f"drive-{number:02d}",
                to_tensor(label),
                to_tensor(pixels),
                torch.from_numpy(fov),
                second,
            )
        )
    return ImageSet("drive", split, "vessels", examples, "DRIVE, Staal et al. 2004")
