"""Turn examples into the float batches a model sees: crops, symmetries, colour, low resolution."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cnf.data.degrade import low_resolution
from cnf.data.examples import Example, ImageSet
from cnf.errors import DataError


class DataOptions(Protocol):
    """The fields of `config.DataConfig` that are read here."""

    round_x: bool
    crop: int | None
    augment: bool


VESSEL_CROP = 96  # pixels a side of a vessel training crop unless the config says otherwise


def make_batch(
    examples: Sequence[Example],
    indices: Sequence[int],
    options: DataOptions,
    rng: np.random.Generator,
    train: bool,
) -> tuple[Tensor, Tensor]:
    """The batch of the examples at `indices`: y (B,C,H,W) and x float32, in grey levels.

    In training, super-resolution crops (where `options.crop` is set) and flips; vessels are cropped
    to `options.crop` (96 by default), turned by the eight symmetries of the square and jittered in
    colour; `options.augment` False leaves only the crops. Otherwise pictures come whole. Everything
    random is drawn from `rng`, the same way whatever the batch holds.
    Raises DataError if pictures of one batch differ in size or are smaller than the crop.
    """
    vessels = examples[indices[0]].x is not None
    crop = options.crop if options.crop or not vessels else VESSEL_CROP
    y, x = _gather(examples, indices, crop if train else None, rng)
    if train and options.augment:
        y, x = _symmetries(y, x, rng, eight=vessels)
    y = y.float()
    if x is None:
        return y, low_resolution(y, options.round_x)
    x = x.float()
    return y, _jitter(x, rng) if train and options.augment else x


def _gather(
    examples: Sequence[Example], indices: Sequence[int], crop: int | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor | None]:
    """Stack y and x (uint8), cropping each at its own random place."""
    stacked = examples.stacked if isinstance(examples, ImageSet) else None
    if stacked is not None and crop is None:
        index = torch.as_tensor(indices)
        return stacked[0][index], None if stacked[1] is None else stacked[1][index]
    chosen = [examples[int(i)] for i in indices]
    if crop is not None:
        chosen = [_crop(example, crop, rng) for example in chosen]
    sizes = {tuple(example.y.shape[-2:]) for example in chosen}
    if len(sizes) > 1:
        shown = ", ".join(f"{h}x{w}" for h, w in sorted(sizes)[:3])
        raise DataError(f"pictures of one batch differ in size ({shown}): set data.crop or batch 1")
    y = torch.stack([example.y for example in chosen])
    return y, None if chosen[0].x is None else torch.stack([example.x for example in chosen])


def _crop(example: Example, size: int, rng: np.random.Generator) -> Example:
    height, width = example.y.shape[-2:]
    if height < size or width < size:
        raise DataError(
            f"{example.name} is {height}x{width} (HxW), smaller than data.crop = {size}: "
            f"set data.crop to {min(height, width)} or less"
        )
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    window = (..., slice(top, top + size), slice(left, left + size))
    x = None if example.x is None else example.x[window]
    return Example(example.name, example.y[window], x)


def _symmetries(
    y: Tensor, x: Tensor | None, rng: np.random.Generator, eight: bool
) -> tuple[Tensor, Tensor | None]:
    """Each sample mirrored left-right; with `eight`, also up-down and transposed (square only)."""
    draws = torch.from_numpy(rng.random((3, len(y))) < 0.5)
    moves = [lambda t: t.flip(-1)]
    if eight:
        moves.append(lambda t: t.flip(-2))
        if y.shape[-2] == y.shape[-1]:
            moves.append(lambda t: t.transpose(-2, -1))
    for chosen, move in zip(draws, moves, strict=False):
        where = chosen[:, None, None, None]
        y = torch.where(where, move(y), y)
        x = None if x is None else torch.where(where, move(x), x)
    return y, x


def _jitter(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Gamma, gain and offset a channel, clipped to 0..255: cameras and eyes differ."""
    size = len(x)
    gamma = np.exp(rng.uniform(-0.25, 0.25, (size, 1, 1, 1)))
    gain = rng.uniform(0.85, 1.15, (size, 1, 1, 1)) * rng.uniform(0.93, 1.07, (size, 3, 1, 1))
    offset = rng.uniform(-10, 10, (size, 3, 1, 1))
    gamma, gain, offset = (torch.from_numpy(a).float() for a in (gamma, gain, offset))
    return ((x / 255) ** gamma * 255 * gain + offset).clamp(0, 255)
