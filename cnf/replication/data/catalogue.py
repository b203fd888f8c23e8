"""Every image set, with all its facts, and `load`, which reads one by name.

To add a set, add an `Entry` (and a reader if its layout is new), then its pixel hashes with
`python -m cnf.replication.data.inventory NAME`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from cnf.errors import DataError
from cnf.replication.data import embedded, eyes, imagenet, packed, photographs, shifted
from cnf.replication.data.entry import HELD_OUT, SPLITS, TEST, Entry, Reader
from cnf.replication.data.examples import Example, ImageSet, Split, Stack
from cnf.replication.data.folders import read_folder

PATCH, SMALL = 3 * 64**2, 3 * 32**2  # entries of y
Change = Callable[[Sequence[Example]], Sequence[Example]]

FREE = "Trained on data that are free of rights: use the weights as you like (MIT)."
OWN = (
    "Trained on pictures of a folder: what may be done with the weights is for their owners to say."
)
SAME_WAY = "use the weights in the same way."
GENERATED = "nothing to get: it is generated"
FOUND = "the field of view is found"  # in neither set; see `field_of_view`

EMBEDDED = {"terms": FREE, "stand_in": True}
PHOTOS = {
    "source": "patches of scikit-image's CC0 and public-domain photographs",
    "get": "nothing to get: it comes with scikit-image",
    **EMBEDDED,
}
IMAGENET = {
    "terms": "Trained on pictures of ImageNet, whose terms allow non-commercial research and "
    f"educational use: {SAME_WAY}"
}
TINY = {
    "get": "`python -m cnf data prepare {name}` downloads 248 MB from Stanford",
    "folder": "tinyimagenet",
    "registry": "tinyimagenet",
    "stand_in": True,
    **IMAGENET,
}
FIRST_DRAW = {
    "source": "Tiny-ImageNet-200 subset, a stand-in for the ImageNet of the paper",
    "pictures": (*(f"train_{i}.npz" for i in range(4)), "val.npz", "test.npz"),
}
BOTH_DRAWS = {
    "source": "Tiny-ImageNet-200 subset, two draws, a stand-in for the ImageNet of the paper",
    "pictures": (*(f"train_{i}.npz" for i in range(8)), "val.npz", "test.npz"),
}
BENCHMARK = {"splits": TEST, "shown": "pictures"}
UNSTATED = "no distributor states terms for it; if you have a copy, put {files} into {folder}"
BSDS = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision"
CHASE = {
    "get": "CC BY 4.0, from https://researchdata.kingston.ac.uk/96/: unpack CHASEDB1.zip into "
    "{folder}",
    "folder": "chase_db1",
    "terms": "Trained on CHASE_DB1 (Fraz et al. 2012; CC BY 4.0): name it where you use the "
    "weights.",
    "shown": "pictures",
    "credit": "CHASE_DB1, CC BY 4.0",
}
ENTRIES = [
    Entry("embedded-sr", "sr", embedded.read_patches, values=SMALL, shown="pictures", **PHOTOS),
    Entry("embedded-sr64", "sr", partial(embedded.read_patches, side=64), values=PATCH, **PHOTOS),
    Entry(
        name="embedded-vessels",
        task="vessels",
        read=embedded.read_fundus,
        source="procedural fundus pictures with exact vessel masks",
        get=GENERATED,
        values=192**2,
        shown="pictures",
        credit="drawn by the package",
        across=243,
        **EMBEDDED,
    ),
    *(
        Entry(
            name=f"tinyimagenet{side}{end}",
            task="sr",
            read=partial(packed.read_tiny, halve=side == 32),
            values=3 * side**2,
            of=f"tinyimagenet64{end}" if side == 32 else None,
            **TINY,
            **draws,
        )
        for end, draws in (("", FIRST_DRAW), ("-72k", BOTH_DRAWS))
        for side in (32, 64)
    ),
    *(
        Entry(
            name=f"imagenet{side}{end}",
            task="sr",
            read=imagenet.read,
            source=f"ImageNet{side}",
            get="log in at https://image-net.org, accept its terms, download the downsampled "
            "pictures, unpack them into {folder}, then `python -m cnf data prepare {name}`",
            values=3 * side**2,
            folder=f"imagenet{side}",
            of=f"imagenet{side}" if end else None,
            **IMAGENET,
        )
        for side in (32, 64)
        for end in ("", *(f"-{release}" for release in imagenet.RELEASES))
    ),
    Entry(
        name="set5",
        task="sr",
        read=photographs.read_benchmark,
        source="Bevilacqua et al. 2012",
        get=UNSTATED,
        values=340_474,
        folder="set5",
        pictures=("baby", "bird", "butterfly", "head", "woman"),
        **BENCHMARK,
    ),
    Entry(
        name="set14",
        task="sr",
        read=photographs.read_benchmark,
        source="Zeyde et al. 2010; bridge is greyscale, converted to RGB",
        get=UNSTATED,
        values=690_289,
        folder="set14",
        pictures=(
            *("baboon", "barbara", "bridge", "coastguard", "comic", "face", "flowers"),
            *("foreman", "lenna", "man", "monarch", "pepper", "ppt3", "zebra"),
        ),
        **BENCHMARK,
    ),
    Entry(
        name="bsd100",
        task="sr",
        read=photographs.read_benchmark,
        source="the test pictures of BSDS300, Martin et al. 2001",
        get=f"BSDS300 is free for non-commercial research and education, from {BSDS}/bsds/: put "
        "its test pictures, numbered as super-resolution does, as {files} into {folder}",
        values=463_203,
        folder="bsd100",
        pictures=tuple(f"img_{i:03d}" for i in range(1, 101)),
        **BENCHMARK,
    ),
    Entry(
        name="urban100",
        task="sr",
        read=photographs.read_benchmark,
        source="10 of the 100 pictures of Urban100, Huang et al. 2015: averages are not "
        "comparable with published Urban100 numbers",
        get="pictures of Flickr under Creative Commons, for research, from "
        "https://github.com/jbhuang0604/SelfExSR: put {files} into {folder}",
        values=2_300_000,
        folder="urban100",
        pictures=tuple(f"img_{i:03d}" for i in range(1, 101, 10)),
        stand_in=True,
        **BENCHMARK,
    ),
    Entry(
        name="bsd400-whole",
        task="sr",
        read=partial(photographs.read_training, count=399),
        source="BSDS500, training and test, Arbelaez et al. 2011",
        get=f"BSDS500 is free for non-commercial research and education, from {BSDS}/grouping/"
        "resources.html: put its training and test pictures, but not 302003, which is in Set5, as "
        "train_ID.jpg and test_ID.jpg into {folder}",
        values=3 * 320 * 480,
        folder="bsd400",
        splits=HELD_OUT,
        terms="Trained on pictures of BSDS500, which is free for non-commercial research and "
        f"education: {SAME_WAY}",
    ),
    Entry(
        name="t91-whole",
        task="sr",
        read=partial(photographs.read_training, count=91),
        source="the 91 pictures of Yang et al. 2010",
        get="no distributor states terms for it; if you have a copy, put its 91 pictures, t1.png "
        "to tt27.png, into {folder}",
        values=176_000,
        folder="t91",
        splits=HELD_OUT,
        terms="Trained on the 91 pictures of Yang et al. 2010, long shared for research: "
        + SAME_WAY,
    ),
    *(
        Entry(
            name=f"imagenetbox{side}",
            task="sr",
            read=partial(packed.read_box, side=side),
            source="600 ImageNet pictures, one a class, box-resized: a stand-in for the test split "
            f"of ImageNet{side}",
            get="made from ImageNet, whose terms allow non-commercial research and education: if "
            "you have it, data/README.md says how; it belongs into {folder}",
            values=3 * side**2,
            folder="imagenet_box",
            splits=TEST,
            pictures=(f"test{side}.npz",),
            stand_in=True,
            **IMAGENET,
        )
        for side in (64, 32)
    ),
    Entry(
        name="drive",
        task="vessels",
        read=partial(eyes.read, files=eyes.drive),
        source="DRIVE, Staal et al. 2004",
        get="register at https://drive.grand-challenge.org, download, unpack so that {folder} "
        "holds training/ and test/",
        values=584 * 565,
        folder="drive",
        terms="Trained on DRIVE, which is free for research and educational purposes: "
        f"{SAME_WAY} No DRIVE picture is in this repository.",
        shown="outputs",
        across=540,
    ),
    Entry(
        name="stare",
        task="vessels",
        read=partial(eyes.read, files=eyes.stare),
        source=f"STARE, Hoover et al. 2000, first observer; {FOUND}",
        get="no licence is stated, long shared for research; from "
        "https://cecas.clemson.edu/~ahoover/stare/probing/: unpack stare-images.tar into "
        "{folder}/images and labels-ah.tar into {folder}/labels_ah, then gunzip the files",
        values=605 * 700,
        folder="stare",
        splits=TEST,
        terms=f"Trained on STARE, which is offered for research: {SAME_WAY} No STARE picture is in "
        "this repository.",
        shown="outputs",
        across=649,
    ),
    Entry(
        name="chasedb1",
        task="vessels",
        read=partial(eyes.read, files=eyes.chase),
        source="CHASE_DB1, Fraz et al. 2012, CC BY 4.0: subjects 01 to 10 of 14, split by "
        f"subject; {FOUND}",
        values=960 * 999,
        across=920,
        **CHASE,
    ),
    Entry(
        name="chasedb1-all",
        task="vessels",
        read=partial(eyes.read, files=eyes.chase),
        source="CHASE_DB1, Fraz et al. 2012, CC BY 4.0: both eyes of subjects 01 to 10 of 14; "
        + FOUND,
        values=960 * 999,
        of="chasedb1",
        splits=TEST,
        across=920,
        **CHASE,
    ),
    *(
        Entry(
            name=f"odd-{what}",
            task="sr",
            read=partial(shifted.read_patches, pages=pages),
            source=source,
            get=GENERATED,
            values=SMALL,
            splits=TEST,
            stand_in=True,
        )
        for what, pages, source in (
            ("vessels", shifted.vessels, "fundus photographs of embedded-vessels"),
            ("noise", shifted.noise, "independent uniform grey levels"),
            ("text", shifted.text, "black letters on white"),
            (
                *("blur", shifted.blurred),
                "the test photograph of embedded-sr, blurred by a Gaussian of 2 pixels",
            ),
        )
    ),
    *(
        Entry(
            name=f"far-{task}",
            task=task,
            read=shifted.read_far,
            source="far from all data",
            get=GENERATED,
            values=values,
            splits=TEST,
        )
        for task, values in (("sr", PATCH), ("vessels", 64**2))
    ),
]
CATALOGUE = {entry.name: entry for entry in ENTRIES}


def _derived() -> Iterator[Entry]:
    """Sets that are made of another, and have its facts but for those given."""

    def of(parent: str, name: str, change: Change, source: str, **facts) -> Entry:
        made_of = CATALOGUE[parent]
        return replace(made_of, name=name, of=parent, read=made(change), source=source, **facts)

    patches, whole = photographs.patches, "bsd400-whole"
    said = "patches of BSDS500, training{}, Arbelaez et al. 2011".format
    yield of(whole, "bsd400", patches, said(" and test"), values=PATCH)
    half = partial(patches, half=True)
    yield of(whole, "bsd400-half", half, said(" and test, at half size"), values=PATCH)
    yield of(whole, "bsd200", partial(patches, only="train_"), said(""), values=PATCH)
    said = "patches of the 91 pictures of Yang et al. 2010"
    yield of("t91-whole", "t91", patches, said, values=PATCH)

    for name in ("stare", "chasedb1", "chasedb1-all"):
        eye, width = CATALOGUE[name], CATALOGUE["drive"].across
        ratio = width / eye.across
        source = f"{eye.source}; at the scale of DRIVE, the field of view {width} pixels wide"
        facts = {"values": round(eye.values * ratio**2), "across": width}
        yield of(name, f"{name}@drive", partial(eyes.scaled, ratio=ratio), source, **facts)

    test = {"splits": TEST, "shown": "nothing"}
    for short, name in (("eye", "embedded-vessels"), ("drive", "drive")):
        for change, how in (
            (shifted.blur, "blurred by a Gaussian of 1 % of the width"),
            (shifted.inverted, "as negatives, vessels bright"),
            (shifted.colour, "with red and blue exchanged"),
        ):
            source = f"the test photographs of {name}, {how}"
            yield of(name, f"odd-{short}-{change.__name__}", change, source, **test)
        window = "DRIVE" if name == "drive" else name
        source = f"no eye: other pictures behind the window of {window}"
        yield of(name, f"odd-{short}-none", shifted.scenes, source, **test)
    source = "the test eyes of embedded-vessels without their vessels"
    yield of("embedded-vessels", "odd-eye-bare", shifted.bare, source, **test)


def made(change: Change) -> Reader:
    """A reader: the split of the set `of`, changed."""

    def read(entry: Entry, split: Split, folder: Path | None) -> ImageSet:
        root = None if folder is None else folder.parent
        return entry.images(split, change(load(entry.of, split, root)))

    return read


CATALOGUE |= {entry.name: entry for entry in _derived()}
NAMES = tuple(CATALOGUE)


def load(name: str, split: Split, root: Path | None = None) -> ImageSet:
    """Read the set `name`, one of `NAMES` or `folder:PATH`; several, joined, as NAME+NAME.

    ImageNet's two releases are told apart as imagenet32-chrabaszcz and imagenet32-vandenoord (and
    64); a name without one means the one that is there, and the set's name says which.
    `root` is the folder that holds the sets, by default $CNF_DATA, else `data/`.
    Raises DataError for an unknown name or split, a missing set (naming where it was looked for and
    how to get it), or a file that cannot be used.
    """
    if split not in SPLITS:
        raise DataError(f"no split '{split}': choose one of {', '.join(SPLITS)}")
    root = default_root() if root is None else Path(root)
    if name.startswith("folder:"):
        return read_folder(Path(name.removeprefix("folder:")), split)
    if "+" in name:
        return together([load(part, split, root) for part in name.split("+")])
    entry = find(name)
    entry.check_split(split)
    folder = entry.where(root)
    if folder is not None and not folder.is_dir():
        raise entry.missing(folder)
    return entry.read(entry, split, folder)


def find(name: str) -> Entry:
    """The entry of a set. Raises DataError for an unknown name."""
    if name not in CATALOGUE:
        alike = [known for known in NAMES if known.startswith(name.split("-")[0])]
        choices = alike or [entry.name for entry in ENTRIES if entry.of is None]
        raise DataError(
            f"no image set '{name}': choose one of {', '.join(choices)}, folder:PATH; `python -m "
            "cnf data list` shows all"
        )
    return CATALOGUE[name]


def default_root() -> Path:
    """Where image sets are looked for: $CNF_DATA, else the repository's `data/`."""
    return Path(os.environ.get("CNF_DATA") or Path(__file__).resolve().parents[3] / "data")


def terms(train: str) -> list[str]:
    """What may be done with weights trained on a set, or on several joined by "+"; that a part is
    free goes without saying."""
    if train.startswith("folder:"):
        return [OWN]
    found = dict.fromkeys(find(part).terms for part in train.split("+"))
    return [text for text in found if text != FREE] or [FREE]


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
