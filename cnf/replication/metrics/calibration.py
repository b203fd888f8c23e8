"""Calibration of the probabilities of single pixels, and of numbers that describe a whole mask.

Marginals: of the pixels that are vessel with probability p, a share of p should be vessel. Joint
statements, such as the number of pieces: the truth should be distributed like another sample, see
`uncertainty`. Twenty photographs give only twenty numbers, so that only coarse faults are visible.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from cnf import noise
from cnf.errors import DataError
from cnf.replication.metrics import jackknife, uncertainty

LOW, HIGH, BINS = 0.05, 0.95, 15  # the p that count: pixels that are not almost certain


class Reliability(NamedTuple):
    """A reliability plot, a value a bin: mean p, share of vessel pixels, number of pixels."""

    p: np.ndarray
    share: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # nobody wants the method of tuples


class Joint(NamedTuple):
    """How well samples of one number a photograph agree with its true value. `_se`: standard errors
    over photographs.

    coverage: share of photographs whose truth lies in the central interval of nominal 90 %.
    ranks: of each truth among its n samples, 0..n, (N,).
    """

    coverage: float
    coverage_se: float | None
    ranks: np.ndarray


# --- marginals ------------------------------------------------------------------------------------


def calibration_error(p: np.ndarray, y: np.ndarray, low: float = LOW, high: float = HIGH) -> float:
    """Mean of |mean p - share of y| over 15 bins of equal count of the p in [low, high].

    Pixels of equal p share a bin, so that counts may differ a little. Bins are weighted by counts.

    Args:
        p: probabilities, any shape. `y`: labels in {0, 1}, as p.

    Raises DataError for sizes that differ, a p outside [0, 1], or none in [low, high].
    """
    return float(error_of(table([p], [y], low, high)[0]))


def reliability(
    p: np.ndarray, y: np.ndarray, low: float = 0.0, high: float = 1.0, bins: int = BINS
) -> Reliability:
    """The bins of `calibration_error`, by default over all p, without empty bins."""
    sums = table([p], [y], low, high, bins).reshape(3, bins)
    count, p, y = sums[:, sums[0] > 0]
    return Reliability(p / count, y / count, count)


def table(
    p: Sequence[np.ndarray],
    y: Sequence[np.ndarray],
    low: float = LOW,
    high: float = HIGH,
    bins: int = BINS,
) -> np.ndarray:
    """What each image adds to the common bins, (N, 3 bins): number of pixels, sum of p, sum of y.
    Sums of rows go into `error_of`. Raises as `calibration_error` does."""
    pairs = [_checked(*pair) for pair in zip(p, y, strict=True)]
    pairs_in_range = [pair[:, (pair[0] >= low) & (pair[0] <= high)] for pair in pairs]
    image = np.repeat(np.arange(len(pairs_in_range)), [pair.shape[1] for pair in pairs_in_range])
    p, y = np.concatenate(pairs_in_range, 1)
    values, position, counts = np.unique(p, return_inverse=True, return_counts=True)
    if not len(values):
        raise DataError(f"no p lies in [{low}, {high}]: there is nothing to calibrate")
    quantile = (counts.cumsum() - counts / 2) / counts.sum()
    cells = image * bins + np.floor(bins * quantile).astype(int)[position]
    sums = [np.bincount(cells, term, len(pairs_in_range) * bins) for term in (None, p, y)]
    return np.concatenate([term.reshape(-1, bins) for term in sums], 1).astype(float)


def error_of(sums: np.ndarray) -> np.ndarray:
    """`calibration_error` of sums of rows of `table`, along the last axis."""
    count, p, y = np.split(sums, 3, -1)
    return np.abs(p - y).sum(-1) / count.sum(-1)


def bootstrap(sums: np.ndarray, seed: int = 0, rounds: int = 2_000) -> np.ndarray:
    """`error_of` of images drawn with replacement, as many as rows of `table`, (at most rounds,):
    a round in which no p counts is left out. A sum of absolute values is no smooth
    function, so leaving one image out misleads about its spread."""
    chosen = np.random.default_rng(seed).integers(len(sums), size=(rounds, len(sums)))
    drawn = sums[chosen].sum(1)
    return error_of(drawn[drawn.any(-1)])


def moments(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What one image adds to `slope_of`: number of pixels, sums of a, b and y, of a b, a y and b y,
    (7,). Means are taken out by `slope_of`, over all images together.

    Args:
        a, b: probabilities of vessel from samples that do not overlap; the same array twice for a
            model's own. `y`: labels, of their shape.

    Raises as `calibration_error` does.
    """
    (a, y), b = _checked(a, y), _checked(b, y)[0]
    return np.array([len(y), a.sum(), b.sum(), y.sum(), a @ b, a @ y, b @ y])


def slope_of(sums: np.ndarray) -> np.ndarray:
    """The slope of labels on probabilities, along the last axis of sums of `moments`: the
    covariance of p and y over the variance of p. It is 1 for calibrated probabilities, and below 1
    if they are too extreme. The covariance of two estimates from different samples has no part of
    their counting noise, so the slope does not depend on the number of samples (errors in
    variables, with a replicate: Fuller, "Measurement Error Models", 1987)."""
    n, a, b, y, ab, ay, by = np.moveaxis(sums, -1, 0)
    return (ay + by - (a + b) * y / n) / 2 / (ab - a * b / n)


def is_doubtful(p: np.ndarray) -> bool:
    """Whether any p is one that `calibration_error` looks at."""
    return bool(((p >= LOW) & (p <= HIGH)).any())


def _checked(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Both as float64, (2, n)."""
    p, y = np.asarray(p, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    if p.shape != y.shape or not len(p):
        raise DataError(f"{len(p)} probabilities and {len(y)} labels: give one label each")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("a p lies outside [0, 1]: give probabilities, not logits")
    return np.stack([p, y])


# --- joint statements -----------------------------------------------------------------------------


def joint(samples: np.ndarray, truth: np.ndarray, level: float = 0.9, seed: int = 0) -> Joint:
    """`Joint` of n samples of one number for each of N photographs, (N, n), and its truth, (N,).

    Equal numbers are common: among them the truth takes a random rank, by keyed noise. Raises
    DataError for shapes that do not fit, fewer than two samples, or a value that is not finite.
    """
    samples, truth = np.asarray(samples, np.float64), np.asarray(truth, np.float64)
    if samples.ndim != 2 or truth.shape != samples.shape[:1] or samples.shape[1] < 2:
        raise DataError(f"samples {samples.shape}, truth {truth.shape}: give (N, n >= 2) and (N,)")
    if not (np.isfinite(samples).all() and np.isfinite(truth).all()):
        raise DataError("a sample or a truth is not finite: leave its photograph out")
    places = samples.shape[1] + 1
    keyed = noise.keyed(seed, [0], uncertainty.TIES_DRAW)
    tensors = torch.from_numpy(truth), torch.from_numpy(samples.T.copy())
    ranks = uncertainty.rank(tensors[0], tensors[1], keyed).numpy()
    coverage = jackknife(np.eye(places)[ranks], partial(uncertainty.coverage_at, level=level))
    return Joint(*coverage[:2], ranks)


def ratio_of(sums: np.ndarray) -> np.ndarray:
    """The first of two sums over the second, along the last axis."""
    return sums[..., 0] / sums[..., 1]


def interval(samples: np.ndarray, level: float = 0.9) -> np.ndarray:
    """The central interval of samples along the last axis: low and high quantiles, (2, ...)."""
    return np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=-1)
