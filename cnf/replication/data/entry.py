"""What there is to know of an image set: `Entry`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cnf.errors import DataError
from cnf.replication.data.examples import Example, ImageSet, Split

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
TEST: tuple[Split, ...] = ("test",)
HELD_OUT: tuple[Split, ...] = ("train", "valid")  # training pictures, some kept for validation


Reader = Callable[["Entry", Split, Path | None], ImageSet]


@dataclass(frozen=True)
class Entry:
    """All facts of one image set: `catalogue.ENTRIES` has one for each.

    Args:
        read: makes a split, given the entry, the split and the folder.
        source: a sentence that says whose pictures these are.
        get: how a copy is had legally; may say {name}, {folder} and {files}.
        terms: what may be done with weights that were trained on it, for model cards.
        values: entries of y in a picture, on average.
        folder: below the root of all sets; None for a set that comes with the package.
        pictures: names of its files, without the suffix if that is free.
        of: the set of which this is another form, and with which it is verified.
        registry: its key in data/registry.json, by default `name`.
        stand_in: whether it replaces a set with which it cannot be compared.
        shown: what committed figures may show: its pictures, only what models made of them, or
            nothing; `credit` is said beside its pictures.
        across: width of the camera's field of view in pixels, of vessels.
    """

    name: str
    task: Literal["sr", "vessels"]
    read: Reader
    source: str
    get: str
    values: int
    folder: str | None = None
    splits: tuple[Split, ...] = SPLITS
    pictures: tuple[str, ...] = ()
    of: str | None = None
    registry: str = ""
    terms: str = ""
    stand_in: bool = False
    shown: Literal["pictures", "outputs", "nothing"] = "nothing"
    credit: str = ""
    across: int | None = None

    def images(self, split: Split, examples: Sequence[Example], note: str = "") -> ImageSet:
        """These examples as a split of the set; `note` is added to the source."""
        source = self.source + note
        return ImageSet(self.name, split, self.task, examples, source, self.stand_in)

    def where(self, root: Path) -> Path | None:
        """Its folder below `root`; None if it comes with the package."""
        return None if self.folder is None else root / self.folder

    def is_there(self, root: Path) -> bool:
        """Whether it can be read: its folder is there, and of archives each of its own."""
        folder = self.where(root)
        archives = [p for p in self.pictures if p.endswith(".npz")]
        return folder is None or folder.is_dir() and all((folder / p).is_file() for p in archives)

    def how_to_get(self, root: Path) -> str:
        """How a copy comes into its folder below `root`, legally."""
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
        if self.splits == TEST:
            other = "drive, chasedb1" if self.task == "vessels" else "tinyimagenet32"
            why = (
                f"it is a test set, never trained or chosen on: use {other} or pictures of your own"
            )
        else:
            why = f"it is for training: choose {' or '.join(self.splits)}"
        raise DataError(f"{self.name} has no {split} split: {why}")
