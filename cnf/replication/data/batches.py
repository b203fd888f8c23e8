"""The pictures of a batch as integers: whole or cropped, and in training mirrored. The task makes
pairs of them (`Task.pair`)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.data.examples import Example, ImageSet

Generators = Sequence[np.random.Generator]  # one for each picture of a batch


def gather(
    examples: Sequence[Example], indices: Sequence[int], crop: int | None, rngs: Generators | None
) -> tuple[Tensor, Tensor | None]:
    """Stack y and x (uint8), in training cropping each at its own random place.

    Raises DataError if pictures of one batch differ in size or are smaller than the crop.
    """
    is_whole = crop is None or rngs is None
    if is_whole and isinstance(examples, ImageSet) and examples.stacked is not None:
        (y, x), index = examples.stacked, torch.as_tensor(indices)
        return y[index], None if x is None else x[index]
    chosen = [examples[int(i)] for i in indices]
    if crop is not None and rngs is not None:
        chosen = [_crop(e, crop, rng) for e, rng in zip(chosen, rngs, strict=True)]
    sizes = {tuple(example.y.shape[-2:]) for example in chosen}
    if len(sizes) > 1:
        sizes_text = ", ".join(f"{h}x{w}" for h, w in sorted(sizes)[:3])
        raise DataError(f"pictures of one batch differ in size ({sizes_text}): set data.crop")
    y = torch.stack([example.y for example in chosen])
    return y, None if chosen[0].x is None else torch.stack([e.part("x") for e in chosen])


def _crop(example: Example, size: int, rng: np.random.Generator) -> Example:
    """A crop at a random place. The place is drawn as if the picture were a quarter of a crop
    larger on each side and then moved back inside. So crops at the true edges of pictures are
    frequent enough for a network to learn them: a vessel never enters there, as it does at other
    crops'."""
    height, width = example.y.shape[-2:]
    if height < size or width < size:
        raise DataError(
            f"{example.name} is {height}x{width} (HxW), smaller than data.crop = {size}: "
            f"set data.crop to {min(height, width)} or less"
        )
    overhang = size // 4
    corner = []
    for side in (height, width):
        start = rng.integers(-overhang, side - size + overhang + 1)
        corner.append(int(np.clip(start, 0, side - size)))
    top, left = corner
    window = (..., slice(top, top + size), slice(left, left + size))
    x = None if example.x is None else example.x[window]
    return Example(example.name, example.y[window], x)


def symmetries(
    y: Tensor, x: Tensor | None, rngs: Generators, eight: bool
) -> tuple[Tensor, Tensor | None]:
    """Mirror each picture left-right with probability 1/2; with `eight`, also up-down, and
    transpose it if it is square."""
    applied = torch.from_numpy(uniforms(rngs, 3) < 0.5)
    moves = [lambda t: t.flip(-1)]
    if eight:
        moves.append(lambda t: t.flip(-2))
        if y.shape[-2] == y.shape[-1]:
            moves.append(lambda t: t.transpose(-2, -1))
    for is_moved, move in zip(applied, moves, strict=False):
        mask = is_moved[:, None, None, None]
        y = torch.where(mask, move(y), y)
        x = None if x is None else torch.where(mask, move(x), x)
    return y, x


def uniforms(rngs: Generators, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) from each picture's generator, (count, B)."""
    return np.stack([rng.random(count) for rng in rngs], axis=1)
