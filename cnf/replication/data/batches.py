"""Turn examples into the float batches a model sees: crops, symmetries, colour, low resolution."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.config import DataConfig
from cnf.replication.data.examples import Example, ImageSet
from cnf.resample import low_resolution

Generators = Sequence[np.random.Generator]  # one for each picture of a batch
VESSEL_CROP = 96  # pixels a side of a vessel training crop unless the config says otherwise


def make_batch(
    examples: Sequence[Example],
    indices: Sequence[int],
    options: DataConfig,
    rngs: Generators | None = None,
) -> tuple[Tensor, Tensor]:
    """The batch of the examples at `indices`: y (B,C,H,W) and x float32, in grey levels.

    Without `rngs` pictures come whole. In training, `rngs` holds one generator a picture, from
    which everything random about it is drawn, so that it does not depend on its batch or process:
    crop and flip of super-resolution pictures, of which a share of `options.noise` becomes noisy;
    crop, the eight symmetries of the square and jitter of colour of vessels. `options.augment`
    False leaves out flips, symmetries and jitter. Of "mixed" inputs those of half the pictures are
    rounded: drawn in training, else by whether the sum of the picture is odd.
    Raises DataError if pictures of one batch differ in size or are smaller than the crop.
    """
    vessels = examples[indices[0]].x is not None
    y, x = _gather(examples, indices, options.crop or (VESSEL_CROP if vessels else None), rngs)
    if rngs and options.augment:
        y, x = _symmetries(y, x, rngs, eight=vessels)
    y = y.float()
    if x is not None:
        x = x.float()
        return y, _jitter(x, rngs, options.jitter) if rngs and options.augment else x
    if rngs and options.noise:
        y = _noisy(y, rngs, options.noise)
    if options.round_x != "mixed":
        return y, low_resolution(y, options.round_x)
    rounded = _draws(rngs, 1)[0] < 0.5 if rngs else y.double().sum((1, 2, 3)).numpy() % 2 == 1
    either = low_resolution(y, True), low_resolution(y, False)
    return y, torch.where(torch.from_numpy(rounded)[:, None, None, None], *either)


def _gather(
    examples: Sequence[Example], indices: Sequence[int], crop: int | None, rngs: Generators | None
) -> tuple[Tensor, Tensor | None]:
    """Stack y and x (uint8), in training cropping each at its own random place."""
    crops = crop is not None and rngs is not None
    if not crops and isinstance(examples, ImageSet) and examples.stacked is not None:
        (y, x), index = examples.stacked, torch.as_tensor(indices)
        return y[index], None if x is None else x[index]
    chosen = [examples[int(i)] for i in indices]
    if crops:
        chosen = [_crop(e, crop, rng) for e, rng in zip(chosen, rngs, strict=True)]
    sizes = {tuple(example.y.shape[-2:]) for example in chosen}
    if len(sizes) > 1:
        shown = ", ".join(f"{h}x{w}" for h, w in sorted(sizes)[:3])
        raise DataError(f"pictures of one batch differ in size ({shown}): set data.crop or batch 1")
    y = torch.stack([example.y for example in chosen])
    return y, None if chosen[0].x is None else torch.stack([example.x for example in chosen])


def _crop(example: Example, size: int, rng: np.random.Generator) -> Example:
    """At a random place, drawn as if the picture went on for a quarter of a crop on each side and
    then held inside of it: so a network learns the true edges, which whole pictures have, and not
    only those of crops, where a vessel may come in."""
    height, width = example.y.shape[-2:]
    if height < size or width < size:
        raise DataError(
            f"{example.name} is {height}x{width} (HxW), smaller than data.crop = {size}: "
            f"set data.crop to {min(height, width)} or less"
        )
    beyond = size // 4
    top, left = (
        int(np.clip(rng.integers(-beyond, s - size + beyond + 1), 0, s - size))
        for s in (height, width)
    )
    window = (..., slice(top, top + size), slice(left, left + size))
    x = None if example.x is None else example.x[window]
    return Example(example.name, example.y[window], x)


def _symmetries(
    y: Tensor, x: Tensor | None, rngs: Generators, eight: bool
) -> tuple[Tensor, Tensor | None]:
    """Each sample mirrored left-right; with `eight`, also up-down and transposed (square only)."""
    draws = torch.from_numpy(_draws(rngs, 3) < 0.5)
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


def _jitter(x: Tensor, rngs: Generators, amount: float) -> Tensor:
    """Gamma, gain and offset a channel, `amount` times as far from none as cameras and eyes
    differ, clipped to 0..255."""
    u = torch.from_numpy(2 * _draws(rngs, 8) - 1)[..., None, None, None].float()  # (8,B,1,1,1)
    u = amount * u
    gamma = (0.25 * u[0]).exp()
    gain = (1 + 0.15 * u[1]) * (1 + 0.07 * torch.cat(list(u[2:5]), dim=1))
    offset = 10 * torch.cat(list(u[5:8]), dim=1)
    return ((x / 255) ** gamma * 255 * gain + offset).clamp(0, 255)


def _noisy(y: Tensor, rngs: Generators, share: float) -> Tensor:
    """A share of the pictures with white noise of 0 to 64 grey levels added, in 0..255 again:
    photographs are noisier than pictures that were made small."""
    chosen, level = torch.from_numpy(_draws(rngs, 2)).float()
    level = 64 * level * (chosen < share)
    noise = np.stack([rng.standard_normal(y.shape[1:], dtype=np.float32) for rng in rngs])
    return (y + level[:, None, None, None] * torch.from_numpy(noise)).clamp(0, 255).round()


def _draws(rngs: Generators, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) from each picture's generator, (count, B)."""
    return np.stack([rng.random(count) for rng in rngs], axis=1)
