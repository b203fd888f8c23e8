"""Conformal prediction of vessels: an interval for their area, and a set of pixels that holds most
of them, both calibrated on photographs that were held out. Everything inside the field of view.

The held-out photographs are those of `ScoredModel.valid`, each answered by a model that has not
seen it. If one model, fixed beforehand, scores n of them and a new one, and the scores are
exchangeable, the new score is at most `quantile`'s with probability LEVEL or more (split conformal
prediction), and the expected loss at `controlled_threshold` is at most 1 - LEVEL (conformal risk
control, Angelopoulos et al. 2022, arXiv:2208.02814). Exchangeability is an assumption: it fails for
photographs of another camera.

The folds of a cross-validation are several models, and none of them is the one that is scored. That
is like CV+, which for intervals made from all folds promises 1 - 2 (1 - LEVEL) and a little less
(Barber et al. 2021, arXiv:1905.02928), and for this one asks as well that the model that is scored,
which learned from more photographs, is not worse than theirs. The promise also needs folds that
keep their last weights (`training.validate_every` of all steps): else the photographs that
calibrate have chosen the weights.
"""

import math

import numpy as np

from cnf.replication.measures import Setting
from cnf.replication.metrics import Value, calibration, jackknife, mean_se
from cnf.replication.metrics.masks import Masks, split
from cnf.replication.scored.model import ScoredModel

LEVEL = 0.9
THRESHOLDS = np.linspace(0, 1, 1001)  # those among which the threshold of a set is chosen


def quantile(scores: np.ndarray, level: float = LEVEL) -> float:
    """The ceil((n + 1) level)-th smallest of n scores; infinite if n is smaller than that."""
    place = math.ceil(round((len(scores) + 1) * level, 9))  # 0.9 x 20 is 18, not a little more
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else math.inf


def controlled_threshold(losses: np.ndarray, level: float = LEVEL) -> float | None:
    """The largest of THRESHOLDS at which (sum of losses + 1) / (n + 1) is at most 1 - level; None
    if there is none. `losses`, (n, thresholds), lie in 0..1 and do not fall with the threshold."""
    risk = (losses.sum(0) + 1) / (len(losses) + 1)
    allowed = THRESHOLDS[risk <= 1 - level + 1e-9]
    return float(allowed.max()) if len(allowed) else None


def area_scores(m: ScoredModel, n: int) -> np.ndarray:
    """|log(area drawn / expected area)| of every photograph, (N,); infinite where one is 0."""
    labels, p = split(m, m.statistics(Masks).marginals(n))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.log([y.sum() for y in labels])
        expected = np.log([of_picture.sum(dtype=float) for of_picture in p])
        scores = np.abs(drawn - expected)
    return np.where(np.isnan(scores), math.inf, scores)


def missed(m: ScoredModel, n: int, thresholds: np.ndarray) -> np.ndarray:
    """The share of the vessel pixels of every photograph whose marginal is below each threshold,
    (N, thresholds); 0 of a photograph without a vessel."""
    shares = []
    for y, p in zip(*split(m, m.statistics(Masks).marginals(n)), strict=True):
        below = np.searchsorted(np.sort(p[y].astype(float)), thresholds)
        shares.append(below / max(y.sum(), 1))
    return np.array(shares)


def largest_score(m: ScoredModel, s: Setting) -> float | None:
    """The largest score of an area inside its interval: that of the setting of a row, or from the
    photographs that were held out. None if they are too few."""
    if s.threshold is not None:
        return s.threshold
    scores = [area_scores(valid, s.samples) for valid in m.valid]
    q = quantile(np.concatenate(scores)) if scores else math.inf
    return q if math.isfinite(q) else None


def threshold_of_set(m: ScoredModel, s: Setting) -> float | None:
    """The threshold of the set of pixels: that of the setting of a row, or from the photographs
    that were held out. None if they are too few."""
    if s.threshold is not None:
        return s.threshold
    losses = [missed(valid, s.samples, THRESHOLDS) for valid in m.valid]
    return controlled_threshold(np.concatenate(losses)) if losses else None


def area_interval_coverage(m: ScoredModel, s: Setting) -> Value | None:
    q = largest_score(m, s)
    return None if q is None else mean_se(area_scores(m, s.samples) <= q, threshold=q)


def area_interval_factor(m: ScoredModel, s: Setting) -> Value | None:
    """The lower end is the expected area over the same factor."""
    q = largest_score(m, s)
    return None if q is None else Value(math.exp(q), also={"threshold": q})


def vessel_set_coverage(m: ScoredModel, s: Setting) -> Value | None:
    t = threshold_of_set(m, s)
    if t is None or not m.has_vessels:
        return None
    return mean_se(1 - missed(m, s.samples, np.array([t]))[:, 0], threshold=t)


def vessel_set_size(m: ScoredModel, s: Setting) -> Value | None:
    t = threshold_of_set(m, s)
    if t is None or not m.has_vessels:
        return None
    pairs = zip(*split(m, m.statistics(Masks).marginals(s.samples)), strict=True)
    sizes = np.array([((p.astype(float) >= t).sum(), y.sum()) for y, p in pairs], float)
    return jackknife(sizes, calibration.ratio_of, threshold=t)
