"""F, area under the ROC curve and average precision of vessels, inside the field of view.

F = 2 TP / (2 TP + FP + FN); a pixel is vessel where its probability is at least the threshold.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from cnf.errors import DataError
from cnf.factorised import Factorised
from cnf.scores import Score, jackknife, mean_se
from cnf.subject import Subject


def vessel_scores(
    subject: Subject, valid: Subject | None = None, only: str = ""
) -> Iterator[Score]:
    """F, area under the ROC curve, average precision; all inside the field of view."""
    samples = 0 if isinstance(subject.model, Factorised) else subject.samples
    common = {"samples": samples, "temperature": 1.0}
    marginal = ("f_half", "f_half_image", "f_valid", "f_valid_image", "f_best", "auc", "ap")
    if (only in marginal or not only) and (samples or isinstance(subject.model, Factorised)):
        means = subject.means(samples)
        if only in ("", "f_half", "f_half_image"):
            yield from f_scores("f_half", counts(subject, means, 0.5), threshold=0.5, **common)
        if only in ("", "f_valid", "f_valid_image") and valid:
            chosen = best_threshold(*pooled(valid, valid.means(samples)))
            found = counts(subject, means, chosen)
            yield from f_scores("f_valid", found, threshold=chosen, **common)
        if only in ("", "f_best", "auc", "ap"):
            labels, p = pooled(subject, means)
            best = best_threshold(labels, p)
            found = pooled_f(counts(subject, means, best))
            yield Score("f_best", *found, threshold=best, **common)
            yield Score("auc", float(roc_auc_score(labels, p)), **common)
            yield Score("ap", float(average_precision_score(labels, p)), **common)
    if only in ("", "f_sample", "f_sample_image"):
        tau = subject.temperature
        found = counts(subject, subject.singles(tau), 0.5)
        yield from f_scores("f_sample", found, temperature=tau, samples=1)


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
        ours, truth = p[0].numpy()[fov] >= threshold, subject.images[index].y[0].numpy()[fov] > 0
        found.append([(ours & truth).sum(), (ours & ~truth).sum(), (~ours & truth).sum()])
    return np.array(found)


def f_score(found: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) along the last axis; 1 where there is no vessel and none is found."""
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
        labels.append(subject.images[index].y[0].numpy()[fov] > 0)
        p.append(m[0].numpy()[fov])
    labels = np.concatenate(labels)
    if labels.all() or not labels.any():
        raise DataError(f"{subject.images.name}: labels are all alike, F and ROC are undefined")
    return labels, np.concatenate(p)


def best_threshold(labels: np.ndarray, p: np.ndarray) -> float:
    """The probability that, as threshold, gives the largest F."""
    precision, recall, thresholds = precision_recall_curve(labels, p, drop_intermediate=True)
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f[:-1])])
