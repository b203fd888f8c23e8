"""`evaluate --full`: everything that is said of vessels, in one pass over samples.

Bits and F (`likelihood`, `vessels`) and, all inside the field of view:

- F of the most likely of LIKELIEST samples, by the model's own bound on log P(sample | x); of a
  weighted model F where p >= 1/2, p before the weighting.
- calibration error and Brier score of the marginals (`calibration`).
- area, pieces, and crossings of a circle around the optic disc (`shapes`): the mean of samples over
  the truth, and how often 90 % intervals hold it. A factorised model's samples are independent
  draws of every pixel.
- connectedness (`shapes`) of one sample, of the point estimate, which is the pixels whose marginal
  is at least 1/2, of the truth, and of the second observer.
- where there is a second observer: how well the deviation of samples tells the pixels on which the
  two differ from others (area under the ROC curve), and the bits of the second mask.

Samples are at temperature 1 and nothing is done to them.
"""

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import precision_recall_curve
from torch import Tensor

from cnf import noise
from cnf.baselines import Factorised, WeightedBernoulli
from cnf.errors import ConfigError
from cnf.replication.metrics import Score, calibration, jackknife, mean_se, shapes, tightness
from cnf.replication.metrics.likelihood import bits, likelihoods
from cnf.replication.metrics.vessels import (
    counts,
    f_score,
    f_scores,
    histogram,
    observer_scores,
    pooled,
    roc_area,
    truth_of,
    vessel_scores,
)
from cnf.replication.results import Row
from cnf.replication.scored_model import Subject

LIKELIEST = 16  # samples among which the most likely is looked for
LIKELIEST_DRAW = -3000  # the `draw` of the noise of the bounds of samples
CROPS, CROPS_DRAW = 64, -3001  # 8x8 crops on which the tightness of the bound is studied
FORMS = ("area", "components", "euler", "largest_share", "cldice")
JOINT = ("area", "components", "crossings")
LINE = 200  # points of a curve that is kept

OF_LIKELIEST = ("f_likeliest", "f_likeliest_image")
OF_SAMPLES = tuple(f"{name}_{end}" for name in JOINT for end in ("ratio", "coverage"))
OF_MARGINALS = ("calibration_error", "brier", "disagreement_auc", *FORMS)
OF_P = ("f_p_half", "f_p_half_image")
OF_ONE = (*(f"{name}_sample" for name in FORMS), "components_ratio_sample")
SURVEYED = (*OF_LIKELIEST, *OF_SAMPLES, *OF_MARGINALS, *OF_P, *OF_ONE, "second_bits")


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


def scores(subject: Subject, valid: Subject | None = None, only: str = "") -> Iterator[Score]:
    """Every score of a model on a set, or the metric named `only`. `valid`: the model, or its
    sister, on the validation split."""
    yield from likelihoods(subject, only)
    if subject.samples:
        if not only:
            remember(subject, scored(subject))
            if valid is not None and subject.options.threshold is None:
                remember(valid, 0)
        yield from vessel_scores(subject, valid, only)
        yield from _likeliest(subject, only)
        yield from _weighted(subject, only)
        yield from _marginals(subject, only)
        yield from _samples(subject, only)
        yield from _forms(subject, only)
    yield from _second(subject, only)
    yield from references(subject, only)


def references(subject: Subject, only: str = "") -> Iterator[Score]:
    """The second observer and the truth; the model is not looked at."""
    yield from observer_scores(subject, only)
    for name, forms in (("truth", truth(subject)), ("second observer", second(subject))):
        if forms is not None:
            yield from _of_forms(forms, only, "", model=name)


def again(subject: Subject, row: Row) -> float | None:
    """The value of a row of SURVEYED, computed again; None if there is no such score."""
    of_model = row.weights_sha256 is not None
    found = scores(subject, None, row.metric) if of_model else references(subject, row.metric)
    for s in found:
        same = (s.metric, s.divided_by) == (row.metric, row.divided_by)
        if same and s.model == (None if of_model else row.model):
            return s.value
    return None


# --- what is computed once ------------------------------------------------------------------------


def looks(subject: Subject, n: int, m: int = 0) -> list[Look]:
    """One pass over n samples of every picture, of the first m also log P(sample|x)."""
    for known in (m, *range(m + 1, LIKELIEST + 1)):
        if subject.has(("vessel looks", n, known)):
            return subject.once(("vessel looks", n, known), lambda: [])
    return subject.once(("vessel looks", n, m), lambda: _looks(subject, n, m))


def _looks(subject: Subject, n: int, m: int) -> list[Look]:
    missing = [i for i in subject.indices if _read(subject, i, n, m) is None]
    part = copy.copy(subject)
    part.indices = missing
    found = {}
    for index, _, samples in part.drawn(1.0, n):
        found[index] = look(subject, index, samples, m)
        _write(subject, index, n, m, found[index])
    return [found[i] if i in found else _read(subject, i, n, m) for i in subject.indices]


def look(subject: Subject, index: int, samples: Tensor, m: int) -> Look:
    """At the samples, uint8 (n,1,H,W), of one picture."""
    fov, y, circle = subject.fov(index), truth_of(subject, index), circle_of(subject, index)
    masks = samples[:, 0].numpy() > 0
    forms = np.array([shapes.shape(mask, fov, circle) for mask in masks], float)
    inside, is_true = masks[:m][:, fov], y[fov]
    terms = (inside & is_true, inside & ~is_true, ~inside & is_true)
    log_p = subject.mask_log_probs(index, samples[:m], LIKELIEST_DRAW) if m else np.zeros(0)
    return Look(
        samples.sum(0, dtype=torch.int16).numpy(),
        samples[0].numpy(),
        forms,
        np.stack([term.sum(1) for term in terms], 1),
        log_p,
    )


def _path(subject: Subject, index: int, n: int, m: int) -> Path | None:
    """Where a look is kept, for a call that comes later; None where nothing is to be."""
    if subject.keep is None:
        return None
    seed, name = subject.options.seed, subject.images[index].sha256[:16]
    return subject.keep / f"{name}-{n}-{m}-{seed}.npz"


def _read(subject: Subject, index: int, n: int, m: int) -> Look | None:
    path = _path(subject, index, n, m)
    if path is None or not path.exists():
        return None
    with np.load(path) as arrays:
        return Look(**arrays)


def _write(subject: Subject, index: int, n: int, m: int, found: Look) -> None:
    path = _path(subject, index, n, m)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".npz.tmp")
        with partial.open("wb") as file:
            np.savez_compressed(file, **found._asdict())
        os.replace(partial, path)


def scored(subject: Subject) -> int:
    """Of how many samples of a picture the likelihood is asked."""
    return LIKELIEST if subject.samples >= LIKELIEST else 0


def remember(subject: Subject, m: int) -> None:
    """Make the pass that everything comes out of, and from it marginals and single samples."""
    n, factorised = subject.samples, isinstance(subject.model, Factorised)
    if factorised and not m:
        return
    found = looks(subject, n, m)
    subject.once(("singles", 1.0), lambda: [torch.from_numpy(f.first).float() for f in found])
    if not factorised:
        votes = [torch.from_numpy(f.votes).float() / n for f in found]
        subject.once(("means", n), lambda: votes)


def draw_part(subject: Subject, valid: Subject | None, part: str) -> None:
    """Draw the k-th of K parts of the pictures, `part` "k/K", and keep it for a later call."""
    try:
        k, parts = (int(number) for number in part.split("/"))
    except ValueError:
        k, parts = 0, 0
    if not 1 <= k <= parts:
        raise ConfigError(f"--part {part}: give which of how many, such as 1/2 and 2/2")
    if not subject.keep:
        raise ConfigError("--part draws for a later call: say with --keep where it is kept")
    for one, m in ((subject, scored(subject)), (valid, 0)):
        if one is not None and one.samples and not (m == 0 and isinstance(one.model, Factorised)):
            some = copy.copy(one)
            some._cache, some.indices = {}, list(one.indices)[k - 1 :: parts]
            looks(some, one.samples, m)


def circle_of(subject: Subject, index: int) -> np.ndarray:
    """The circle around the optic disc that is found in the photograph."""

    def compute():
        fov = subject.fov(index)
        pixels = subject.images[index].x.permute(1, 2, 0).numpy()
        return shapes.circle_around(shapes.disc(pixels, fov), fov)

    return subject.once(("circle", index), compute)


def form(subject: Subject, index: int, mask: np.ndarray) -> dict[str, float]:
    """`shapes.Shape` and clDice of a mask, bool (H,W), of the picture `index`."""
    fov = subject.fov(index)
    found = shapes.shape(mask, fov, circle_of(subject, index))._asdict()
    return found | {"cldice": shapes.cldice(mask, truth_of(subject, index), fov)}


def forms_of(
    subject: Subject, name: str, masks: Callable[[], Sequence[np.ndarray | Tensor]]
) -> list[dict[str, float]]:
    """`form` of a mask for each picture, (1,H,W) each, kept under the name."""

    def compute():
        return [
            form(subject, i, np.asarray(mask)[0] > 0)
            for i, mask in zip(subject.indices, masks(), strict=True)
        ]

    return subject.once(("forms", name), compute)


def truth(subject: Subject) -> list[dict[str, float]]:
    return forms_of(subject, "truth", lambda: [subject.images[i].y for i in subject.indices])


def second(subject: Subject) -> list[dict[str, float]] | None:
    masks = seconds(subject)
    return None if masks is None else forms_of(subject, "second", lambda: masks)


def seconds(subject: Subject) -> list[Tensor] | None:
    """Masks of the second observer, where all pictures have one."""
    found = [subject.images[i].second for i in subject.indices]
    return None if any(mask is None for mask in found) else found


def marginals(subject: Subject) -> list[Tensor]:
    """P(vessel) of every pixel, (1,H,W): a factorised model's own, else the mean of samples."""
    return subject.means(_number(subject))


def _number(subject: Subject) -> int:
    return 0 if isinstance(subject.model, Factorised) else subject.samples


# --- scores ---------------------------------------------------------------------------------------


def _likeliest(subject: Subject, only: str) -> Iterator[Score]:
    if only in ("", *OF_LIKELIEST) and scored(subject):
        fields = {"temperature": 1.0, "samples": LIKELIEST}
        yield from _named(f_scores("f_likeliest", likeliest(subject), **fields), only)


def likeliest(subject: Subject) -> np.ndarray:
    """Counts of the most likely of the first LIKELIEST samples, (N,3)."""
    found = looks(subject, subject.samples, LIKELIEST)
    return np.array([f.found[np.argmax(f.log_probs)] for f in found])


def _weighted(subject: Subject, only: str) -> Iterator[Score]:
    """F where p >= 1/2, which is where q is at least `half_of_p`."""
    if only in ("", *OF_P) and isinstance(subject.model, WeightedBernoulli):
        threshold = half_of_p(subject.model.beta)
        found = counts(subject, marginals(subject), threshold)
        fields = {"threshold": threshold, "temperature": 1.0, "samples": 0}
        yield from _named(f_scores("f_p_half", found, **fields), only)


def half_of_p(beta: float) -> float:
    """The q that belongs to p = 1/2: q = p^beta / (p^beta + (1-p)^(1-beta))."""
    return 1 / (1 + 2 ** (2 * beta - 1))


def _marginals(subject: Subject, only: str) -> Iterator[Score]:
    fields = {"temperature": 1.0, "samples": _number(subject)}
    if only in ("", "calibration_error"):
        yield Score("calibration_error", *jackknife(table(subject), calibration.error_of), **fields)
    if only in ("", "brier"):
        parts = zip(*_split(subject, marginals(subject)), strict=True)
        sums = np.array([(((p - y) ** 2).sum(), p.size) for y, p in parts])
        yield Score("brier", *jackknife(sums, lambda s: s[..., 0] / s[..., 1]), **fields)
    if only in ("", "disagreement_auc") and (masks := seconds(subject)) is not None:
        differ, deviation = [], []
        for i, p, mask in zip(subject.indices, marginals(subject), masks, strict=True):
            fov, p = subject.fov(i), p[0].double().numpy()
            differ.append(((mask[0].numpy() > 0) != truth_of(subject, i))[fov])
            deviation.append(np.sqrt(p * (1 - p))[fov])
        if any(d.any() for d in differ):
            found = histogram(differ, deviation)
            yield Score("disagreement_auc", *jackknife(found, roc_area), **fields)


def table(subject: Subject, **limits: Any) -> np.ndarray:
    """`calibration.table` of the marginals."""
    y, p = _split(subject, marginals(subject))
    return calibration.table(p, y, **limits)


def _split(subject: Subject, maps: Sequence[Tensor]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(labels bool, probabilities float64) inside the field of view, an image each."""
    labels, p = [], []
    for index, m in zip(subject.indices, maps, strict=True):
        fov = subject.fov(index)
        labels.append(truth_of(subject, index)[fov])
        p.append(m[0].double().numpy()[fov])
    return labels, p


def _samples(subject: Subject, only: str) -> Iterator[Score]:
    n = subject.samples
    if n < 2 or only not in ("", *OF_SAMPLES):
        return
    for name in JOINT:
        found = joint(subject, name)
        fields = {"temperature": 1.0, "samples": n}
        parts = (
            Score(f"{name}_ratio", found.ratio, found.ratio_se, **fields),
            Score(f"{name}_coverage", found.coverage, found.coverage_se, **fields),
        )
        yield from _named(iter(parts), only)


def joint(subject: Subject, name: str) -> calibration.Joint:
    """Of one of JOINT: the truth beside samples."""
    column = shapes.Shape._fields.index(name)
    drawn = np.array([f.shapes[:, column] for f in looks(subject, subject.samples)])
    true = np.array([found[name] for found in truth(subject)])
    return calibration.joint(drawn, true, seed=subject.options.seed)


def _forms(subject: Subject, only: str) -> Iterator[Score]:
    if only in ("", *OF_ONE):
        fields = {"temperature": 1.0, "samples": 1}
        yield from _of_forms(of_one(subject), only, "_sample", **fields)
        if only in ("", "components_ratio_sample"):
            pairs = zip(of_one(subject), truth(subject), strict=True)
            sums = np.array([(a["components"], b["components"]) for a, b in pairs])
            value = jackknife(sums, lambda s: s[..., 0] / np.maximum(s[..., 1], 1))
            yield Score("components_ratio_sample", *value, **fields)
    if only in ("", *FORMS):
        fields = {"temperature": 1.0, "samples": _number(subject), "threshold": 0.5}
        yield from _of_forms(of_half(subject), only, "", **fields)


def of_one(subject: Subject) -> list[dict[str, float]]:
    """Forms of one sample an image."""
    return forms_of(subject, "one", lambda: subject.singles(1.0))


def of_half(subject: Subject) -> list[dict[str, float]]:
    """Forms of the pixels whose marginal is at least 1/2."""
    name = f"half {_number(subject)}"
    return forms_of(subject, name, lambda: [p >= 0.5 for p in marginals(subject)])


def _of_forms(forms: list[dict[str, float]], only: str, end: str, **fields: Any) -> Iterator[Score]:
    for name in FORMS:
        if only in ("", name + end) and not (fields.get("model") == "truth" and name == "cldice"):
            values = np.array([found[name] for found in forms])
            yield Score(name + end, *mean_se(values), **fields)


def _second(subject: Subject, only: str) -> Iterator[Score]:
    if only in ("", "second_bits") and (log_p := second_log_probs(subject)) is not None:
        yield from bits(subject, "second_bits", log_p, 0 if subject.model.exact else 1)


def second_log_probs(subject: Subject) -> np.ndarray | None:
    """log P(second observer's mask | x), nats, (N,), with the noise of the first's."""
    masks = seconds(subject)
    if masks is None:
        return None

    def compute():
        pairs = zip(subject.indices, masks, strict=True)
        return np.array([subject.mask_log_probs(i, mask[None])[0] for i, mask in pairs])

    return subject.once(("second",), compute)


def _named(found: Iterator[Score], only: str) -> Iterator[Score]:
    return (s for s in found if only in ("", s.metric))


# --- files beside the rows ------------------------------------------------------------------------


def per_image(subject: Subject) -> dict[str, np.ndarray]:
    """F of marginals at 1/2, of one sample, of the likeliest an image; {} without samples."""
    if not subject.samples:
        return {}
    found = {
        "f_half": f_score(counts(subject, marginals(subject), 0.5)),
        "f_sample": f_score(counts(subject, subject.singles(1.0), 0.5)),
    }
    return found | ({"f_likeliest": f_score(likeliest(subject))} if scored(subject) else {})


def curves(subject: Subject) -> dict[str, Any]:
    """What plots need, as JSON holds it. Lists over images are in the order of `images`."""
    labels, p = pooled(subject, marginals(subject))
    precision, recall, thresholds = precision_recall_curve(labels, p, drop_intermediate=True)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, LINE).astype(int))
    wide = calibration.reliability_of(table(subject).sum(0))
    all_p = calibration.reliability_of(table(subject, low=0.0, high=1.0).sum(0))
    found = looks(subject, subject.samples, scored(subject))
    sizes = subject.sizes() * math.log(2)
    forms = {"truth": truth(subject), "sample": of_one(subject), "half": of_half(subject)}
    if (other := second(subject)) is not None:
        forms["second observer"] = other
    result = {
        "samples": subject.samples,
        "images": [subject.images[i].name for i in subject.indices],
        "precision_recall": {
            "threshold": _numbers(thresholds[kept]),
            "precision": _numbers(precision[kept]),
            "recall": _numbers(recall[kept]),
        },
        "reliability": {
            name: {key: _numbers(part) for key, part in bins._asdict().items()}
            for name, bins in (("middle", wide), ("all", all_p))
        },
        "bits_per_pixel": _numbers(-subject.log_probs(subject.options.draws) / sizes),
        **{name: _numbers(values) for name, values in per_image(subject).items()},
        # of the first samples of each picture: bits, and F of each
        "sample_bits": [_numbers(-f.log_probs / d) for f, d in zip(found, sizes, strict=True)],
        "sample_f": [_numbers(f_score(f.found)) for f in found],
        "forms": {
            name: {key: _numbers([one[key] for one in many]) for key in many[0]}
            for name, many in forms.items()
        },
        # of all samples of each picture
        "drawn": {
            name: [_numbers(f.shapes[:, shapes.Shape._fields.index(name)]) for f in found]
            for name in JOINT
        },
        "joint": {},
    }
    if subject.samples > 1:
        for name in JOINT:
            one = joint(subject, name)
            ranks = [int(rank) for rank in one.ranks]
            result["joint"][name] = {"ranks": ranks} | {
                key: float(f"{value:.5g}")
                for key, value in one._asdict().items()
                if key != "ranks" and value is not None
            }
    if (masks := seconds(subject)) is not None:
        found_f = f_score(counts(subject, masks, 0.5))
        result["second_observer"] = {
            "f": _numbers(found_f),
            "bits_per_pixel": _numbers(-second_log_probs(subject) / sizes),
        }
    if not subject.model.exact:
        result["m_curve"] = m_curve(subject)
    return result


def m_curve(subject: Subject) -> dict[str, Any]:
    """Bits per pixel by the number of importance samples, on CROPS crops of 8x8."""
    side = math.lcm(tightness.SIDE, subject.model.multiple)
    y, x, _ = tightness.crops(subject.images, CROPS, side, subject.options.seed)
    keyed = noise.keyed(subject.options.seed, range(len(y)), CROPS_DRAW)
    found = tightness.m_curve(
        subject.model, y.to(subject.device), x.to(subject.device), generator=keyed
    )._asdict()
    numbers = {k: v if np.ndim(v) else [v] for k, v in found.items()}
    return {"crops": len(y), "side": side} | {
        key: _numbers(value) if np.ndim(found[key]) else _numbers(value)[0]
        for key, value in numbers.items()
    }


def _numbers(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
