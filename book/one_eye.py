"""A square of one eye, for two lessons: the photograph, what two observers drew, samples of a flow.

The eye is of CHASE_DB1 (08R, Fraz et al. 2012, CC BY 4.0), at the scale of DRIVE. The samples are
of the trained flow of couplings, which learned from DRIVE and was given this square alone.
`python -m tools.eyes` made the files.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[1] / "results" / "eyes"
NAME, SIDE = "chasedb1-08R", 192
FLOW = "vessels-flow-lambda0-s0"  # the run that drew


class Eye(NamedTuple):
    """x (1,3,H,W) in grey levels; first, second (H,W) and samples (32,H,W) of 0 and 1."""

    x: Tensor
    first: Tensor
    second: Tensor
    samples: Tensor


def load() -> Eye:
    x = torch.from_numpy(np.array(Image.open(FOLDER / f"{NAME}.png")))
    sheet = torch.from_numpy(np.array(Image.open(FOLDER / f"{NAME}-masks.png")) > 0)
    masks = sheet.unflatten(0, (-1, SIDE)).unflatten(2, (-1, SIDE)).transpose(1, 2).flatten(0, 1)
    return Eye(x.permute(2, 0, 1)[None].float(), masks[0].int(), masks[1].int(), masks[2:].int())


def show(pictures: dict[str, Tensor], columns: int = 3) -> Figure:
    """Pictures (1,3,H,W) in grey levels or masks (H,W) by their titles."""
    rows = -(-len(pictures) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(2.17 * columns, 2.35 * rows), squeeze=False)
    for ax, (title, t) in zip(axes.flat, pictures.items(), strict=True):
        ax.imshow(t[0].permute(1, 2, 0) / 255 if t.ndim == 4 else t, vmin=0, vmax=1)
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    return fig
