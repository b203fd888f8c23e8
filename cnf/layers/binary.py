from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf import noise
from cnf.layers.base import (
    Bijection,
    Dequantization,
    gaussian_log_prob,
    run,
    sum_except_batch,
)
from cnf.layers.uniform import check_levels
from cnf.layers.variational import with_target
from cnf.noise import Generator


class BinaryDequantization(Dequantization):
    r"""Spread every label over its half-line: half-infinite noise.

    Forward:  eps ~ pi,   w = flow(eps; y, h),   v = 1/2 + (2y - 1) softplus(w)
                                                                :eq:`eq-binary-reparametrisation`
    Inverse:  y = 1 where v > 1/2, else 0                               :eq:`eq-binary-threshold`
    -log q:   -log pi(eps) + log|det dw/deps| + sum log sigmoid(w)          :eq:`eq-binary-log-q`

    P(y|x) is the mass of v's density in the orthant of y, :eq:`eq-binary-orthant`; the mean over
    draws of log p(v|x) - log q(v|y, x) bounds its log from below, :eq:`eq-binary-bound`.

    Args:
        layers: bijections of the noise, each given the features and the label as
            (B, C_h + C, ...); none: w = eps.
        noise: pi. "logistic": softplus(eps) is Exponential(1), positive at the threshold,
            :eq:`eq-binary-exponential`. "gaussian": vanishes there faster than any power:
            importance weights have heavy tails.

    Shapes: y (B, C, ...) in {0, 1} -> v of the same shape, -log_q (B,) in nats.
    Raises: DataError if y holds anything else (NaN included; in training mode only on the CPU);
        ValueError if h is not at the resolution of y.
    """

    def __init__(
        self, layers: Iterable[Bijection] = (), noise: Literal["logistic", "gaussian"] = "logistic"
    ):
        super().__init__()
        self.layers, self.noise = nn.ModuleList(layers), noise

    def forward(
        self, y: Tensor, h: Tensor | None = None, generator: Generator = None
    ) -> tuple[Tensor, Tensor]:
        check_levels(self, y, 2)
        eps, log_pi = self.sample_noise(y, generator)
        w, log_det = run(self.layers, eps, with_target(y, h, 2))
        # a distance below eps would round v onto the threshold and lose the label
        distance = F.softplus(w).clamp(min=torch.finfo(w.dtype).eps)
        v = 0.5 + (2 * y - 1) * distance
        return v, -log_pi + log_det + sum_except_batch(F.logsigmoid(w))

    def inverse(self, v: Tensor) -> Tensor:
        return (v > 0.5).to(v.dtype)

    def sample_noise(self, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """(eps, log pi(eps)): noise of the shape of y and its log-density (B,)."""
        if self.noise == "gaussian":
            eps = noise.normal(y.shape, generator, y)
            return eps, gaussian_log_prob(eps, torch.zeros_like(eps), torch.zeros_like(eps))
        if self.noise != "logistic":
            raise ValueError(f"noise = {self.noise!r}: choose logistic or gaussian")
        eps = noise.logistic(y.shape, generator, y)
        return eps, sum_except_batch(F.logsigmoid(eps) + F.logsigmoid(-eps))
