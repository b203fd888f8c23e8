"""Retinal vessels: x is a photograph of the eye, y says at which pixels there is a vessel."""

import torch
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.data.batches import Generators, uniforms
from cnf.replication.data.config import DataConfig
from cnf.replication.tasks.task import Task, register


class Vessels(Task):
    name = "vessels"
    kind = "labelled"
    channels, bins = 1, 2
    crop = 96
    all_symmetries = True
    pads = True  # the black around a photograph of the eye goes on
    data_unread = ("noise", "round_x")

    def pair(
        self, y: Tensor, x: Tensor | None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """In training the colours of x vary."""
        if x is None:
            raise DataError("vessels are drawn in photographs: give each label its photograph")
        return y, jittered(x, rngs, options.jitter) if rngs and options.augment else x

    def image(self, y: Tensor, x: Tensor) -> Tensor:
        return 255 * y


def jittered(x: Tensor, rngs: Generators, amount: float) -> Tensor:
    """x with random gamma, gain and offset in each channel, clipped to 0..255. With `amount` 1 they
    vary as much as cameras and eyes do."""
    u = torch.from_numpy(2 * uniforms(rngs, 8) - 1)[..., None, None, None].float()  # (8,B,1,1,1)
    u = amount * u
    gamma = (0.25 * u[0]).exp()
    gain = (1 + 0.15 * u[1]) * (1 + 0.07 * torch.cat(list(u[2:5]), dim=1))
    offset = 10 * torch.cat(list(u[5:8]), dim=1)
    return ((x / 255) ** gamma * 255 * gain + offset).clamp(0, 255)


VESSELS = register(Vessels())
