"""F and the area under the ROC curve, as functions of counts.

F = 2 TP / (2 TP + FP + FN); a pixel is vessel where its probability is at least the threshold.
"""

from collections.abc import Sequence

import numpy as np

BINS = 4096  # of probabilities, for the errors of areas under curves


def outcomes(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """True positives, false positives, false negatives of masks, bool (..., n) -> (..., 3)."""
    terms = (mask & truth, mask & ~truth, ~mask & truth)
    return np.stack([term.sum(-1) for term in terms], -1)


def f_score(counts: np.ndarray) -> np.ndarray:
    """F of counts (..., 3) of `outcomes`, :eq:`eq-retina-f`, along the last axis; 1 where all three
    are 0."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    total = 2 * tp + fp + fn
    return np.where(total == 0, 1.0, 2 * tp / np.maximum(total, 1))


def histogram(labels: Sequence[np.ndarray], p: Sequence[np.ndarray]) -> np.ndarray:
    """Counts of p by bin and label, (N, 2 BINS), label 0 first. If p takes at most BINS values, as
    marginals of samples do, each value has its bin; else bins have equal counts."""
    pooled = np.concatenate(p)
    edges = np.unique(pooled)
    if len(edges) > BINS:
        edges = np.unique(np.quantile(pooled, np.linspace(0, 1, BINS, endpoint=False)))
    counts = []
    for y, values in zip(labels, p, strict=True):
        bin_index = np.searchsorted(edges, values, side="right") - 1
        counts.append(np.bincount(bin_index + BINS * y, minlength=2 * BINS))
    return np.array(counts, float)


def roc_area(bins: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, of sums of rows of `histogram`, along the last axis: the
    probability that a pixel of label 1 has a larger p than one of label 0. Pairs in one bin count
    half."""
    negative, positive = np.split(bins, 2, -1)
    below = negative.cumsum(-1) - negative / 2
    return (positive * below).sum(-1) / (negative.sum(-1) * positive.sum(-1))


def best_threshold(labels: np.ndarray, p: np.ndarray) -> float:
    """The probability that, as threshold, gives the largest F."""
    from sklearn.metrics import precision_recall_curve  # takes a second or two

    precision, recall, thresholds = precision_recall_curve(labels, p, drop_intermediate=True)
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f[:-1])])
