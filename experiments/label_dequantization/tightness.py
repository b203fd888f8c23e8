r"""The gap between the bound and log P(y|x), by importance weights.

log w = log p(v|x) - log q(v|y,x) is one draw of the bound. The log of the mean of M weights is a
bound that rises with M to log P(y|x) (Burda et al. 2016). How fast depends on the spread of log w:
where its standard deviation is well above 1, a few weights dominate the sum. On a photograph of
330,000 pixels the deviation is dozens, and 64 draws hardly help. On a crop of 8x8 it is small, and
1024 draws reach log P(y|x).
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy
import torch
from torch import Tensor

from cnf.flow import ConditionalFlow
from cnf.noise import Generator

SIZES = (1, 4, 16, 64, 256, 1024)
ENTRIES = 400_000  # of y at once


class MCurve(NamedTuple):
    """The importance-weighted bound by the number M of draws, means over pictures.

    sizes: the numbers M, (S,). bits, errors: bits per pixel and their standard errors, (S,).
    gains, gain_errors: what M draws gain over one draw on the same pictures, (S,).
    spread: standard deviation of the log-weights of a picture, nats.
    effective: effective share of the draws, see `effective`.
    """

    sizes: np.ndarray
    bits: np.ndarray
    errors: np.ndarray
    gains: np.ndarray
    gain_errors: np.ndarray
    spread: float
    effective: float


def m_curve(
    model: ConditionalFlow,
    y: Tensor,
    x: Tensor,
    sizes: Sequence[int] = SIZES,
    generator: Generator = None,
) -> MCurve:
    """The importance-weighted bound of y given x, (B,C,H,W) each, for every M in `sizes`, all of
    the same max(sizes) draws. Raises as `curve` does."""
    return curve(log_weights(model, y, x, max(sizes), generator), y[0].numel(), sizes)


@torch.no_grad()
def log_weights(
    model: ConditionalFlow, y: Tensor, x: Tensor, draws: int, generator: Generator = None
) -> np.ndarray:
    """Draws of log p(v|x) - log q(v|y,x) for each y, nats, float64 (B, draws). A keyed
    generator gives every picture its own noise, in their order. Raises ValueError for draws < 1.
    """
    if draws < 1:
        raise ValueError(f"draws = {draws}: draw at least one weight")
    h, terms = model.condition(x), []
    for n, generators in _parts(draws, y.numel(), generator):
        repeated_h = [level.repeat(n, 1, 1, 1) for level in h]
        log_w = model.encode(y.repeat(n, 1, 1, 1), repeated_h, generators)[1]
        terms.append(log_w.double().unflatten(0, (n, len(y))))
    return torch.cat(terms).T.cpu().numpy()


def _parts(draws: int, entries: int, generator: Generator) -> Iterator[tuple[int, Generator]]:
    """Split the draws into parts that fit into memory: the size of each part, and its noise."""
    at_once = max(1, ENTRIES // entries)
    for start in range(0, draws, at_once):
        n = min(at_once, draws - start)
        yield n, generator * n if isinstance(generator, list) else generator


def curve(log_w: np.ndarray, dims: int, sizes: Sequence[int] = SIZES) -> MCurve:
    """`m_curve` of given log-weights, (B, n), nats, of pictures with `dims` entries. The bound for
    M is the mean over disjoint groups of M weights. Bits fall with M, :eq:`eq-bits-iw`; for large M
    the gap is Var(w) / (2 M P^2), :eq:`eq-deq-rate`. Raises ValueError for an M outside 1..n."""
    n = log_w.shape[1]
    bad = [m for m in sizes if not 1 <= m <= n or m != int(m)]
    if bad or not len(sizes):
        raise ValueError(f"M = {bad}: choose whole numbers from 1 to the {n} draws there are")
    bounds = []  # log of the mean of m weights, averaged over disjoint groups of them, (B,)
    for m in sizes:
        groups = log_w[:, : n // m * m].reshape(len(log_w), -1, m)
        bounds.append((np.logaddexp.reduce(groups, 2) - math.log(m)).mean(1))
    nats = np.stack(bounds, 1)
    bits = -nats / (dims * math.log(2))
    gains = (nats - log_w.mean(1, keepdims=True)) / (dims * math.log(2))
    return MCurve(
        np.array(sizes),
        bits.mean(0),
        scipy.stats.sem(bits),
        gains.mean(0),
        scipy.stats.sem(gains),
        float(log_w.std(1, ddof=1).mean()),
        float(effective(log_w).mean()),
    )


def effective(log_w: np.ndarray) -> np.ndarray:
    """(sum w)^2 / (n sum w^2) along the last axis: 1 if all weights are equal, 1/n if one weight
    dominates (Kong 1992)."""
    w = np.exp(log_w - log_w.max(-1, keepdims=True))
    return np.square(w.sum(-1)) / (w.shape[-1] * np.square(w).sum(-1))


def normal_gain(spread: float, draws: int) -> float:
    r"""Expected gain, in nats, of the log of the mean of so many weights over the mean of their
    logs, if these are normal with standard deviation `spread`; from 1000 rounds with a fixed seed.

    It is at most spread^2 / 2, the gain of infinitely many weights, and at most the expected
    maximum of as many logs, about spread sqrt(2 log draws). For a large spread the second limit
    is far smaller, :eq:`eq-connected-gain`.
    """
    rng = np.random.default_rng(0)
    logs = spread * rng.standard_normal((1000, draws))
    return float(np.mean(np.logaddexp.reduce(logs, 1) - math.log(draws) - logs.mean(1)))
