"""Sensitivity, specificity and accuracy, which the tables of published networks report. Pixels are
counted inside the field of view."""

from collections.abc import Sequence

import numpy as np

from cnf.replication.measures import Setting
from cnf.replication.metrics import Value, jackknife
from cnf.replication.metrics.vessels import outcomes_at_half
from cnf.replication.scored.model import ScoredModel

TP, FP, FN, TN = range(4)  # the columns of `pixel_counts`


def pixel_counts(m: ScoredModel, s: Setting) -> np.ndarray | None:
    """(N, 4): true positives, false positives, false negatives and true negatives in view, at a
    threshold of 1/2. None without a vessel or without an answer."""
    outcomes = outcomes_at_half(m, s)
    if outcomes is None:
        return None
    return np.column_stack([outcomes, m.sizes(fov=True) - outcomes.sum(1)])


def pooled_rate(
    m: ScoredModel, s: Setting, right: Sequence[int], total: Sequence[int]
) -> Value | None:
    """Some columns of `pixel_counts` over others, the pixels of all pictures together."""
    outcomes = pixel_counts(m, s)
    if outcomes is None:
        return None

    def rate(sums: np.ndarray) -> np.ndarray:
        return sums[..., right].sum(-1) / sums[..., total].sum(-1)

    return jackknife(outcomes, rate, threshold=0.5)


def sensitivity(m: ScoredModel, s: Setting) -> Value | None:
    return pooled_rate(m, s, [TP], [TP, FN])


def specificity(m: ScoredModel, s: Setting) -> Value | None:
    return pooled_rate(m, s, [TN], [TN, FP])


def accuracy(m: ScoredModel, s: Setting) -> Value | None:
    return pooled_rate(m, s, [TP, TN], [TP, FP, FN, TN])
