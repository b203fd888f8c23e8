"""The default sets, no download: patches of photographs, and procedural fundus pictures."""

from pathlib import Path

import numpy as np
import skimage.data

from cnf.replication.data import fundus
from cnf.replication.data.catalogue import Entry
from cnf.replication.data.examples import ImageSet, Split
from cnf.replication.data.photographs import grid

# CC0 or public domain, each shipped inside the scikit-image wheel; (picture, step of its grid).
PICTURES = {
    "train": (("astronaut", 16), ("coffee", 16), ("rocket", 16), ("immunohistochemistry", 32)),
    "valid": (("hubble_deep_field", 96), ("retina", 96)),
    "test": (("chelsea", 32),),
}
SIDE = 32  # pixels a side of a patch

SEEDS = {"train": range(24), "valid": range(1000, 1004), "test": range(2000, 2008)}
FUNDUS_SIZE = 192  # pixels a side


def read_patches(entry: Entry, split: Split, folder: Path | None, side: int = SIDE) -> ImageSet:
    """RGB patches; train, valid and test are cut from different photographs."""
    pictures = ((name, photograph(name), step) for name, step in PICTURES[split])
    return ImageSet.of(entry, split, grid(pictures, side))


def read_fundus(entry: Entry, split: Split, folder: Path | None) -> ImageSet:
    """192x192 fundus pictures with exact vessel masks from `fundus.generate`; splits by seed."""
    return ImageSet.of(entry, split, [fundus.generate(seed, FUNDUS_SIZE) for seed in SEEDS[split]])


def photograph(name: str) -> np.ndarray:
    """One of scikit-image's pictures, uint8 (H,W,3); a texture is (H,W)."""
    return getattr(skimage.data, name)()
