"""Pictures far from all data, `far-sr` and `far-vessels`, made here without a download."""

from pathlib import Path

import numpy as np
import torch

from cnf.replication.data import fundus
from cnf.replication.data.catalogue import Entry
from cnf.replication.data.embedded import FUNDUS_SIZE, SEEDS, photograph
from cnf.replication.data.examples import Example, ImageSet, Split
from cnf.replication.data.folders import to_tensor

FAR_SIDE = 64  # pixels a side


def read_far(entry: Entry, split: Split, folder: Path | None) -> ImageSet:
    """Five pictures of 64x64. For super-resolution they are y, and x is their half. For vessels
    they are x, and y marks where the picture is light."""
    shape, is_labelled = (FAR_SIDE, FAR_SIDE, 3), entry.kind == "labelled"
    other = photograph("chelsea")
    if not is_labelled:
        other = fundus.generate(SEEDS["test"][0], FUNDUS_SIZE).x.numpy().transpose(1, 2, 0)
    top, left = ((side - FAR_SIDE) // 2 for side in other.shape[:2])
    pictures = {
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
        "noise": np.random.default_rng(0).integers(0, 256, (3, *shape[:2])).transpose(1, 2, 0),
        "checkerboard": np.indices(shape)[:2].sum(0) % 2 * 255,
        "other": other[top : top + FAR_SIDE, left : left + FAR_SIDE],
    }
    examples = []
    for name, pixels in pictures.items():
        pixels = to_tensor(pixels.astype(np.uint8))
        light = (pixels.float().mean(0, keepdim=True) >= 128).to(torch.uint8)
        examples.append(Example(name, light, pixels) if is_labelled else Example(name, pixels))
    return ImageSet.of(entry, split, examples)
