"""A flow's probability of one cell, by noise that leans the way its density does."""

import math

import torch
from torch import Tensor

from cnf import noise
from cnf.flow import ConditionalFlow
from cnf.layers import UniformDequantization
from cnf.noise import Generator


@torch.no_grad()
def leaning_log_prob(
    flow: ConditionalFlow, y: Tensor, x: Tensor, num_samples: int, generator: Generator = None
) -> tuple[Tensor, Tensor]:
    r"""log P(y|x) of a flow with uniform dequantization, by importance sampling within the cell.

    P(y|x) is the integral of p(v|x) over the cell of y. Uniform noise u has weights that vary as
    p does; here u_j has density g_j e^(g_j u_j) / (e^g_j - 1) on (0, 1), g the gradient of log p at
    the centre of the cell, and only the curvature of log p is left to vary, :eq:`eq-known-lean`. No
    training: the gradient is that of the model itself.

    Returns (log of the mean weight, (B,), nats; standard deviation of the log-weights, (B,)): where
    that is below 1 a few samples give log P itself, and not a bound.
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
    for _ in range(num_samples):
        u, log_q = leaning(slope, noise.uniform(y.shape, generator, y))
        log_p = density.encode((y + u) / bins, h)[1] - volume
        log_weights.append(log_p - log_q.flatten(1).sum(1))
    stacked = torch.stack(log_weights)
    return stacked.logsumexp(0) - math.log(num_samples), stacked.std(0)


def leaning(g: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Uniform t to u of density g e^(g u) / (e^g - 1) on (0, 1), and the log of that density.

    Written for g < 0 and mirrored: nothing overflows; below |g| = 1e-4 u is t.
    """
    steep = g.abs().clamp(min=1e-4)
    mass = -torch.expm1(-steep)  # 1 - e^-|g|
    near = (-torch.log1p(-t * mass) / steep).clamp(0, 1)  # of density |g| e^(-|g| u) / mass
    log_q = steep.log() - steep * near - mass.log()
    return torch.where(g < 0, near, 1 - near), log_q
