import math

import torch
from torch import Tensor, nn

from cnf import noise
from cnf.layers.base import Dequantization, check_all, checks_values, per_entry
from cnf.noise import Generator


class UniformDequantization(Dequantization):
    r"""Spread every grey level uniformly over its cell.

    Forward:  v = (y + u) / N,   u ~ U[0, 1)
    Inverse:  y = floor(N v), held in {0..N-1}
    -log q:   -D log N, :eq:`eq-deq-bpd`: P(y|x) is the mass of a cell, :eq:`eq-deq-mass`, and by
              Jensen log P(y|x) >= E_u log p(v|x) - D log N, a bound        :eq:`eq-deq-bound`

    Args:
        bins: number N of grey levels.

    Shapes: y (B, C, ...) whole numbers in {0..N-1} -> v in [0, 1), -log_q (B,) in nats.
    Raises: DataError if y holds anything else (NaN included); in training mode only on the CPU.
    """

    def __init__(self, bins: int = 256):
        super().__init__()
        self.bins = bins

    def forward(
        self, y: Tensor, h: Tensor | None = None, generator: Generator = None
    ) -> tuple[Tensor, Tensor]:
        check_levels(self, y, self.bins)
        v = into_cell(y, noise.uniform(y.shape, generator, y), self.bins)
        return v, per_entry(y, -math.log(self.bins))

    def inverse(self, v: Tensor) -> Tensor:
        return cell_of(v, self.bins)


def into_cell(y: Tensor, u: Tensor, bins: int) -> Tensor:
    """(y + u) / N. Rounding may carry it to (y + 1) / N, the next cell: it is held just below."""
    below = 1 - torch.finfo(u.dtype).eps / 2  # times a number, rounded: the next one towards 0
    return torch.minimum((y + u) / bins, (y + 1) / bins * below)


def cell_of(v: Tensor, bins: int) -> Tensor:
    """The y whose cell holds v, the end cells open: floor(N v), free of the rounding of N v."""
    y = (v * bins).floor()
    y = y + (v >= (y + 1) / bins).to(v.dtype) - (v < y / bins).to(v.dtype)
    return y.clamp(0, bins - 1)


def check_levels(module: nn.Module, y: Tensor, bins: int) -> None:
    """Raise DataError, naming the first wrong value, unless y holds whole numbers below `bins`; in
    training mode on the CPU only."""
    if checks_values(module, y):
        right = (y >= 0) & (y < bins) & (y == y.floor())
        check_all(
            right,
            lambda: (
                f"y holds {y[~right][0].item():g}, which is no whole number in 0..{bins - 1}: "
                "pass grey levels (labels: 0 and 1), not scaled values"
            ),
        )
