"""The facts of every image set, which stand in catalogue.yml; `loading.load` reads its pictures.

To add a set, add its facts (and a reader if its layout is new), then its pixel hashes with
`python -m cnf.replication.data.inventory NAME`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from cnf.errors import DataError

Split = Literal["train", "valid", "test"]
Kind = Literal["pictures", "labelled"]  # x is made from y; or x is a photograph and y its labels
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Entry:
    """All facts of one image set.

    Args:
        source: a sentence that says whose pictures these are.
        get: how to get a copy legally; may contain {name}, {folder} and {files}.
        read: "module.function" of this folder, or "EXPERIMENT/module.function" of an experiment.
            It reads a split, given the entry, the split, the folder and the options.
        change: such a function, instead of `read`. It makes the set from the pictures of the set
            `of`, given these and the options.
        of: the set of which this is another form, and with which it is verified.
        folder: below the root of all sets; None for a set that comes with the package.
        pictures: names of its files, without the suffix if any format will do.
        registry: its key in data/registry.json, by default `name`.
        terms: what may be done with weights that were trained on it, for model cards.
        stand_in: whether it replaces a set with which it cannot be compared.
        shown: what committed figures may show: its pictures, only what models made of them, or
            nothing. `credit` is printed beside its pictures.
        across: width of the camera's field of view in pixels, for photographs of eyes.
    """

    name: str
    kind: Kind
    source: str
    get: str
    read: str = ""
    change: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    of: str | None = None
    folder: str | None = None
    splits: Sequence[Split] = SPLITS
    pictures: Sequence[str] = ()
    registry: str = ""
    terms: str = ""
    stand_in: bool = False
    shown: Literal["pictures", "outputs", "nothing"] = "nothing"
    credit: str = ""
    across: int | None = None

    def where(self, root: Path) -> Path | None:
        """Its folder below `root`; None if it comes with the package."""
        return None if self.folder is None else root / self.folder

    def place(self, root: Path) -> Path:
        """Its folder below `root`. Raises DataError if it comes with the package."""
        if self.folder is None:
            raise DataError(f"{self.name} has no folder: it comes with the package")
        return root / self.folder

    def is_there(self, root: Path) -> bool:
        """Whether it can be read: its folder exists and holds every archive of the set."""
        folder = self.where(root)
        if folder is None:
            return True
        archives = [p for p in self.pictures if p.endswith(".npz")]
        return folder.is_dir() and all((folder / p).is_file() for p in archives)

    def how_to_get(self, root: Path) -> str:
        """How to get a copy legally, and into which folder below `root` it belongs."""
        names = [f"{name}.png" for name in self.pictures]
        files = ", ".join(names) if len(names) < 20 else f"{names[0]} to {names[-1]}"
        return self.get.format(name=self.name, folder=self.where(root), files=files)

    def missing(self, where: Path) -> DataError:
        """The error of a set that is not where it was looked for."""
        return DataError(
            f"{self.name}: nothing at {where}: see `python -m cnf data prepare {self.name}` for "
            "how to get it, or set CNF_DATA to the folder that holds it"
        )

    def check_split(self, split: Split) -> None:
        """Raise DataError unless the set has this split."""
        if split in self.splits:
            return
        why = f"it is for training: choose {' or '.join(self.splits)}"
        if "train" not in self.splits:
            other = TRAINING[self.kind]
            why = "it is a test set, never trained or chosen on: use "
            why += f"{other} or pictures of your own"
        raise DataError(f"{self.name} has no {split} split: {why}")


def _entry(name: str, facts: dict[str, Any]) -> Entry:
    try:
        return Entry(name, **facts)
    except TypeError as error:  # of the constructor: a fact is missing or unknown
        raise DataError(f"catalogue.yml, {name}: {str(error).partition(' ')[2]}") from None


FACTS = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text("utf-8"))
# sets to train on in place of one that is for tests
TRAINING = {"pictures": "tinyimagenet32", "labelled": "drive, chasedb1"}
CATALOGUE = {name: _entry(name, FACTS[name]) for name in FACTS if not name.startswith(".")}
FREE = CATALOGUE["embedded-sr"].terms
OWN = (
    "Trained on pictures of a folder: what may be done with the weights is for their owners to say."
)


def parts(name: str) -> list[str]:
    """The names that NAME+NAME joins. A path after `folder:` is one name, even if it holds a
    "+"."""
    return [name] if name.startswith("folder:") else name.split("+")


def has_learned(data: Sequence[dict[str, Any]], on: str) -> bool:
    """Whether one of these configurations of data has trained on validation pictures of `on`."""
    for options in data:
        names = parts(options.get("train", ""))
        if options.get("use_valid") and origin(on) in map(origin, names):
            return True
        if any(is_resplit(name, on) or is_resplit(on, name) for name in names):
            return True
    return False


def is_resplit(name: str, on: str) -> bool:
    """Whether `name` splits the pictures of `on` in another way, so that a model of it may have
    learned from those that are for validation."""
    entry = CATALOGUE.get(name)
    is_other = entry is not None and entry.of is not None and not entry.change
    return is_other and name != on and origin(name) == origin(on)


def origin(name: str) -> str:
    """The set of which `name` is another form; "folder" of all folders."""
    entry = CATALOGUE.get(name)
    return origin(entry.of) if entry and entry.of else name.split(":")[0]


def find_entry(name: str) -> Entry:
    """The entry of a set. Raises DataError for an unknown name."""
    if name not in CATALOGUE:
        similar = [known for known in CATALOGUE if known.startswith(name.split("-")[0])]
        choices = similar or [entry.name for entry in CATALOGUE.values() if entry.of is None]
        raise DataError(
            f"no image set '{name}': choose one of {', '.join(choices)}, folder:PATH; `python -m "
            "cnf data list` shows all"
        )
    return CATALOGUE[name]


def terms(*trains: str) -> list[str]:
    """The terms of weights that were trained on these sets one after the other; each may be several
    sets joined by "+". Sets with free terms are mentioned only if there are no others."""
    texts = []
    for train in trains:
        for name in parts(train):
            texts.append(OWN if name.startswith("folder:") else find_entry(name).terms)
    return [text for text in dict.fromkeys(texts) if text != FREE] or [FREE]
