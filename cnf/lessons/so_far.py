"""The model that the classes of my_flow.py make up to a lesson; what is not written yet is lent."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.lessons.world import strokes
from cnf.testing import seeded


class LentNoise(nn.Module):
    """Lent until lesson 6: uniform noise, a cell of 1/2 for each label."""

    def forward(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        term = y.new_full((len(y),), -math.log(2) * y[0].numel())
        return (y + torch.rand_like(y)) / 2, term

    def back(self, v: Tensor, h: Tensor, tau: float) -> Tensor:
        return (v >= 0.5).to(v)


class LentSqueeze(nn.Module):
    """Lent until lesson 4."""

    def forward(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(y, 2), y.new_zeros(len(y))

    def back(self, z: Tensor, h: Tensor, tau: float) -> Tensor:
        return F.pixel_shuffle(z, 2)


class LentSwap(nn.Module):
    """Lent until lesson 4: channels in the opposite order, so that each is changed in turn."""

    def forward(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return y.flip(1), y.new_zeros(len(y))

    def back(self, z: Tensor, h: Tensor, tau: float) -> Tensor:
        return z.flip(1)


class LentPrior(nn.Module):
    """Lent until lesson 5: scores num_b channels under N(0, I), passes the others on."""

    def __init__(self, num_b: int):
        super().__init__()
        self.num_b = num_b

    def forward(self, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        kept, z = y[:, : -self.num_b], y[:, -self.num_b :]
        return kept, torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)

    def back(self, z: Tensor, h: Tensor, tau: float) -> Tensor:
        drawn = torch.randn(len(z), self.num_b, *z.shape[2:], dtype=z.dtype, device=z.device)
        return torch.cat([z, tau * drawn], 1)


class SoFar(nn.Module):
    """The classes of lessons 2 to `lesson`, in one flow; x counts from lesson 5 on."""

    def __init__(self, lesson: int, names: Mapping[str, Any], steps: int, num_h: int):
        super().__init__()
        self.num_h = num_h if lesson >= 5 else 0
        if self.num_h:
            self.at_4 = nn.Conv2d(1, num_h, 3, padding=1)
            self.at_8 = nn.Conv2d(num_h, num_h, 3, padding=1)
        layers: list[nn.Module] = [LentNoise()]
        if lesson >= 6:
            layers = [names["UniformDequantization"](2)]
        if lesson >= 7:
            layers = [names["BinaryDequantization"]()]
        if lesson == 2:
            self.size, self.layers = 16, nn.ModuleList([*layers, names["ActNorm"](1), LentPrior(1)])
            return
        self.size = 8 if lesson == 3 else 4
        for n, kept in [(4, 0)] if lesson == 3 else [(4, 2), (8, 0)]:
            layers.append(names["Squeeze"]() if lesson >= 4 else LentSqueeze())
            for _ in range(steps):
                mix = names["Conv1x1"](n) if lesson >= 4 else LentSwap()
                coupling = names["Coupling"](n // 2, n // 2, self.num_h)
                layers += [names["ActNorm"](n), mix, coupling]
            if lesson >= 5:
                layers.append(names["Prior"](kept, n - kept, self.num_h, m=6))
            else:
                layers.append(LentPrior(n - kept))
        self.layers = nn.ModuleList(layers)

    def features(self, x: Tensor) -> dict[int, Tensor]:
        """{size: h}, h (B, num_h, size, size)."""
        if not self.num_h:
            return {size: x.new_zeros(len(x), 0, size, size) for size in (4, 8, 16)}
        h = self.at_4(x).relu()
        finer = self.at_8(F.interpolate(h, scale_factor=2)).relu()
        return {4: h, 8: finer, 16: x.new_zeros(len(x), 0, 16, 16)}

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """By one draw of noise, (B,), in nats: a bound."""
        h, log_p = self.features(x), y.new_zeros(len(y))
        for layer in self.layers:
            y, term = layer(y, h[y.shape[-1]])
            log_p = log_p + term
        return log_p

    @torch.no_grad()
    def sample(self, x: Tensor, tau: float = 1.0) -> Tensor:
        h, y = self.features(x), x.new_zeros(len(x), 0, self.size, self.size)
        layers: Any = reversed(self.layers)
        for layer in layers:
            y = layer.back(y, h[y.shape[-1]], tau)
        return y


def flow_so_far(lesson: int, names: Mapping[str, Any], steps: int = 2, num_h: int = 8) -> Any:
    """The model of the classes of lessons 1 to `lesson`: log_prob(y, x) and sample(x).

    Args:
        lesson: 1 to 9. 1 is PerPixel, 8 WeightedBernoulli(0.87); 2 to 7 are flows, in which what is
            not written yet is lent; 9 is Flow.
        names: where the classes are: vars(my_flow), or globals() in a notebook.
        steps, num_h: of lessons 2 to 7; `Flow` of lesson 9 has its own.
    """
    if lesson not in range(1, 10):
        raise ValueError(f"lesson = {lesson}: choose from 1 to 9")
    if lesson == 1:
        return names["PerPixel"]()
    if lesson == 8:
        return names["WeightedBernoulli"](0.87)
    return names["Flow"]() if lesson == 9 else SoFar(lesson, names, steps, num_h)


def train(model: Any, steps: int = 300, batch: int = 64, rate: float = 3e-3) -> Iterator[float]:
    """Minimise -log p(y|x) of new strokes at every step; yields bits per pixel."""
    optimizer = torch.optim.Adam(model.parameters())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 50) * (1 - step / steps)
        loss = -model.log_prob(*strokes(batch)).mean() / (256 * math.log(2))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        yield loss.item()


def kept_strokes(n: int = 256) -> tuple[Tensor, Tensor]:
    """The same n drawings y and their x at every call, in float32: models are compared on them."""
    with seeded(2018, torch.float32):
        return strokes(n)


@torch.no_grad()
def bits(model: Any, n: int = 256) -> float:
    """Bits per pixel of n test drawings; of a flow an upper bound, by one draw of noise each."""
    y, x = kept_strokes(n)
    return -model.log_prob(y, x).mean().item() / (256 * math.log(2))
