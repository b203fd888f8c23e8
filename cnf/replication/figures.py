"""Pictures of what a model makes of a set: samples, means, deviations, and what temperature does.

Super-resolution shows crops: of each third of a set the picture, and of that the place, where the
truth has most that its half does not hold. Of vessels whole pictures, the first of a set, and the
place of the first where the flow is least sure. Those are hard places, not typical ones.
"""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from cnf import build, noise
from cnf.baselines import Factorised
from cnf.errors import DataError
from cnf.flow import ConditionalModel
from cnf.replication import plotting
from cnf.replication.data.batches import make_batch
from cnf.replication.data.catalogue import CATALOGUE
from cnf.replication.metrics.survey import TEMPERATURES
from cnf.replication.scored_model import SAMPLES_DRAW, Subject, pad, sample
from cnf.resample import imresize_double, imresize_half

FIGURE_PICTURES, FIGURE_SAMPLES = 3, 16
TEMPERATURE = 0.8  # of single samples of photographs; means and deviations are of samples at 1
CROP, STEP = 64, 8  # pixels of y a side; where a crop may start
AROUND = 24  # pixels of y around a crop that the model sees too
PANEL, COLUMNS = 192, 3  # dots a side; a phone shows three side by side
LIMITS = (4, 8, 16, 32, 64, 128)  # grey levels at which a map of deviations may end
EYES, EYE_CROP = 2, 128  # whole pictures of vessels; pixels a side of a place
EYE_PANEL, EYE_CROP_PANEL = 320, 256  # dots a side


def draw_figures(subject: Subject, folder: Path) -> list[Path]:
    """Write the figures of a set into `folder`, which lies in the folder of the run.

    Super-resolution: crops of three pictures, with the mean of the run's baseline where that lies
    beside it ("flow" in the name of its folder replaced); the one with most detail once more alone,
    and at several temperatures.
    Vessels: the first pictures whole; and of a flow whose baseline lies beside it ("-joint") draws
    of both at one place of the first. Of DRIVE and STARE nothing but what the models made.
    Raises DataError for a set whose pictures may not be shown.
    """
    name = subject.images.name
    allowed = [entry.name for entry in CATALOGUE.values() if entry.shown != "nothing"]
    if name not in allowed:
        raise DataError(
            f"no figures of '{name}': its pictures are not ours to show; use one of "
            f"{', '.join(allowed)}"
        )
    figures, baseline = {}, sibling(folder.parent, subject)
    if subject.experiment == "vessels":
        eyes = [draw_eye(subject, index, baseline) for index in list(subject.indices)[:EYES]]
        figures[""] = show([(eye.title, whole(eye)) for eye in eyes], EYE_PANEL)
        if baseline is not None:
            figures["-joint"] = show(joint(eyes[0]), EYE_CROP_PANEL)
    else:
        crops = choose(subject)
        blocks = [(c.name, panels_of(subject, c, baseline)) for c in crops]
        figures[""] = show(blocks)
        best = max(crops, key=lambda crop: crop.detail)
        figures["-one"] = show([blocks[crops.index(best)]])
        figures["-temperature"] = show([(best.name, temperatures_of(subject, best))])
    stem = f"{name}-{subject.images.split}"
    return [plotting.save_figure(f, folder / f"{stem}{end}.png") for end, f in figures.items()]


# --- super-resolution -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Crop:
    """`side` x `side` pixels of picture `index` at (top, left); `detail` is their variance of y
    less its half doubled, grey levels squared."""

    name: str
    index: int
    side: int
    top: int
    left: int
    detail: float


@dataclass(frozen=True)
class Deviation:
    """Of samples, (H,W): shown in colours, with its scale, from 0 to `limit`; None: grey levels,
    and one limit for all of a figure."""

    values: Tensor
    limit: float | None = None


Panel = Tensor | Deviation  # Tensor: (3,H,W) or (1,H,W) in grey levels


def choose(subject: Subject) -> list[Crop]:
    """Of each third of the pictures the crop with most detail."""
    thirds = np.array_split(list(subject.indices), FIGURE_PICTURES)
    crops = [[finest(subject, int(index)) for index in third] for third in thirds if len(third)]
    return [max(some, key=lambda crop: crop.detail) for some in crops]


def finest(subject: Subject, index: int) -> Crop:
    """The crop of a picture with most detail."""
    example = subject.images[index]
    y = example.y[None].double()
    side = min(CROP, *y.shape[-2:])
    fine = (y - imresize_double(imresize_half(y))).square().mean(1, keepdim=True)
    detail = F.avg_pool2d(fine, side, STEP)[0, 0]
    row, column = divmod(int(detail.argmax()), detail.shape[1])
    place = STEP * row, STEP * column
    return Crop(example.name, index, side, *place, detail.max().item())


def panels_of(
    subject: Subject, crop: Crop, baseline: ConditionalModel | None = None
) -> dict[str, Panel]:
    """{title: what is shown} of one crop."""
    y, x, inside = around(subject, crop)
    samples = [draw(subject, crop, n, tau) for n, tau in ((3, TEMPERATURE), (FIGURE_SAMPLES, 1.0))]
    panels = {"input": x[0].repeat_interleave(2, -1).repeat_interleave(2, -2)[inside]}
    panels["bicubic"] = imresize_double(x)[0][inside]
    if baseline is not None:
        panels["mean of the baseline"] = own_mean(baseline, y, x)[inside]
    panels |= {f"sample {n + 1}, τ = {TEMPERATURE:g}": s for n, s in enumerate(samples[0])}
    if isinstance(subject.model, Factorised):
        panels["mean"] = own_mean(subject.model, y, x)[inside]
    else:
        panels[f"mean of {FIGURE_SAMPLES}, τ = 1"] = samples[1].mean(0)
    panels["deviation, τ = 1"] = Deviation(samples[1].std(0, correction=0).mean(0))
    return panels | {"truth": y[0][inside]}


def temperatures_of(subject: Subject, crop: Crop) -> dict[str, Panel]:
    """{title: what is shown}: the first sample at each temperature, from the same noise."""
    panels = {f"τ = {tau:g}": draw(subject, crop, 1, tau)[0] for tau in TEMPERATURES}
    y, _, inside = around(subject, crop)
    return panels | {"truth": y[0][inside]}


def around(subject: Subject, crop: Crop) -> tuple[Tensor, Tensor, tuple]:
    """y and x of a crop and what is around it, and the index of the crop in a picture of it."""
    y, x = make_batch(subject.images, [crop.index], subject.data_config)
    starts = [max(0, start - AROUND) for start in (crop.top, crop.left)]
    stops = [
        min(size, start + crop.side + AROUND)
        for size, start in zip(y.shape[-2:], (crop.top, crop.left), strict=True)
    ]
    rows, columns = (slice(a, b) for a, b in zip(starts, stops, strict=True))
    half = (slice(s.start // 2, s.stop // 2) for s in (rows, columns))
    top, left = crop.top - starts[0], crop.left - starts[1]
    inside = ..., slice(top, top + crop.side), slice(left, left + crop.side)
    return y[..., rows, columns], x[..., *half], inside


def draw(subject: Subject, crop: Crop, n: int, temperature: float) -> Tensor:
    """n samples of a crop, (n,3,H,W)."""
    y, x, inside = around(subject, crop)
    y, x = (t.to(subject.device) for t in pad(y, x, subject.model))
    generator = noise.keyed(subject.options.seed, [crop.index], SAMPLES_DRAW)
    with torch.no_grad():
        samples = torch.stack(list(sample(subject.model, x, n, temperature, generator, y)))
    return samples[:, 0].cpu()[inside]


@torch.no_grad()
def own_mean(model: ConditionalModel, y: Tensor, x: Tensor) -> Tensor:
    """A factorised model's mean, (3,H,W); y gives the size."""
    device = next(model.parameters()).device
    mean = model.mean(pad(y, x, model)[1].to(device))[0].cpu()
    return mean[:, : y.shape[-2], : y.shape[-1]]


def sibling(run: Path, subject: Subject) -> ConditionalModel | None:
    """The baseline of a flow, from the folder of that name beside the run's; None without one."""
    path = run.parent / run.name.replace("flow", "baseline") / "weights.safetensors"
    if isinstance(subject.model, Factorised) or "flow" not in run.name or not path.exists():
        return None
    return build.load_model(path)[0].eval().to(subject.device)


def show(blocks: list[tuple[str, dict[str, Panel]]], side: int = PANEL) -> Figure:
    """Panels of several pictures below one another, COLUMNS side by side, of `side` dots."""
    gap, title, heading, dots = 10, 24, 44, 100
    width = COLUMNS * (side + gap) + gap
    heights = [heading + -(-len(panels) // COLUMNS) * (side + title) for _, panels in blocks]
    maps = [p for _, panels in blocks for p in panels.values() if isinstance(p, Deviation)]
    maps = [p.values for p in maps if p.limit is None]
    highest = max((values.quantile(0.99).item() for values in maps), default=0.0)
    limit = next((level for level in LIMITS if level >= highest), LIMITS[-1])
    with plt.rc_context(plotting.STYLE):
        height = sum(heights) + gap
        figure = plt.figure(figsize=(width / dots, height / dots), dpi=dots, layout="none")
        bottom = height
        for (name, panels), block in zip(blocks, heights, strict=True):
            middle = (bottom - heading + 10) / height
            figure.text(gap / width, middle, name, va="center", fontsize=14, fontweight="bold")
            for place, (label, panel) in enumerate(panels.items()):
                row, column = divmod(place, COLUMNS)
                left = gap + column * (side + gap)
                low = bottom - heading - (row + 1) * (side + title)
                box = (left / width, low / height, side / width, side / height)
                axis = figure.add_axes(box)
                axis.axis("off")
                axis.set_title(label, fontsize=13, pad=4)
                if isinstance(panel, Deviation):
                    show_deviation(axis, panel, limit)
                else:
                    axis.imshow(plotting.to_uint8(panel), vmin=0, vmax=255)
            bottom -= block
    return figure


def show_deviation(axis: plt.Axes, panel: Deviation, limit: float) -> None:
    """A map of deviations with its scale inside, to its own limit or to `limit` grey levels."""
    end = f"{limit:g} grey levels" if panel.limit is None else f"{panel.limit:g}"
    limit = limit if panel.limit is None else panel.limit
    axis.imshow(panel.values.numpy(), cmap="inferno", vmin=0, vmax=limit)
    bar = axis.inset_axes((0, 0, 1, 25 / axis.bbox.height))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap="inferno", aspect="auto")
    bar.axis("off")
    for place, side, colour in ((4, "left", "white"), (251, "right", "black")):
        text = "0" if side == "left" else end
        bar.text(place, 0, text, color=colour, ha=side, va="center", fontsize=11)


# --- vessels --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Eye:
    """What is shown of a picture, masks and probabilities (1,H,W) from 0 to 1.

    Args:
        samples: (n,1,H,W). marginal, deviation: of all of them; of a factorised model its own.
        baseline: (its probability, two draws (2,1,H,W)), or None.
        shown: {title: grey levels} of what is not ours and may be shown.
    """

    title: str
    samples: Tensor
    marginal: Tensor
    deviation: Tensor
    baseline: tuple[Tensor, Tensor] | None
    shown: dict[str, Tensor]


@torch.no_grad()
def draw_eye(subject: Subject, index: int, baseline: ConditionalModel | None = None) -> Eye:
    """Samples of a whole picture. Draws of the baseline have the same noise, keyed."""
    example, entry = subject.images[index], CATALOGUE[subject.images.name]
    y, x = make_batch(subject.images, [index], subject.data_config)
    inside = ..., slice(y.shape[-2]), slice(y.shape[-1])

    def drawn(model: ConditionalModel, n: int) -> Tensor:
        padded, wide = (t.to(subject.device) for t in pad(y, x, model))
        generator = noise.keyed(subject.options.seed, [index], SAMPLES_DRAW)
        return torch.stack(list(sample(model, wide, n, 1.0, generator, padded)))[:, 0].cpu()[inside]

    samples = drawn(subject.model, FIGURE_SAMPLES)
    marginal, deviation = samples.mean(0), samples.std(0, correction=0)
    if isinstance(subject.model, Factorised):
        marginal = own_mean(subject.model, y, x)
        deviation = (marginal * (1 - marginal)).sqrt()
    beside = None if baseline is None else (own_mean(baseline, y, x), drawn(baseline, 2))
    shown, title = {}, example.name
    if entry.shown == "pictures":
        shown, title = {"photograph": x[0], "truth": 255 * y[0]}, f"{title} ({entry.credit})"
        if example.second is not None:
            shown["second observer"] = 255.0 * example.second
    return Eye(title, samples, marginal, deviation, beside, shown)


def whole(eye: Eye) -> dict[str, Panel]:
    """{title: what is shown} of a whole picture, made small without losing thin vessels."""
    panels = dict(eye.shown)
    panels |= {f"sample {n + 1}": 255 * eye.samples[n] for n in range(3)}
    panels["marginal"] = 255 * eye.marginal
    panels["deviation"] = Deviation(shrink(eye.deviation)[0], 0.5)
    if eye.baseline is not None:
        panels["factorised, probability"] = 255 * eye.baseline[0]
    return {k: shrink(p) if isinstance(p, Tensor) else p for k, p in panels.items()}


def shrink(t: Tensor) -> Tensor:
    """(C,H,W) averaged over neighbours until it fits into a panel; as it is if it does."""
    ratio = EYE_PANEL / max(t.shape[-2:])
    if ratio >= 1:
        return t.float()
    size = [max(1, round(ratio * side)) for side in t.shape[-2:]]
    return F.interpolate(t[None].float(), size, mode="bilinear", antialias=True)[0]


def joint(eye: Eye) -> list[tuple[str, dict[str, Panel]]]:
    """The place where the flow is least sure: what may be shown, and two draws of both models."""
    at = unsure(eye)
    probability, draws = eye.baseline
    rows = {
        eye.title: {k: v[at] for k, v in eye.shown.items()},
        "flow: all pixels together": {
            "marginal": 255 * eye.marginal[at],
            **{f"sample {n + 1}": 255 * eye.samples[n][at] for n in range(2)},
        },
        "factorised: every pixel on its own": {
            "probability": 255 * probability[at],
            **{f"draw {n + 1}": 255 * draws[n][at] for n in range(2)},
        },
    }
    return [(title, panels) for title, panels in rows.items() if panels]


def unsure(eye: Eye) -> tuple:
    """The index of the place whose mean p (1 - p) is largest, EYE_CROP pixels a side or less."""
    p = eye.marginal
    side = min(EYE_CROP, *p.shape[-2:])
    spread = F.avg_pool2d((p * (1 - p))[None], side, STEP)[0, 0]
    row, column = divmod(int(spread.argmax()), spread.shape[1])
    top, left = STEP * row, STEP * column
    return ..., slice(top, top + side), slice(left, left + side)
