"""The work that every library does, and the interface of an adapter to a library."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Work:
    """Glow-type: `levels` times (squeeze, `depth` steps), half the channels leaving after every
    level but the last, to a standard normal. A step is actnorm, an invertible 1x1 convolution and
    a one-sided affine coupling, whose network sees the kept half and the features of its level.

    y is (batch, channels, side, side), continuous; h[l] is (batch, features, side / 2^(l + 1), ...)
    and given: there is no feature network. Plain numbers, float32 unless `dtype` says otherwise.
    """

    batch: int = 32
    channels: int = 3
    side: int = 32
    levels: int = 3
    depth: int = 8
    width: int = 128
    features: int = 64

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(channels, side) of the steps of each level."""
        shapes, channels, side = [], self.channels, self.side
        for _ in range(self.levels):
            channels, side = 4 * channels, side // 2
            shapes.append((channels, side))
            channels //= 2
        return shapes

    def inputs(
        self, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, list[Tensor]]:
        """y and one feature map a level, standard normal."""
        generator = torch.Generator().manual_seed(0)

        def draw(channels: int, side: int) -> Tensor:
            shape = (self.batch, channels, side, side)
            return torch.randn(shape, generator=generator, dtype=dtype).to(device)

        return draw(self.channels, self.side), [draw(self.features, s) for _, s in self.shapes]


class Adapter(nn.Module):
    """A conditional flow built from the parts of one library, with

    encode(y, h) -> list: y to its latents, each (B, ...); decode(latents, h) undoes it.
    log_prob(y, h) -> (B,), nats. sample(h): one y for each row of h.
    """

    def __init__(self, work: Work):
        super().__init__()
        self.work = work

    def last_convs(self) -> list[nn.Conv2d]:
        """The last convolution of every network."""
        return [m[-1] for m in self.modules() if isinstance(m, Net)]

    @torch.no_grad()
    def start(self, y: Tensor, h: list[Tensor]) -> None:
        """Small random weights where Glow starts at zero, a special case that would hide mistakes;
        and the first batch, which starts the activation norms."""
        for conv in self.last_convs():
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.normal_(conv.bias, std=0.01)
        self.train()
        self.log_prob(y, h)

    def sample_many(self, h: list[Tensor], n: int) -> Tensor:
        """n samples for each row of h, (n B, C, H, W); here: of h, repeated n times."""
        return self.sample([t.repeat(n, 1, 1, 1) for t in h])


class Net(nn.Sequential):
    """The network of a coupling: conv3x3, ReLU, conv1x1, ReLU, conv3x3."""

    def __init__(self, in_channels: int, out_channels: int, width: int):
        super().__init__(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, out_channels, 3, padding=1),
        )


class ContextNet(Net):
    """The same, of two arguments."""

    def forward(self, y_a: Tensor, h: Tensor) -> Tensor:
        return super().forward(torch.cat([y_a, h], dim=1))
