"""ImageNet at 32x32 and 64x64, for those who have it, in the forms its two releases circulate in.

Two sets go by the name of "ImageNet32", and their bits per dimension cannot be compared:
van den Oord et al. 2016 (most published likelihoods) and Chrabaszcz et al. 2017 (box-resized, the
one that is distributed today). The name of a set ends in its release. `prepare` reads it once and
writes its splits as plain arrays beside it; `read_imagenet` maps these into memory, so that a set
larger than the memory can be trained on.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from cnf.errors import DataError
from cnf.replication.data.catalogue import SPLITS, Entry
from cnf.replication.data.examples import ImageSet, Split, Stack
from cnf.replication.data.images import read_image
from cnf.replication.data.packed import read_npz

HELD_OUT = 10_000  # training pictures kept for validation; the released code keeps about as many
BLOCK = 8192  # pictures written at a time


class Release(NamedTuple):
    """Numbers of pictures, official training and validation, and who made it."""

    train: int
    valid: int
    maker: str


RELEASES = {
    "chrabaszcz": Release(1_281_167, 50_000, "Chrabaszcz et al. 2017 (box-resized)"),
    "vandenoord": Release(1_281_149, 49_999, "van den Oord et al. 2016"),
}


def read_imagenet(entry: Entry, split: Split, folder: Path, release: str) -> ImageSet:
    """A prepared set. Its file is mapped into memory: a picture is read when it is used.

    The official validation pictures are the split "test"; "valid" is `held_out` of the training
    pictures, "train" the others.
    Raises DataError if the set is not prepared, or its file was cut or changed size.
    """
    side, (train, valid, maker) = _side(folder), RELEASES[release]
    if not prepared(entry, folder):
        raise DataError(
            f"{entry.name}: not prepared in {folder}: run `python -m cnf data prepare "
            f"{entry.name}` once; it writes {side**2 // 256} GB beside what you have"
        )
    held = held_out(train)
    if split == "test":
        kind, places = "val", np.arange(valid)
    else:
        kind, places = "train", np.flatnonzero(held if split == "valid" else ~held)
    names = [f"{folder.name}-{kind}-{place:07d}" for place in places]
    y = _map(_record(folder, release).with_name(f"{split}.npy"), (len(places), 3, side, side))
    (other,) = RELEASES.keys() - {release}
    note = f" of {maker}; not the one of {RELEASES[other].maker}, their bits/dim cannot be compared"
    return ImageSet.of(entry, split, Stack(names, y), note)


def held_out(count: int) -> np.ndarray:
    """Which of `count` training pictures are for validation, bool (count,): the last HELD_OUT (a
    tenth, if that is less) of a permutation that depends on `count` alone.

    RandomState, because NumPy promises that its draws never change.
    """
    order = np.random.RandomState(count % 2**32).permutation(count)
    held = np.zeros(count, bool)
    held[order[count - min(HELD_OUT, count // 10) :]] = True
    return held


def verify(entry: Entry, folder: Path) -> str:
    """Compare the prepared pictures with the hashes taken when they were written. Returns a line.

    The registry has no hashes of these sets, because we never had them. Raises DataError if
    pictures differ.
    """
    sets = {split: read_imagenet(entry, split, folder, **entry.options) for split in SPLITS}
    path = _record(folder, entry.options["release"])
    expected = json.loads(path.read_text("utf-8"))
    wrong = [split for split, images in sets.items() if images.sha256 != expected[split]]
    if wrong:
        raise DataError(
            f"{entry.name}: the {' and '.join(wrong)} pictures in {path.parent} changed since "
            "they were prepared: delete that folder and prepare them again"
        )
    counts = ", ".join(f"{len(images):,} {split}" for split, images in sets.items())
    return f"{entry.name}: {counts} in {path.parent} are as they were prepared"


def prepared(entry: Entry, folder: Path) -> bool:
    return _record(folder, entry.options["release"]).is_file()


def _side(folder: Path) -> int:
    return int(folder.name.removeprefix("imagenet"))


def _record(folder: Path, release: str) -> Path:
    """The hashes of a prepared release; they are written last."""
    return folder / "prepared" / release / "sha256.json"


def _map(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    try:
        # "c" (copy on write): nothing is written, but torch warns about read-only arrays.
        y = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be mapped ({error}): prepare the set again") from None
    if y.dtype != np.uint8 or y.shape != shape:
        raise DataError(
            f"{path}: holds {y.dtype} {y.shape}, not uint8 {shape}: delete {path.parent} and "
            "prepare the set again"
        )
    return torch.from_numpy(y)


def prepare(entry: Entry, folder: Path) -> str:
    """Write the splits of a set as arrays. Returns a line to print.

    Raises DataError if a file is missing, truncated, of another shape or refused, if the number of
    pictures is not the release's, or if the disk is full; nothing half-written stays.
    """
    name, release, side = entry.name, entry.options["release"], _side(folder)
    target = _record(folder, release).parent
    if prepared(entry, folder):
        return f"{name}: already prepared in {target}"
    files, blocks = FORMS[release]
    train, valid = (blocks(paths, side) for paths in files(folder))
    partial, counts = target.with_name(f"{release}.part"), RELEASES[release]
    held = held_out(counts.train)
    sizes: dict[Split, int]
    sizes = {"train": int((~held).sum()), "valid": int(held.sum()), "test": counts.valid}
    shapes = {split: (size, 3, side, side) for split, size in sizes.items()}
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with ExitStack() as opened:
            outputs = {s: opened.enter_context((partial / f"{s}.npy").open("wb")) for s in shapes}
            for split, shape in shapes.items():
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(outputs[split], header)
            for place, block in _counted(train, counts.train, f"{name} training"):
                is_held = held[place : place + len(block)]
                outputs["train"].write(block[~is_held])
                outputs["valid"].write(block[is_held])
            for _, block in _counted(valid, counts.valid, f"{name} validation"):
                outputs["test"].write(block.data)
        stacks = {
            s: Stack([""] * n, _map(partial / f"{s}.npy", shapes[s])) for s, n in sizes.items()
        }
        hashes = {s: ImageSet(name, s, "pictures", stack, "").sha256 for s, stack in stacks.items()}
        (partial / "sha256.json").write_text(json.dumps(hashes, indent=1) + "\n", "utf-8")
        del stacks  # Windows renames no folder of open files
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except OSError as error:
        raise DataError(
            f"{name}: {target} could not be written ({error}): make room, or set CNF_DATA to a "
            "folder that can be written"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return f"{name}: {counts.train + counts.valid:,} pictures written to {target}"


def _counted(
    blocks: Iterator[np.ndarray], count: int, description: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Each block with the index of its first picture; pictures beyond the first `count` are left
    out. Raises DataError unless there are `count` pictures."""
    place = 0
    with tqdm(total=count, desc=description, unit=" pictures", disable=None, leave=False) as bar:
        for block in blocks:
            yield place, block[: max(0, count - place)]
            place += len(block)
            bar.update(len(block))
    if place != count:
        raise DataError(
            f"{description}: {place:,} pictures, but there are {count:,}: get it again, and see "
            "data/README.md for the layout"
        )


# For each release: the files of training and of validation, and the blocks of pictures in them.


def _batch_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Chrabaszcz et al., as npz: ten training files and one for validation."""
    folders, paths_by_name = [folder, *(f for f in sorted(folder.iterdir()) if f.is_dir())], {}
    for name in (*(f"train_data_batch_{i}.npz" for i in range(1, 11)), "val_data.npz"):
        paths_by_name[name] = [f / name for f in folders if (f / name).is_file()]
    for name, paths in paths_by_name.items():
        if len(paths) != 1:
            raise DataError(
                f"{folder}: expected {name} once, there or one folder below, found "
                f"{len(paths)}: {'keep one' if paths else 'see data/README.md for the layout'}"
            )
    *train, valid = (paths[0] for paths in paths_by_name.values())
    return train, [valid]


def _read_batches(paths: Sequence[Path], side: int) -> Iterator[np.ndarray]:
    """Each is a dictionary with "data", (N, 3 S S), channel after channel."""
    for path in paths:
        data = read_npz(path, lambda file: file["data"])
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * side**2:
            raise DataError(
                f"{path}: data is {data.dtype} {data.shape}, not uint8 (N, {3 * side**2}): is it "
                f"the set of {side}x{side} pictures?"
            )
        for start in range(0, len(data), BLOCK):
            # a copy, so that this file's pictures can go before those of the next are read
            yield data[start : start + BLOCK].reshape(-1, 3, side, side).copy()
        del data


def _png_files(folder: Path) -> list[list[Path]]:
    """van den Oord et al.: two folders of PNG files."""
    halves = (folder / f"{half}_{_side(folder)}x{_side(folder)}" for half in ("train", "valid"))
    return [sorted(half.glob("[!.]*.png")) for half in halves]


def _read_pngs(paths: Sequence[Path], side: int) -> Iterator[np.ndarray]:
    for start in range(0, len(paths), BLOCK):
        block = []
        for path in paths[start : start + BLOCK]:
            pixels = read_image(path)
            if pixels.shape != (side, side, 3):
                height, width = pixels.shape[:2]
                raise DataError(f"{path}: {height}x{width} (HxW), not {side}x{side}: get it again")
            block.append(pixels)
        yield np.ascontiguousarray(np.stack(block).transpose(0, 3, 1, 2))


FORMS = {"chrabaszcz": (_batch_files, _read_batches), "vandenoord": (_png_files, _read_pngs)}
