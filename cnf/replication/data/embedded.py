"""The default sets, no download: patches of photographs, and procedural fundus pictures."""

from functools import lru_cache

import numpy as np
import skimage.data
import torch

from cnf.errors import DataError
from cnf.replication.data import fundus
from cnf.replication.data.examples import ImageSet, Split, Stack

# CC0 or public domain, each shipped inside the scikit-image wheel; (picture, patch step).
PICTURES = {
    "train": (("astronaut", 16), ("coffee", 16), ("rocket", 16), ("immunohistochemistry", 32)),
    "valid": (("hubble_deep_field", 96), ("retina", 96)),
    "test": (("chelsea", 32),),
}
SIZE = 32  # pixels a side of a patch

SEEDS = {"train": range(24), "valid": range(1000, 1004), "test": range(2000, 2008)}
FUNDUS_SIZE = 192  # pixels a side


@lru_cache(maxsize=6)
def embedded_sr(split: Split, size: int = SIZE) -> ImageSet:
    """RGB patches of size x size; train, valid and test are cut from different photographs."""
    names, patches = [], []
    for picture, step in PICTURES[split]:
        pixels = photograph(picture)
        for top in range(0, pixels.shape[0] - size + 1, step):
            for left in range(0, pixels.shape[1] - size + 1, step):
                names.append(f"{picture}-{top}-{left}")
                patches.append(pixels[top : top + size, left : left + size])
    y = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).contiguous()
    source = "patches of scikit-image's CC0 and public-domain photographs"
    name = "embedded-sr" if size == SIZE else f"embedded-sr{size}"
    return ImageSet(name, split, "sr", Stack(names, y), source, stand_in=True)


@lru_cache(maxsize=3)
def embedded_vessels(split: Split) -> ImageSet:
    """192x192 fundus pictures with exact vessel masks from `fundus.generate`; splits by seed."""
    examples = [fundus.generate(seed, FUNDUS_SIZE) for seed in SEEDS[split]]
    source = "procedural fundus pictures with exact vessel masks"
    return ImageSet("embedded-vessels", split, "vessels", examples, source, stand_in=True)


def photograph(name: str) -> np.ndarray:
    """One of scikit-image's pictures, uint8 (H,W,3)."""
    try:
        return getattr(skimage.data, name)()
    except (OSError, ModuleNotFoundError) as error:
        raise DataError(
            f"scikit-image's picture '{name}' cannot be read ({error}): reinstall scikit-image"
        ) from None
