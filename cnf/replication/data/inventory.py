"""Which image sets are here, whether their pixels are right, and how to get what is missing.

`data/registry.json` holds a pixel hash for every decoded array of every set. A copy from anywhere,
in any lossless format, either agrees with it or is not the same set. Those of a set are written by
`python -m cnf.replication.data.inventory NAME`, from the copy that our numbers come from.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pooch

from cnf.errors import DataError
from cnf.replication.data import imagenet, packed
from cnf.replication.data.catalogue import CATALOGUE, default_root, find, load
from cnf.replication.data.entry import Entry
from cnf.replication.data.examples import Example, ImageSet, Stack, pixel_hash

DATA = Path(__file__).resolve().parents[3] / "data"
REGISTRY = DATA / "registry.json"
DRAW = DATA / "tinyimagenet-draw.npz"

TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "md5:90528d7ca1a48142e341f4ef8d21d0de"


def list_sets(root: Path | None = None) -> list[str]:
    """A line a set: its name, whether it is there, and where it was looked for, or what it is."""
    root, lines = default_root() if root is None else Path(root), []
    for entry in CATALOGUE.values():
        there = "found" if entry.is_there(root) else "missing"
        if entry.folder is None:
            there = "ready"
        lines.append(f"{entry.name:<22} {there:<8} {entry.where(root) or entry.source}")
    return [*lines, f"{'folder:PATH':<22} yours    pictures, or images/ with labels/"]


def verify(name: str | None = None, root: Path | None = None) -> list[str]:
    """Compare every decoded picture of a set, or of all sets that are there, with the registry; a
    set that is made of another is verified with that.

    Returns a line a set. Raises DataError naming the first picture that differs or is missing, and
    how many do.
    """
    root = default_root() if root is None else Path(root)
    if name is not None:
        return _verify(find(name), root)
    there = [e for e in CATALOGUE.values() if e.of is None and e.is_there(root)]
    there = [e for e in there if e.read is not imagenet.read or imagenet.prepared(e, e.where(root))]
    return [line for entry in there for line in _verify(entry, root)]


def _verify(entry: Entry, root: Path) -> list[str]:
    folder = entry.where(root)
    if folder is not None and not folder.is_dir():
        raise entry.missing(folder)
    if entry.read is imagenet.read:
        return imagenet.verify(entry, folder)
    of, where = entry, folder or "embedded"
    while of.of is not None:
        of = CATALOGUE[of.of]
    expected, wrong, count = registry()[of.registry or of.name], [], 0
    for key, pixels in arrays(of, root):
        count, found = count + 1, pixel_hash(pixels)
        if found != (known := expected.get(key, "nothing")):
            wrong.append(f"{key} (pixel hash {found[:12]}, registry {known[:12]})")
    if wrong:
        raise DataError(
            f"{entry.name}: {len(wrong)} of {count} parts in {where} differ from the registry, "
            f"first {wrong[0]}: get the set again, numbers from this copy cannot be compared"
        )
    return [f"{entry.name}: {count} parts in {where} agree with the registry"]


def arrays(entry: Entry, root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a set that are hashed, each with its key: of a set that comes with the package
    every split, of Tiny-ImageNet every file, else every picture. Of eyes without a field of view
    that is the one found, so that another library that finds another is noticed."""
    if entry.registry == "tinyimagenet":
        for file in entry.pictures:
            yield file, packed.read_jpegs(entry.where(root) / file)[1]
        return
    for split in entry.splits:
        images = load(entry.name, split, root)
        if entry.folder is None:
            yield split, _whole(images)
        elif isinstance(images.examples, Stack):
            yield "x", images.examples.y.permute(0, 2, 3, 1).numpy()
        else:
            for example in images:
                yield from _pictures(example)


def _pictures(example: Example) -> Iterator[tuple[str, np.ndarray]]:
    if example.x is None:
        yield example.name, example.y.permute(1, 2, 0).numpy()
        return
    key = example.name.partition("-")[2]
    yield f"{key}/image", example.x.permute(1, 2, 0).numpy()
    yield f"{key}/1st_manual", example.y[0].bool().numpy()
    yield f"{key}/mask", example.fov.numpy()
    if example.second is not None:
        yield f"{key}/2nd_manual", example.second[0].bool().numpy()


def _whole(images: ImageSet) -> np.ndarray:
    """All pixels of a set of pictures of one size, x and y one after the other."""
    y, x = images.stacked
    return y.numpy() if x is None else np.concatenate([x.numpy(), y.numpy()], 1)


def registry() -> dict[str, dict[str, str]]:
    """The committed pixel hashes: set -> key -> sha256."""
    return json.loads(REGISTRY.read_text())


def prepare(name: str | None = None, root: Path | None = None) -> list[str]:
    """Download a set where its distributor allows it, otherwise say how to get it legally.

    ImageNet, once it is there, is prepared: see `imagenet.prepare`. Returns lines to print.
    Raises DataError if a download fails or its pixels differ.
    """
    root = default_root() if root is None else Path(root)
    if name is not None:
        return _prepare(find(name), root)
    return [_how(entry, root) for entry in CATALOGUE.values() if entry.of is None]


def _prepare(entry: Entry, root: Path) -> list[str]:
    folder = entry.where(root)
    if entry.read is imagenet.read and entry.is_there(root):
        return imagenet.prepare(entry, folder)
    if entry.registry != "tinyimagenet" or entry.is_there(root):
        return [_how(entry, root)]
    try:
        archive = pooch.retrieve(
            TINY_URL, TINY_MD5, fname="tiny-imagenet-200.zip", path=folder.parent, progressbar=False
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"tinyimagenet: {TINY_URL} could not be downloaded to {folder.parent} ({error}): "
            "try later, or put the zip file there yourself"
        ) from None
    packed.build_tiny(Path(archive), folder, CATALOGUE["tinyimagenet64-72k"].pictures, DRAW)
    return [f"tinyimagenet: written to {folder}", *verify(entry.name, root)]


def _how(entry: Entry, root: Path) -> str:
    """How a set is had, or that it is there."""
    folder = entry.where(root)
    if folder is None:
        return f"{entry.name}: ready"
    if not entry.is_there(root):
        how = entry.how_to_get(root)
        return f"{entry.name}: {how}; terms and layout are in data/README.md"
    if entry.read is imagenet.read and not imagenet.prepared(entry, folder):
        return f"{entry.name}: in {folder}, now `python -m cnf data prepare {entry.name}`"
    return f"{entry.name}: already in {folder}"


if __name__ == "__main__":
    found = registry()
    for one in map(find, sys.argv[1:]):
        pairs = arrays(one, default_root())
        found[one.registry or one.name] = {key: pixel_hash(pixels) for key, pixels in pairs}
    REGISTRY.write_text(json.dumps(found, indent=1) + "\n")
