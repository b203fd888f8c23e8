"""Pictures of what a model makes of the first pictures of a set."""

from pathlib import Path

import torch
from torch import Tensor

from cnf import noise, plotting
from cnf.data.batches import make_batch
from cnf.data.degrade import imresize_double
from cnf.errors import DataError
from cnf.subject import SAMPLES_DRAW, Subject, pad, sample

FIGURE_SETS = ("set5", "embedded-sr", "embedded-vessels", "drive")
FIGURE_PICTURES, FIGURE_SAMPLES, CROP = 3, 16, 96


def draw_figures(subject: Subject, folder: Path) -> list[Path]:
    """Write a figure of the first pictures: samples, mean or marginal, deviation, and more.

    Photographs and human labels are shown for embedded sets and Set5 only; DRIVE and other vessel
    sets show nothing but what the model made.
    Raises DataError for a set whose pictures may not be shown.
    """
    name = subject.images.name
    if name not in FIGURE_SETS:
        raise DataError(
            f"no figures of '{name}': its pictures are not ours to show; use one of "
            f"{', '.join(FIGURE_SETS)}"
        )
    images, titles = [], []
    for index in list(subject.indices)[:FIGURE_PICTURES]:
        panels = panels_of(subject, index, show_truth=name != "drive")
        images += panels.values()
        titles += panels.keys()
    size = min(4.0, max(2.0, max(image.shape[-2] for image in images) / 100))  # inches of 100 dots
    figure = plotting.show_grid(images, titles, columns=len(panels), size=size)
    return [plotting.save_figure(figure, folder / f"{name}-{subject.images.split}.png")]


def panels_of(subject: Subject, index: int, show_truth: bool) -> dict[str, Tensor]:
    """{title: picture in grey levels} of one image, the middle of it where it is large."""
    y, x = make_batch(subject.images, [index], subject.data_config)
    height, width = y.shape[-2:]
    padded, x_padded = (t.to(subject.device) for t in pad(y, x, subject.model))
    generator = noise.keyed(subject.options.seed, [index], SAMPLES_DRAW)
    with torch.no_grad():
        drawn = torch.stack(
            list(sample(subject.model, x_padded, FIGURE_SAMPLES, 1.0, generator, padded))
        )[:, 0, :, :height, :width].cpu()
    spread = drawn.std(0, correction=0)
    if subject.experiment == "vessels":
        panels = {f"sample {n + 1}": 255 * drawn[n] for n in range(3)}
        panels |= {f"marginal of {FIGURE_SAMPLES}": 255 * drawn.mean(0), "deviation": 510 * spread}
        if show_truth:
            panels = {"photograph": x[0]} | panels | {"truth": 255 * y[0]}
        return panels
    panels = {
        "input": x[0].repeat_interleave(2, -1).repeat_interleave(2, -2),
        "bicubic": imresize_double(x)[0],
        **{f"sample {n + 1}": drawn[n] for n in range(3)},
        f"mean of {FIGURE_SAMPLES}": drawn.mean(0),
        "deviation x 8": 8 * spread.mean(0, keepdim=True),
        "truth": y[0],
    }
    top, left = max(0, height - CROP) // 2, max(0, width - CROP) // 2
    return {k: p[..., top : top + CROP, left : left + CROP] for k, p in panels.items()}
