from collections.abc import Iterable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from cnf.layers.base import Bijection, check_picture, constant, run


class Squeeze(Bijection):
    r"""Fold 2x2 blocks of positions into channels. The level of the features rises by one.

    Forward:  (B, C, H, W) -> (B, 4C, H/2, W/2)
    Inverse:  (B, 4C, H/2, W/2) -> (B, C, H, W)
    log|det|: 0, a permutation                                   (RealNVP) :eq:`eq-norms-squeeze`

    Raises: ValueError if H or W is odd; both are named; or if y has no H and W.
    """

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_size(y)
        return F.pixel_unshuffle(y, 2), constant(y, 0.0)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z, 2), constant(z, 0.0)

    @staticmethod
    def check_size(y: Tensor) -> None:
        check_picture(y, "a squeeze")
        height, width = y.shape[-2:]
        if height % 2 or width % 2:
            raise ValueError(
                f"cannot squeeze {height}x{width}: both sizes must be even; crop or pad the picture"
            )


class Squeezed(Bijection):
    r"""Run bijections on the folded picture, then unfold: couplings for a target of one channel.

    Forward:  z = unfold(layers(fold(y), fold(h)))
    Inverse:  y = unfold(layers^-1(fold(z), fold(h)))
    log|det|: the sum of the layers' terms

    Args:
        layers: bijections of 4 C channels, given 4 C_h feature channels.
    """

    def __init__(self, layers: Iterable[Bijection]):
        super().__init__()
        self.squeeze, self.layers = Squeeze(), nn.ModuleList(layers)
        inner = cast(list[Bijection], [*self.layers])
        folded = next((layer.channels for layer in inner if layer.channels is not None), None)
        self.channels = None if folded is None else folded // 4

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = run(self.layers, self.squeeze(y)[0], self.fold(h))
        return self.squeeze.inverse(z)[0], log_det

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, h, total = self.squeeze(z)[0], self.fold(h), constant(z, 0.0)
        for layer in reversed(cast(list[Bijection], [*self.layers])):
            y, log_det = layer.inverse(y, h)
            total = total + log_det
        return self.squeeze.inverse(y)[0], total

    def fold(self, h: Tensor | None) -> Tensor | None:
        return None if h is None else self.squeeze(h)[0]
