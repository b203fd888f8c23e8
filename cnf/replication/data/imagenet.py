"""ImageNet at 32x32 and 64x64, for those who have it, in the forms its two releases circulate in.

Two sets go by the name of "ImageNet32", and their bits per dimension cannot be compared:
van den Oord et al. 2016 (most published likelihoods) and Chrabaszcz et al. 2017 (box-resized, the
one that is distributed today). `prepare` reads either once and writes its splits as plain arrays
beside it; `load` maps these into memory, so that a set larger than the memory can be trained on.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
import torch
from tqdm import tqdm

from cnf.errors import DataError
from cnf.replication.data.examples import ImageSet, Split, Stack
from cnf.replication.data.folders import missing
from cnf.replication.data.images import read_image
from cnf.replication.data.pickles import read_arrays

SIZES = {"imagenet32": 32, "imagenet64": 64}  # pixels a side
HELD_OUT = 10_000  # training pictures kept for validation; the paper kept about as many
BLOCK = 8192  # pictures written at a time


class Release(NamedTuple):
    """Numbers of pictures, official training and validation, and who made it."""

    train: int
    valid: int
    source: str


RELEASES = {
    "chrabaszcz": Release(
        1_281_167,
        50_000,
        "of Chrabaszcz et al. 2017 (box-resized); not the one of van den Oord et al. 2016, their "
        "bits/dim cannot be compared",
    ),
    "vandenoord": Release(
        1_281_149,
        49_999,
        "of van den Oord et al. 2016; not the one of Chrabaszcz et al. 2017, their bits/dim cannot "
        "be compared",
    ),
}


class Raw(NamedTuple):
    """A release as it was distributed: blocks of official training or validation pictures."""

    train: Callable[[], Iterator[np.ndarray]]
    valid: Callable[[], Iterator[np.ndarray]]


class Numbered(Sequence[str]):
    """Names of pictures by their place in the official order: imagenet32-train-0000017."""

    def __init__(self, prefix: str, places: np.ndarray):
        self.prefix, self.places = prefix, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Numbered(self.prefix, self.places[index])
        return f"{self.prefix}-{self.places[index]:07d}"


def load(name: str, split: Split, root: Path) -> ImageSet:
    """A prepared set. Its pictures are mapped, not read: they are read when they are used.

    The official validation pictures are the split "test"; "valid" is `held_out` of the training
    pictures, "train" the others. The set's name ends in its release.
    Raises DataError if the set is not there or not prepared, or its file was cut or changed size.
    """
    base, wanted = _parse(name)
    folder = root / base
    if not folder.is_dir():
        raise missing(base, folder)
    there = [r for r in RELEASES if wanted in (None, r) and _record(folder, r).is_file()]
    if not there:
        raise DataError(
            f"{name}: not prepared in {folder}: run `python -m cnf data prepare {name}` once; it "
            f"writes {'16' if base == 'imagenet64' else '4'} GB beside what you have"
        )
    if len(there) > 1:
        raise DataError(
            f"{base}: two releases in {folder} that cannot be compared: write "
            f"{' or '.join(f'{base}-{r}' for r in there)}"
        )
    (release,) = there
    size, counts = SIZES[base], RELEASES[release]
    held = held_out(counts.train)
    places = {
        "train": np.flatnonzero(~held),
        "valid": np.flatnonzero(held),
        "test": np.arange(counts.valid),
    }[split]
    y = _map(_record(folder, release).with_name(f"{split}.npy"), (len(places), 3, size, size))
    names = Numbered(f"{base}-{'val' if split == 'test' else 'train'}", places)
    source = f"ImageNet{size} {counts.source}"
    return ImageSet(f"{base}-{release}", split, "sr", Stack(names, y), source)


def held_out(count: int) -> np.ndarray:
    """Which of `count` training pictures are for validation, bool (count,): the last HELD_OUT (a
    tenth, if that is less) of a permutation that depends on `count` alone.

    RandomState, because NumPy promises that its draws never change.
    """
    chosen = np.random.RandomState(count % 2**32).permutation(count)
    held = np.zeros(count, bool)
    held[chosen[count - min(HELD_OUT, count // 10) :]] = True
    return held


def is_prepared(base: str, root: Path) -> bool:
    """Whether `load` finds any release of imagenet32 or imagenet64."""
    return any(_record(root / base, release).is_file() for release in RELEASES)


def prepare(name: str, root: Path) -> list[str]:
    """Write the splits of every release found (or the one named) as arrays. Returns lines to print.

    Raises DataError if a file is missing, truncated, of another shape or refused, if the number of
    pictures is not the release's, or if the disk is full; nothing half-written stays.
    """
    base, wanted = _parse(name)
    folder, lines = root / base, []
    if not folder.is_dir():
        raise missing(base, folder)
    for release, find in FORMS.items():
        if wanted not in (None, release):
            continue
        if _record(folder, release).is_file():
            lines.append(f"{base}-{release}: already prepared in {_record(folder, release).parent}")
        elif raw := find(folder, SIZES[base]):
            lines.append(_convert(raw, base, release, root))
    if not lines:
        raise DataError(
            f"{name}: {folder} holds neither train_data_batch_1 to 10 with val_data, nor "
            f"train_{SIZES[base]}x{SIZES[base]}/: unpack what you downloaded there, see "
            "data/README.md for the layouts"
        )
    return lines


def verify(name: str, root: Path) -> list[str]:
    """Compare the prepared pictures with the hashes taken when they were written; a line a release.

    There are no hashes in the registry: we never had these sets. Raises DataError if they differ.
    """
    base, wanted = _parse(name)
    there = [r for r in RELEASES if wanted in (None, r) and _record(root / base, r).is_file()]
    if not there:
        load(name, "test", root)  # says what is missing
    lines = []
    for release in there:
        expected = json.loads(_record(root / base, release).read_text())
        sets = {split: load(f"{base}-{release}", split, root) for split in expected}
        wrong = [split for split, images in sets.items() if images.sha256 != expected[split]]
        where = _record(root / base, release).parent
        if wrong:
            raise DataError(
                f"{base}-{release}: the {' and '.join(wrong)} pictures in {where} changed since "
                "they were prepared: delete that folder and prepare them again"
            )
        counts = ", ".join(f"{len(images):,} {split}" for split, images in sets.items())
        lines.append(f"{base}-{release}: {counts} in {where} are as they were prepared")
    return lines


def _parse(name: str) -> tuple[str, str | None]:
    """imagenet32-vandenoord -> (imagenet32, vandenoord); without a release, (imagenet32, None)."""
    base, _, release = name.partition("-")
    if base not in SIZES or (release or name != base) and release not in RELEASES:
        choices = ", ".join([base, *(f"{base}-{r}" for r in RELEASES)])
        raise DataError(f"no image set '{name}': choose one of {choices}")
    return base, release or None


def _record(folder: Path, release: str) -> Path:
    """The hashes of a prepared release; they are written last."""
    return folder / "prepared" / release / "sha256.json"


def _map(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    try:
        # "c": changes would stay in memory. None are made, but torch wants to be allowed to.
        y = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be mapped ({error}): prepare the set again") from None
    if y.dtype != np.uint8 or y.shape != shape:
        raise DataError(
            f"{path}: holds {y.dtype} {y.shape}, not uint8 {shape}: delete {path.parent} and "
            "prepare the set again"
        )
    return torch.from_numpy(y)


def _convert(raw: Raw, base: str, release: str, root: Path) -> str:
    """Write train, valid and test of a release, a block of pictures in memory at a time."""
    target = _record(root / base, release).parent
    part = target.with_name(f"{release}.part")
    counts, size = RELEASES[release], SIZES[base]
    held = held_out(counts.train)
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        with ExitStack() as files:
            train, valid, test = (
                files.enter_context(_array_file(part / f"{split}.npy", count, size))
                for split, count in (
                    ("train", counts.train - held.sum()),
                    ("valid", held.sum()),
                    ("test", counts.valid),
                )
            )
            for place, block in _counted(raw.train(), counts.train, f"{base} training", release):
                here = held[place : place + len(block)]
                train.write(block[~here])
                valid.write(block[here])
            for _, block in _counted(raw.valid(), counts.valid, f"{base} validation", release):
                test.write(np.ascontiguousarray(block))
        hashes = {split: _hash(part / f"{split}.npy") for split in ("train", "valid", "test")}
        (part / "sha256.json").write_text(json.dumps(hashes, indent=1) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    except OSError as error:
        raise DataError(
            f"{base}: {target} could not be written ({error}): make room, or set CNF_DATA to a "
            "folder that can be written"
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return f"{base}-{release}: {counts.train + counts.valid:,} pictures written to {target}"


def _array_file(path: Path, count: int, size: int) -> BinaryIO:
    """An .npy file of uint8 (count,3,S,S) with its header written, open for the pictures."""
    file = path.open("wb")
    header = {"descr": "|u1", "fortran_order": False, "shape": (int(count), 3, size, size)}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _hash(path: Path) -> str:
    y = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    return ImageSet(path.stem, path.stem, "sr", Stack(range(len(y)), y), "").sha256


def _counted(
    blocks: Iterator[np.ndarray], count: int, what: str, release: str
) -> Iterator[tuple[int, np.ndarray]]:
    """Each block with the place of its first picture. Raises DataError unless there are `count`."""
    place = 0
    with tqdm(total=count, desc=what, unit=" pictures", disable=None, leave=False) as bar:
        for block in blocks:
            if place + len(block) > count:
                raise DataError(
                    f"{what}: more than the {count:,} pictures of {release}: get it again"
                )
            yield place, block
            place += len(block)
            bar.update(len(block))
    if place != count:
        raise DataError(f"{what}: {place:,} pictures, but {release} has {count:,}: get it again")


# Chrabaszcz et al.: ten training files and one for validation, each a dictionary with "data"
# (N, 3 S S), channel after channel, either pickled or as npz.


def _chrabaszcz(folder: Path, size: int) -> Raw | None:
    folders = [folder, *(f for f in sorted(folder.iterdir()) if f.is_dir())]
    wanted = [*(f"train_data_batch_{i}" for i in range(1, 11)), "val_data"]
    found = {
        name: [p for f in folders for p in (f / name, f / f"{name}.npz") if p.is_file()]
        for name in wanted
    }
    if not any(found.values()):
        return None
    for name, paths in found.items():
        if len(paths) != 1:
            raise DataError(
                f"{folder}: expected {name} or {name}.npz once, there or one folder below, found "
                f"{len(paths)}: {'keep one' if paths else 'the download is not complete'}"
            )
    *train, valid = (paths[0] for paths in found.values())
    return Raw(lambda: _batches(train, size), lambda: _batches([valid], size))


def _batches(paths: Sequence[Path], size: int) -> Iterator[np.ndarray]:
    for path in paths:
        pixels = _read_batch(path, size)
        for start in range(0, len(pixels), BLOCK):
            yield pixels[start : start + BLOCK].copy()  # so that the batch can go before the next
        del pixels


def _read_batch(path: Path, size: int) -> np.ndarray:
    """The pictures of one file, uint8 (N,3,S,S)."""
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                data = file["data"] if "data" in file else None
        except (OSError, ValueError, EOFError, BadZipFile, ZlibError) as error:
            raise DataError(
                f"{path}: cannot be decoded ({error}): truncated? get it again"
            ) from None
    else:
        data = read_arrays(path).get("data")
    if data is None:
        raise DataError(f"{path}: no array 'data' in it: see data/README.md for the layouts")
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * size * size:
        raise DataError(
            f"{path}: data is {data.dtype} {data.shape}, not uint8 (N, {3 * size * size}): is it "
            f"the set of {size}x{size} pictures?"
        )
    return data.reshape(-1, 3, size, size)


# van den Oord et al.: two folders of PNG files.


def _vandenoord(folder: Path, size: int) -> Raw | None:
    folders = [folder / f"{half}_{size}x{size}" for half in ("train", "valid")]
    if not any(f.is_dir() for f in folders):
        return None
    counts = RELEASES["vandenoord"]
    paths = []
    for half, count in zip(folders, (counts.train, counts.valid), strict=True):
        found = sorted(half.glob("[!.]*.png"))
        if len(found) != count:
            raise DataError(
                f"{half}: {len(found):,} PNG files, but the release vandenoord has {count:,}: "
                "unpack the whole archive"
            )
        paths.append(found)
    train, valid = paths
    return Raw(lambda: _pngs(train, size), lambda: _pngs(valid, size))


def _pngs(paths: Sequence[Path], size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(paths), BLOCK):
        some = paths[start : start + BLOCK]
        block = np.empty((len(some), 3, size, size), np.uint8)
        for i, path in enumerate(some):
            pixels = read_image(path)
            if pixels.shape != (size, size, 3):
                height, width = pixels.shape[:2]
                raise DataError(f"{path}: {height}x{width} (HxW), not {size}x{size}: get it again")
            block[i] = pixels.transpose(2, 0, 1)
        yield block


FORMS: dict[str, Callable[[Path, int], Raw | None]] = {
    "chrabaszcz": _chrabaszcz,
    "vandenoord": _vandenoord,
}
