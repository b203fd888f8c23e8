"""What a data set is made of: `Example` and `ImageSet`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.data.catalogue import Entry, Kind, Split

PATCH = 64  # pixels: pictures up to this size are patches


def pixel_hash(pixels: np.ndarray | Tensor) -> str:
    """sha256 of a decoded array, its dtype and shape included: files may differ, pixels may not."""
    array = np.ascontiguousarray(pixels)
    digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
    digest.update(array.data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Example:
    """One target y and, for vessels, its input x.

    Super-resolution: y uint8 (3,H,W) in 0..255, x None (`cnf.resample.low_resolution` makes it
    of y).
    Vessels: y uint8 (1,H,W) in {0,1}, x uint8 (3,H,W) RGB in 0..255; `fov` bool (H,W) marks the
    field of view and `second` uint8 (1,H,W) is the second observer, where they exist.
    """

    name: str
    y: Tensor
    x: Tensor | None = None
    fov: Tensor | None = None
    second: Tensor | None = None

    def part(self, key: Literal["x", "fov", "second"]) -> Tensor:
        """A part that an example may lack. Raises DataError if it does."""
        value: Tensor | None = getattr(self, key)
        if value is None:
            raise DataError(f"{self.name} has no {key}: give an example that has one")
        return value

    @property
    def sha256(self) -> str:
        """Hash over the pixels of every part that exists."""
        parts = [(key, getattr(self, key)) for key in ("y", "x", "fov", "second")]
        lines = [f"{key} {pixel_hash(part)}" for key, part in parts if part is not None]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class Stack(Sequence[Example]):
    """Many targets of one size held as one uint8 tensor (N,C,H,W); examples are views of it."""

    def __init__(self, names: Sequence[str], y: Tensor):
        self.names, self.y = names, y

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Stack(self.names[index], self.y[index])
        return Example(self.names[index], self.y[index])


@dataclass(eq=False, repr=False)
class ImageSet(Sequence[Example]):
    """A named, ordered set of examples of one kind and one split.

    `stand_in` is True where the set replaces one it cannot be compared with; `source` says in a
    sentence where the pictures come from.
    """

    name: str
    split: Split
    kind: Kind
    examples: Sequence[Example]
    source: str
    stand_in: bool = False

    @classmethod
    def of(
        cls, entry: Entry, split: Split, examples: Sequence[Example], note: str = ""
    ) -> "ImageSet":
        """Examples as a split of a set of the catalogue; `note` is added to the source."""
        source = entry.source + note
        return cls(entry.name, split, entry.kind, examples, source, entry.stand_in)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index):
        return self.examples[index]

    @cached_property
    def sha256(self) -> str:
        """Hash over the examples' pixel hashes, in order. Names do not count, pixels do."""
        hashes = "\n".join(example.sha256 for example in self)
        return hashlib.sha256(hashes.encode()).hexdigest()

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The sizes (H,W) that y has."""
        some = self.examples[:1] if isinstance(self.examples, Stack) else self.examples
        return sorted({tuple(example.y.shape[-2:]) for example in some})

    @property
    def is_photographs(self) -> bool:
        """Whether these are whole photographs, for which PSNR is computed: without labels, and at
        least one with a side of more than PATCH pixels."""
        return self.kind == "pictures" and any(max(size) > PATCH for size in self.sizes)

    @cached_property
    def stacked(self) -> tuple[Tensor, Tensor | None] | None:
        """y (N,C,H,W) and x (N,3,H,W) or None as one tensor each; None where sizes differ."""
        if isinstance(self.examples, Stack):
            return self.examples.y, None
        if len(self.sizes) != 1:
            return None
        y, has_x = torch.stack([e.y for e in self]), self[0].x is not None
        return y, torch.stack([e.part("x") for e in self]) if has_x else None

    def describe(self) -> str:
        """One line: name, split, number and sizes of pictures, source."""
        sizes = self.sizes
        size = " to ".join(f"{h}x{w}" for h, w in dict.fromkeys((sizes[0], sizes[-1])))
        return f"{self.name} {self.split}: {len(self)} of {size} (HxW), {self.source}"
