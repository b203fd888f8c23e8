"""What the figures of every task are made of: samples and means of single pictures, the baseline
beside a flow; and the figure of a task that has none of its own."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnf import noise
from cnf.model import ConditionalModel
from cnf.replication import releases
from cnf.replication.panels import Deviation, Panel, compose
from cnf.replication.scored.model import SAMPLES_DRAW, ScoredModel

FIGURE_PICTURES, FIGURE_SAMPLES = 3, 16


def baseline_of(run: Path, m: ScoredModel) -> ConditionalModel | None:
    """The baseline of a flow, from the folder that holds its run: the run whose name has "baseline"
    in place of "flow", else the released baseline; None if neither is there."""
    if m.model.has_mean or "flow" not in run.name:
        return None
    released = releases.RELEASES.get(f"{m.task.name}-baseline")
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


@torch.no_grad()
def mean_of_picture(m: ScoredModel, model: ConditionalModel, y: Tensor, x: Tensor) -> Tensor:
    """The mean (C,H,W) that a model has of its own for one picture; y gives the size."""
    padded_x = m.pad(y, x, model)[1].to(m.device)
    return model.mean(padded_x)[0, :, : y.shape[-2], : y.shape[-1]].cpu()


def panels_of_first(m: ScoredModel) -> dict[str, np.ndarray]:
    """The first pictures of a set, each with samples at temperature 1, their mean (or the model's
    own) and their deviation, as the task shows them."""
    blocks = []
    for index in list(m.indices)[:FIGURE_PICTURES]:
        y, x = m.pair(index)
        samples = samples_of_picture(m, m.model, index, y, x, FIGURE_SAMPLES, 1.0)
        mean = mean_of_picture(m, m.model, y, x) if m.model.has_mean else samples.mean(0)
        panels: dict[str, Panel] = {"input": x[0]}
        panels |= {f"sample {n + 1}": m.task.image(samples[n], x[0]) for n in range(3)}
        panels["mean" if m.model.has_mean else f"mean of {FIGURE_SAMPLES}"] = m.task.image(
            mean, x[0]
        )
        panels["deviation"] = Deviation(samples.std(0, correction=0).mean(0), m.task)
        panels["truth"] = m.task.image(y[0], x[0])
        blocks.append((m.images[index].name, panels))
    return {"": compose(blocks)}
