import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf import noise
from cnf.layers.base import (
    Bijection,
    Dequantization,
    check_features,
    gaussian_log_prob,
    per_entry,
    run,
    sum_except_batch,
)
from cnf.layers.uniform import cell_of, check_levels, into_cell
from cnf.noise import Generator


class VariationalDequantization(Dequantization):
    r"""Spread every grey level over its cell by noise that a conditional flow makes.

    Forward:  eps ~ N(0, I),   w = flow(eps; y, h),   v = (y + sigmoid(w)) / N
                                                                 :eq:`eq-deq-reparametrisation`
    Inverse:  y = floor(N v), held in {0..N-1}
    -log q:   -log N(eps; 0, I) + log|det dw/deps| + sum log[sigmoid(w) sigmoid(-w)] - D log N
                                                 (Flow++, Ho et al. 2019) :eq:`eq-deq-log-q`

    Args:
        layers: bijections of the noise, (B, C, ...); each is given the features and y as
            (B, C_h + C, ...), y scaled to [-1, 1].
        bins: number N of grey levels.

    Shapes: y (B, C, ...) whole numbers in {0..N-1} -> v in [0, 1), -log_q (B,) in nats.
    Raises: DataError if y holds anything else (NaN included; in training mode only on the CPU);
        ValueError if h is not at the resolution of y.
    """

    def __init__(self, layers: Iterable[Bijection], bins: int = 256):
        super().__init__()
        self.layers, self.bins = nn.ModuleList(layers), bins

    def forward(
        self, y: Tensor, h: Tensor | None = None, generator: Generator = None
    ) -> tuple[Tensor, Tensor]:
        check_levels(self, y, self.bins)
        eps = noise.normal(y.shape, generator, y)
        w, log_det = run(self.layers, eps, with_target(y, h, self.bins))
        v = into_cell(y, torch.sigmoid(w), self.bins)
        zero = torch.zeros_like(eps)
        log_q = gaussian_log_prob(eps, zero, zero) - log_det
        log_q = log_q - sum_except_batch(F.logsigmoid(w) + F.logsigmoid(-w))
        log_q = log_q + per_entry(y, math.log(self.bins))
        return v, -log_q

    def inverse(self, v: Tensor) -> Tensor:
        return cell_of(v, self.bins)


def with_target(y: Tensor, h: Tensor | None, bins: int) -> Tensor:
    """The context of q(v|y, x): h and y, (B, C_h + C, ...), y scaled to [-1, 1]."""
    check_features(y, h)
    scaled = 2 * y / (bins - 1) - 1
    if h is None:
        return scaled
    return torch.cat([h.expand(y.shape[0], *h.shape[1:]), scaled], dim=1)  # h may be one for all
