"""Metrics of super-resolved pictures, most of them made of one pass over samples.

PSNR and SSIM (`pictures`), of whole photographs; textures (`textures`), uncertainty (`uncertainty`)
and consistency: the PSNR of D(y) against x, D the halving that makes x from y, not rounded, peak
255, all pixels and channels. (A rounded x differs from D of the truth by 58.9 dB.)

Of one sample at each temperature, of the model's mean (a flow: of its samples at temperature 1), of
bicubic interpolation, and where it has a sense of the truth.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from cnf import noise
from cnf.replication.data.images import check_size
from cnf.replication.metrics import (
    Setting,
    Value,
    jackknife,
    mean_se,
    metric,
    numbers,
    textures,
    uncertainty,
)
from cnf.replication.metrics.pictures import SCALE, WINDOW, fidelity, luma, psnr
from cnf.replication.scored_model import ScoredModel, once
from cnf.resample import imresize_half


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
    if has_fidelity(m):
        check_size(m.images[index].name, *y.shape[-2:], least=WINDOW + 2 * SCALE)
        known = {name: fidelity(y, picture, name) for name in {"standard", protocol(m)}}
    grey = luma(picture)
    return Look(known, consistency(picture, x), textures.spectrum(grey), textures.gradients(grey))


def has_fidelity(m: ScoredModel) -> bool:
    """Whether PSNR and SSIM are told: of whole photographs, with --full of patches, too."""
    return m.images.is_photographs or m.options.full


def consistency(picture: Tensor, x: Tensor) -> float:
    """PSNR in dB of a picture (3,H,W) halved against x: see the top."""
    return psnr(x.double().numpy(), imresize_half(picture.double()).numpy(), 255.0)


# -- what is computed once -------------------------------------------------------------------------


@once
def drawn(m: ScoredModel, temperature: float, n: int) -> Drawn:
    """One pass over n samples of every picture."""
    found = Drawn([], [], [])
    for index, x, samples in m.drawn(temperature, n):
        found.first.append(look(m, index, samples[0].float(), x))
        if temperature == 1 and n > 1 and not m.has_mean:
            found.mean.append(look(m, index, samples.float().mean(0), x))
        if n > 1:
            keyed = noise.keyed(m.options.seed, [index], uncertainty.TIES_DRAW)
            found.spread.append(uncertainty.spread(m.images[index].y, samples, keyed))
    return found


def looks(m: ScoredModel, s: Setting) -> list[Look]:
    """Looks at the answers that a setting asks for; those of a pass over many samples serve."""
    if m.reference == "truth":
        return truth(m)
    if s.samples == 1:
        n = m.samples if (drawn, s.temperature, m.samples) in m.kept else 1
        return drawn(m, s.temperature, n).first
    return looks_at_means(m) if m.has_mean else drawn(m, 1.0, s.samples).mean


@once
def looks_at_means(m: ScoredModel) -> list[Look]:
    """Looks at the means of a model that says its own, or at a reference."""
    pairs = zip(m.indices, m.maps(Setting(samples=0)), strict=True)
    return [look(m, i, picture.float(), m.x(i)) for i, picture in pairs]


@once
def truth(m: ScoredModel) -> list[Look]:
    """Looks at y itself, without PSNR and consistency."""
    ys = (luma(m.images[index].y) for index in m.indices)
    return [Look({}, math.nan, textures.spectrum(y), textures.gradients(y)) for y in ys]


# -- metrics ---------------------------------------------------------------------------------------

_SR: dict[str, Any] = {"task": "sr", "of": "both", "references": ("bicubic",)}


def _fidelity(name: str, *how: Any, tag: str) -> None:
    @metric(*how, name=name, tag=tag, each_x=True, **_SR)
    def of(m: ScoredModel, s: Setting) -> Value | None:
        if not has_fidelity(m):
            return None
        return mean_se([one.fidelity[s.protocol or "standard"][name] for one in looks(m, s)])


_fidelity("psnr", "PSNR", "dB", 2, 0.01, tag="basic")
_fidelity("ssim", "SSIM", "1", 4, 1e-4, tag="basic")
_fidelity("psnr_rgb", "PSNR (RGB)", "dB", 2, 0.01, tag="full")
_fidelity("ssim_rgb", "SSIM (RGB)", "1", 4, 1e-4, tag="full")


@metric("PSNR, halved, against x,", "dB", 2, 0.02, name="consistency", **_SR)
def _consistency(m: ScoredModel, s: Setting) -> Value:
    return mean_se([one.consistency for one in looks(m, s)])


def _power(band: str, title: str) -> None:
    @metric(title, "dB", 2, 0.01, name=f"power_{band}", **_SR)
    def of(m: ScoredModel, s: Setting) -> Value:
        pairs = zip(looks(m, s), truth(m), strict=True)
        powers = [[textures.band(*one.spectrum, band) for one in pair] for pair in pairs]
        return mean_se([ours - true for ours, true in powers])


_power("low", "power up to 1/8 cycle a pixel, over the truth's,")
_power("mid", "power from 1/8 to 1/4, over the truth's,")
_power("high", "power from 1/4 to 1/2, over the truth's,")


def _gradient(name: str, statistic: Callable, *how: Any, **more: Any) -> None:
    @metric(*how, name=name, **_SR | {"references": ("bicubic", "truth")}, **more)
    def of(m: ScoredModel, s: Setting) -> Value:
        return jackknife(np.array([one.gradients for one in looks(m, s)]), statistic)


_gradient("gradient", textures.mean_gradient, "mean |gradient|", "grey levels", 2, 0.01)
_gradient(
    *("gradient_kurtosis", textures.kurtosis, "kurtosis of gradients", "1", 1, 0.05), factor=1.01
)


@metric("distance of gradients to the truth's", "grey levels", 3, 0.01, **_SR)
def gradient_distance(m: ScoredModel, s: Setting) -> Value:
    pairs = zip(looks(m, s), truth(m), strict=True)
    sums = np.array([np.concatenate([a.gradients, b.gradients]) for a, b in pairs])
    return jackknife(sums, textures.distance)


def spreads(m: ScoredModel, s: Setting, part: str) -> np.ndarray:
    """What each picture adds to a part of `uncertainty.Spread`, (N, ...)."""
    return np.array([getattr(one, part) for one in drawn(m, s.temperature, s.samples).spread])


_MANY: dict[str, Any] = {"task": "sr", "of": "samples"}


@metric("deviation of samples over error of their mean", "1", 3, 2e-3, **_MANY, tag="basic")
def spread_skill(m: ScoredModel, s: Setting) -> Value:
    return jackknife(spreads(m, s, "moments"), partial(uncertainty.spread_skill, n=s.samples))


def _spread(name: str, title: str, part: str, statistic: Callable, factor: float = 1.0) -> None:
    @metric(title, "1", 3, 2e-3, name=name, factor=factor, **_MANY)
    def of(m: ScoredModel, s: Setting) -> Value:
        return jackknife(spreads(m, s, part), statistic)


_CORRELATION = "correlation of deviation and error"
_spread("deviation_correlation", _CORRELATION, "moments", uncertainty.correlation)


def _coverage(percent: int, tag: str) -> None:
    at = partial(uncertainty.coverage_at, level=percent / 100)
    title = f"coverage of {percent} % intervals"

    @metric(title, "1", 3, 2e-3, name=f"coverage_{percent}", **_MANY, tag=tag)
    def of(m: ScoredModel, s: Setting) -> Value | None:
        enough = uncertainty.are_enough(s.samples, percent / 100)
        return jackknife(spreads(m, s, "ranks"), at) if enough else None


_coverage(50, "full")
_coverage(90, "basic")
_spread("coverage_error", "mean error of coverage", "ranks", uncertainty.coverage_error)
_CHI2 = "chi-square of ranks, an entry"
_spread("rank_distance", _CHI2, "ranks", uncertainty.rank_distance, factor=1.01)


# -- beside the values -----------------------------------------------------------------------------


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """PSNR and SSIM of the point estimate an image, with --full by protocol; {} where they are not
    told, and without a mean."""
    if not (m.samples > 1 or m.samples and m.has_mean) or not has_fidelity(m):
        return {}
    kind, end = (protocol(m), f"_{protocol(m)}") if m.options.full else ("standard", "")
    found = [one.fidelity[kind] for one in looks(m, m.mean)]
    return {name + end: np.array([one[name] for one in found]) for name in ("psnr", "ssim")}


def curves(m: ScoredModel) -> dict[str, Any]:
    """What plots need, as JSON holds it: mean spectra (dB) and histograms of gradients of each kind
    of picture, and for each temperature ranks, coverage, and error against deviation."""
    bicubic, temperatures = m.reference_of("bicubic"), m.task.temperatures
    kinds = {"truth": truth(m), "bicubic": looks(bicubic, Setting()), "mean": looks(m, m.mean)}
    kinds |= {f"sample {t:g}": looks(m, Setting(t, 1)) for t in temperatures}
    frequency = (np.arange(textures.ANNULI) + 0.5) / (2 * textures.ANNULI)
    spectra, shares = {"cycles_per_pixel": frequency}, {"edges": textures.EDGES}
    for kind, found in kinds.items():
        spectra[kind] = np.mean([textures.decibels(*one.spectrum) for one in found], 0)
        shares[kind] = textures.shares(sum(one.gradients for one in found))
    return {
        "x": "rounded to 8 bits" if m.rounded_x else "not rounded",
        "samples": m.samples,
        "spectrum_dB": numbers(spectra),
        "gradient_share": numbers(shares),
        "uncertainty": {f"{t:g}": uncertainty_at(m, t) for t in temperatures[1:] if m.samples > 1},
    }


def uncertainty_at(m: ScoredModel, temperature: float) -> dict[str, Any]:
    """Ranks and coverage, and error by deviation, of all pictures together."""
    spread = drawn(m, temperature, m.samples).spread
    ranks, bins = sum(one.ranks for one in spread), sum(one.bins for one in spread)
    number, variance, squared = bins.T
    return {
        "ranks": numbers(ranks / ranks.sum()),
        "nominal": numbers(uncertainty.nominal(m.samples)),
        "coverage": numbers(uncertainty.coverage(ranks)),
        "entries": [int(value) for value in number],
        "deviation": numbers(np.sqrt(variance / np.maximum(number, 1))),
        "error": numbers(np.sqrt(squared / np.maximum(number, 1))),
    }
