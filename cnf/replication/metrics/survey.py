"""`evaluate --full`: everything that is said of super-resolved pictures, in one pass over samples.

x as the model was trained with, and x rounded or not: bits, PSNR and SSIM, under the protocol that
has such an x (`pictures`). x as the model was trained with: textures (`textures`), uncertainty
(`uncertainty`), and consistency: the PSNR of D(y) against x, D the halving that makes x from y, not
rounded, peak 255, all pixels and channels. (A rounded x differs from D of the truth by 58.9 dB.)

Of one sample at each of TEMPERATURES, of the model's mean (a flow: of its samples at temperature
1), of bicubic interpolation, and where it has a sense of the truth. Patches have no PSNR.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from cnf import noise
from cnf.baselines import Factorised
from cnf.replication.data.batches import make_batch
from cnf.replication.metrics import Score, jackknife, mean_se, textures, uncertainty
from cnf.replication.metrics.likelihood import likelihoods
from cnf.replication.metrics.pictures import MAX_PSNR, Protocol, fidelity, luma
from cnf.replication.results import Row
from cnf.replication.scored_model import Subject
from cnf.resample import imresize_double, imresize_half

TEMPERATURES = (0.0, 0.5, 0.7, 0.8, 1.0)
FIDELITY = ("psnr", "ssim", "psnr_rgb", "ssim_rgb")
TEXTURES = (*(f"power_{name}" for name in textures.BANDS), "gradient_distance", "consistency")
TEXTURES += ("gradient", "gradient_kurtosis")  # the truth has these two as well
UNCERTAINTY = (
    *("spread_skill", "deviation_correlation", "coverage_50", "coverage_90", "coverage_error"),
    "rank_distance",
)


class Look(NamedTuple):
    """What is computed of one picture: PSNR and SSIM by name, consistency in dB, and what
    `textures.spectrum` and `textures.gradients` give."""

    fidelity: dict[str, float]
    consistency: float
    spectrum: tuple[np.ndarray, np.ndarray]
    gradients: np.ndarray


class Drawn(NamedTuple):
    """Of n samples of every picture at one temperature: a look at the first, a look at their mean
    (of a flow, at temperature 1), and how they spread (where there are two or more)."""

    first: list[Look]
    mean: list[Look]
    spread: list[uncertainty.Spread]


def protocol(subject: Subject) -> Protocol:
    """The protocol that has such an x."""
    return "standard" if subject.rounded_x else "released"


def scores(
    subject: Subject,
    only: str = "",
    temperatures: Sequence[float] = TEMPERATURES,
    textured: bool = True,
) -> Iterator[Score]:
    """Every score of a model on a set for its x, or the metric named `only`; without `textured`
    bits, PSNR and SSIM alone."""
    yield from likelihoods(subject, only)
    if not subject.samples:
        return

    def wanted(names: Sequence[str], end: str = "") -> bool:
        return only == "" or only in [name + end for name in names]

    of_pictures = (*FIDELITY, *TEXTURES) if textured else FIDELITY
    for temperature in temperatures:
        n = subject.samples if temperature else 1  # at 0 all samples are one
        spreads = textured and n > 1 and wanted(UNCERTAINTY)
        if spreads or (not only and temperature == 1):
            drawn(subject, temperature, n)  # holds the first sample and the mean as well
        if wanted(of_pictures, "_sample"):
            looks = first(subject, temperature)
            fields = {"temperature": temperature, "samples": 1}
            yield from _of_looks(subject, looks, only, "_sample", textured, **fields)
        if spreads:
            yield from _of_spread(drawn(subject, temperature, n).spread, n, temperature, only)
    if wanted(of_pictures):
        n = 0 if isinstance(subject.model, Factorised) else subject.samples
        if n != 1:
            fields = {"temperature": 1.0, "samples": n}
            yield from _of_looks(subject, mean(subject), only, "", textured, **fields)
        yield from references(subject, only, textured)


def references(subject: Subject, only: str = "", textured: bool = True) -> Iterator[Score]:
    """Of bicubic interpolation, and gradients of the truth; the model is not looked at."""
    yield from _of_looks(subject, bicubic(subject), only, "", textured, model="bicubic")
    if textured:
        found = [s for s in _gradients(truth(subject), only, "") if s.metric in TEXTURES[-2:]]
        yield from (s._replace(model="truth") for s in found)


def again(subject: Subject, row: Row) -> float | None:
    """The value of such a row, computed again; None if there is no such score."""
    temperatures = () if row.temperature is None or row.model == "truth" else (row.temperature,)
    of_model = row.weights_sha256 is not None
    found = (
        scores(subject, row.metric, temperatures) if of_model else references(subject, row.metric)
    )
    for s in found:
        same = (s.temperature, s.samples) == (row.temperature, row.samples) or not of_model
        if s.metric == row.metric and same and s.model == (None if of_model else row.model):
            return s.value
    return None


# --- what is computed once ------------------------------------------------------------------------


def drawn(subject: Subject, temperature: float, n: int) -> Drawn:
    """One pass over n samples of every picture."""

    def compute():
        found = Drawn([], [], [])
        averaged = temperature == 1 and n > 1 and not isinstance(subject.model, Factorised)
        for index, x, samples in subject.drawn(temperature, n):
            found.first.append(look(subject, index, samples[0].float(), x))
            if averaged:
                found.mean.append(look(subject, index, samples.float().mean(0), x))
            if n > 1:
                keyed = noise.keyed(subject.options.seed, [index], uncertainty.TIES_DRAW)
                y = subject.images[index].y
                found.spread.append(uncertainty.spread(y, samples, keyed))
        return found

    return subject.once(("drawn", temperature, n), compute)


def first(subject: Subject, temperature: float) -> list[Look]:
    """Looks at the first sample, which is the same however many are drawn."""
    for n in (subject.samples, 1):
        if subject.has(("drawn", temperature, n)):
            return drawn(subject, temperature, n).first
    return drawn(subject, temperature, 1).first


def mean(subject: Subject) -> list[Look]:
    """Looks at the model's own mean, or that of its samples."""
    if not isinstance(subject.model, Factorised):
        return drawn(subject, 1.0, subject.samples).mean

    def compute():
        means = subject.means(0)
        return [
            look(subject, i, m, half(subject, i))
            for i, m in zip(subject.indices, means, strict=True)
        ]

    return subject.once(("looks", "mean"), compute)


def bicubic(subject: Subject) -> list[Look]:
    """Looks at x doubled by the cubic kernel."""

    def compute():
        found = []
        for index in subject.indices:
            x = half(subject, index)
            found.append(look(subject, index, imresize_double(x), x))
        return found

    return subject.once(("looks", "bicubic"), compute)


def truth(subject: Subject) -> list[Look]:
    """Looks at y itself, without PSNR and consistency."""

    def compute():
        ys = (luma(subject.images[index].y) for index in subject.indices)
        return [Look({}, math.nan, textures.spectrum(y), textures.gradients(y)) for y in ys]

    return subject.once(("looks", "truth"), compute)


def half(subject: Subject, index: int) -> Tensor:
    """x of a picture, (3,H/2,W/2)."""
    return make_batch(subject.images, [index], subject.data_config)[1][0]


def look(subject: Subject, index: int, picture: Tensor, x: Tensor) -> Look:
    """At a picture (3,H,W) in grey levels, of the image `index`, and its x."""
    known = {}
    if subject.images.is_photographs:
        known = fidelity(subject.images[index].y, picture, protocol(subject))
    y = luma(picture)
    return Look(known, consistency(picture, x), textures.spectrum(y), textures.gradients(y))


def consistency(picture: Tensor, x: Tensor) -> float:
    """PSNR in dB, at most MAX_PSNR, of a picture (3,H,W) halved against x: see the top."""
    error = (imresize_half(picture.double()) - x.double()).square().mean().item()
    return min(MAX_PSNR, 10 * math.log10(255**2 / error)) if error else MAX_PSNR


# --- from looks to scores -------------------------------------------------------------------------


def _of_looks(
    subject: Subject, looks: list[Look], only: str, end: str, textured: bool, **fields: Any
) -> Iterator[Score]:
    """Scores of a list of pictures; `end` is that of their names."""
    for name in FIDELITY:
        if subject.images.is_photographs and only in ("", name + end):
            values = np.array([found.fidelity[name] for found in looks])
            protocol_fields = fields | {"protocol": protocol(subject)}
            yield Score(name + end, *mean_se(values), **protocol_fields)
    if not textured:
        return
    if only in ("", "consistency" + end):
        values = np.array([found.consistency for found in looks])
        yield Score("consistency" + end, *mean_se(values), **fields)
    for name in textures.BANDS:
        if only in ("", f"power_{name}{end}"):
            yield Score(f"power_{name}{end}", *mean_se(ratios(subject, looks, name)), **fields)
    yield from (s._replace(**fields) for s in _gradients(looks, only, end))
    if only in ("", "gradient_distance" + end):
        pairs = zip(looks, truth(subject), strict=True)
        sums = np.array([np.concatenate([a.gradients, b.gradients]) for a, b in pairs])
        yield Score("gradient_distance" + end, *jackknife(sums, textures.distance), **fields)


def ratios(subject: Subject, looks: list[Look], name: str) -> np.ndarray:
    """Power in a band over that of the truth an image, dB, (N,)."""
    pairs = zip(looks, truth(subject), strict=True)
    return np.array(
        [textures.band(*a.spectrum, name) - textures.band(*b.spectrum, name) for a, b in pairs]
    )


def _gradients(looks: list[Look], only: str, end: str) -> Iterator[Score]:
    sums = np.array([found.gradients[: textures.MOMENTS] for found in looks])
    if only in ("", "gradient" + end):
        yield Score("gradient" + end, *jackknife(sums, textures.mean_gradient))
    if only in ("", "gradient_kurtosis" + end):
        yield Score("gradient_kurtosis" + end, *jackknife(sums, textures.kurtosis))


def _of_spread(
    spreads: list[uncertainty.Spread], n: int, temperature: float, only: str
) -> Iterator[Score]:
    ranks = np.array([s.ranks for s in spreads])
    moments = np.array([s.moments for s in spreads])
    u = uncertainty
    found = {
        "spread_skill": (moments, lambda sums: u.spread_skill(sums, n)),
        "deviation_correlation": (moments, u.correlation),
        "coverage_50": (ranks, lambda sums: u.coverage_at(sums, 0.5)),
        "coverage_90": (ranks, lambda sums: u.coverage_at(sums, 0.9)),
        "coverage_error": (ranks, u.coverage_error),
        "rank_distance": (ranks, u.rank_distance),
    }
    for metric, (sums, function) in found.items():
        if only in ("", metric):
            value = jackknife(sums, function)
            yield Score(metric, *value, temperature=temperature, samples=n)


def per_image(subject: Subject) -> dict[str, np.ndarray]:
    """PSNR and SSIM of the point estimate an image, {metric and protocol: (N,)}; {} for patches."""
    if not subject.samples or not subject.images.is_photographs:
        return {}
    if not (looks := mean(subject)):
        return {}
    return {
        f"{name}_{protocol(subject)}": np.array([found.fidelity[name] for found in looks])
        for name in ("psnr", "ssim")
    }


def curves(subject: Subject) -> dict[str, Any]:
    """What plots need, as JSON holds it: mean spectra (dB) and histograms of gradients of each kind
    of picture, and for each temperature ranks, coverage, and error against deviation."""
    kinds = {"truth": truth(subject), "bicubic": bicubic(subject), "mean": mean(subject)}
    kinds |= {f"sample {t:g}": first(subject, t) for t in TEMPERATURES}
    frequency = (np.arange(textures.ANNULI) + 0.5) / (2 * textures.ANNULI)
    spectra, gradients = {}, {}
    wide = 8  # so many counts of STEP are one of the histogram
    for kind, looks in ((k, looks) for k, looks in kinds.items() if looks):
        decibels = [textures.decibels(*found.spectrum) for found in looks]
        spectra[kind] = _numbers(np.mean(decibels, 0))
        counts = sum(found.gradients[textures.MOMENTS :] for found in looks)
        edge = -(-len(counts) // wide) * wide - len(counts)
        parts = np.pad(counts, (edge // 2, edge - edge // 2)).reshape(-1, wide).sum(1)
        gradients[kind] = _numbers(parts / parts.sum())
    start = -textures.LARGEST - textures.STEP * (edge // 2 + 0.5)
    edges = start + wide * textures.STEP * np.arange(len(parts) + 1)
    found = {
        "x": "rounded to 8 bits" if subject.rounded_x else "not rounded",
        "samples": subject.samples,
        "spectrum_dB": {"cycles_per_pixel": _numbers(frequency)} | spectra,
        "gradient_share": {"edges": _numbers(edges)} | gradients,
        "uncertainty": {},
    }
    for temperature in TEMPERATURES[1:] if subject.samples > 1 else ():
        spreads = drawn(subject, temperature, subject.samples).spread
        ranks, bins = sum(s.ranks for s in spreads), sum(s.bins for s in spreads)
        number, variance, squared = bins.T
        found["uncertainty"][f"{temperature:g}"] = {
            "ranks": _numbers(ranks / ranks.sum()),
            "nominal": _numbers(uncertainty.nominal(subject.samples)),
            "coverage": _numbers(uncertainty.coverage(ranks)),
            "deviation_edges": list(uncertainty.EDGES),
            "entries": [int(value) for value in number],
            "deviation": _numbers(np.sqrt(variance / np.maximum(number, 1))),
            "error": _numbers(np.sqrt(squared / np.maximum(number, 1))),
        }
    return found


def _numbers(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
