"""Metrics of vessel masks, most of them made of one pass over samples, inside the field of view.

The arithmetic is in `overlap`, `calibration` and `shapes`. Samples are at temperature 1 and nothing
is done to them; the likeliest of them is that by the model's own bound on log P(sample | x). As a
mask, the point estimate is the pixels whose marginal is at least 1/2. Of a set without a vessel the
share of vessel alone is told.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from cnf import noise
from cnf.errors import DataError
from cnf.factorised import WeightedBernoulli
from cnf.flow import ConditionalFlow
from cnf.replication.metrics import (
    Setting,
    Value,
    calibration,
    influences,
    jackknife,
    mean_se,
    metric,
    numbers,
    overlap,
    shapes,
    tightness,
    uncertainty,
)
from cnf.replication.scored_model import ScoredModel, once

LIKELIEST = 16  # samples among which the most likely is looked for
LIKELIEST_DRAW = -3000  # the `draw` of the noise of the bounds of samples
CROPS, CROPS_DRAW = 64, -3001  # 8x8 crops on which the tightness of the bound is studied


class Look(NamedTuple):
    """What is kept of n samples of one picture.

    shapes: `shapes.Shape` of each, (n,5). found: true positives, false positives, false negatives
    of the first LIKELIEST, (m,3), and log_probs: log P(sample|x) of these, nats, (m,).
    """

    shapes: np.ndarray
    found: np.ndarray
    log_probs: np.ndarray


# -- what is computed once -------------------------------------------------------------------------


@once
def looks(m: ScoredModel, n: int) -> list[Look]:
    """One pass over n samples of every picture, which leaves their marginals and the first samples,
    too; of LIKELIEST or more, the first LIKELIEST are scored."""
    found, singles, means = [], [], []
    scored = LIKELIEST if n >= LIKELIEST else 0
    for index, _, samples in m.drawn(1.0, n):  # uint8 (n,1,H,W)
        fov, circle = m.fov(index), circle_of(m, index)
        masks = samples[:, 0].numpy() > 0
        forms = np.array([shapes.shape(mask, fov, circle) for mask in masks], float)
        counted = overlap.outcomes(masks[:scored][:, fov], m.mask(index)[fov])
        log_p = m.mask_log_probs(index, samples[:scored], LIKELIEST_DRAW) if scored else np.zeros(0)
        found.append(Look(forms, counted, log_p))
        singles.append(samples[0].float())
        means.append(samples.sum(0).float() / n)
    m.kept[ScoredModel.singles, 1.0] = singles
    if not m.has_mean:
        m.kept[ScoredModel.means, n] = means
    return found


@once
def circle_of(m: ScoredModel, index: int) -> np.ndarray:
    """The circle around the optic disc that is found in the photograph."""
    fov, pixels = m.fov(index), m.images[index].x.permute(1, 2, 0).numpy()
    return shapes.circle_around(shapes.disc(pixels, fov), fov)


@once
def forms(m: ScoredModel, of: Setting | str) -> list[dict[str, float]] | None:
    """`shapes.Shape` and clDice of a mask for each picture: of what a setting asks for (marginals:
    where they are at least 1/2), of the "truth", or of the "second observer", None without one."""
    if of == "truth":
        masks = [m.images[i].y for i in m.indices]
    elif of == "second observer":
        masks = m.seconds
    else:
        masks = [p >= 0.5 for p in m.maps(of)]
    if masks is None:
        return None
    found = []
    for index, mask in zip(m.indices, masks, strict=True):
        mask, fov = np.asarray(mask)[0] > 0, m.fov(index)
        form = shapes.shape(mask, fov, circle_of(m, index))._asdict()
        found.append(form | {"cldice": shapes.cldice(mask, m.mask(index), fov)})
    return found


# -- F and areas under curves ----------------------------------------------------------------------


def split(m: ScoredModel, maps: Sequence[Tensor]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(labels bool, probabilities) inside the field of view, an image each."""
    labels = [m.mask(i)[m.fov(i)] for i in m.indices]
    return labels, [p[0].numpy()[m.fov(i)] for i, p in zip(m.indices, maps, strict=True)]


def pooled(m: ScoredModel, maps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(labels bool, probabilities) of all pixels in the field of view."""
    labels, p = map(np.concatenate, split(m, maps))
    if labels.all() or not labels.any():
        raise DataError(f"{m.images.name}: labels are all alike, F and ROC are undefined")
    return labels, p


def counts(m: ScoredModel, maps: Sequence[Tensor], threshold: float) -> np.ndarray:
    """(N, 3): true positives, false positives, false negatives inside the field of view."""
    pairs = zip(*split(m, maps), strict=True)
    return np.array([overlap.outcomes(p >= threshold, labels) for labels, p in pairs])


def f_metric(title: str, **how: Any) -> Callable:
    """Register F twice: pooled over all pixels, and the mean over images. The function gives the
    counts (N, 3) and what else the rows say, or None."""

    def register(function: Callable) -> Callable:
        def f(m: ScoredModel, s: Setting, value: Callable) -> Value | None:
            found = function(m, s) if m.has_vessels else None
            return None if found is None else value(found[0])._replace(also=found[1])

        for end, words, value in (
            ("", "pooled", lambda found: jackknife(found, overlap.f_score)),
            ("_image", "mean over images", lambda found: mean_se(overlap.f_score(found))),
        ):
            name = function.__name__ + end
            add = metric(f"{title}, {words}", "1", 3, 1e-3, task="vessels", name=name, **how)
            add(partial(f, value=value))
        return function

    return register


Counted = tuple[np.ndarray, dict[str, Any]]


@f_metric("F at 0.5", of="mean", tag="basic", references=("second observer",))
def f_half(m: ScoredModel, s: Setting) -> Counted | None:
    maps = m.maps(s)
    return None if maps is None else (counts(m, maps, 0.5), {"threshold": 0.5})


@f_metric("F at the validation threshold", of="mean", tag="basic")
def f_valid(m: ScoredModel, s: Setting) -> Counted | None:
    """At the threshold of the setting, else of the options, else the one with the largest F on the
    validation split, that of `m.valid`."""
    chosen = m.options.threshold if s.threshold is None else s.threshold
    if chosen is None and any(one.has_vessels for one in m.valid):
        chosen = best(m.valid[0], 0 if m.has_mean else s.samples, *m.valid[1:])
    return None if chosen is None else (counts(m, m.maps(s), chosen), {"threshold": chosen})


@once
def best(m: ScoredModel, samples: int, *others: ScoredModel) -> float:
    """The threshold with the largest F of marginals, over the pixels of all of them."""
    parts = zip(*(split(one, one.means(samples)) for one in (m, *others)), strict=True)
    return overlap.best_threshold(*(np.concatenate([*chain(*part)]) for part in parts))


@f_metric("F of one sample", of="one", tag="basic")
def f_sample(m: ScoredModel, s: Setting) -> Counted:
    return counts(m, m.singles(s.temperature), 0.5), {}


@f_metric(f"F of the likeliest of {LIKELIEST} samples", of="samples")
def f_likeliest(m: ScoredModel, s: Setting) -> Counted | None:
    if s.samples < LIKELIEST:
        return None
    n = s.samples if (looks, s.samples) in m.kept else LIKELIEST
    return likeliest(m, n), {"samples": LIKELIEST}


def likeliest(m: ScoredModel, n: int) -> np.ndarray:
    """Counts of the most likely of the first LIKELIEST of n samples, (N,3)."""
    return np.array([f.found[np.argmax(f.log_probs)] for f in looks(m, n)])


@f_metric("F where p is at least 0.5, before weighting", of="mean")
def f_p_half(m: ScoredModel, s: Setting) -> Counted | None:
    """F where p >= 1/2, which is where q is at least `half_of_p`."""
    if not isinstance(m.model, WeightedBernoulli):
        return None
    threshold = half_of_p(m.model.beta)
    return counts(m, m.maps(s), threshold), {"threshold": threshold}


def half_of_p(beta: float) -> float:
    """The q that belongs to p = 1/2: q = p^beta / (p^beta + (1-p)^(1-beta))."""
    return 1 / (1 + 2 ** (2 * beta - 1))


_MARGINALS: dict[str, Any] = {"task": "vessels", "of": "mean"}  # metrics of the point estimate


@metric("F at the best test threshold, pooled", "1", 3, 1e-3, tag="basic", **_MARGINALS)
def f_best(m: ScoredModel, s: Setting) -> Value | None:
    if not m.has_vessels:
        return None
    threshold = best(m, s.samples)
    return jackknife(counts(m, m.maps(s), threshold), overlap.f_score, threshold=threshold)


def _area(name: str, title: str, exact: str, binned: Callable) -> None:
    """Register an area under a curve; its error is that of binned probabilities."""

    @metric(title, "1", 4, 1e-3, name=name, tag="basic", **_MARGINALS)
    def of(m: ScoredModel, s: Setting) -> Value | None:
        import sklearn.metrics  # takes a second or two

        if not m.has_vessels:
            return None
        value = getattr(sklearn.metrics, exact)(*pooled(m, m.maps(s)))
        return jackknife(bins(m, s), binned)._replace(value=float(value))


_area("auc", "area under the ROC curve", "roc_auc_score", overlap.roc_area)
_area("ap", "average precision", "average_precision_score", overlap.pr_area)


@once
def bins(m: ScoredModel, s: Setting) -> np.ndarray:
    """`overlap.histogram` of the marginals."""
    return overlap.histogram(*split(m, m.maps(s)))


# -- calibration of the marginals ------------------------------------------------------------------


@metric("calibration error of marginals in [0.05, 0.95]", "1", 4, 1e-3, **_MARGINALS)
def calibration_error(m: ScoredModel, s: Setting) -> Value | None:
    sums = reliabilities(m, s)
    return None if sums is None else jackknife(sums, calibration.error_of)


@once
def reliabilities(m: ScoredModel, s: Setting) -> np.ndarray | None:
    """`calibration.table` of the marginals; None if no photograph has one that it looks at."""
    y, p = split(m, m.maps(s))
    return calibration.table(p, y) if any(map(calibration.is_doubtful, p)) else None


@metric("Brier score of marginals", "1", 4, 1e-4, **_MARGINALS)
def brier(m: ScoredModel, s: Setting) -> Value:
    parts = zip(*split(m, m.maps(s)), strict=True)
    sums = np.array([(((p.astype(float) - y) ** 2).sum(), p.size) for y, p in parts])
    return jackknife(sums, calibration.ratio_of)


@metric("AUC of deviation for where observers differ", "1", 3, 1e-3, **_MARGINALS)
def disagreement_auc(m: ScoredModel, s: Setting) -> Value | None:
    if m.seconds is None:
        return None
    labels, p = split(m, [p.double() for p in m.maps(s)])
    seconds = split(m, m.seconds)[1]
    differ = [(other > 0) != y for other, y in zip(seconds, labels, strict=True)]
    if not any(d.any() for d in differ):
        return None
    return jackknife(overlap.histogram(differ, [np.sqrt(p * (1 - p)) for p in p]), overlap.roc_area)


# -- joint statements of samples -------------------------------------------------------------------

JOINT = {"area": "area", "components": "pieces", "crossings": "crossings"}


def drawn(m: ScoredModel, n: int, name: str) -> np.ndarray:
    """One of JOINT of n samples of each picture, (N, n)."""
    column = shapes.Shape._fields.index(name)
    return np.array([f.shapes[:, column] for f in looks(m, n)])


@once
def joint(m: ScoredModel, n: int, name: str) -> calibration.Joint:
    """Of one of JOINT: the truth beside n samples."""
    true = np.array([form[name] for form in forms(m, "truth")])
    return calibration.joint(drawn(m, n, name), true, seed=m.options.seed)


def _joint(name: str, digits: int, tolerance: float, factor: float = 1.0) -> None:
    def of(m: ScoredModel, s: Setting, value: str) -> Value | None:
        if value == "coverage" and not uncertainty.are_enough(s.samples, 0.9):
            return None
        found = joint(m, s.samples, name)._asdict()
        return None if found[value] is None else Value(found[value], found[f"{value}_se"])

    ratio = f"mean {JOINT[name]} of samples over the truth's", "1", digits, tolerance
    coverage = f"coverage of 90 % intervals of {JOINT[name]}", "1", 2, 0.05
    for value, how, within in (("ratio", ratio, factor), ("coverage", coverage, 1.0)):
        more = {"name": f"{name}_{value}", "factor": within}
        metric(*how, task="vessels", of="samples", **more)(partial(of, value=value))


_joint("area", 3, 2e-3)
_joint("components", 2, 0.02, 1.02)
_joint("crossings", 3, 5e-3)


# -- connectedness ---------------------------------------------------------------------------------


def _form(name: str, *how: Any, **more: Any) -> None:
    @metric(*how, name=name, task="vessels", of="both", **more)
    def of(m: ScoredModel, s: Setting) -> Value | None:
        if name == "area" and not m.options.full and (m.has_vessels or m.reference is not None):
            return None
        found = forms(m, m.reference or s)
        if found is None:
            return None
        half = {"threshold": 0.5} if m.reference is None and s.samples != 1 else {}
        return mean_se([one[name] for one in found], **half)


_PEOPLE: dict[str, Any] = {"references": ("truth", "second observer")}
_form("area", "share of pixels that are vessel,", "1", 4, 1e-4, tag="basic", **_PEOPLE)
_form("components", "pieces", "pieces", 1, 1.0, factor=1.02, **_PEOPLE)
_form("euler", "Euler number", "pieces", 1, 2.0, factor=1.02, **_PEOPLE)
_form("largest_share", "share of the largest piece", "1", 3, 0.02, **_PEOPLE)
_form("cldice", "clDice", "1", 3, 2e-3, references=("second observer",))


@metric(
    *("pieces of one sample over the truth's", "1", 2, 0.02),
    **{"task": "vessels", "of": "one", "factor": 1.02, "name": "components_ratio_sample"},
)
def components_ratio(m: ScoredModel, s: Setting) -> Value | None:
    if not m.has_vessels:
        return None
    pairs = zip(forms(m, s), forms(m, "truth"), strict=True)
    sums = np.array([(a["components"], b["components"]) for a, b in pairs])
    return jackknife(sums, calibration.ratio_of)


# -- beside the values -----------------------------------------------------------------------------


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """F of marginals at 1/2, or of a reference, and with --full of one sample and of the likeliest,
    and how each moves the calibration error, an image; {} without two samples."""
    if not (m.has_mean or m.samples > 1) or not m.has_vessels:
        return {}
    found = {"f_half": overlap.f_score(counts(m, m.maps(m.mean), 0.5))}
    if m.options.full and len(m.indices) > 1 and (sums := reliabilities(m, m.mean)) is not None:
        found["calibration_error"] = influences(sums, calibration.error_of)
    if m.options.full and m.samples and m.reference is None:
        found["f_sample"] = overlap.f_score(counts(m, m.singles(1.0), 0.5))
        if m.samples >= LIKELIEST:
            found["f_likeliest"] = overlap.f_score(likeliest(m, m.samples))
    return found


def curves(m: ScoredModel) -> dict[str, Any]:
    """What plots need, as JSON holds it; {} without a vessel. Lists over images are in the order of
    `images`."""
    if not m.has_vessels:
        return {}
    labels, p = pooled(m, m.maps(m.mean))
    reliable = {}
    if calibration.is_doubtful(p):
        reliable["middle"] = calibration.reliability(p, labels, calibration.LOW, calibration.HIGH)
    found = looks(m, m.samples)
    sizes, draws = m.sizes() * math.log(2), 1 if m.model.exact else m.options.draws
    kinds = {"truth": forms(m, "truth")}
    if m.seconds is not None:
        kinds["second observer"] = forms(m, "second observer")
    result = {
        "samples": m.samples,
        "images": [m.images[i].name for i in m.indices],
        "reliability": {name: numbers(of._asdict()) for name, of in reliable.items()},
        "bits_per_pixel": numbers(-m.log_probs(draws) / sizes),
        # of the first samples of each picture
        "sample_bits": [numbers(-f.log_probs / d) for f, d in zip(found, sizes, strict=True)],
        "forms": {
            name: numbers({key: [form[key] for form in many] for key in many[0]})
            for name, many in kinds.items()
        },
        # of all samples of each picture
        "drawn": numbers({name: drawn(m, m.samples, name) for name in JOINT}),
    }
    if isinstance(m.model, ConditionalFlow):
        result["m_curve"] = m_curve(m)
    return result


def m_curve(m: ScoredModel) -> dict[str, Any]:
    """Bits per pixel by the number of importance samples, on CROPS crops of 8x8."""
    side = math.lcm(tightness.SIDE, m.model.multiple)
    y, x = tightness.crops(m.images, CROPS, side, m.options.seed)
    keyed = noise.keyed(m.options.seed, range(len(y)), CROPS_DRAW)
    found = tightness.m_curve(m.model, y.to(m.device), x.to(m.device), generator=keyed)._asdict()
    return {"crops": len(y), "side": side} | numbers(found)
