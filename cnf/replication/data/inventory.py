"""Which image sets are available, whether their pixels are right, and how to get what is missing.

`data/registry.json` holds a pixel hash for every decoded array of every set. A copy from anywhere,
in any lossless format, either agrees with it or is not the same set. `python -m
cnf.replication.data.inventory NAME` writes the hashes of a set, from the copy behind our numbers.
The registry also holds the numbers of vessel pixels that others have published.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pooch

from cnf.errors import DataError
from cnf.replication.data import eyes, imagenet, packed
from cnf.replication.data.catalogue import CATALOGUE, Entry, find_entry
from cnf.replication.data.examples import ImageSet, Stack, pixel_hash
from cnf.replication.data.loading import load
from cnf.replication.places import DATA, IS_CHECKOUT, data_sets

REGISTRY = DATA / "registry.json"
LABEL_COUNTS = "label counts"  # the key of the registry that holds no hashes
DRAW = DATA / "tinyimagenet-draw.npz"

TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "md5:90528d7ca1a48142e341f4ef8d21d0de"


def list_sets(root: Path | None = None) -> list[str]:
    """A line a set: its name, whether it is available, and where it was looked for, or what it
    is."""
    root, lines = Path(root or data_sets()), []
    for entry in CATALOGUE.values():
        if entry.folder is None:
            status = "ready"
        else:
            status = "found" if entry.is_there(root) else "missing"
        lines.append(f"{entry.name:<22} {status:<8} {entry.where(root) or entry.source}")
    lines.append(f"{'folder:PATH':<22} yours    pictures, or images/ with labels/")
    if not IS_CHECKOUT:
        lines.append(f"data/README.md, with the terms and layouts of all, is {DATA / 'README.md'}")
    return lines


def verify(name: str | None = None, root: Path | None = None) -> list[str]:
    """Compare every decoded picture of a set, or of all available sets, with the registry. A set
    that is made from another one is verified with that.

    Returns a line a set. Raises DataError naming the first picture that differs or is missing, and
    how many do.
    """
    root = Path(root or data_sets())
    if name is not None:
        return _verify(find_entry(name), root)
    entries = [e for e in CATALOGUE.values() if e.of is None and e.is_there(root)]
    entries = [e for e in entries if not _is_imagenet(e) or imagenet.prepared(e, e.place(root))]
    return [line for entry in entries for line in _verify(entry, root)]


def _verify(entry: Entry, root: Path) -> list[str]:
    folder = entry.where(root)
    if folder is not None and not folder.is_dir():
        raise entry.missing(folder)
    if _is_imagenet(entry):
        return [imagenet.verify(entry, entry.place(root))]
    hashed, place = entry, folder or "embedded"
    while hashed.of is not None:
        hashed = CATALOGUE[hashed.of]
    expected = registry().get(hashed.registry or hashed.name)
    if expected is None:
        raise DataError(
            f"{hashed.name} has no hashes in {REGISTRY.name}: write them with `python -m "
            f"cnf.replication.data.inventory {hashed.name}`"
        )
    if hashed.registry:  # several sets share the key
        expected = {key: known for key, known in expected.items() if key in hashed.pictures}
    hashes = {key: pixel_hash(pixels) for key, pixels in arrays(hashed, root)}
    keys = hashes | expected
    wrong = [
        f"{key} (pixel hash {hashes.get(key, 'nothing')[:12]}, registry "
        f"{expected.get(key, 'nothing')[:12]})"
        for key in keys
        if hashes.get(key) != expected.get(key)
    ]
    if wrong:
        raise DataError(
            f"{entry.name}: {len(wrong)} of {len(keys)} parts in {place} differ from the "
            f"registry, first {wrong[0]}: numbers from this copy cannot be compared; get the set "
            "again, unless data/README.md says that the registry is at fault there"
        )
    return [f"{entry.name}: {len(keys)} parts in {place} agree with the registry"]


def arrays(entry: Entry, root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a set that are hashed, each with its key. Of a set that comes with the package,
    an array is a split; of Tiny-ImageNet, a file; else a picture. STARE's include the photographs
    that are left out. Where a field of view is computed it is hashed too, so that a library that
    computes another one is noticed."""
    if entry.registry == "tinyimagenet":
        for file in entry.pictures:
            yield file, packed.read_jpegs(entry.place(root) / file)[1]
        return
    for split in entry.splits:
        if entry.name == "stare":
            images = ImageSet.of(entry, split, eyes.all_of_stare(entry, entry.place(root)))
        else:
            images = load(entry.name, split, root)
        if entry.folder is None and images.stacked is not None:
            y, x = images.stacked
            yield split, y.numpy() if x is None else np.concatenate([x, y], 1)
        elif isinstance(images.examples, Stack):
            yield "x", images.examples.y.permute(0, 2, 3, 1).numpy()
        else:
            for e in images:
                if e.x is None:
                    yield e.name, e.y.permute(1, 2, 0).numpy()
                    continue
                key = e.name.partition("-")[2]
                yield f"{key}/image", e.x.permute(1, 2, 0).numpy()
                yield f"{key}/1st_manual", e.y[0].bool().numpy()
                yield f"{key}/mask", e.part("fov").numpy()
                if e.second is not None:
                    yield f"{key}/2nd_manual", e.second[0].bool().numpy()


def registry() -> dict[str, dict[str, str]]:
    """The committed pixel hashes: set -> key -> sha256."""
    return {name: value for name, value in _registry().items() if name != LABEL_COUNTS}


def label_counts(name: str) -> dict[str, dict[str, int]]:
    """The published pixel counts of drive, stare or chasedb1: label -> picture -> pixels of vessel.

    Of DRIVE, a label that ends with "in view" counts the pixels inside the field of view, and "in
    view" itself all of these. Their source is in the registry.
    """
    return _registry()[LABEL_COUNTS][name]


def _registry() -> dict[str, dict]:
    return json.loads(REGISTRY.read_text("utf-8"))


def prepare(name: str | None = None, root: Path | None = None) -> list[str]:
    """Download a set where its distributor allows it, otherwise say how to get it legally.

    ImageNet is prepared once its files are available: see `imagenet.prepare`. Returns lines to
    print.
    Raises DataError if a download fails or its pixels differ.
    """
    root = Path(root or data_sets())
    if name is None:
        return [_status_text(entry, root) for entry in CATALOGUE.values() if entry.of is None]
    entry = find_entry(name)
    if _is_imagenet(entry) and entry.is_there(root):
        return [imagenet.prepare(entry, entry.place(root))]
    if entry.registry != "tinyimagenet" or entry.is_there(root):
        return [_status_text(entry, root)]
    folder = entry.place(root)
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
    return [f"tinyimagenet: written to {folder}", *verify(name, root)]


def _status_text(entry: Entry, root: Path) -> str:
    """A sentence: how to get a set, or that it is available."""
    folder = entry.where(root)
    if folder is None:
        return f"{entry.name}: ready"
    if not entry.is_there(root):
        how = entry.how_to_get(root)
        return f"{entry.name}: {how}; terms and layout are in data/README.md"
    if _is_imagenet(entry) and not imagenet.prepared(entry, folder):
        how = f"`python -m cnf data prepare {entry.name}`, once its files are there"
        return f"{entry.name}: not prepared in {folder}: {how}"
    return f"{entry.name}: already in {folder}"


def _is_imagenet(entry: Entry) -> bool:
    """Whether it is ImageNet, which `prepare` converts and which has no hashes in the registry."""
    return entry.read == "imagenet.read_imagenet"


def register(names: list[str], root: Path | None = None) -> None:
    """Write the hashes of the local copies of these sets into the registry. Raises DataError for an
    unknown or missing set, and for a set in which two pictures have the same name."""
    hashes_by_set = _registry()
    for entry in map(find_entry, names):
        hashes: dict[str, str] = {}
        for key, pixels in arrays(entry, Path(root or data_sets())):
            if key in hashes:
                raise DataError(f"{entry.name} has two pictures '{key}': rename one of them")
            hashes[key] = pixel_hash(pixels)
        hashes_by_set[entry.registry or entry.name] = hashes
    text = json.dumps(hashes_by_set, indent=1, ensure_ascii=False)
    REGISTRY.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("python -m cnf.replication.data.inventory NAME...: hashes of which sets?")
    try:
        register(sys.argv[1:])
    except DataError as error:
        sys.exit(f"error: {error}")
