"""Metrics of vessel masks inside the field of view, most of them computed in one pass over samples.

What they share is in `masks`, the arithmetic in `overlap`, `calibration` and `shapes`. For a set
without a vessel, only the share of vessel is computed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnf.factorised import WeightedBernoulli
from cnf.replication.measures import Setting
from cnf.replication.metrics import (
    Value,
    calibration,
    influences,
    jackknife,
    mean_se,
    numbers,
    overlap,
    uncertainty,
)
from cnf.replication.metrics.masks import LIKELIEST, Masks, counts, pooled, split
from cnf.replication.scored.model import ScoredModel

# fields of `shapes.Shape` that are kept for all samples
JOINT = "area", "components", "crossings"
HELD_OUT = 8  # samples that take the place of the truth, one after the other


# -- F and areas under curves ----------------------------------------------------------------------


def pooled_f(outcomes: np.ndarray, **also: Any) -> Value:
    """F over the pixels of all images together, of counts (N, 3)."""
    return jackknife(outcomes, overlap.f_score, **also)


def f_at(m: ScoredModel, s: Setting, threshold: float) -> Value:
    """Pooled F of what a setting asks for, at a threshold."""
    outcomes = counts(m, m.statistics(Masks).answers(s), threshold)
    return pooled_f(outcomes, threshold=threshold)


def mean_f(outcomes: np.ndarray, **also: Any) -> Value:
    """The mean of F over images, of counts (N, 3)."""
    return mean_se(overlap.f_score(outcomes), **also)


def best_threshold(models: Sequence[ScoredModel], samples: int) -> float:
    """The threshold with the largest F of marginals, over the pixels of all models together."""
    labels, probabilities = [], []
    for m in models:
        y, p = split(m, m.statistics(Masks).marginals(samples))
        labels += y
        probabilities += p
    return overlap.best_threshold(np.concatenate(labels), np.concatenate(probabilities))


def half_of_p(beta: float) -> float:
    """The q that belongs to p = 1/2: q = p^beta / (p^beta + (1-p)^(1-beta))."""
    return 1 / (1 + 2 ** (2 * beta - 1))


def outcomes_at_half(m: ScoredModel, s: Setting) -> np.ndarray | None:
    """Counts (N, 3) of what a setting asks for, at 1/2; None without a vessel or without an
    answer."""
    answers = m.statistics(Masks).answers_if_any(s) if m.has_vessels else None
    return None if answers is None else counts(m, answers, 0.5)


def f_half(m: ScoredModel, s: Setting) -> Value | None:
    outcomes = outcomes_at_half(m, s)
    return None if outcomes is None else pooled_f(outcomes, threshold=0.5)


def f_half_image(m: ScoredModel, s: Setting) -> Value | None:
    outcomes = outcomes_at_half(m, s)
    return None if outcomes is None else mean_f(outcomes, threshold=0.5)


def f_valid(m: ScoredModel, s: Setting) -> Value | None:
    """F at the threshold of the setting, else of the options, else at the threshold with the
    largest F on the validation splits of `m.valid`."""
    threshold = m.options.threshold if s.threshold is None else s.threshold
    if threshold is None and any(scored.has_vessels for scored in m.valid):
        threshold = best_threshold(m.valid, s.n)
    if threshold is None or not m.has_vessels:
        return None
    return f_at(m, s, threshold)


def f_sample(m: ScoredModel, s: Setting) -> Value | None:
    return pooled_f(counts(m, m.single_samples(s.temperature), 0.5)) if m.has_vessels else None


def f_likeliest(m: ScoredModel, s: Setting) -> Value | None:
    if s.n < LIKELIEST or not m.has_vessels:
        return None
    return pooled_f(m.statistics(Masks).likeliest(s.n), samples=LIKELIEST)


def f_p_half(m: ScoredModel, s: Setting) -> Value | None:
    """F where p >= 1/2, which is where q is at least `half_of_p`."""
    if not isinstance(m.model, WeightedBernoulli) or not m.has_vessels:
        return None
    return f_at(m, s, half_of_p(m.model.beta))


def f_best(m: ScoredModel, s: Setting) -> Value | None:
    if not m.has_vessels:
        return None
    return f_at(m, s, best_threshold([m], s.n))


def auc(m: ScoredModel, s: Setting) -> Value | None:
    """The area itself is exact; its standard error is computed from binned probabilities."""
    import sklearn.metrics  # takes a second or two

    if not m.has_vessels:
        return None
    masks = m.statistics(Masks)
    area = sklearn.metrics.roc_auc_score(*pooled(m, masks.answers(s)))
    return jackknife(masks.histogram(s), overlap.roc_area)._replace(value=float(area))


# -- calibration of the marginals ------------------------------------------------------------------


def calibration_error(m: ScoredModel, s: Setting) -> Value | None:
    sums = m.statistics(Masks).reliability(s)
    return None if sums is None else jackknife(sums, calibration.error_of)


def resampled(m: ScoredModel, s: Setting, quantile: float) -> Value | None:
    """A quantile of `calibration_error` over photographs drawn with replacement."""
    sums = m.statistics(Masks).reliability(s)
    if sums is None or len(sums) < 2:
        return None
    return Value(float(np.quantile(calibration.bootstrap(sums, m.options.seed), quantile)))


def calibration_low(m: ScoredModel, s: Setting) -> Value | None:
    return resampled(m, s, 0.025)


def calibration_high(m: ScoredModel, s: Setting) -> Value | None:
    return resampled(m, s, 0.975)


def calibration_floor(m: ScoredModel, s: Setting) -> Value | None:
    """What a perfectly calibrated model would have: a sample takes the place of y, and the
    marginals are those of the other samples, or the model's own. The mean over HELD_OUT samples."""
    n = s.samples or max(m.samples, HELD_OUT)
    if m.reference is not None or n < 2:
        return None
    masks, errors = m.statistics(Masks), []
    for j in range(min(n, HELD_OUT)):
        y, p = masks.held_out(n, j)
        if not any(map(calibration.is_doubtful, p)):
            return None
        errors.append(float(calibration.error_of(calibration.table(p, y).sum(0))))
    return Value(float(np.mean(errors)))


def calibration_slope(m: ScoredModel, s: Setting) -> Value | None:
    """`calibration.slope_of` over all pixels in the field of view; the marginals are the model's
    own, or those of two halves of the samples."""
    if m.reference is not None or not m.has_vessels or not (m.has_mean or s.n > 1):
        return None
    halves = m.statistics(Masks).halves(s.n)
    triples = zip(*(split(m, half)[1] for half in halves), split(m, halves[0])[0], strict=True)
    return jackknife(np.array([calibration.moments(*t) for t in triples]), calibration.slope_of)


def area_ratio(m: ScoredModel, s: Setting) -> Value | None:
    """The expected number of vessel pixels over the number drawn, pooled: 1 if calibrated."""
    if not m.has_vessels:
        return None
    labels, p = split(m, m.statistics(Masks).answers(s))
    pairs = zip(p, labels, strict=True)
    return jackknife(np.array([(q.sum(), y.sum()) for q, y in pairs]), calibration.ratio_of)


def disagreement_auc(m: ScoredModel, s: Setting) -> Value | None:
    if m.second_masks is None:
        return None
    labels, p = split(m, [p.double() for p in m.statistics(Masks).answers(s)])
    seconds = split(m, m.second_masks)[1]
    differ = [(other > 0) != y for other, y in zip(seconds, labels, strict=True)]
    if not any(d.any() for d in differ):
        return None
    return jackknife(overlap.histogram(differ, [np.sqrt(p * (1 - p)) for p in p]), overlap.roc_area)


# -- joint statements of samples -------------------------------------------------------------------


def coverage_of(m: ScoredModel, s: Setting, name: str) -> Value | None:
    """How often the 90 % interval of one field of `shapes.Shape` of samples contains that of the
    truth."""
    if not uncertainty.are_enough(s.n, 0.9):
        return None
    joint = m.statistics(Masks).joint(s.samples, name)
    return Value(joint.coverage, joint.coverage_se)


def area_coverage(m: ScoredModel, s: Setting) -> Value | None:
    return coverage_of(m, s, "area")


def components_coverage(m: ScoredModel, s: Setting) -> Value | None:
    return coverage_of(m, s, "components")


def crossings_coverage(m: ScoredModel, s: Setting) -> Value | None:
    return coverage_of(m, s, "crossings")


def own_bits_ratio(m: ScoredModel, s: Setting) -> Value | None:
    """Below 1, samples vary less than the truth does, as where modes are lost; above 1, more. Both
    are the model's own bits (a bound where bits are), the means over LIKELIEST samples."""
    if s.n < LIKELIEST or not m.has_vessels:
        return None
    own = [scores.log_probs.mean() for scores in m.statistics(Masks).scores(s.samples)]
    bits = [m.in_bits(log_probs) for log_probs in (np.array(own), m.log_probs(1))]
    return jackknife(np.stack(bits, 1), calibration.ratio_of)


# -- connectedness ---------------------------------------------------------------------------------


def mean_shape_measure(m: ScoredModel, s: Setting, name: str) -> Value | None:
    """The mean over pictures of one number of `Masks.shapes_of_answers`."""
    by_picture = m.statistics(Masks).shapes_of_answers(s)
    if by_picture is None:
        return None
    is_thresholded = m.reference is None and s.samples != 1  # marginals become a mask
    value = mean_se([measures[name] for measures in by_picture])
    return value._replace(also={"threshold": 0.5}) if is_thresholded else value


def area(m: ScoredModel, s: Setting) -> Value | None:
    """Without --full, only for sets without a vessel, where F is undefined."""
    if not m.options.full and (m.has_vessels or m.reference is not None):
        return None
    return mean_shape_measure(m, s, "area")


def components(m: ScoredModel, s: Setting) -> Value | None:
    return mean_shape_measure(m, s, "components")


def components_ratio_sample(m: ScoredModel, s: Setting) -> Value | None:
    if not m.has_vessels:
        return None
    masks = m.statistics(Masks)
    pairs = zip(masks.shapes_of_answers(s), masks.true_shapes(), strict=True)
    sums = np.array([(ours["components"], true["components"]) for ours, true in pairs])
    return jackknife(sums, calibration.ratio_of)


# -- beside the values -----------------------------------------------------------------------------


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """Values of each image: F of marginals at 1/2, or of a reference; with --full also F of one
    sample and of the likeliest, and the image's influence on the calibration error. {} without at
    least two samples."""
    if not (m.has_mean or m.samples > 1) or not m.has_vessels:
        return {}
    masks = m.statistics(Masks)
    values = {"f_half": overlap.f_score(counts(m, masks.answers(m.mean_setting), 0.5))}
    if m.options.full and len(m.indices) > 1:
        sums = masks.reliability(m.mean_setting)
        if sums is not None:
            values["calibration_error"] = influences(sums, calibration.error_of)
    if m.options.full and m.samples and m.reference is None:
        values["f_sample"] = overlap.f_score(counts(m, m.single_samples(1.0), 0.5))
        if m.samples >= LIKELIEST:
            values["f_likeliest"] = overlap.f_score(masks.likeliest(m.samples))
    return values


def curves(m: ScoredModel) -> dict[str, Any]:
    """The data of plots, for JSON; {} without a vessel. Lists over images are in the order of
    `images`."""
    if not m.has_vessels:
        return {}
    masks = m.statistics(Masks)
    labels, p = pooled(m, masks.answers(m.mean_setting))
    reliability = {}
    if calibration.is_doubtful(p):
        reliability["middle"] = calibration.reliability(
            p, labels, calibration.LOW, calibration.HIGH
        )
    draws = 1 if m.model.exact else m.options.draws
    shapes_of_kind = {"truth": masks.true_shapes()}
    if m.second_masks is not None:
        shapes_of_kind["second observer"] = masks.shapes_of(m.second_masks)
    result = {
        "samples": m.samples,
        "images": [m.images[i].name for i in m.indices],
        "reliability": {name: numbers(bins._asdict()) for name, bins in reliability.items()},
        "bits_per_pixel": numbers(m.in_bits(m.log_probs(draws))),
        "forms": {kind: numbers(columns(rows)) for kind, rows in shapes_of_kind.items()},
        # of all samples of each picture
        "drawn": numbers({name: masks.measure_of_samples(m.samples, name) for name in JOINT}),
    }
    if m.samples >= LIKELIEST:  # of the first samples of each picture
        pairs = zip(masks.scores(m.samples), m.sizes() * math.log(2), strict=True)
        result["sample_bits"] = [numbers(-scores.log_probs / size) for scores, size in pairs]
    return result


def columns(rows: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """{name: its values in the rows, in order}."""
    return {name: [row[name] for row in rows] for name in rows[0]}
