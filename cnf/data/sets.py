"""`load`: every image set by name."""

import io
import os
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image

from cnf.data.embedded import embedded_sr, embedded_vessels
from cnf.data.examples import Example, ImageSet, Split, Stack
from cnf.data.folders import find, read_folder, to_tensor
from cnf.data.images import check_size, read_image, read_mask
from cnf.errors import DataError

NAMES = ("embedded-sr", "embedded-vessels", "tinyimagenet32", "tinyimagenet64", "set5", "drive")
SPLITS = ("train", "valid", "test")

# DRIVE's own folders: ids 21-40 are its training half. 37-40 are kept for every choice we make.
DRIVE_IDS = {"train": range(21, 37), "valid": range(37, 41), "test": range(1, 21)}
TINY_FILES = {
    "train": ("train_0.npz", "train_1.npz", "train_2.npz", "train_3.npz"),
    "valid": ("val.npz",),
    "test": ("test.npz",),
}
SET5 = ("baby", "bird", "butterfly", "head", "woman")


def default_root() -> Path:
    """Where image sets are looked for: $CNF_DATA, else the repository's `data/`."""
    return Path(os.environ.get("CNF_DATA") or Path(__file__).resolve().parents[2] / "data")


def load(name: str, split: Split, root: Path | None = None) -> ImageSet:
    """Read the set `name`, one of `NAMES` or `folder:PATH`.

    `root` is the folder that holds the sets, by default $CNF_DATA, else `data/`.
    Raises DataError for an unknown name or split, a missing set (naming where it was looked for and
    how to get it), or a file that cannot be used.
    """
    if split not in SPLITS:
        raise DataError(f"no split '{split}': choose one of {', '.join(SPLITS)}")
    root = default_root() if root is None else Path(root)
    if name.startswith("folder:"):
        return read_folder(Path(name.removeprefix("folder:")), split)
    if name not in NAMES:
        raise DataError(f"no image set '{name}': choose one of {', '.join(NAMES)}, folder:PATH")
    if name == "embedded-sr":
        return embedded_sr(split)
    if name == "embedded-vessels":
        return embedded_vessels(split)
    if name == "set5":
        return _set5(split, root)
    if name == "drive":
        return _drive(split, root)
    return _tinyimagenet(name, split, root)


def missing(name: str, where: Path) -> DataError:
    """The error of a set that is not where it was looked for."""
    return DataError(
        f"{name}: nothing at {where}: see `python -m cnf data prepare {name}` for how to get it, "
        "or set CNF_DATA to the folder that holds it"
    )


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


def _set5(split: Split, root: Path) -> ImageSet:
    if split != "test":
        raise DataError(f"set5 has no {split} split: it is a test set of five pictures")
    folder = root / "set5"
    if not folder.is_dir():
        raise missing("set5", folder)
    examples = []
    for name in SET5:
        pixels = read_image(find(folder, f"{name}."))
        check_size(name, *pixels.shape[:2])
        examples.append(Example(name, to_tensor(pixels)))
    return ImageSet("set5", split, "sr", examples, "Bevilacqua et al. 2012")


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
