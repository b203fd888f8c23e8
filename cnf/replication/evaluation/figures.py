"""Pictures of what a model makes of a set: samples, means, deviations, and what temperature does.

Super-resolution shows crops: of each third of a set the picture, and of that the place, where the
truth has most that its half does not hold. Of vessels whole pictures, the first of a set, and the
place of the first where the flow is least sure. Those are hard places, not typical ones.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnf import noise
from cnf.errors import DataError
from cnf.flow import ConditionalModel
from cnf.replication import releases
from cnf.replication.data.batches import make_batch
from cnf.replication.data.catalogue import CATALOGUE
from cnf.replication.evaluation.scored_model import SAMPLES_DRAW, ScoredModel, pad
from cnf.replication.panels import Box, Deviation, Panel, busiest, compose
from cnf.replication.plotting import save_image
from cnf.replication.sampling.sample import expectation
from cnf.replication.tasks import Task
from cnf.resample import imresize_double, imresize_half

FIGURE_PICTURES, FIGURE_SAMPLES = 3, 16
CROP, STEP = 64, 8  # pixels of y a side; where a crop may start
NUM_EYES, EYE_CROP = 2, 128  # whole pictures of vessels; pixels a side of a place
EYE_SIDE, EYE_CROP_SIDE = 320, 256  # dots of a panel


def draw_figures(m: ScoredModel, run: Path, folder: Path) -> list[Path]:
    """Write the figures of a model from the folder `run` on a set into `folder`.

    Super-resolution: crops of three pictures, with the mean of a flow's baseline (`sibling`); the
    one with most detail once more alone, and at several temperatures.
    Vessels: the first pictures whole; and of a flow ("-joint") draws of it and of its baseline at
    one place of the first. Of DRIVE and STARE nothing but what the models made.
    Raises DataError for a set whose pictures may not be shown.
    """
    check_shown(name := m.images.name)
    figures, baseline = {}, sibling(run, m)
    if m.task.is_binary:
        eyes = [draw_eye(m, index, baseline) for index in list(m.indices)[:NUM_EYES]]
        figures[""] = compose([(title, whole(shown, m.task)) for title, shown in eyes], EYE_SIDE)
        if baseline is not None:
            figures["-joint"] = compose(joint(*eyes[0]), EYE_CROP_SIDE)
    else:
        crops = choose(m)
        blocks = [(crop.name, panels_of(m, crop, baseline)) for crop in crops]
        figures[""] = compose(blocks)
        best = max(range(len(crops)), key=lambda n: crops[n].detail)
        figures["-one"] = compose([("", blocks[best][1])])
        figures["-temperature"] = compose([("", sweep(m, crops[best]))])
    stem = f"{name}-{m.images.split}"
    return [save_image(pixels, folder / f"{stem}{end}.png") for end, pixels in figures.items()]


def check_shown(name: str) -> None:
    """Raise DataError for a set whose pictures may not be shown."""
    allowed = [entry.name for entry in CATALOGUE.values() if entry.shown != "nothing"]
    if name not in allowed:
        raise DataError(
            f"no figures of '{name}': its pictures are not ours to show; use one of "
            f"{', '.join(allowed)}"
        )


def sibling(run: Path, m: ScoredModel) -> ConditionalModel | None:
    """The baseline of a flow: the run beside it whose name has "baseline" for "flow", else the
    released one where that lies beside it; None without one."""
    if m.model.has_mean or "flow" not in run.name:
        return None
    names = run.name.replace("flow", "baseline"), releases.RELEASES[f"{m.task.name}-baseline"]
    paths = (run.parent / name / releases.WEIGHTS for name in names)
    path = next((path for path in paths if path.exists()), None)
    return None if path is None else releases.load(path).to(m.device)


@torch.no_grad()
def draw(
    m: ScoredModel, model: ConditionalModel, index: int, y: Tensor, x: Tensor, n: int, tau: float
) -> Tensor:
    """n samples of picture `index` or of a part of it, (n,C,H,W); y gives the size. The noise is
    that of the picture, whatever the model."""
    wide = pad(y, x, model)[1].to(m.device)
    generator = noise.keyed(m.options.seed, [index], SAMPLES_DRAW)
    samples = torch.cat(list(model.draws(wide, n, tau, generator)))
    return samples[..., : y.shape[-2], : y.shape[-1]].cpu()


# --- super-resolution -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """Rows and columns of picture `index`; `detail` is the variance of y there less its half
    doubled, grey levels squared."""

    name: str
    index: int
    box: Box
    detail: float


def choose(m: ScoredModel) -> list[Crop]:
    """Of each third of the pictures the crop with most detail."""
    thirds = np.array_split(list(m.indices), FIGURE_PICTURES)
    crops = [[finest(m, int(index)) for index in third] for third in thirds if len(third)]
    return [max(some, key=lambda crop: crop.detail) for some in crops]


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
    y, x = make_batch(m.images, [crop.index], m.data_config)
    few = draw(m, m.model, crop.index, y, x, 3, m.task.temperature)
    many = draw(m, m.model, crop.index, y, x, FIGURE_SAMPLES, 1.0)
    panels: dict[str, Panel] = {"input": F.interpolate(x, scale_factor=2)[0]}
    panels["bicubic"] = imresize_double(x)[0]
    if baseline is not None:
        panels["mean of the baseline"] = expectation(baseline, x)
    panels |= {f"sample {n + 1}, τ = {m.task.temperature:g}": s for n, s in enumerate(few)}
    if m.model.has_mean:
        panels["mean"] = expectation(m.model, x)
    else:
        panels[f"mean of {FIGURE_SAMPLES}, τ = 1"] = many.mean(0)
    panels["deviation, τ = 1"] = Deviation(many.std(0, correction=0).mean(0), m.task)
    panels["truth"] = y[0]
    return {title: panel[..., *crop.box] for title, panel in panels.items()}


def sweep(m: ScoredModel, crop: Crop) -> dict[str, Panel]:
    """{title: what is shown}: the first sample at each temperature, from the same noise."""
    y, x = make_batch(m.images, [crop.index], m.data_config)
    drawn = {t: draw(m, m.model, crop.index, y, x, 1, t)[0] for t in m.task.temperatures}
    panels = {f"τ = {tau:g}": sample for tau, sample in drawn.items()} | {"truth": y[0]}
    return {title: panel[..., *crop.box] for title, panel in panels.items()}


# --- vessels --------------------------------------------------------------------------------------


def draw_eye(
    m: ScoredModel, index: int, baseline: ConditionalModel | None = None
) -> tuple[str, dict[str, Tensor]]:
    """Title and {title: grey levels (C,H,W)} of a whole picture; the deviation is in probability.
    Samples of the baseline have the same noise, keyed."""
    example, entry = m.images[index], CATALOGUE[m.images.name]
    y, x = make_batch(m.images, [index], m.data_config)
    samples = draw(m, m.model, index, y, x, FIGURE_SAMPLES, 1.0)
    marginal, deviation = samples.mean(0), samples.std(0, correction=0)
    if m.model.has_mean:
        marginal = expectation(m.model, x)
        deviation = (marginal * (1 - marginal)).sqrt()
    title, shown = example.name, {}
    if entry.shown == "pictures":
        title, shown = f"{title} ({entry.credit})", {"photograph": x[0], "truth": 255 * y[0]}
        if example.second is not None:
            shown["second observer"] = 255.0 * example.second
    shown |= {f"sample {n + 1}": 255 * samples[n] for n in range(3)}
    shown |= {"marginal": 255 * marginal, "deviation": deviation}
    if baseline is not None:
        shown["factorised, probability"] = 255 * expectation(baseline, x)
        draws = draw(m, baseline, index, y, x, 2, 1.0)
        shown |= {f"draw {n + 1}": 255 * draws[n] for n in range(2)}
    return title, shown


def whole(shown: dict[str, Tensor], task: Task) -> dict[str, Panel]:
    """{title: panel} of a whole picture, made small without losing thin vessels."""
    panels = {title: shrink(t) for title, t in shown.items() if not title.startswith("draw")}
    return panels | {"deviation": Deviation(panels["deviation"][0], task)}


def shrink(t: Tensor) -> Tensor:
    """(C,H,W) averaged over neighbours until it fits into a panel; as it is if it does."""
    ratio = EYE_SIDE / max(t.shape[-2:])
    if ratio >= 1:
        return t.float()
    size = [max(1, round(ratio * side)) for side in t.shape[-2:]]
    return F.interpolate(t[None].float(), size, mode="bilinear", antialias=True)[0]


def joint(title: str, shown: dict[str, Tensor]) -> list[tuple[str, dict[str, Panel]]]:
    """The place where the flow is least sure, where the mean of p (1 - p) is largest: what may be
    shown, and two draws of both models."""
    p = shown["marginal"][0] / 255
    [box] = busiest(p * (1 - p), EYE_CROP, STEP)
    rows = {
        title: ("photograph", "truth", "second observer"),
        "flow: all pixels together": ("marginal", "sample 1", "sample 2"),
        "factorised: every pixel on its own": ("factorised, probability", "draw 1", "draw 2"),
    }
    found = {row: {k: shown[k][:, *box] for k in keys if k in shown} for row, keys in rows.items()}
    return [(row, panels) for row, panels in found.items() if panels]
