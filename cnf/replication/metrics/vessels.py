"""Metrics of vessel masks, most of them made of one pass over samples, inside the field of view.

- F, area under the ROC curve, average precision (`overlap`) of the marginals; F of one sample, and
  of the most likely of LIKELIEST samples by the model's own bound on log P(sample | x); of a
  weighted model F where p >= 1/2, p before the weighting. Of a set without a vessel the share of
  vessel alone.
- Calibration error and Brier score of the marginals (`calibration`).
- Area, pieces, and crossings of a circle around the optic disc (`shapes`): the mean of samples over
  the truth, and how often 90 % intervals hold it.
- Connectedness (`shapes`) of one sample, of the point estimate, which is the pixels whose marginal
  is at least 1/2, of the truth, and of the second observer.
- Where there is a second observer: how well the deviation of samples tells the pixels on which the
  observers differ.
Samples are at temperature 1 and nothing is done to them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor

from cnf import noise
from cnf.baselines import WeightedBernoulli
from cnf.errors import DataError
from cnf.replication.metrics import (
    Setting,
    Value,
    calibration,
    jackknife,
    mean_se,
    metric,
    shapes,
    tightness,
)
from cnf.replication.metrics.likelihood import second_log_probs
from cnf.replication.metrics.overlap import (
    best_threshold,
    f_score,
    histogram,
    pooled_f,
    pr_area,
    roc_area,
)
from cnf.replication.metrics.superresolution import numbers
from cnf.replication.scored_model import ScoredModel

LIKELIEST = 16  # samples among which the most likely is looked for
LIKELIEST_DRAW = -3000  # the `draw` of the noise of the bounds of samples
CROPS, CROPS_DRAW = 64, -3001  # 8x8 crops on which the tightness of the bound is studied
FORMS = ("area", "components", "euler", "largest_share", "cldice")
JOINT = ("area", "components", "crossings")
LINE = 200  # points of a curve that is kept


class Look(NamedTuple):
    """What is kept of n samples of one picture.

    votes: how many of them say vessel, int16 (1,H,W). first: the first, uint8 (1,H,W). shapes:
    `shapes.Shape` of each, (n,5). found: true positives, false positives, false negatives of the
    first m, (m,3), and log_probs: log P(sample|x) of these, nats, (m,).
    """

    votes: np.ndarray
    first: np.ndarray
    shapes: np.ndarray
    found: np.ndarray
    log_probs: np.ndarray


# -- what is computed once -------------------------------------------------------------------------


def looks(m: ScoredModel, n: int, scored: int = 0) -> list[Look]:
    """One pass over n samples of every picture, of the first `scored` also log P(sample|x)."""
    if not scored and m.has(("looks", n, LIKELIEST)):
        scored = LIKELIEST
    return m.once(
        ("looks", n, scored),
        lambda: [look(m, index, samples, scored) for index, _, samples in m.drawn(1.0, n)],
    )


def look(m: ScoredModel, index: int, samples: Tensor, scored: int) -> Look:
    """At the samples, uint8 (n,1,H,W), of one picture."""
    fov, y, circle = m.fov(index), m.mask(index), circle_of(m, index)
    masks = samples[:, 0].numpy() > 0
    forms = np.array([shapes.shape(mask, fov, circle) for mask in masks], float)
    inside, is_true = masks[:scored][:, fov], y[fov]
    terms = (inside & is_true, inside & ~is_true, ~inside & is_true)
    log_p = np.zeros(0)
    if scored:
        log_p = m.mask_log_probs(index, samples[:scored], LIKELIEST_DRAW)
    return Look(
        samples.sum(0, dtype=torch.int16).numpy(),
        samples[0].numpy(),
        forms,
        np.stack([term.sum(1) for term in terms], 1),
        log_p,
    )


def prepare(m: ScoredModel, scored: int = LIKELIEST) -> None:
    """Make the pass that all metrics of --full come out of, and from it marginals and samples."""
    n, scored = m.samples, scored if m.samples >= LIKELIEST else 0
    if m.has_mean and not scored:
        return
    found = looks(m, n, scored)
    m.once(("singles", 1.0), lambda: [torch.from_numpy(f.first).float() for f in found])
    if not m.has_mean:
        m.once(("means", n), lambda: [torch.from_numpy(f.votes).float() / n for f in found])


def circle_of(m: ScoredModel, index: int) -> np.ndarray:
    """The circle around the optic disc that is found in the photograph."""

    def compute():
        fov = m.fov(index)
        pixels = m.images[index].x.permute(1, 2, 0).numpy()
        return shapes.circle_around(shapes.disc(pixels, fov), fov)

    return m.once(("circle", index), compute)


def forms_of(
    m: ScoredModel, name: str, masks: Callable[[], Sequence[np.ndarray | Tensor]]
) -> list[dict[str, float]]:
    """`shapes.Shape` and clDice of a mask (1,H,W) for each picture, kept under the name."""

    def compute():
        found = []
        for index, mask in zip(m.indices, masks(), strict=True):
            mask, fov = np.asarray(mask)[0] > 0, m.fov(index)
            form = shapes.shape(mask, fov, circle_of(m, index))._asdict()
            found.append(form | {"cldice": shapes.cldice(mask, m.mask(index), fov)})
        return found

    return m.once(("forms", name), compute)


def truth(m: ScoredModel) -> list[dict[str, float]]:
    """Forms of the first observer's masks."""
    return forms_of(m, "truth", lambda: [m.images[i].y for i in m.indices])


def forms(m: ScoredModel, s: Setting) -> list[dict[str, float]] | None:
    """Forms of the masks that a setting asks for: of marginals, where they are at least 1/2; None
    where the set has no second observer."""
    if m.reference == "truth":
        return truth(m)
    if m.reference is not None:
        return None if m.seconds is None else forms_of(m, "second", lambda: m.seconds)
    if s.samples == 1:
        return forms_of(m, f"one {s.temperature}", lambda: m.singles(s.temperature))
    return forms_of(m, f"half {s.samples}", lambda: [p >= 0.5 for p in m.means(s.samples)])


# -- F and areas under curves ----------------------------------------------------------------------


def counts(m: ScoredModel, maps: Sequence[Tensor], threshold: float) -> np.ndarray:
    """(N, 3): true positives, false positives, false negatives inside the field of view."""
    found = []
    for index, p in zip(m.indices, maps, strict=True):
        fov = m.fov(index)
        ours, is_true = p[0].numpy()[fov] >= threshold, m.mask(index)[fov]
        found.append([(ours & is_true).sum(), (ours & ~is_true).sum(), (~ours & is_true).sum()])
    return np.array(found)


def pooled(m: ScoredModel, maps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(labels bool, probabilities) of all pixels in the field of view."""
    labels, p = [], []
    for index, one in zip(m.indices, maps, strict=True):
        fov = m.fov(index)
        labels.append(m.mask(index)[fov])
        p.append(one[0].numpy()[fov])
    labels = np.concatenate(labels)
    if labels.all() or not labels.any():
        raise DataError(f"{m.images.name}: labels are all alike, F and ROC are undefined")
    return labels, np.concatenate(p)


def split(m: ScoredModel, maps: Sequence[Tensor]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(labels bool, probabilities float64) inside the field of view, an image each."""
    pairs = list(zip(m.indices, maps, strict=True))
    labels = [m.mask(i)[m.fov(i)] for i, _ in pairs]
    return labels, [p[0].double().numpy()[m.fov(i)] for i, p in pairs]


def f_metric(
    name: str, title: str, of: str, tag: str = "basic", references: tuple[str, ...] = ()
) -> Callable:
    """Register F twice: pooled over all pixels, and the mean over images. The function gives the
    counts (N, 3) and what else the rows say, or None."""

    def register(function: Callable) -> Callable:
        common = {"task": "vessels", "of": of, "tag": tag, "references": references}

        @metric(f"{title}, pooled", "1", 3, 1e-3, name=name, **common)
        def of_all(m: ScoredModel, s: Setting) -> Value | None:
            found = function(m, s) if m.has_vessels else None
            return None if found is None else Value(*pooled_f(found[0]), found[1])

        @metric(f"{title}, mean over images", "1", 3, 1e-3, name=f"{name}_image", **common)
        def of_images(m: ScoredModel, s: Setting) -> Value | None:
            found = function(m, s) if m.has_vessels else None
            return None if found is None else Value(*mean_se(f_score(found[0])), found[1])

        return function

    return register


@f_metric("f_half", "F at 0.5", "mean", references=("second observer",))
def f_half(m: ScoredModel, s: Setting) -> tuple[np.ndarray, dict[str, Any]] | None:
    maps = m.maps(s)
    return None if maps is None else (counts(m, maps, 0.5), {"threshold": 0.5})


@f_metric("f_valid", "F at the validation threshold", "mean")
def f_valid(m: ScoredModel, s: Setting) -> tuple[np.ndarray, dict[str, Any]] | None:
    """At the threshold of the setting, else of the options, else the one with the largest F on the
    validation split, that of `m.valid`."""
    chosen = m.options.threshold if s.threshold is None else s.threshold
    if chosen is None and m.valid is not None:
        samples = 0 if m.valid.has_mean else s.samples
        maps = m.valid.means(samples)
        chosen = m.valid.once(("best", samples), lambda: best_threshold(*pooled(m.valid, maps)))
    if chosen is None:
        return None
    return counts(m, m.maps(s), chosen), {"threshold": chosen}


@f_metric("f_sample", "F of one sample", "one")
def f_sample(m: ScoredModel, s: Setting) -> tuple[np.ndarray, dict[str, Any]]:
    return counts(m, m.singles(s.temperature), 0.5), {}


@f_metric("f_likeliest", f"F of the likeliest of {LIKELIEST} samples", "samples", tag="full")
def f_likeliest(m: ScoredModel, s: Setting) -> tuple[np.ndarray, dict[str, Any]] | None:
    if s.samples < LIKELIEST:
        return None
    n = s.samples if m.has(("looks", s.samples, LIKELIEST)) else LIKELIEST
    return likeliest(m, n), {"samples": LIKELIEST}


def likeliest(m: ScoredModel, n: int) -> np.ndarray:
    """Counts of the most likely of the first LIKELIEST of n samples, (N,3)."""
    return np.array([f.found[np.argmax(f.log_probs)] for f in looks(m, n, LIKELIEST)])


@f_metric("f_p_half", "F where p is at least 0.5, before weighting", "mean", tag="full")
def f_p_half(m: ScoredModel, s: Setting) -> tuple[np.ndarray, dict[str, Any]] | None:
    """F where p >= 1/2, which is where q is at least `half_of_p`."""
    if not isinstance(m.model, WeightedBernoulli):
        return None
    threshold = half_of_p(m.model.beta)
    return counts(m, m.maps(s), threshold), {"threshold": threshold}


def half_of_p(beta: float) -> float:
    """The q that belongs to p = 1/2: q = p^beta / (p^beta + (1-p)^(1-beta))."""
    return 1 / (1 + 2 ** (2 * beta - 1))


_BASIC: dict[str, Any] = {"task": "vessels", "of": "mean", "tag": "basic"}


@metric("F at the best test threshold, pooled", "1", 3, 1e-3, **_BASIC)
def f_best(m: ScoredModel, s: Setting) -> Value | None:
    if not m.has_vessels:
        return None
    best = best_threshold(*pooled(m, m.maps(s)))
    return Value(*pooled_f(counts(m, m.maps(s), best)), {"threshold": best})


@metric("area under the ROC curve", "1", 4, 1e-3, **_BASIC)
def auc(m: ScoredModel, s: Setting) -> Value | None:
    return _under(m, s, roc_auc_score, roc_area)


@metric("average precision", "1", 4, 1e-3, **_BASIC)
def ap(m: ScoredModel, s: Setting) -> Value | None:
    return _under(m, s, average_precision_score, pr_area)


def _under(m: ScoredModel, s: Setting, exact: Callable, binned: Callable) -> Value | None:
    """An area under a curve, its error from binned probabilities."""
    if not m.has_vessels:
        return None
    labels, p = pooled(m, m.maps(s))
    parts = np.cumsum([m.fov(i).sum() for i in m.indices])[:-1]
    bins = m.once(
        ("bins", s.samples), lambda: histogram(np.split(labels, parts), np.split(p, parts))
    )
    return Value(float(exact(labels, p)), jackknife(bins, binned)[1])


# -- calibration of the marginals ------------------------------------------------------------------

_FULL: dict[str, Any] = {"task": "vessels", "of": "mean"}


def table(m: ScoredModel, s: Setting, **limits: Any) -> np.ndarray:
    """`calibration.table` of the marginals."""
    y, p = split(m, m.maps(s))
    return calibration.table(p, y, **limits)


@metric("calibration error of marginals in [0.05, 0.95]", "1", 4, 1e-3, **_FULL)
def calibration_error(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(table(m, s), calibration.error_of))


@metric("Brier score of marginals", "1", 4, 1e-4, **_FULL)
def brier(m: ScoredModel, s: Setting) -> Value:
    parts = zip(*split(m, m.maps(s)), strict=True)
    sums = np.array([(((p - y) ** 2).sum(), p.size) for y, p in parts])
    return Value(*jackknife(sums, lambda sums: sums[..., 0] / sums[..., 1]))


@metric("AUC of deviation for where observers differ", "1", 3, 1e-3, **_FULL)
def disagreement_auc(m: ScoredModel, s: Setting) -> Value | None:
    if m.seconds is None:
        return None
    differ, deviation = [], []
    for i, p, mask in zip(m.indices, m.maps(s), m.seconds, strict=True):
        fov, p = m.fov(i), p[0].double().numpy()
        differ.append(((mask[0].numpy() > 0) != m.mask(i))[fov])
        deviation.append(np.sqrt(p * (1 - p))[fov])
    if not any(d.any() for d in differ):
        return None
    return Value(*jackknife(histogram(differ, deviation), roc_area))


# -- joint statements of samples -------------------------------------------------------------------


def joint(m: ScoredModel, n: int, name: str) -> calibration.Joint:
    """Of one of JOINT: the truth beside n samples."""
    column = shapes.Shape._fields.index(name)
    drawn = np.array([f.shapes[:, column] for f in looks(m, n)])
    true = np.array([found[name] for found in truth(m)])
    return calibration.joint(drawn, true, seed=m.options.seed)


def _joint(name: str, quantity: str, mean: str, tolerance: float, factor: float, digits: int):
    common = {"task": "vessels", "of": "samples"}

    @metric(
        *(f"mean {mean} of samples over the truth's", "1", digits, tolerance),
        **{"factor": factor, "name": f"{name}_ratio"} | common,
    )
    def ratio(m: ScoredModel, s: Setting) -> Value:
        found = joint(m, s.samples, name)
        return Value(found.ratio, found.ratio_se)

    @metric(
        *(f"coverage of 90 % intervals of {quantity}", "1", 2, 0.05),
        **{"name": f"{name}_coverage"} | common,
    )
    def coverage(m: ScoredModel, s: Setting) -> Value:
        found = joint(m, s.samples, name)
        return Value(found.coverage, found.coverage_se)


_joint("area", "area", "area", 2e-3, 1.0, 3)
_joint("components", "pieces", "pieces", 0.02, 1.02, 2)
_joint("crossings", "crossings", "crossings", 5e-3, 1.0, 3)


# -- connectedness ---------------------------------------------------------------------------------


def _form(name: str, title: str, unit: str, digits: int, tolerance: float, factor: float = 1.0):
    @metric(
        *(title, unit, digits, tolerance),
        **{"task": "vessels", "of": ("mean", "sample"), "factor": factor, "name": name},
        references=("truth", "second observer")[name == "cldice" :],
        tag="basic" if name == "area" else "full",
    )
    def of(m: ScoredModel, s: Setting) -> Value | None:
        if name == "area" and not m.options.full and (m.has_vessels or m.reference is not None):
            return None
        found = forms(m, s)
        if found is None:
            return None
        half = {"threshold": 0.5} if m.reference is None and s.samples != 1 else {}
        return Value(*mean_se(np.array([one[name] for one in found])), half)


_form("area", "share of pixels that are vessel,", "1", 4, 1e-4)
_form("components", "pieces", "pieces", 1, 1.0, 1.02)
_form("euler", "Euler number", "pieces", 1, 2.0, 1.02)
_form("largest_share", "share of the largest piece", "1", 3, 0.02)
_form("cldice", "clDice", "1", 3, 2e-3)


@metric(
    *("pieces of one sample over the truth's", "1", 2, 0.02),
    **{"task": "vessels", "of": "one", "factor": 1.02, "name": "components_ratio_sample"},
)
def components_ratio(m: ScoredModel, s: Setting) -> Value:
    pairs = zip(forms(m, s), truth(m), strict=True)
    sums = np.array([(a["components"], b["components"]) for a, b in pairs])
    return Value(*jackknife(sums, lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1)))


# -- beside the values -----------------------------------------------------------------------------


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """F of marginals at 1/2, and with --full of one sample and of the likeliest, an image; {}
    without samples."""
    samples = 0 if m.has_mean else m.samples
    if not (m.has_mean or samples) or not m.has_vessels:
        return {}
    found = {"f_half": f_score(counts(m, m.means(samples), 0.5))}
    if m.options.full and m.samples:
        found["f_sample"] = f_score(counts(m, m.singles(1.0), 0.5))
        if m.samples >= LIKELIEST:
            found["f_likeliest"] = f_score(likeliest(m, m.samples))
    return found


def curves(m: ScoredModel) -> dict[str, Any]:
    """What plots need, as JSON holds it; {} without a vessel. Lists over images are in the order of
    `images`."""
    if not m.has_vessels:
        return {}
    mean = Setting(temperature=1.0, samples=0 if m.has_mean else m.samples)
    one = Setting(temperature=1.0, samples=1)
    labels, p = pooled(m, m.maps(mean))
    precision, recall, thresholds = precision_recall_curve(labels, p, drop_intermediate=True)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, LINE).astype(int))
    wide = calibration.reliability_of(table(m, mean).sum(0))
    all_p = calibration.reliability_of(table(m, mean, low=0.0, high=1.0).sum(0))
    found = looks(m, m.samples, LIKELIEST if m.samples >= LIKELIEST else 0)
    sizes, draws = m.sizes() * math.log(2), 1 if m.model.exact else m.options.draws
    kinds = {"truth": truth(m), "sample": forms(m, one), "half": forms(m, mean)}
    if m.seconds is not None:
        kinds["second observer"] = forms_of(m, "second", lambda: m.seconds)
    result = {
        "samples": m.samples,
        "images": [m.images[i].name for i in m.indices],
        "precision_recall": {
            "threshold": numbers(thresholds[kept]),
            "precision": numbers(precision[kept]),
            "recall": numbers(recall[kept]),
        },
        "reliability": {
            name: {key: numbers(part) for key, part in bins._asdict().items()}
            for name, bins in (("middle", wide), ("all", all_p))
        },
        "bits_per_pixel": numbers(-m.log_probs(draws) / sizes),
        **{name: numbers(values) for name, values in per_image(m).items()},
        # of the first samples of each picture: bits, and F of each
        "sample_bits": [numbers(-f.log_probs / d) for f, d in zip(found, sizes, strict=True)],
        "sample_f": [numbers(f_score(f.found)) for f in found],
        "forms": {
            name: {key: numbers([form[key] for form in many]) for key in many[0]}
            for name, many in kinds.items()
        },
        # of all samples of each picture
        "drawn": {
            name: [numbers(f.shapes[:, shapes.Shape._fields.index(name)]) for f in found]
            for name in JOINT
        },
        "joint": {},
    }
    for name in JOINT if m.samples > 1 else ():
        statement = joint(m, m.samples, name)._asdict()
        ranks = [int(rank) for rank in statement.pop("ranks")]
        result["joint"][name] = {"ranks": ranks} | {
            key: float(f"{value:.5g}") for key, value in statement.items() if value is not None
        }
    if m.seconds is not None:
        result["second_observer"] = {
            "f": numbers(f_score(counts(m, m.seconds, 0.5))),
            "bits_per_pixel": numbers(-second_log_probs(m, draws) / sizes),
        }
    if not m.model.exact:
        result["m_curve"] = m_curve(m)
    return result


def m_curve(m: ScoredModel) -> dict[str, Any]:
    """Bits per pixel by the number of importance samples, on CROPS crops of 8x8."""
    side = math.lcm(tightness.SIDE, m.model.multiple)
    y, x, _ = tightness.crops(m.images, CROPS, side, m.options.seed)
    keyed = noise.keyed(m.options.seed, range(len(y)), CROPS_DRAW)
    found = tightness.m_curve(m.model, y.to(m.device), x.to(m.device), generator=keyed)._asdict()
    return {"crops": len(y), "side": side} | {
        key: numbers(value) if np.ndim(value) else numbers([value])[0]
        for key, value in found.items()
    }
