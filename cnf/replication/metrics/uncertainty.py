"""Do samples spread as they should? Ranks, coverage, and deviation against real error.

If y and n samples are independent draws of the same distribution, the rank of y among them is
uniform on 0 .. n, an interval between the k-th smallest and the k-th largest sample holds y with
probability (n + 1 - 2k) / (n + 1), and the root mean square error of their mean is the root of
(n + 1) / n times their mean variance. All of it is counted over the entries of y (sub-pixels), in
grey levels; entries of one picture depend on each other, so errors are over pictures.

Grey levels are whole numbers and ties are common: y takes its place among equal samples at random,
by keyed noise, which keeps ranks uniform and intervals nominal.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cnf import noise

TIES_DRAW = -2000  # the `draw` of the noise that breaks ties
EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)  # grey levels


class Spread(NamedTuple):
    """What one picture adds.

    ranks: counts of the ranks 0 .. n. moments: number of entries, sums of variance and squared
    error. bins: a row for each of EDGES, the last one open: the moments of entries of that
    deviation.
    """

    ranks: np.ndarray
    moments: np.ndarray
    bins: np.ndarray


def spread(y: Tensor, samples: Tensor, generator: noise.Generator) -> Spread:
    """Of y (C,H,W) and its samples (n,C,H,W), n >= 2, in grey levels. Deviation is the root of the
    unbiased variance; the error is that of the mean of samples."""
    n = len(samples)
    total, squares = (sum(s.double() ** power for s in samples) for power in (1, 2))  # exact
    mean, variance = total / n, (n * squares - total**2) / (n * (n - 1))
    error = mean - y.double()
    terms = (torch.ones_like(error), variance, error**2)
    moments = np.array([t.sum().item() for t in terms])
    edges = torch.tensor(EDGES, dtype=torch.float64)
    place = torch.bucketize(variance.sqrt().flatten(), edges, right=True) - 1
    bins = [torch.bincount(place, t.flatten(), len(EDGES)).numpy() for t in terms]
    ranks = torch.bincount(rank(y, samples, generator).flatten(), minlength=n + 1)
    return Spread(ranks.double().numpy(), moments, np.stack(bins, 1))


def rank(y: Tensor, samples: Tensor, generator: noise.Generator) -> Tensor:
    """How many samples lie below y, among equal ones a random share; integers 0 .. n, as y."""
    below, equal = (samples < y).sum(0), (samples == y).sum(0)
    u = noise.uniform((1, *y.shape), generator, y.double())[0]
    return below + torch.floor(u * (equal + 1)).long()


def spread_skill(moments: np.ndarray, n: int) -> np.ndarray:
    """sqrt((n + 1) / n mean variance) over the root mean square error of the mean of n samples.

    1 if calibrated, :eq:`eq-temp-spread`, less if samples are too much alike.
    """
    return np.sqrt((n + 1) / n * moments[..., 1] / np.maximum(moments[..., 2], 1e-12))


def nominal(n: int) -> np.ndarray:
    """The probabilities of the intervals that leave out k = 0 .. n // 2 of n samples on each side,
    :eq:`eq-temp-coverage`; that of k = 0 is the whole line."""
    return (n + 1 - 2 * np.arange(n // 2 + 1)) / (n + 1)


def coverage(ranks: np.ndarray) -> np.ndarray:
    """The share of y inside each of the intervals of `nominal`, along the last axis."""
    n = ranks.shape[-1] - 1
    shares = [ranks[..., k : n - k + 1].sum(-1) for k in range(n // 2 + 1)]
    return np.stack(shares, -1) / ranks.sum(-1)[..., None]


def are_enough(n: int, level: float) -> bool:
    """Whether an interval between two of n samples has this level or more. If not, `coverage_at` it
    would lean on the whole line, which holds every y."""
    return level <= nominal(n)[1]


def coverage_at(ranks: np.ndarray, level: float) -> np.ndarray:
    """`coverage` at a nominal level, linear between the two intervals around it."""
    real, levels = coverage(ranks), nominal(ranks.shape[-1] - 1)
    after = np.clip((levels > level).sum(), 1, len(levels) - 1)
    share = (levels[after - 1] - level) / (levels[after - 1] - levels[after])
    return real[..., after - 1] + share * (real[..., after] - real[..., after - 1])


def coverage_error(ranks: np.ndarray) -> np.ndarray:
    """Mean of |coverage - nominal| over the intervals k = 1 .. n // 2."""
    gaps = np.abs(coverage(ranks) - nominal(ranks.shape[-1] - 1))
    return gaps[..., 1:].mean(-1)


def rank_distance(ranks: np.ndarray) -> np.ndarray:
    """sum_r (p_r - u)^2 / u over the shares p of the n + 1 ranks, u = 1 / (n + 1): chi-square over
    the number of entries. 0 if uniform, n if y always has the same rank."""
    share = ranks / ranks.sum(-1)[..., None]
    return ranks.shape[-1] * ((share - 1 / ranks.shape[-1]) ** 2).sum(-1)
