"""Colourisation: y is the two chroma channels of a picture, x its luma. A task of its own in one
file."""

import numpy as np
import torch
from torch import Tensor

from cnf.replication.data.images import LUMA
from cnf.replication.measures import Setting
from cnf.replication.metrics import Value, mean_se
from cnf.replication.presentation import Card, Presentation, present
from cnf.replication.scored.model import ScoredModel
from cnf.replication.tasks import Task, register

# JPEG's: rows are Y, Cb and Cr of R, G and B, all of them 0 to 255, chroma around 128
TO_YCC = torch.tensor(
    [list(LUMA), [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=torch.float64
)
CENTRE = torch.tensor([0.0, 128.0, 128.0], dtype=torch.float64)[:, None, None]


def to_ycc(rgb: Tensor) -> Tensor:
    """RGB (..., 3, H, W), grey levels -> Y, Cb, Cr, rounded to grey levels, 0 to 255."""
    ycc = torch.einsum("ij,...jhw->...ihw", TO_YCC, rgb.double()) + CENTRE
    return (ycc + 0.5).floor().clamp(0, 255).float()


def to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """Y (1,H,W) and Cb, Cr (2,H,W) -> RGB (3,H,W), 0 to 255, not rounded."""
    ycc = torch.cat([luma, chroma]).double() - CENTRE
    return torch.einsum("ij,jhw->ihw", torch.linalg.inv(TO_YCC), ycc).clamp(0, 255).float()


class Colourisation(Task):
    name = "colourisation"
    channels = 2

    def pair(self, y, x, options, rngs):
        ycc = to_ycc(y)
        return ycc[:, 1:], ycc[:, :1].expand(-1, 3, -1, -1)  # networks read three channels

    def x_of(self, picture, options):
        return self.pair(picture, None, options, None)[1]  # of a photograph with colours

    def image(self, y, x):
        return to_rgb(x[:1], y)


TASK = register(Colourisation())
present(
    TASK,
    Presentation(
        divisors=("chroma values",),
        temperatures=(0.5, 0.8, 1.0),
        samples_of_patches=16,
        card=Card(
            title="colourisation: p(y|x) of the two chroma channels y (Cb and Cr, 8 bit) of a "
            "picture given its luma x",
            example="PICTURE.png --samples 8",
            reading="D is the number of chroma values, two for each pixel. Errors are in grey "
            "levels of chroma; samples are at temperature 1.",
            limits=(
                "It was trained on pictures of 32 pixels a side: of a larger photograph it knows "
                "no objects, only what lies within a few pixels.",
                "It draws colours that are likely, not those that were there: take no evidence "
                "from them.",
            ),
        ),
        scores={
            "bits/dim": {"metric": "bits_per_dim"},
            "error of the mean": {"metric": "chroma_error"},
            "spread of samples": {"metric": "chroma_spread"},
        },
    ),
)


def mean_square(values: Tensor) -> float:
    return float(values.double().square().mean())


def chroma_error(m: ScoredModel, s: Setting) -> Value:
    pairs = zip(m.indices, m.means(s.samples), strict=True)
    return mean_se(np.sqrt([mean_square(mean - m.pair(i)[0][0]) for i, mean in pairs]))


def chroma_spread(m: ScoredModel, s: Setting) -> Value:
    draws = m.draw_samples(s.temperature, s.samples)
    return mean_se(np.sqrt([float(y.double().var(0).mean()) for _, _, y in draws]))
