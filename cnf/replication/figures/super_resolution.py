"""Crops of what a model makes of photographs, one from each third of a set: the crop in which the
truth has most detail that its half does not hold. Those are hard places, not typical ones.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch.nn.functional as F

from cnf.model import ConditionalModel
from cnf.replication.figures.pictures import (
    FIGURE_PICTURES,
    FIGURE_SAMPLES,
    baseline_of,
    mean_of_picture,
    samples_of_picture,
)
from cnf.replication.panels import Box, Deviation, Panel, busiest, compose
from cnf.replication.scored.model import ScoredModel
from cnf.resample import imresize_double, imresize_half

CROP, STEP = 64, 8  # pixels of y a side; where a crop may start


def draw(m: ScoredModel, run: Path) -> dict[str, np.ndarray]:
    """Three figures: crops of three pictures, with the mean of a flow's baseline (`baseline_of`);
    the crop with most detail alone; that crop at several temperatures."""
    baseline, crops = baseline_of(run, m), choose(m)
    blocks = [(crop.name, panels_of(m, crop, baseline)) for crop in crops]
    best = max(range(len(crops)), key=lambda n: crops[n].detail)
    return {
        "": compose(blocks),
        "-one": compose([("", blocks[best][1])]),
        "-temperature": compose([("", sweep(m, crops[best]))]),
    }


@dataclass(frozen=True)
class Crop:
    """Rows and columns of picture `index`. `detail` is the mean square of the difference between y
    and its half doubled, in grey levels squared."""

    name: str
    index: int
    box: Box
    detail: float


def choose(m: ScoredModel) -> list[Crop]:
    """The crop with most detail from each third of the pictures."""
    thirds = np.array_split(list(m.indices), FIGURE_PICTURES)
    crops = [[finest(m, int(index)) for index in third] for third in thirds if len(third)]
    return [max(candidates, key=lambda crop: crop.detail) for candidates in crops]


def finest(m: ScoredModel, index: int) -> Crop:
    """The crop of a picture with most detail."""
    example = m.images[index]
    y = example.y[None].double()
    fine = (y - imresize_double(imresize_half(y))).square().mean(1)[0]
    [box] = busiest(fine, CROP, STEP)
    return Crop(example.name, index, box, fine[box].mean().item())


def panels_of(
    m: ScoredModel, crop: Crop, baseline: ConditionalModel | None = None
) -> dict[str, Panel]:
    """{title: what is shown} of one crop."""
    y, x = m.pair(crop.index)
    written = samples_of_picture(m, m.model, crop.index, y, x, 3, m.presentation.temperature)
    samples = samples_of_picture(m, m.model, crop.index, y, x, FIGURE_SAMPLES, 1.0)
    panels: dict[str, Panel] = {"input": F.interpolate(x, scale_factor=2)[0]}
    panels["bicubic"] = imresize_double(x)[0]
    if baseline is not None:
        panels["mean of the baseline"] = mean_of_picture(m, baseline, y, x)
    panels |= {
        f"sample {n + 1}, τ = {m.presentation.temperature:g}": s for n, s in enumerate(written)
    }
    if m.model.has_mean:
        panels["mean"] = mean_of_picture(m, m.model, y, x)
    else:
        panels[f"mean of {FIGURE_SAMPLES}, τ = 1"] = samples.mean(0)
    panels["deviation, τ = 1"] = Deviation(samples.std(0, correction=0).mean(0), m.task)
    panels["truth"] = y[0]
    return {title: panel[..., *crop.box] for title, panel in panels.items()}


def sweep(m: ScoredModel, crop: Crop) -> dict[str, Panel]:
    """{title: what is shown}: the first sample at each temperature, from the same noise."""
    y, x = m.pair(crop.index)
    samples = {
        t: samples_of_picture(m, m.model, crop.index, y, x, 1, t)[0]
        for t in m.presentation.temperatures
    }
    panels = {f"τ = {tau:g}": sample for tau, sample in samples.items()} | {"truth": y[0]}
    return {title: panel[..., *crop.box] for title, panel in panels.items()}
