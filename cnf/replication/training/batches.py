"""Which pictures make a batch: their order in training, and whole pictures."""

from functools import lru_cache

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from cnf.errors import ConfigError, DataError
from cnf.replication import distributed
from cnf.replication.config import Config, TrainingConfig
from cnf.replication.data import Example, ImageSet
from cnf.replication.tasks.task import find_task


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch goes through the pictures."""
    return np.random.default_rng([0, seed, epoch]).permutation(size)


def check_batch(options: TrainingConfig) -> None:
    """Raise ConfigError unless every micro-batch of every process has as many pictures."""
    parts = distributed.count() * options.accumulate
    if options.batch_size % parts:
        raise ConfigError(
            f"training.batch_size = {options.batch_size} does not divide by {distributed.count()} "
            f"process(es) x training.accumulate = {options.accumulate}: choose a multiple of "
            f"{parts}"
        )


def cropped(example: Example, height: int, width: int, factor: int) -> Example:
    """The top left `height` x `width` pixels of y, and the part of x that belongs to them."""
    x = example.x
    if x is not None:
        x = x[..., : height // factor, : width // factor]
    return Example(example.name, example.y[..., :height, :width], x)


def whole_batch(
    images: ImageSet, indices: list[int], config: Config, multiple: int
) -> tuple[Tensor, Tensor, int]:
    """Whole pictures with sides that the model can take: y, x, and D without padding.

    They are cropped at the right and bottom to a multiple of `multiple`. For a task that `pads`
    they are padded with zeros instead, which do not count in D, so that padding only adds bits.
    """
    examples = [images[i] for i in indices]
    task = find_task(config.task)
    if not task.pads:
        height, width = (side - side % multiple for side in examples[0].y.shape[-2:])
        if not height * width:
            raise DataError(f"{examples[0].name} is smaller than {multiple} pixels: leave it out")
        examples = [cropped(e, height, width, task.factor) for e in examples]
    y, x = task.batch(examples, range(len(examples)), config.data)
    dims = y[0].numel()
    if task.pads:
        bottom, right = (-side % multiple for side in y.shape[-2:])
        y, x = (F.pad(t, (0, right, 0, bottom)) for t in (y, x))
    return y, x, dims
