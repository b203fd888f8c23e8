from typing import Any

import torch
from torch import Tensor, nn

from cnf.layers.base import (
    Bijection,
    check_channels,
    constant,
    num_positions,
    per_channel,
)


class ActNorm(Bijection):
    r"""Shift and scale each channel; starts so that the first batch has mean 0 and variance 1.

    Forward:  z = exp(l) (y + b)                                     :eq:`eq-norms-actnorm`
    Inverse:  y = z exp(-l) - b
    log|det|: H W sum_c l_c                                   (Glow) :eq:`eq-norms-actnorm`

    Args:
        channels: number of channels C.

    The start happens at the first forward in training mode. ``initialised`` is a buffer, so a model
    that was saved and loaded is not started again; `is_initialised` is what it says.

    Shapes: y (B, C, ...) -> z of the same shape, log_det (B,) in nats; of a
    vector (B, D), H W = 1.
    Raises: ValueError if y has another number of channels.
    """

    initialised: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))
        self.register_buffer("initialised", torch.tensor(False))
        self._read: tuple[Tensor, int, bool] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_read": None}  # a copy's buffer has versions of its own

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_channels(y, len(self.bias), "norm")
        if self.training and not self.is_initialised:
            self.initialise(y)
        scale, bias = per_channel(self.log_scale.exp(), y), per_channel(self.bias, y)
        return (y + bias) * scale, self.log_det(y)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_channels(z, len(self.bias), "norm")
        scale, bias = per_channel((-self.log_scale).exp(), z), per_channel(self.bias, z)
        return z * scale - bias, -self.log_det(z)

    def log_det(self, y: Tensor) -> Tensor:
        return constant(y, num_positions(y) * self.log_scale.sum())

    @property
    def is_initialised(self) -> bool:
        """Read from the buffer again only if that was written or moved: a read makes a GPU wait."""
        flag = self.initialised
        if flag.is_inference():  # which has no version
            return bool(flag)
        version = flag._version
        if self._read is None or self._read[0] is not flag or self._read[1] != version:
            self._read = flag, version, bool(flag)
        return self._read[2]

    @torch.no_grad()
    def initialise(self, y: Tensor) -> None:
        """Set b and l from a batch, :eq:`eq-norms-start`. A constant channel counts as having
        standard deviation 1e-4."""
        std, mean = torch.std_mean(y, dim=[0, *range(2, y.dim())], correction=0)
        self.bias.copy_(-mean.view_as(self.bias))
        self.log_scale.copy_(-std.clamp(min=1e-4).log().view_as(self.log_scale))
        self.initialised.fill_(True)
