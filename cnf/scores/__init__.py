"""What is said about a model on an image set: one file a kind of score."""

import math
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


def mean_se(values: np.ndarray) -> tuple[float, float | None]:
    """(mean, its standard error over images)."""
    if len(values) == 1:
        return float(values[0]), None
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
