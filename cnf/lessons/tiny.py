"""A world of strokes so small that all its drawings are counted: P(y|x) is exact, and so is the
number of bits that no model can do without."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.lessons.world import painted
from cnf.testing import seeded


class AllStrokes(NamedTuple):
    """Every drawing y (D, 1, 4, 4), the means x of its quarters (D, 1, 2, 2), P(y) (D,), and
    P(y|x) (D,)."""

    y: Tensor
    x: Tensor
    p: Tensor
    p_given_x: Tensor

    @property
    def truth(self) -> float:
        """The entropy of y given x, in bits per pixel: no model needs fewer."""
        return self.bits(self.p_given_x.log())

    @property
    def per_pixel(self) -> float:
        """Bits per pixel of the best model whose pixels are independent given x."""
        same = (self.x[:, None] == self.x).flatten(2).all(2).to(self.p)  # (D, D): of the same x
        y = self.y.flatten(1).to(self.p)
        white = (same * self.p) @ y / (same @ self.p)[:, None]
        return self.bits(torch.where(y == 1, white, 1 - white).log().sum(1))

    def bits(self, log_p: Tensor) -> float:
        """The mean over all drawings of -log_p (D,), in bits per pixel."""
        return -(self.p @ log_p.to(self.p)).item() / (16 * math.log(2))


def all_strokes() -> AllStrokes:
    """The strokes of 4x4 pixels whose a, b and c are pixels, drawn with a finer brush: 16^3 curves,
    equally likely, so that P(y) is a count. (`strokes` takes any points a, b and c of its square,
    and a probability of its drawings is a volume in six dimensions.)"""
    with seeded(0, torch.float64):
        pixels = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
        places = torch.cartesian_prod(*[torch.arange(16)] * 3)
        a, b, c = (pixels[place][:, None] for place in places.T)
        y, counts = torch.unique(painted(a, b, c, 4, 0.75), dim=0, return_counts=True)
        x = F.avg_pool2d(y, 2)
        _, kind = torch.unique(x, dim=0, return_inverse=True)
        p = counts / len(places)
        p_of_x = torch.zeros(int(kind.max()) + 1).index_add(0, kind, p)
        return AllStrokes(y.float(), x.float(), p, p / p_of_x[kind])


class TinyFlow(nn.Module):
    """The classes of my_flow.py in a flow of these drawings: one scale, and h is x itself.

    log_prob(y, x): by one draw of noise, (B,), in nats. sample(x): labels (B, 1, 4, 4).

    Args:
        names: where the classes are: vars(my_flow), or globals() in a notebook.
        steps: how often (ActNorm, Conv1x1, Coupling) come.
    """

    def __init__(self, names: Mapping[str, Any], steps: int = 6):
        super().__init__()
        layers = [names["BinaryDequantization"](), names["Squeeze"]()]
        for _ in range(steps):
            layers += [names["ActNorm"](4), names["Conv1x1"](4), names["Coupling"](2, 2, 1)]
        self.layers = nn.ModuleList([*layers, names["Prior"](0, 4, 1)])

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        log_p = y.new_zeros(len(y))
        for layer in self.layers:
            y, term = layer(y, x)
            log_p = log_p + term
        return log_p

    @torch.no_grad()
    def sample(self, x: Tensor, tau: float = 1.0) -> Tensor:
        y = x[:, :0]
        layers: Any = reversed(self.layers)
        for layer in layers:
            y = layer.back(y, x, tau)
        return y


def train_tiny(
    model: Any, world: AllStrokes, steps: int = 300, batch: int = 256, rate: float = 5e-3
) -> Iterator[float]:
    """Minimise -log p(y|x) of drawings of this world; yields bits per pixel of a batch."""
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 50) * (1 - step / steps)
        drawn = torch.multinomial(world.p, batch, replacement=True)
        loss = -model.log_prob(world.y[drawn], world.x[drawn]).mean() / (16 * math.log(2))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        yield loss.item()
