"""Calibration of samples: ranks, coverage, and their deviation compared with the real error.

If y and n samples are independent draws of the same distribution, the rank of y among them is
uniform on 0 .. n, an interval between the k-th smallest and the k-th largest sample holds y with
probability (n + 1 - 2k) / (n + 1), and the root mean square error of their mean is the root of
(n + 1) / n times their mean variance. All statistics are over the entries of y (sub-pixels), in
grey levels. Entries of one picture are dependent, so standard errors are over pictures.

Grey levels are whole numbers, so ties are common. Among equal samples y takes a random rank, by
keyed noise, which keeps ranks uniform and coverage nominal."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cnf import noise

TIES_DRAW = -2000  # the `draw` of the noise that breaks ties
EDGES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0)  # grey levels


class Spread(NamedTuple):
    """What one picture adds to the statistics.

    ranks: counts of the ranks 0 .. n.
    moments: number of entries, sum of variances, sum of squared errors.
    bins: the same moments of the entries whose deviation lies between two of EDGES, a row for each
        of EDGES; the last bin is open.
    """

    ranks: np.ndarray
    moments: np.ndarray
    bins: np.ndarray


def spread(y: Tensor, samples: Tensor, generator: noise.Generator) -> Spread:
    """`Spread` of y (C,H,W) and its samples (n,C,H,W), n >= 2, in grey levels. Deviation is the
    root of the unbiased variance; the error is that of the mean of samples."""
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
    """The number of samples below y, plus a random share of those equal to y; integers 0 .. n, in
    the shape of y."""
    below, equal = (samples < y).sum(0), (samples == y).sum(0)
    u = noise.uniform((1, *y.shape), generator, y.double())[0]
    return below + torch.floor(u * (equal + 1)).long()


def spread_skill(moments: np.ndarray, n: int) -> np.ndarray:
    """sqrt((n + 1) / n mean variance) over the root mean square error of the mean of n samples.

    1 if calibrated, :eq:`eq-temp-spread`, less if samples are too much alike.
    """
    return np.sqrt((n + 1) / n * moments[..., 1] / np.maximum(moments[..., 2], 1e-12))


def nominal(n: int) -> np.ndarray:
    """Nominal coverage of the intervals that leave out k = 0 .. n // 2 of n samples on each side,
    :eq:`eq-temp-coverage`. For k = 0 the interval is the whole line."""
    return (n + 1 - 2 * np.arange(n // 2 + 1)) / (n + 1)


def coverage(ranks: np.ndarray) -> np.ndarray:
    """The share of y inside each of the intervals of `nominal`, along the last axis."""
    n = ranks.shape[-1] - 1
    shares = [ranks[..., k : n - k + 1].sum(-1) for k in range(n // 2 + 1)]
    return np.stack(shares, -1) / ranks.sum(-1)[..., None]


def are_enough(n: int, level: float) -> bool:
    """Whether an interval between two of n samples has this level or more. If not, `coverage_at`
    would interpolate with the whole line, which contains every y."""
    return level <= nominal(n)[1]


def coverage_at(ranks: np.ndarray, level: float) -> np.ndarray:
    """`coverage` at a nominal level, linear between the two intervals around it."""
    real, levels = coverage(ranks), nominal(ranks.shape[-1] - 1)
    after = np.clip((levels > level).sum(), 1, len(levels) - 1)
    share = (levels[after - 1] - level) / (levels[after - 1] - levels[after])
    return real[..., after - 1] + share * (real[..., after] - real[..., after - 1])
