"""Pictures of what a model makes of a set."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnf import noise
from cnf.errors import DataError
from cnf.flow import ConditionalModel
from cnf.replication import releases
from cnf.replication.data.catalogue import CATALOGUE
from cnf.replication.evaluation.scored_model import SAMPLES_DRAW, ScoredModel
from cnf.replication.panels import Deviation, Panel, compose
from cnf.replication.plotting import save_image
from cnf.replication.sampling.sample import expectation

FIGURE_PICTURES, FIGURE_SAMPLES = 3, 16


def draw_figures(m: ScoredModel, run: Path, folder: Path) -> list[Path]:
    """Write the figures of a model from the folder `run` on a set into `folder`, see
    `Task.figures`. Raises DataError for a set whose pictures may not be shown."""
    name = m.images.name
    check_shown(name)
    stem = f"{name}-{m.images.split}".replace(":", "-")
    figures = m.task.figures(m, run) or panels_of_first(m)
    return [save_image(pixels, folder / f"{stem}{end}.png") for end, pixels in figures.items()]


def check_shown(name: str) -> None:
    """Raise DataError for a set whose pictures may not be shown; a reader's own folder may be."""
    if name.startswith("folder:"):
        return
    allowed = [entry.name for entry in CATALOGUE.values() if entry.shown != "nothing"]
    if name not in allowed:
        raise DataError(
            f"no figures of '{name}': its pictures are not ours to show; use one of "
            f"{', '.join(allowed)}"
        )


def baseline_of(run: Path, m: ScoredModel) -> ConditionalModel | None:
    """The baseline of a flow, from the folder that holds its run: the run whose name has "baseline"
    in place of "flow", else the released baseline; None if neither is there."""
    if m.model.has_mean or "flow" not in run.name:
        return None
    released = m.task.releases.get(f"{m.task.name}-baseline")
    names = [run.name.replace("flow", "baseline"), *([released] if released else [])]
    paths = (run.parent / name / releases.WEIGHTS for name in names)
    path = next((path for path in paths if path.exists()), None)
    return None if path is None else releases.load(path).to(m.device)


@torch.no_grad()
def samples_of_picture(
    m: ScoredModel, model: ConditionalModel, index: int, y: Tensor, x: Tensor, n: int, tau: float
) -> Tensor:
    """n samples of picture `index`, or of a part of it, (n,C,H,W); y gives the size. The noise is
    keyed by the picture, so all models get the same."""
    padded_x = m.pad(y, x, model)[1].to(m.device)
    generator = noise.keyed(m.options.seed, [index], SAMPLES_DRAW)
    samples = torch.cat(list(model.samples(padded_x, n, tau, generator)))
    return samples[..., : y.shape[-2], : y.shape[-1]].cpu()


def panels_of_first(m: ScoredModel) -> dict[str, np.ndarray]:
    """The first pictures of a set, each with samples at temperature 1, their mean (or the model's
    own) and their deviation, as the task shows them."""
    blocks = []
    for index in list(m.indices)[:FIGURE_PICTURES]:
        y, x = m.pair(index)
        samples = samples_of_picture(m, m.model, index, y, x, FIGURE_SAMPLES, 1.0)
        mean = expectation(m.model, x) if m.model.has_mean else samples.mean(0)
        panels: dict[str, Panel] = {"input": x[0]}
        panels |= {f"sample {n + 1}": m.task.image(samples[n], x[0]) for n in range(3)}
        panels["mean" if m.model.has_mean else f"mean of {FIGURE_SAMPLES}"] = m.task.image(
            mean, x[0]
        )
        panels["deviation"] = Deviation(samples.std(0, correction=0).mean(0), m.task)
        panels["truth"] = m.task.image(y[0], x[0])
        blocks.append((m.images[index].name, panels))
    return {"": compose(blocks)}
