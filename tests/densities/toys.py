"""Flows of two and three numbers: small enough to integrate, and to sum over every target."""

import torch
from torch import Tensor

from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import (
    ActNorm,
    Conv1x1,
    Dequantization,
    GaussianPrior,
    VariationalDequantization,
)
from tests.laws.cases import coupling, net, randomise, split, vector_net

X = torch.tensor([-1.0, 0.8], dtype=torch.float64).view(2, 1, 1, 1)  # two inputs of one number


def density(
    channels: int,
    spread: float,
    scale: str = "bounded",
    with_split: bool = False,
    seed: int = 2,
    size: tuple[int, ...] = (1, 1),
) -> ConditionalFlow:
    """A flow of `channels` real numbers at one position, or of vectors where size is (): curved,
    correlated, dependent on x.

    Weights are random; the last step back to v puts mean 1/2 and deviation `spread` on every
    number, averaged over both x.
    """
    torch.manual_seed(seed)
    network = net if size else vector_net
    left = channels - channels // 2 if with_split else channels
    flow = ConditionalFlow(
        [
            ActNorm(channels),
            Conv1x1(channels),
            *(
                coupling(channels, 1, network, flip=flip, scale=scale)
                for flip in (False, True, False)
            ),
            *[split(channels, 1, network)] * with_split,
            GaussianPrior(left, network(0, 1, 2 * left)),
        ],
        RawFeatures(1),
    )
    flow = randomise(flow, seed, scale=0.7).double()
    with torch.no_grad():
        drawn = flow.sample(
            repeat(X.view(2, 1, *size), 2000), 1, generator=torch.Generator().manual_seed(0)
        )[0]
        std, mean = torch.std_mean(flow.layers[0](drawn)[0], dim=[0, *range(2, drawn.dim())])
        flow.layers[0].log_scale.copy_((std / spread).log().view(-1, 1, 1))
        flow.layers[0].bias.copy_((mean * spread / std - 0.5).view(-1, 1, 1))
    return flow.requires_grad_(False)


def discrete(dequantization: Dequantization, flow: ConditionalFlow) -> ConditionalFlow:
    """The model of y whose v has this density.

    Normal noise has next to no mass at the edges of a cell, where the density has some: its scale
    is set to about 3, or importance weights would be wild.
    """
    q = randomise(dequantization, seed=1, scale=0.3).double()
    if isinstance(q, VariationalDequantization) or getattr(q, "noise", "") == "gaussian":
        q.layers[0].net.last.bias.data[: q.layers[0].channels] += 1.1
    return ConditionalFlow([q, *flow.layers], flow.features).requires_grad_(False).eval()


def plane(low: float, high: float, n: int, size: tuple[int, ...] = (1, 1)) -> tuple[Tensor, float]:
    """(midpoints of an n x n grid on [low, high]^2 as (n n, 2, *size), area of one square)."""
    step = (high - low) / n
    axis = low + step * (torch.arange(n, dtype=torch.float64) + 0.5)
    return torch.cartesian_prod(axis, axis).view(-1, 2, *size), step**2


def repeat(x: Tensor, n: int) -> Tensor:
    """Every input n times in a row."""
    return x.repeat_interleave(n, dim=0)
