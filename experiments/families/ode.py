"""A differential equation solved, and the log-density of what it transports."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from cnf.layers.base import sum_except_batch

Slope = Callable[[Tensor, float], tuple[Tensor, Any]]


def rk4(slope: Slope, x: Tensor, times: Sequence[float]) -> tuple[Tensor, Any]:
    """x at the last of `times`, from x at the first, by a step of the classical Runge-Kutta method
    from each time to the next (order 4); and the integral of a rate along the way.

    Args:
        slope: (x, time) -> (dx / dtime, rate); the rate may be a number.
    """
    total: Any = 0.0
    for start, stop in pairwise(times):
        s = stop - start
        k1, r1 = slope(x, start)
        k2, r2 = slope(x + s / 2 * k1, start + s / 2)
        k3, r3 = slope(x + s / 2 * k2, start + s / 2)
        k4, r4 = slope(x + s * k3, stop)
        x = x + s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        total = total + s / 6 * (r1 + 2 * r2 + 2 * r3 + r4)
    return x, total


def with_divergence(
    field: Callable[[Tensor], Tensor], x: Tensor, probes: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """(field(x), sum of e . J e over the probes e), of shapes (B, ...) and (B,), J the Jacobian of
    each sample. One probe of independent signs gives the divergence in the mean, :func:`signs`; all
    unit vectors, :func:`units`, give it exactly. By forward-mode differentiation: a probe costs as
    much as the field, and no activation is kept."""
    value, total = x, x.new_zeros(len(x))
    for probe in probes:
        value, change = torch.func.jvp(field, (x,), (probe,))
        total = total + sum_except_batch(probe * change)
    return value, total


def signs(uniform: Tensor) -> list[Tensor]:
    """The probe of Hutchinson's estimator, from uniform noise: its variance is that of independent
    signs, 2 sum of squares off the diagonal of (J + J^T) / 2, the least there is."""
    return [torch.where(uniform < 0.5, -1.0, 1.0).to(uniform.dtype)]


def units(x: Tensor) -> list[Tensor]:
    """Every unit vector of one sample of x, each (1, ...) expanded to the batch."""
    size = x[0].numel()
    return [unit.view(1, *x.shape[1:]).expand_as(x) for unit in torch.eye(size, dtype=x.dtype)]
