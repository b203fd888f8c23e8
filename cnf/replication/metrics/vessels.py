"""F, area under the ROC curve and average precision of vessels, inside the field of view.

F = 2 TP / (2 TP + FP + FN); a pixel is vessel where its probability is at least the threshold.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from cnf.baselines import Factorised
from cnf.errors import DataError
from cnf.replication.metrics import Score, jackknife, mean_se
from cnf.replication.scored_model import Subject

BINS = 4096  # of probabilities, for the errors of areas under curves


def vessel_scores(
    subject: Subject, valid: Subject | None = None, only: str = ""
) -> Iterator[Score]:
    """F, area under the ROC curve, average precision; all inside the field of view. Of a set
    without a vessel, where these are undefined, the share of pixels that the model calls vessel."""
    if not any(truth_of(subject, i).any() for i in subject.indices):
        yield from area_scores(subject, only)
        return
    samples = 0 if isinstance(subject.model, Factorised) else subject.samples
    common = {"samples": samples, "temperature": 1.0}
    marginal = ("f_half", "f_half_image", "f_valid", "f_valid_image", "f_best", "auc", "ap")
    if (only in marginal or not only) and (samples or isinstance(subject.model, Factorised)):
        means = subject.means(samples)
        if only in ("", "f_half", "f_half_image"):
            yield from f_scores("f_half", counts(subject, means, 0.5), threshold=0.5, **common)
        chosen = threshold(subject, valid) if only in ("", "f_valid", "f_valid_image") else None
        if chosen is not None:
            found = counts(subject, means, chosen)
            yield from f_scores("f_valid", found, threshold=chosen, **common)
        if only in ("", "f_best", "auc", "ap"):
            labels, p = pooled(subject, means)
            best = best_threshold(labels, p)
            found = pooled_f(counts(subject, means, best))
            yield Score("f_best", *found, threshold=best, **common)
            parts = np.cumsum([subject.fov(i).sum() for i in subject.indices])[:-1]
            bins = histogram(np.split(labels, parts), np.split(p, parts))
            areas = (("auc", roc_auc_score, roc_area), ("ap", average_precision_score, pr_area))
            for metric, exact, binned in areas:
                yield Score(metric, float(exact(labels, p)), jackknife(bins, binned)[1], **common)
    if only in ("", "f_sample", "f_sample_image"):
        tau = subject.temperature
        found = counts(subject, subject.singles(tau), 0.5)
        yield from f_scores("f_sample", found, temperature=tau, samples=1)


def area_scores(subject: Subject, only: str = "") -> Iterator[Score]:
    """Share of the pixels in view that are vessel: where the marginals are 1/2 or more, and in one
    sample."""
    samples = 0 if isinstance(subject.model, Factorised) else subject.samples
    if only in ("", "area") and (samples or isinstance(subject.model, Factorised)):
        found = shares(subject, subject.means(samples))
        yield Score("area", *mean_se(found), threshold=0.5, samples=samples, temperature=1.0)
    if only in ("", "area_sample"):
        tau = subject.temperature
        found = shares(subject, subject.singles(tau))
        yield Score("area_sample", *mean_se(found), temperature=tau, samples=1)


def shares(subject: Subject, maps: Sequence[Tensor]) -> np.ndarray:
    """Share of the pixels in view where a map is 1/2 or more, an image, (N,)."""
    pairs = zip(subject.indices, maps, strict=True)
    return np.array([(p[0].numpy()[subject.fov(i)] >= 0.5).mean() for i, p in pairs])


def threshold(subject: Subject, valid: Subject | None) -> float | None:
    """The one given, else the one with the largest F on the validation split, that of `valid`: the
    model or a sister of it; None where there is neither."""
    if subject.options.threshold is not None:
        return subject.options.threshold
    if valid is None:
        return None
    samples = 0 if isinstance(valid.model, Factorised) else subject.samples
    return best_threshold(*pooled(valid, valid.means(samples)))


def observer_scores(subject: Subject, only: str = "") -> Iterator[Score]:
    """The second observer, where there is one; the model is not looked at."""
    seconds = [subject.images[i].second for i in subject.indices]
    if only in ("", "f_half", "f_half_image") and all(s is not None for s in seconds):
        found = counts(subject, seconds, 0.5)
        yield from f_scores("f_half", found, threshold=0.5, model="second observer")


def f_scores(metric: str, found: np.ndarray, **fields: Any) -> Iterator[Score]:
    """Pooled over all pixels, and the mean over images."""
    yield Score(metric, *pooled_f(found), **fields)
    yield Score(f"{metric}_image", *mean_se(f_score(found)), **fields)


def counts(subject: Subject, maps: Sequence[Tensor], threshold: float) -> np.ndarray:
    """(N, 3): true positives, false positives, false negatives inside the field of view."""
    found = []
    for index, p in zip(subject.indices, maps, strict=True):
        fov = subject.fov(index)
        ours, truth = p[0].numpy()[fov] >= threshold, truth_of(subject, index)[fov]
        found.append([(ours & truth).sum(), (ours & ~truth).sum(), (~ours & truth).sum()])
    return np.array(found)


def f_score(found: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), :eq:`eq-retina-f`, along the last axis; 1 where there is no vessel
    and none is found."""
    tp, fp, fn = np.moveaxis(found, -1, 0)
    total = 2 * tp + fp + fn
    return np.where(total == 0, 1.0, 2 * tp / np.maximum(total, 1))


def pooled_f(found: np.ndarray) -> tuple[float, float | None]:
    """F of all pixels together; its standard error by leaving out one image at a time."""
    return jackknife(found, f_score)


def pooled(subject: Subject, maps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(labels bool, probabilities) of all pixels in the field of view."""
    labels, p = [], []
    for index, m in zip(subject.indices, maps, strict=True):
        fov = subject.fov(index)
        labels.append(truth_of(subject, index)[fov])
        p.append(m[0].numpy()[fov])
    labels = np.concatenate(labels)
    if labels.all() or not labels.any():
        raise DataError(f"{subject.images.name}: labels are all alike, F and ROC are undefined")
    return labels, np.concatenate(p)


def truth_of(subject: Subject, index: int) -> np.ndarray:
    """The first observer's mask, bool (H,W)."""
    return subject.images[index].y[0].numpy() > 0


def histogram(labels: Sequence[np.ndarray], p: Sequence[np.ndarray]) -> np.ndarray:
    """Counts of p by bin and label, (N, 2 BINS): those of label 0 first. One value a bin where
    there are few values, as in marginals of samples; else bins of equal count."""
    every = np.concatenate(p)
    edges = np.unique(every)
    if len(edges) > BINS:
        edges = np.unique(np.quantile(every, np.linspace(0, 1, BINS, endpoint=False)))
    found = []
    for y, values in zip(labels, p, strict=True):
        place = np.searchsorted(edges, values, side="right") - 1
        found.append([np.bincount(place[y == label], minlength=BINS) for label in (0, 1)])
    return np.array(found, float).reshape(len(found), -1)


def roc_area(bins: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of sums of rows of `histogram`, along the last axis: the chance
    that a pixel of label 1 has the larger p; half of it where both share a bin."""
    negative, positive = np.split(bins, 2, -1)
    below = negative.cumsum(-1) - negative / 2
    return (positive * below).sum(-1) / (negative.sum(-1) * positive.sum(-1))


def pr_area(bins: np.ndarray) -> np.ndarray:
    """Average precision of such sums: precision at each threshold, weighed by its recall."""
    negative, positive = (part[..., ::-1] for part in np.split(bins, 2, -1))
    found = positive.cumsum(-1)
    precision = found / np.maximum(found + negative.cumsum(-1), 1)
    return (positive * precision).sum(-1) / positive.sum(-1)


def best_threshold(labels: np.ndarray, p: np.ndarray) -> float:
    """The probability that, as threshold, gives the largest F."""
    precision, recall, thresholds = precision_recall_curve(labels, p, drop_intermediate=True)
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f[:-1])])
