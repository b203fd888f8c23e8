"""What is said about a model on an image set: one file a kind of score."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Score(NamedTuple):
    """One metric. `model` names a reference; None is the model evaluated."""

    metric: str
    value: float
    standard_error: float | None = None
    bound: str | None = None
    divided_by: str | None = None
    temperature: float | None = None
    draws: int | None = None
    samples: int | None = None
    threshold: float | None = None
    model: str | None = None
    protocol: str | None = None


def mean_se(values: np.ndarray) -> tuple[float, float | None]:
    """(mean, its standard error over images)."""
    if len(values) == 1:
        return float(values[0]), None
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def jackknife(
    sums: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float | None]:
    """`function` of the sums of all images together, and its standard error by leaving out one
    image at a time.

    Args:
        sums: what each image adds, (N, K). `function`: of such sums, along the last axis.
    """
    total, n = sums.sum(0), len(sums)
    if n == 1:
        return float(function(total)), None
    without = function(total - sums)
    variance = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    return float(function(total)), float(np.sqrt(variance))
