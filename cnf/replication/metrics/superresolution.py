"""Metrics of super-resolved pictures, most of them computed in one pass over samples.

PSNR and SSIM of whole photographs, consistency (all in `pictures`), textures (`textures`) and
uncertainty (`uncertainty`). Pictures are one sample at each temperature, the model's mean (of a
flow: the mean of samples at temperature 1), and bicubic interpolation.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from cnf import noise
from cnf.replication.data.images import check_size
from cnf.replication.measures import Setting
from cnf.replication.metrics import (
    Value,
    jackknife,
    mean_se,
    numbers,
    pictures,
    textures,
    uncertainty,
)
from cnf.replication.metrics.pictures import SCALE, WINDOW, luma
from cnf.replication.scored.model import ScoredModel, computed_once


class PictureScores(NamedTuple):
    """The scores of one picture: PSNR and SSIM by protocol and name, consistency in dB, and the
    values of `textures.spectrum` and `textures.gradients`."""

    fidelity: dict[str, dict[str, float]]
    consistency: float
    spectrum: tuple[np.ndarray, np.ndarray]
    gradients: np.ndarray


class Samples(NamedTuple):
    """Scores of two or more samples of every picture at one temperature: of their mean and
    `pictures.variance` (for a flow at temperature 1; else empty), and how they spread."""

    means: list[PictureScores]
    variances: list[float]
    spreads: list[uncertainty.Spread]


class Pictures:
    """Scores that metrics share, of the pictures that a model or a reference answers with."""

    def __init__(self, scored: ScoredModel):
        self.scored = scored

    def score_picture(self, index: int, picture: Tensor, x: Tensor) -> PictureScores:
        """Scores of a picture (3,H,W) in grey levels, an answer for the image `index`, and its
        x."""
        m, y = self.scored, self.scored.images[index].y
        fidelity: dict[str, dict[str, float]] = {}
        if has_fidelity(m):
            height, width = y.shape[-2:]
            check_size(m.images[index].name, height, width, least=WINDOW + 2 * SCALE)
            protocols = {"standard", pictures.protocol(m.rounded_x)}
            fidelity = {name: pictures.fidelity(y, picture, name) for name in protocols}
        y_channel = luma(picture)
        spectrum, gradients = textures.spectrum(y_channel), textures.gradients(y_channel)
        return PictureScores(fidelity, pictures.consistency(picture, x), spectrum, gradients)

    @computed_once
    def samples(self, temperature: float, n: int) -> Samples:
        """One pass over n samples of every picture."""
        m, samples_scores = self.scored, Samples([], [], [])
        for index, x, samples in m.draw_samples(temperature, n):
            if temperature == 1 and not m.has_mean:
                samples_scores.means.append(self.score_picture(index, samples.float().mean(0), x))
                if has_fidelity(m):
                    samples_scores.variances.append(pictures.variance(samples))
            y = m.images[index].y
            generators = noise.keyed(m.options.seed, [index], uncertainty.TIES_DRAW)
            samples_scores.spreads.append(uncertainty.spread(y, samples, generators))
        return samples_scores

    @computed_once
    def single_samples(self, temperature: float) -> list[PictureScores]:
        """Scores of one sample of every picture."""
        draws = self.scored.draw_samples(temperature, 1)
        return [self.score_picture(index, samples[0].float(), x) for index, x, samples in draws]

    @computed_once
    def answers_without_samples(self) -> list[PictureScores]:
        """Scores of a reference, or of the means of a model that computes its own."""
        m = self.scored
        answers = m.reference_answers() if m.reference else m.means(0)
        return [
            self.score_picture(i, answer.float(), m.x(i))
            for i, answer in zip(m.indices, answers, strict=True)
        ]

    def scores(self, s: Setting) -> list[PictureScores]:
        """Scores of the answers that a setting asks for."""
        if self.scored.has_mean and s.samples != 1:
            return self.answers_without_samples()
        if s.samples == 1:
            return self.single_samples(s.temperature)
        return self.samples(s.temperature, s.samples).means

    @computed_once
    def truth(self) -> list[PictureScores]:
        """Scores of y itself, without PSNR, SSIM and consistency."""
        ys = [luma(self.scored.images[index].y) for index in self.scored.indices]
        return [
            PictureScores({}, math.nan, textures.spectrum(y), textures.gradients(y)) for y in ys
        ]


def has_fidelity(m: ScoredModel) -> bool:
    """Whether PSNR and SSIM are computed: for whole photographs, with --full for patches as
    well."""
    return m.images.is_photographs or m.options.full


# -- PSNR, SSIM, consistency -----------------------------------------------------------------------


def mean_fidelity(m: ScoredModel, s: Setting, name: str) -> Value | None:
    """The mean over pictures of one of the numbers of `pictures.fidelity`."""
    if not has_fidelity(m):
        return None
    scores = m.statistics(Pictures).scores(s)
    return mean_se([picture.fidelity[s.protocol or "standard"][name] for picture in scores])


def psnr(m: ScoredModel, s: Setting) -> Value | None:
    return mean_fidelity(m, s, "psnr")


def psnr_limit(m: ScoredModel, s: Setting) -> Value | None:
    """An estimate from n samples, under the standard protocol, see `pictures.limit`."""
    if m.has_mean or not has_fidelity(m) or s.protocol == "released":
        return None
    samples = m.statistics(Pictures).samples(s.temperature, s.samples)
    values = [
        pictures.limit(picture.fidelity["standard"]["psnr"], variance, s.n)
        for picture, variance in zip(samples.means, samples.variances, strict=True)
    ]
    finite = [value for value in values if value is not None]
    return mean_se(finite) if len(finite) == len(values) else None


def ssim(m: ScoredModel, s: Setting) -> Value | None:
    return mean_fidelity(m, s, "ssim")


def psnr_rgb(m: ScoredModel, s: Setting) -> Value | None:
    return mean_fidelity(m, s, "psnr_rgb")


def ssim_rgb(m: ScoredModel, s: Setting) -> Value | None:
    return mean_fidelity(m, s, "ssim_rgb")


def consistency(m: ScoredModel, s: Setting) -> Value:
    return mean_se([picture.consistency for picture in m.statistics(Pictures).scores(s)])


# -- textures --------------------------------------------------------------------------------------


def power_high(m: ScoredModel, s: Setting) -> Value:
    """Power in the band of high frequencies, in dB over that of the truth."""

    def high(scores: PictureScores) -> float:
        power, number = scores.spectrum
        return textures.band(power, number, "high")

    answers = m.statistics(Pictures)
    pairs = zip(answers.scores(s), answers.truth(), strict=True)
    return mean_se([high(ours) - high(true) for ours, true in pairs])


def gradient_distance(m: ScoredModel, s: Setting) -> Value:
    """`textures.distance` between all pictures and the truth."""
    answers = m.statistics(Pictures)
    pairs = zip(answers.scores(s), answers.truth(), strict=True)
    sums = [np.concatenate([ours.gradients, true.gradients]) for ours, true in pairs]
    return jackknife(np.array(sums), textures.distance)


# -- uncertainty -----------------------------------------------------------------------------------


def ranks(m: ScoredModel, s: Setting) -> np.ndarray:
    """What each picture adds to the counts of ranks, (N, n + 1)."""
    spreads = m.statistics(Pictures).samples(s.temperature, s.samples).spreads
    return np.array([spread.ranks for spread in spreads])


def spread_skill(m: ScoredModel, s: Setting) -> Value:
    spreads = m.statistics(Pictures).samples(s.temperature, s.samples).spreads
    moments = np.array([spread.moments for spread in spreads])
    return jackknife(moments, partial(uncertainty.spread_skill, n=s.n))


def coverage_90(m: ScoredModel, s: Setting) -> Value | None:
    if not uncertainty.are_enough(s.n, 0.9):
        return None
    return jackknife(ranks(m, s), partial(uncertainty.coverage_at, level=0.9))


# -- beside the values -----------------------------------------------------------------------------


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """PSNR and SSIM of the point estimate of each image, with --full by protocol; {} where they are
    not computed, and without a point estimate."""
    if not (m.samples > 1 or m.samples and m.has_mean) or not has_fidelity(m):
        return {}
    kind, end = "standard", ""
    if m.options.full:
        kind = pictures.protocol(m.rounded_x)
        end = f"_{kind}"
    fidelities = [
        fidelity.fidelity[kind] for fidelity in m.statistics(Pictures).scores(m.mean_setting)
    ]
    return {
        name + end: np.array([fidelity[name] for fidelity in fidelities])
        for name in ("psnr", "ssim")
    }


def curves(m: ScoredModel) -> dict[str, Any]:
    """The data of plots, for JSON: mean spectra (dB) and histograms of gradients of each kind of
    picture, and for each temperature ranks, coverage, and error against deviation."""
    answers, temperatures = m.statistics(Pictures), m.presentation.temperatures
    bicubic = m.reference_of("bicubic").statistics(Pictures)
    kinds = {
        "truth": answers.truth(),
        "bicubic": bicubic.answers_without_samples(),
        "mean": answers.scores(m.mean_setting),
    }
    kinds |= {f"sample {t:g}": answers.single_samples(t) for t in temperatures}
    frequency = (np.arange(textures.ANNULI) + 0.5) / (2 * textures.ANNULI)
    spectra, shares = {"cycles_per_pixel": frequency}, {"edges": textures.EDGES}
    for kind, scores in kinds.items():
        spectra[kind] = np.mean([textures.decibels(*picture.spectrum) for picture in scores], 0)
        shares[kind] = textures.shares(sum(picture.gradients for picture in scores))
    return {
        "x": "rounded to 8 bits" if m.rounded_x else "not rounded",
        "samples": m.samples,
        "spectrum_dB": numbers(spectra),
        "gradient_share": numbers(shares),
        "uncertainty": {f"{t:g}": uncertainty_at(m, t) for t in temperatures[1:] if m.samples > 1},
    }


def uncertainty_at(m: ScoredModel, temperature: float) -> dict[str, Any]:
    """Ranks and coverage, and error by deviation, of all pictures together."""
    spreads = m.statistics(Pictures).samples(temperature, m.samples).spreads
    ranks, bins = sum(spread.ranks for spread in spreads), sum(spread.bins for spread in spreads)
    number, variance, squared = bins.T
    return {
        "ranks": numbers(ranks / ranks.sum()),
        "nominal": numbers(uncertainty.nominal(m.samples)),
        "coverage": numbers(uncertainty.coverage(ranks)),
        "entries": [int(value) for value in number],
        "deviation": numbers(np.sqrt(variance / np.maximum(number, 1))),
        "error": numbers(np.sqrt(squared / np.maximum(number, 1))),
    }
