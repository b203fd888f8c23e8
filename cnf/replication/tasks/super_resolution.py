"""Super-resolution by two: x is the antialiased half of y."""

import numpy as np
import torch
from torch import Tensor

from cnf.replication.data.batches import Generators, uniforms
from cnf.replication.data.config import DataConfig
from cnf.replication.tasks.task import Task, register
from cnf.resample import low_resolution


class SuperResolution(Task):
    name = "sr"
    factor = 2
    data_unread = ("jitter",)
    has_low_resolution = True

    def pair(
        self, y: Tensor, x: Tensor | None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """x is made from y. In training a share `options.noise` of the pictures gets noise before.
        With round_x "mixed" x is rounded for half the pictures: in training for random ones, else
        for those whose sum is odd."""
        if rngs and options.noise:
            y = noisy(y, rngs, options.noise)
        if options.round_x != "mixed":
            return y, low_resolution(y, options.round_x)
        if rngs:
            is_rounded = torch.from_numpy(uniforms(rngs, 1)[0] < 0.5)
        else:
            is_rounded = y.double().sum((1, 2, 3)) % 2 == 1
        is_rounded = is_rounded[:, None, None, None]
        return y, torch.where(is_rounded, low_resolution(y, True), low_resolution(y, False))

    def x_of(self, picture: Tensor, options: DataConfig) -> Tensor:
        """The picture itself: what is to be doubled."""
        return picture


def noisy(y: Tensor, rngs: Generators, share: float) -> Tensor:
    """The pictures y with white noise of 0 to 64 grey levels added to a share of them, clipped to
    0..255: photographs are noisier than pictures that were reduced."""
    selection, level = torch.from_numpy(uniforms(rngs, 2)).float()
    level = 64 * level * (selection < share)
    noise = np.stack([rng.standard_normal(y.shape[1:], dtype=np.float32) for rng in rngs])
    return (y + level[:, None, None, None] * torch.from_numpy(noise)).clamp(0, 255).round()


SR = register(SuperResolution())
