"""Metrics of super-resolved pictures, most of them made of one pass over samples.

PSNR and SSIM (`pictures`), of whole photographs; textures (`textures`), uncertainty (`uncertainty`)
and consistency: the PSNR of D(y) against x, D the halving that makes x from y, not rounded, peak
255, all pixels and channels. (A rounded x differs from D of the truth by 58.9 dB.)

Of one sample at each temperature, of the model's mean (a flow: of its samples at temperature 1), of
bicubic interpolation, and where it has a sense of the truth.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from cnf import noise
from cnf.replication.metrics import (
    Setting,
    Value,
    jackknife,
    mean_se,
    metric,
    textures,
    uncertainty,
)
from cnf.replication.metrics.pictures import MAX_PSNR, fidelity, luma
from cnf.replication.scored_model import ScoredModel
from cnf.resample import imresize_half

FIDELITY = ("psnr", "ssim", "psnr_rgb", "ssim_rgb")


class Look(NamedTuple):
    """What is computed of one picture: PSNR and SSIM by protocol and name, consistency in dB, and
    what `textures.spectrum` and `textures.gradients` give."""

    fidelity: dict[str, dict[str, float]]
    consistency: float
    spectrum: tuple[np.ndarray, np.ndarray]
    gradients: np.ndarray


class Drawn(NamedTuple):
    """Of n samples of every picture at one temperature: a look at the first, a look at their mean
    (of a flow, at temperature 1), and how they spread (where there are two or more)."""

    first: list[Look]
    mean: list[Look]
    spread: list[uncertainty.Spread]


def protocol(m: ScoredModel) -> str:
    """The protocol that has such an x."""
    return "standard" if m.rounded_x else "released"


def look(m: ScoredModel, index: int, picture: Tensor, x: Tensor) -> Look:
    """At a picture (3,H,W) in grey levels, of the image `index`, and its x."""
    y, known = m.images[index].y, {}
    if m.images.is_photographs:
        known = {name: fidelity(y, picture, name) for name in {"standard", protocol(m)}}
    grey = luma(picture)
    return Look(known, consistency(picture, x), textures.spectrum(grey), textures.gradients(grey))


def consistency(picture: Tensor, x: Tensor) -> float:
    """PSNR in dB, at most MAX_PSNR, of a picture (3,H,W) halved against x: see the top."""
    error = (imresize_half(picture.double()) - x.double()).square().mean().item()
    return min(MAX_PSNR, 10 * math.log10(255**2 / error)) if error else MAX_PSNR


# -- what is computed once -------------------------------------------------------------------------


def drawn(m: ScoredModel, temperature: float, n: int) -> Drawn:
    """One pass over n samples of every picture."""

    def compute():
        found = Drawn([], [], [])
        for index, x, samples in m.drawn(temperature, n):
            found.first.append(look(m, index, samples[0].float(), x))
            if temperature == 1 and n > 1 and not m.has_mean:
                found.mean.append(look(m, index, samples.float().mean(0), x))
            if n > 1:
                keyed = noise.keyed(m.options.seed, [index], uncertainty.TIES_DRAW)
                found.spread.append(uncertainty.spread(m.images[index].y, samples, keyed))
        return found

    return m.once(("drawn", temperature, n), compute)


def looks(m: ScoredModel, s: Setting) -> list[Look]:
    """Looks at the answers that a setting asks for; those of a pass over many samples serve."""
    if m.reference is None and s.samples == 1:
        for n in (m.samples, 1):
            if m.has(("drawn", s.temperature, n)):
                return drawn(m, s.temperature, n).first
        return drawn(m, s.temperature, 1).first
    if m.reference is None and not m.has_mean:
        return drawn(m, 1.0, s.samples).mean
    pairs = zip(m.indices, m.maps(s), strict=True)
    return m.once(("looks",), lambda: [look(m, i, p.float(), m.x(i)) for i, p in pairs])


def truth(m: ScoredModel) -> list[Look]:
    """Looks at y itself, without PSNR and consistency."""

    def compute():
        ys = (luma(m.images[index].y) for index in m.indices)
        return [Look({}, math.nan, textures.spectrum(y), textures.gradients(y)) for y in ys]

    return m.once(("looks", "truth"), compute)


# -- metrics ---------------------------------------------------------------------------------------


def _fidelity(name: str, title: str, unit: str, digits: int, tolerance: float, tag: str) -> None:
    @metric(
        *(title, unit, digits, tolerance),
        **{"name": name, "task": "sr", "of": ("mean", "sample"), "tag": tag, "each_x": True},
        references=("bicubic",),
    )
    def of(m: ScoredModel, s: Setting) -> Value | None:
        if not m.images.is_photographs:
            return None
        found = [one.fidelity[s.protocol or "standard"][name] for one in looks(m, s)]
        return Value(*mean_se(np.array(found)))


_fidelity("psnr", "PSNR", "dB", 2, 0.01, "basic")
_fidelity("ssim", "SSIM", "1", 4, 1e-4, "basic")
_fidelity("psnr_rgb", "PSNR (RGB)", "dB", 2, 0.01, "full")
_fidelity("ssim_rgb", "SSIM (RGB)", "1", 4, 1e-4, "full")

_BOTH: dict[str, Any] = {"task": "sr", "of": ("mean", "sample"), "references": ("bicubic",)}
_ALL = _BOTH | {"references": ("bicubic", "truth")}


@metric("PSNR, halved, against x,", "dB", 2, 0.02, name="consistency", **_BOTH)
def _consistency(m: ScoredModel, s: Setting) -> Value:
    return Value(*mean_se(np.array([one.consistency for one in looks(m, s)])))


def ratios(m: ScoredModel, s: Setting, band: str) -> np.ndarray:
    """Power in a band over that of the truth an image, dB, (N,)."""
    pairs = zip(looks(m, s), truth(m), strict=True)
    return np.array(
        [textures.band(*a.spectrum, band) - textures.band(*b.spectrum, band) for a, b in pairs]
    )


@metric("power up to 1/8 cycle a pixel, over the truth's,", "dB", 2, 0.01, **_BOTH)
def power_low(m: ScoredModel, s: Setting) -> Value:
    return Value(*mean_se(ratios(m, s, "low")))


@metric("power from 1/8 to 1/4, over the truth's,", "dB", 2, 0.01, **_BOTH)
def power_mid(m: ScoredModel, s: Setting) -> Value:
    return Value(*mean_se(ratios(m, s, "mid")))


@metric("power from 1/4 to 1/2, over the truth's,", "dB", 2, 0.01, **_BOTH)
def power_high(m: ScoredModel, s: Setting) -> Value:
    return Value(*mean_se(ratios(m, s, "high")))


def moments(m: ScoredModel, s: Setting) -> np.ndarray:
    """Sums over the gradients of each picture, (N, MOMENTS)."""
    found = truth(m) if m.reference == "truth" else looks(m, s)
    return np.array([one.gradients[: textures.MOMENTS] for one in found])


@metric("mean |gradient|", "grey levels", 2, 0.01, **_ALL)
def gradient(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(moments(m, s), textures.mean_gradient))


@metric("kurtosis of gradients", "1", 1, 0.05, factor=1.01, **_ALL)
def gradient_kurtosis(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(moments(m, s), textures.kurtosis))


@metric("distance of gradients to the truth's", "grey levels", 3, 0.01, **_BOTH)
def gradient_distance(m: ScoredModel, s: Setting) -> Value:
    pairs = zip(looks(m, s), truth(m), strict=True)
    sums = np.array([np.concatenate([a.gradients, b.gradients]) for a, b in pairs])
    return Value(*jackknife(sums, textures.distance))


def spreads(m: ScoredModel, s: Setting, part: str) -> np.ndarray:
    """What each picture adds to `uncertainty.Spread`, (N, ...)."""
    return np.array([getattr(one, part) for one in drawn(m, s.temperature, s.samples).spread])


_MANY: dict[str, Any] = {"task": "sr", "of": "samples"}


@metric("deviation of samples over error of their mean", "1", 3, 2e-3, **_MANY)
def spread_skill(m: ScoredModel, s: Setting) -> Value:
    ratio = lambda sums: uncertainty.spread_skill(sums, s.samples)  # noqa: E731
    return Value(*jackknife(spreads(m, s, "moments"), ratio))


@metric("correlation of deviation and error", "1", 3, 2e-3, **_MANY)
def deviation_correlation(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(spreads(m, s, "moments"), uncertainty.correlation))


@metric("coverage of 50 % intervals", "1", 3, 2e-3, **_MANY)
def coverage_50(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(spreads(m, s, "ranks"), lambda r: uncertainty.coverage_at(r, 0.5)))


@metric("coverage of 90 % intervals", "1", 3, 2e-3, **_MANY)
def coverage_90(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(spreads(m, s, "ranks"), lambda r: uncertainty.coverage_at(r, 0.9)))


@metric("mean error of coverage", "1", 3, 2e-3, **_MANY)
def coverage_error(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(spreads(m, s, "ranks"), uncertainty.coverage_error))


@metric("chi-square of ranks, an entry", "1", 3, 2e-3, factor=1.01, **_MANY)
def rank_distance(m: ScoredModel, s: Setting) -> Value:
    return Value(*jackknife(spreads(m, s, "ranks"), uncertainty.rank_distance))


# -- beside the values -----------------------------------------------------------------------------


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """PSNR and SSIM of the point estimate an image, with --full by protocol; {} for patches."""
    if not m.samples or not m.images.is_photographs:
        return {}
    found = looks(m, Setting(temperature=1.0, samples=0 if m.has_mean else m.samples))
    kind, end = (protocol(m), f"_{protocol(m)}") if m.options.full else ("standard", "")
    return {
        name + end: np.array([one.fidelity[kind][name] for one in found]) for name in FIDELITY[:2]
    }


def curves(m: ScoredModel) -> dict[str, Any]:
    """What plots need, as JSON holds it: mean spectra (dB) and histograms of gradients of each kind
    of picture, and for each temperature ranks, coverage, and error against deviation."""
    bicubic = m.reference_of("bicubic")
    mean = Setting(temperature=1.0, samples=0 if m.has_mean else m.samples)
    kinds = {"truth": truth(m), "bicubic": looks(bicubic, Setting()), "mean": looks(m, mean)}
    temperatures = m.task.temperatures
    kinds |= {f"sample {t:g}": looks(m, Setting(t, 1)) for t in temperatures}
    frequency = (np.arange(textures.ANNULI) + 0.5) / (2 * textures.ANNULI)
    spectra, gradients = {}, {}
    wide = 8  # so many counts of STEP are one of the histogram
    for kind, found in ((k, some) for k, some in kinds.items() if some):
        spectra[kind] = numbers(np.mean([textures.decibels(*one.spectrum) for one in found], 0))
        counts = sum(one.gradients[textures.MOMENTS :] for one in found)
        edge = -(-len(counts) // wide) * wide - len(counts)
        parts = np.pad(counts, (edge // 2, edge - edge // 2)).reshape(-1, wide).sum(1)
        gradients[kind] = numbers(parts / parts.sum())
    start = -textures.LARGEST - textures.STEP * (edge // 2 + 0.5)
    edges = start + wide * textures.STEP * np.arange(len(parts) + 1)
    result = {
        "x": "rounded to 8 bits" if m.rounded_x else "not rounded",
        "samples": m.samples,
        "spectrum_dB": {"cycles_per_pixel": numbers(frequency)} | spectra,
        "gradient_share": {"edges": numbers(edges)} | gradients,
        "uncertainty": {},
    }
    for temperature in temperatures[1:] if m.samples > 1 else ():
        spread = drawn(m, temperature, m.samples).spread
        ranks, bins = sum(one.ranks for one in spread), sum(one.bins for one in spread)
        number, variance, squared = bins.T
        result["uncertainty"][f"{temperature:g}"] = {
            "ranks": numbers(ranks / ranks.sum()),
            "nominal": numbers(uncertainty.nominal(m.samples)),
            "coverage": numbers(uncertainty.coverage(ranks)),
            "deviation_edges": list(uncertainty.EDGES),
            "entries": [int(value) for value in number],
            "deviation": numbers(np.sqrt(variance / np.maximum(number, 1))),
            "error": numbers(np.sqrt(squared / np.maximum(number, 1))),
        }
    return result


def numbers(values: Any) -> list[float]:
    """Five digits each, as JSON holds them."""
    return [float(f"{value:.5g}") for value in values]
