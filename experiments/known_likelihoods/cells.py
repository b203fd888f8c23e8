"""A flow's probability of one cell, by importance sampling: noise whose density leans as the flow's
density does."""

import math

import torch
from torch import Tensor

from cnf import noise
from cnf.flow import ConditionalFlow
from cnf.layers import UniformDequantization
from cnf.noise import Generator


@torch.no_grad()
def leaning_log_prob(
    flow: ConditionalFlow, y: Tensor, x: Tensor, draws: int, generator: Generator = None
) -> tuple[Tensor, Tensor]:
    r"""log P(y|x) of a flow with uniform dequantization, by importance sampling within the cell.

    P(y|x) is the integral of p(v|x) over the cell of y. With uniform noise u, weights vary as p
    does. Here u_j has density g_j e^(g_j u_j) / (e^g_j - 1) on (0, 1), with g the gradient of log p
    at the centre of the cell, so that weights vary only by the curvature of log p,
    :eq:`eq-known-lean`. Nothing is trained: the gradient is that of the flow.

    Returns (log of the mean weight, (B,), nats; standard deviation of the log-weights, (B,)). Where
    the deviation is below 1, a few samples give log P itself, not a bound.
    Raises ValueError if the flow's first layer is no UniformDequantization.
    """
    first, *rest = flow.layers
    if not isinstance(first, UniformDequantization):
        raise ValueError(
            f"{type(first).__name__} is not uniform: its cells have noise of their own"
        )
    density, bins = ConditionalFlow(rest, flow.features), first.bins
    density.training = flow.training  # of this shell alone: layers and features keep theirs
    y, h = y.to(flow.dtype), flow.condition(x)
    with torch.enable_grad():
        v = ((y + 0.5) / bins).requires_grad_()
        (slope,) = torch.autograd.grad(density.encode(v, h)[1].sum(), v)
    slope = slope / bins  # by u
    volume = y[0].numel() * math.log(bins)
    log_weights = []
    for _ in range(draws):
        u, log_q = leaning(slope, noise.uniform(y.shape, generator, y))
        log_p = density.encode((y + u) / bins, h)[1] - volume
        log_weights.append(log_p - log_q.flatten(1).sum(1))
    stacked = torch.stack(log_weights)
    return stacked.logsumexp(0) - math.log(draws), stacked.std(0)


def leaning(g: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Map uniform t to u with density g e^(g u) / (e^g - 1) on (0, 1); returns u and the log of its
    density.

    Computed for g < 0 and mirrored, so that nothing overflows. |g| below 1e-4 counts as 1e-4.
    """
    steep = g.abs().clamp(min=1e-4)
    mass = -torch.expm1(-steep)  # 1 - e^-|g|
    near = (-torch.log1p(-t * mass) / steep).clamp(0, 1)  # of density |g| e^(-|g| u) / mass
    log_q = steep.log() - steep * near - mass.log()
    return torch.where(g < 0, near, 1 - near), log_q
