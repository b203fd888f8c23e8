"""The first photographs of a set whole, and the place of the first where the flow is least certain.
That is a hard place, not a typical one."""

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from cnf.model import ConditionalModel
from cnf.replication.data.catalogue import CATALOGUE
from cnf.replication.figures.pictures import (
    FIGURE_SAMPLES,
    baseline_of,
    mean_of_picture,
    samples_of_picture,
)
from cnf.replication.panels import Deviation, Panel, busiest, compose
from cnf.replication.scored.model import ScoredModel
from cnf.replication.tasks.task import Task

NUM_EYES = 2  # whole photographs
EYE_CROP, STEP = 128, 8  # pixels a side of a place; where it may start
EYE_SIDE, EYE_CROP_SIDE = 320, 256  # dots of a panel


def draw(m: ScoredModel, run: Path) -> dict[str, np.ndarray]:
    """The first pictures whole; for a flow also ("-joint") samples of it and of its baseline at one
    place of the first picture. Of DRIVE and STARE only what the models made is shown."""
    baseline = baseline_of(run, m)
    eyes = [draw_eye(m, index, baseline) for index in list(m.indices)[:NUM_EYES]]
    figures = {"": compose([(title, whole(images, m.task)) for title, images in eyes], EYE_SIDE)}
    if baseline is not None:
        figures["-joint"] = compose(joint(*eyes[0]), EYE_CROP_SIDE)
    return figures


def draw_eye(
    m: ScoredModel, index: int, baseline: ConditionalModel | None = None
) -> tuple[str, dict[str, Tensor]]:
    """Title and {title: grey levels (C,H,W)} of a whole picture; the deviation is in probability.
    Samples of the baseline have the same noise, keyed."""
    example, entry = m.images[index], CATALOGUE.get(m.images.name)  # None: a reader's own folder
    y, x = m.pair(index)
    samples = samples_of_picture(m, m.model, index, y, x, FIGURE_SAMPLES, 1.0)
    marginal, deviation = samples.mean(0), samples.std(0, correction=0)
    if m.model.has_mean:
        marginal = mean_of_picture(m, m.model, y, x)
        deviation = (marginal * (1 - marginal)).sqrt()
    title, images = example.name, {}
    if entry is not None and entry.shown == "pictures":
        title = f"{title} ({entry.credit})"
    if entry is None or entry.shown == "pictures":
        images = {"photograph": x[0], "truth": 255 * y[0]}
        if example.second is not None:
            images["second observer"] = 255.0 * example.second
    images |= {f"sample {n + 1}": 255 * samples[n] for n in range(3)}
    images |= {"marginal": 255 * marginal, "deviation": deviation}
    if baseline is not None:
        images["factorised, probability"] = 255 * mean_of_picture(m, baseline, y, x)
        draws = samples_of_picture(m, baseline, index, y, x, 2, 1.0)
        images |= {f"draw {n + 1}": 255 * draws[n] for n in range(2)}
    return title, images


def whole(images: dict[str, Tensor], task: Task) -> dict[str, Panel]:
    """{title: panel} of a whole picture, made small without losing thin vessels."""
    panels: dict[str, Panel]
    panels = {title: shrink(t) for title, t in images.items() if not title.startswith("draw")}
    panels["deviation"] = Deviation(shrink(images["deviation"])[0], task)
    return panels


def shrink(t: Tensor) -> Tensor:
    """(C,H,W) averaged over neighbours until it fits into a panel; as it is if it does."""
    ratio = EYE_SIDE / max(t.shape[-2:])
    if ratio >= 1:
        return t.float()
    size = [max(1, round(ratio * side)) for side in t.shape[-2:]]
    return F.interpolate(t[None].float(), size, mode="bilinear", antialias=True)[0]


def joint(title: str, images: dict[str, Tensor]) -> list[tuple[str, dict[str, Panel]]]:
    """The place where the flow is least certain, that is, where the mean of p (1 - p) is largest:
    what may be shown there, and two samples of both models."""
    p = images["marginal"][0] / 255
    [box] = busiest(p * (1 - p), EYE_CROP, STEP)
    rows = {
        title: ("photograph", "truth", "second observer"),
        "flow: all pixels together": ("marginal", "sample 1", "sample 2"),
        "factorised: every pixel on its own": ("factorised, probability", "draw 1", "draw 2"),
    }
    panels_by_row: dict[str, dict[str, Panel]] = {
        row: {k: images[k][:, *box] for k in keys if k in images} for row, keys in rows.items()
    }
    return [(row, panels) for row, panels in panels_by_row.items() if panels]
