import torch.nn.functional as F
from torch import Tensor

from cnf.layers.base import Bijection, constant


class Squeeze(Bijection):
    r"""Fold 2x2 blocks of positions into channels. The level of the features rises by one.

    Forward:  (B, C, H, W) -> (B, 4C, H/2, W/2)
    Inverse:  (B, 4C, H/2, W/2) -> (B, C, H, W)
    log|det|: 0, a permutation                                          (paper.md section 1)

    Raises: ValueError if H or W is odd; both are named.
    """

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        height, width = y.shape[-2:]
        if height % 2 or width % 2:
            raise ValueError(
                f"cannot squeeze {height}x{width}: both sizes must be even; crop or pad the picture"
            )
        return F.pixel_unshuffle(y, 2), constant(y, 0.0)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z, 2), constant(z, 0.0)
