"""What image sets there are, whether their pixels are right, and how to get what is missing.

`data/registry.json` holds a pixel hash for every decoded array of every set. A copy from anywhere,
in any lossless format, either agrees with it or is not the same set. It was written by
`python -m cnf.replication.data.registry` from the copy that our numbers come from.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pooch

from cnf.errors import DataError
from cnf.replication.data import imagenet, oddities
from cnf.replication.data.examples import pixel_hash
from cnf.replication.data.folders import missing
from cnf.replication.data.sets import (
    BOX_SIZES,
    NAMES,
    PHOTOGRAPHS,
    SPLITS,
    TINY_FILES,
    box_file,
    default_root,
    eyes,
    load,
    read_box_file,
    read_even,
    read_eye,
    read_tiny_file,
)

DATA = Path(__file__).resolve().parents[3] / "data"
REGISTRY = DATA / "registry.json"
DRAW = DATA / "tinyimagenet-draw.npz"

TINY_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINY_MD5 = "md5:90528d7ca1a48142e341f4ef8d21d0de"

HOW_TO_GET = {
    **dict.fromkeys(("embedded-sr", "embedded-sr64"), "nothing to get: it comes with scikit-image"),
    "embedded-vessels": "nothing to get: it is generated",
    "tinyimagenet": "`python -m cnf data prepare tinyimagenet32` downloads 248 MB from Stanford",
    **dict.fromkeys(
        imagenet.SIZES,
        "log in at https://image-net.org, accept its terms, download the downsampled pictures, "
        "unpack them into {folder}, then `python -m cnf data prepare {name}`",
    ),
    **dict.fromkeys(
        ("set5", "set14"),
        "no distributor states terms for it; if you have a copy, put {files} into {folder}",
    ),
    "bsd100": "BSDS300 is free for non-commercial research and education, from "
    "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/bsds/: put its test pictures, "
    "numbered as super-resolution does, as {files} into {folder}",
    "urban100": "pictures of Flickr under Creative Commons, for research, from "
    "https://github.com/jbhuang0604/SelfExSR: put {files} into {folder}",
    "imagenet_box": "made from ImageNet, whose terms allow non-commercial research and education: "
    "if you have it, data/README.md says how; it belongs into {folder}",
    "drive": "register at https://drive.grand-challenge.org, download, unpack so that "
    "{folder} holds training/ and test/",
    "stare": "no licence is stated, long shared for research; from "
    "https://cecas.clemson.edu/~ahoover/stare/probing/: unpack stare-images.tar into "
    "{folder}/images and labels-ah.tar into {folder}/labels_ah, then gunzip the files",
    "chase_db1": "CC BY 4.0, from https://researchdata.kingston.ac.uk/96/: unpack CHASEDB1.zip "
    "into {folder}",
}

# sets made of the files of another: hashed and verified with it
SAME_FILES = {"tinyimagenet64": "tinyimagenet32", "chasedb1-all": "chasedb1"}

Parts = Iterator[tuple[str, Callable[[], np.ndarray]]]


def list_sets(root: Path | None = None) -> list[str]:
    """A line a set: its name, whether it is there, and where it was looked for."""
    root = default_root() if root is None else Path(root)
    lines = []
    for name in NAMES:
        folder = folder_of(name, root)
        if folder is None:
            lines.append(f"{name:<17} ready    {HOW_TO_GET[name]}")
        else:
            lines.append(f"{name:<17} {'found' if folder.is_dir() else 'missing':<8} {folder}")
    lines += [f"{name:<17} ready    {what}" for name, what in oddities.NAMES.items()]
    for name, odd in oddities.ODD_EYES.items():
        folder = folder_of(odd.of, root)
        there = "ready" if folder is None or folder.is_dir() else "missing"
        lines.append(f"{name:<17} {there:<8} {odd.what}")
    return [*lines, f"{'folder:PATH':<17} yours    pictures, or images/ with labels/"]


def verify(name: str | None = None, root: Path | None = None) -> list[str]:
    """Compare every decoded picture of a set, or of all sets that are there, with the registry.

    Returns a line a set. Raises DataError naming the first picture that differs or is missing, and
    how many do.
    """
    root = default_root() if root is None else Path(root)
    if name is not None and _base(name) in imagenet.SIZES:
        return imagenet.verify(name, root)
    if name is not None:
        return [_verify_one(name, root)]
    there = [n for n in NAMES if (f := folder_of(n, root)) is None or f.is_dir()]
    there = [n for n in there if n not in SAME_FILES]
    lines = []
    for one in there:
        if one in imagenet.SIZES:
            lines += imagenet.verify(one, root) if imagenet.is_prepared(one, root) else []
        else:
            lines.append(_verify_one(one, root))
    return lines


def prepare(name: str | None = None, root: Path | None = None) -> list[str]:
    """Download a set where its distributor allows it, otherwise say how to get it legally.

    ImageNet, once it is there, is prepared: see `imagenet.prepare`. Returns lines to print.
    Raises DataError if a download fails or its pixels differ.
    """
    root = default_root() if root is None else Path(root)
    lines = []
    for one in NAMES if name is None else [name]:
        folder = folder_of(one, root)
        if folder is None:
            lines.append(f"{one}: ready")
        elif folder.is_dir() and name is not None and _base(one) in imagenet.SIZES:
            lines += imagenet.prepare(one, root)
        elif folder.is_dir() and one in imagenet.SIZES and not imagenet.is_prepared(one, root):
            lines.append(f"{one}: in {folder}, now `python -m cnf data prepare {one}`")
        elif folder.is_dir():
            lines.append(f"{one}: already in {folder}")
        elif name is not None and one.startswith("tinyimagenet"):
            lines += _download_tinyimagenet(folder)
            lines += verify(one, root)
        else:
            lines.append(f"{one}: {how_to_get(one, root)}; terms and layout are in data/README.md")
    return lines


def how_to_get(name: str, root: Path) -> str:
    """How a set comes into its folder below `root`, legally."""
    files = _files(name) if name in PHOTOGRAPHS else None
    return HOW_TO_GET[_key(name)].format(name=name, folder=folder_of(name, root), files=files)


def folder_of(name: str, root: Path) -> Path | None:
    """Where a set lies below `root`; None for the embedded ones."""
    if _base(name) not in NAMES:
        raise DataError(f"no image set '{name}': choose one of {', '.join(NAMES)}")
    return None if name.startswith("embedded") else root / _key(name)


def parts(name: str, root: Path) -> Parts:
    """The arrays of a set that are hashed: a key, and a function that decodes it."""
    if name.startswith("embedded"):
        for split in SPLITS:
            yield split, lambda split=split: _whole(load(name, split))
    elif name.startswith("tinyimagenet"):
        for file in (f for files in TINY_FILES.values() for f in files):
            yield file, lambda file=file: read_tiny_file(root / "tinyimagenet" / file)[1]
    elif name in PHOTOGRAPHS:
        for picture in PHOTOGRAPHS[name].pictures:
            yield picture, lambda picture=picture: read_even(root / name, picture)[0]
    elif name in BOX_SIZES:
        yield "x", lambda: read_box_file(box_file(name, root), BOX_SIZES[name])[1]
    else:
        yield from _eye_parts(name, root)


def _entry(name: str) -> str:
    """The entry of a set in the registry: one for all sets made of the same files."""
    return "tinyimagenet" if name.startswith("tinyimagenet") else SAME_FILES.get(name, name)


def registry() -> dict[str, dict[str, str]]:
    """The committed pixel hashes: set -> key -> sha256."""
    return json.loads(REGISTRY.read_text())


def build_tinyimagenet(archive: Path, folder: Path, draw: Path = DRAW) -> list[str]:
    """Cut our subset out of the distributor's zip: the npz files that `load` reads.

    `draw` lists which pictures, in which order. Members are read by name and nothing is unpacked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with np.load(draw, allow_pickle=False) as chosen, zipfile.ZipFile(archive) as source:
            classes = chosen["classes"]
            for file in (f for files in TINY_FILES.values() for f in files):
                names, members = _members(chosen[file.removesuffix(".npz")], classes, file)
                blobs = [source.read(member) for member in members]
                offsets = np.concatenate([[0], np.cumsum([len(b) for b in blobs])])
                blob = np.frombuffer(b"".join(blobs), np.uint8)
                np.savez(folder / file, blob=blob, offsets=offsets, name=np.array(names, "S16"))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot make tinyimagenet from {archive} in {folder}: {error}") from None
    return [f"tinyimagenet: written to {folder}"]


def _base(name: str) -> str:
    """imagenet32-vandenoord -> imagenet32; other names as they are."""
    base = name.split("-")[0]
    return base if base in imagenet.SIZES else name


def _key(name: str) -> str:
    """The folder of a set, which several may share."""
    folders = {"tinyimagenet": "tinyimagenet", "imagenet_box": "imagenetbox", "chase_db1": "chase"}
    for key, prefix in folders.items():
        if name.startswith(prefix):
            return key
    return _base(name)


def _files(name: str) -> str:
    """The files of a set of photographs in words."""
    files = [f"{picture}.png" for picture in PHOTOGRAPHS[name].pictures]
    return ", ".join(files) if len(files) < 20 else f"{files[0]} to {files[-1]}"


def _verify_one(name: str, root: Path) -> str:
    folder = folder_of(name, root)
    if folder is not None and not folder.is_dir():
        raise missing(name, folder)
    expected = registry()[_entry(name)]
    where = folder or "embedded"
    wrong = []
    for key, decode in parts(name, root):
        found = pixel_hash(decode())
        if found != expected[key]:
            wrong.append(f"{key} (pixel hash {found[:12]}, registry {expected[key][:12]})")
    if wrong:
        raise DataError(
            f"{name}: {len(wrong)} of {len(expected)} parts in {where} differ from the registry, "
            f"first {wrong[0]}: get the set again, numbers from this copy cannot be compared"
        )
    return f"{name}: {len(expected)} parts in {where} agree with the registry"


def _whole(image_set) -> np.ndarray:
    """All pixels of an embedded set (they have one size), x and y one after the other."""
    y, x = image_set.stacked
    return y.numpy() if x is None else np.concatenate([x.numpy(), y.numpy()], 1)


def _eye_parts(name: str, root: Path) -> Parts:
    """Photograph, labels and field of view of each eye; where a set has no field of view, the one
    that is found, so that another library that finds another is noticed."""
    name, read = SAME_FILES.get(name, name), lru_cache(maxsize=1)(read_eye)
    for split in ("test",) if name == "stare" else SPLITS:
        for eye in eyes(name, split, root):
            for i, kind in enumerate(("image", "1st_manual", "mask", "2nd_manual")):
                if kind != "2nd_manual" or eye.second is not None:
                    yield f"{eye.key}/{kind}", lambda eye=eye, i=i: read(eye)[i]


def _download_tinyimagenet(folder: Path) -> list[str]:
    try:
        archive = pooch.retrieve(
            TINY_URL, TINY_MD5, fname="tiny-imagenet-200.zip", path=folder.parent, progressbar=False
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"tinyimagenet: {TINY_URL} could not be downloaded to {folder.parent} ({error}): "
            "try later, or put the zip file there yourself"
        ) from None
    return build_tinyimagenet(Path(archive), folder)


def _members(codes: np.ndarray, classes: np.ndarray, file: str) -> tuple[list[str], list[str]]:
    """Names of pictures and their members in the zip, from the numbers in the draw."""
    if not file.startswith("train"):
        names = [f"val_{code}" for code in codes]
        return names, [f"tiny-imagenet-200/val/images/{name}.JPEG" for name in names]
    names, members = [], []
    for code in codes:
        wnid = classes[code // 500].decode()
        names.append(f"{wnid}_{code % 500}")
        members.append(f"tiny-imagenet-200/train/{wnid}/images/{names[-1]}.JPEG")
    return names, members


def _write_registry(root: Path) -> None:
    """Write data/registry.json and the Tiny-ImageNet draw from the sets below `root`."""
    sets = [n for n in NAMES if n not in imagenet.SIZES and n not in SAME_FILES]
    hashes = {_entry(n): {k: pixel_hash(decode()) for k, decode in parts(n, root)} for n in sets}
    REGISTRY.write_text(json.dumps(hashes, indent=1) + "\n")
    draw, classes = {}, set()
    names = {
        file.removesuffix(".npz"): read_tiny_file(root / "tinyimagenet" / file)[0]
        for files in TINY_FILES.values()
        for file in files
    }
    classes = sorted({n.split("_")[0] for key, ns in names.items() if "train" in key for n in ns})
    for key, ns in names.items():
        pairs = [name.split("_") for name in ns]
        train = key.startswith("train")
        codes = [(classes.index(a) * 500 if train else 0) + int(b) for a, b in pairs]
        draw[key] = np.array(codes, np.uint32 if train else np.uint16)
    np.savez_compressed(DRAW, classes=np.array(classes, "S9"), **draw)


if __name__ == "__main__":
    _write_registry(default_root())
