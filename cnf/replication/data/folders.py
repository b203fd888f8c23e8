"""A reader's own pictures: a folder of photographs, or of images with labels."""

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.data.examples import Example, ImageSet, Split
from cnf.replication.data.images import SUFFIXES, check_size, read_image, read_mask

SPLIT_FOLDERS = ("train", "valid", "test")
HELD_OUT = (0.1, 0.1)  # shares of test and valid in a folder without splits


def read_folder(folder: Path, split: Split, whole_folder: bool = False) -> ImageSet:
    """The pictures in `folder`, in order of their names.

    A folder with `images/` is for vessels, or any thin structure: each picture has a label of the
    same name in `labels/`, in any format. A label has two grey levels; the brighter one marks the
    structure. If there is a folder `masks/`, each picture has a field of view in it. `source` says
    how much is marked.
    Any other folder is for super-resolution: its pictures are the targets. An odd last row or
    column is left out, and `source` says so.

    If `folder` has subfolders named train, valid or test, they are the splits. If not, a hash of
    each file decides, see `by_hash`: about a tenth of the pictures is test, a tenth valid; with
    `whole_folder`, all of its pictures are in the split that is asked for.
    Raises DataError for a folder, picture or label that cannot be used.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: write folder:PATH with the path of your pictures")
    name, source = f"folder:{folder.absolute().name}", "own pictures"
    split_folders = splits_of(folder)
    if split_folders and split not in split_folders:
        raise DataError(f"{folder} has no {split}/ beside {', '.join(split_folders)}: add it")
    folder = folder / split if split_folders else folder
    is_labelled = (folder / "images").is_dir()
    paths = all_pictures(folder)
    if not split_folders and not whole_folder:
        paths_by_split = by_hash(paths)
        if not paths_by_split["train"]:
            raise DataError(
                f"{folder}: {len(paths)} picture(s), too few to split: train on 3 that differ"
            )
        parts = ", ".join(f"{len(paths_by_split[s])} {s}" for s in SPLIT_FOLDERS)
        paths, source = (
            paths_by_split[split],
            f"own pictures, split by a hash of each file ({parts})",
        )
    if is_labelled:
        examples = [_labelled(folder, path) for path in paths]
        marked = sum(int(e.y.sum()) for e in examples) / sum(e.y.numel() for e in examples)
        source += f"; {100 * marked:.2g} % of the pixels are marked"
        if marked > 0.5:
            source += ", more than is not: are labels black on white?"
        return ImageSet(name, split, "labelled", examples, source)
    photographs = [whole(path) for path in paths]
    cropped = sum(odd for _, odd in photographs)
    if cropped:
        source += f"; {cropped} cropped to even sides at the right and bottom"
    return ImageSet(name, split, "pictures", [example for example, _ in photographs], source)


def splits_of(folder: Path) -> list[str]:
    """The splits that are subfolders of `folder`; none if a hash decides."""
    return [split for split in SPLIT_FOLDERS if (folder / split).is_dir()]


def all_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder without splits, or those that its labels belong to. Raises DataError
    if there are none."""
    inside = folder / "images" if (folder / "images").is_dir() else folder
    paths = pictures(inside)
    if not paths:
        raise DataError(f"{inside}: no picture in it (looked for {', '.join(SUFFIXES)})")
    return paths


def by_hash(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by split, in the order given. The hash of a file's bytes, as a number in [0, 1),
    decides: below 0.1 test, below 0.2 valid, else train, :eq:`eq-own-split`.

    So a picture stays in its split when others come or go or when it is renamed, and copies of one
    file stay together. In a small folder where no hash is below a limit, the lowest hash becomes
    test, the next valid; and of three that differ, one is left to train on. Raises DataError for a
    dangling link, or a folder.
    """
    hashes = {}
    for path in paths:
        try:
            hashes[path] = uniform(path.read_bytes())
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror}): remove it, or put a picture there"
            ) from None
    remaining, chosen_hashes = set(hashes.values()), {}
    left = 2  # splits still to fill
    for split, end in zip(("test", "valid"), np.cumsum(HELD_OUT), strict=True):
        most = max(len(remaining) - left, 1)
        chosen = set(sorted(u for u in remaining if u < end)[:most]) or set(sorted(remaining)[:1])
        left -= 1
        chosen_hashes[split], remaining = chosen, remaining - chosen
    chosen_hashes["train"] = remaining
    return {
        split: [path for path in paths if hashes[path] in chosen_hashes[split]]
        for split in chosen_hashes
    }


def uniform(content: bytes) -> float:
    """The hash of some bytes as a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "big") / 2**48


def whole(path: Path) -> tuple[Example, bool]:
    """A photograph without an odd last row or column (x is half of y, so sides must be even), and
    whether there was one."""
    pixels = read_image(path)
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    check_size(path, height, width)
    cropped = (height, width) != pixels.shape[:2]
    return Example(path.stem, to_tensor(pixels[:height, :width])), cropped


def pictures(folder: Path, prefix: str = "") -> list[Path]:
    """The picture files of a folder whose names start with `prefix`, sorted by name, without hidden
    ones."""
    paths = [p for p in folder.glob(f"{prefix or '[!.]'}*") if p.suffix.lower() in SUFFIXES]
    return sorted(paths, key=lambda p: unicodedata.normalize("NFC", p.name))


def find_picture(folder: Path, prefix: str) -> Path:
    """The one picture in `folder` whose name starts with `prefix`, whatever its format."""
    matches = pictures(folder, prefix)
    if len(matches) != 1:
        raise DataError(
            f"{folder}: expected one picture named {prefix}*, found {len(matches)}: "
            "see data/README.md for the layout"
        )
    return matches[0]


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(H,W,3) or (H,W) -> uint8 (C,H,W)."""
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(pixels).astype(np.uint8, copy=False))


def _labelled(folder: Path, path: Path) -> Example:
    pixels, fov = read_image(path), None
    label = read_mask(partner(folder / "labels", path), pixels.shape[:2])
    if (folder / "masks").is_dir():
        mask = partner(folder / "masks", path)
        fov = torch.from_numpy(read_mask(mask, pixels.shape[:2]))
        if not fov.any():
            raise DataError(f"{mask}: marks nothing: white is in view")
    return Example(path.stem, to_tensor(label), to_tensor(pixels), fov)


def partner(folder: Path, path: Path) -> Path:
    """The picture in `folder` with the name of `path`, whatever its format and however an umlaut is
    encoded."""
    candidates = pictures(folder)
    name = unicodedata.normalize("NFC", path.stem)
    matches = [p for p in candidates if unicodedata.normalize("NFC", p.stem) == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = " and ".join(p.name for p in matches)
        raise DataError(f"{path}: has {len(matches)} in {folder.name}/: keep one of {names}")
    names = ", ".join([*(p.name for p in candidates[:2]), "..."]) if candidates else "no picture"
    raise DataError(f"{path}: has none in {folder}: add {path.stem}.png (there: {names})")
