"""The network of a path: a U-Net of two scales that is told the noisy data, the time and h."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.nets import Network, ZeroConv


class TimedBlock(nn.Module):
    """t + conv3x3(ReLU(scale conv3x3(ReLU(t)) + shift)), scale and shift of a channel from the
    time; the last convolution starts small."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        with torch.no_grad():
            self.second.weight.mul_(0.1)

    def forward(self, t: Tensor, time: Tensor) -> Tensor:
        shift, scale = time.chunk(2, dim=1)
        return t + self.second(F.relu(self.first(F.relu(t)) * (1 + scale) + shift))


class VelocityNet(Network):
    """Numbers of the shape of y from y (B, C, H, W), the time phi (B,) or (1,) and h, which may be
    of one sample or of each.

    `blocks` of `width` before and after `deep_blocks` of `deep` at half the resolution; without
    these H and W may be odd. No normalisation: a position sees 2 + 4 blocks + 4 deep_blocks others
    on each side. The last convolution starts at zero.
    """

    FREQUENCIES = (1.0, 2.0, 4.0, 8.0)

    def __init__(self, channels: int, h: int, width: int, blocks: int, deep: int, deep_blocks: int):
        super().__init__()
        self.from_y = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.from_h = nn.Conv2d(h, width, 1)
        self.before = nn.ModuleList(TimedBlock(width) for _ in range(blocks))
        self.after = nn.ModuleList(TimedBlock(width) for _ in range(blocks))
        self.middle = nn.ModuleList(TimedBlock(deep) for _ in range(deep_blocks))
        if deep_blocks:
            self.down = nn.Conv2d(width, deep, 2, stride=2)
            self.up = nn.Conv2d(deep, 4 * width, 1)
        self.last = ZeroConv(width, channels)
        self.sizes = [2 * width] * blocks + [2 * deep] * deep_blocks + [2 * width] * blocks
        inputs = 2 * len(self.FREQUENCIES) + 1
        self.time = nn.Sequential(nn.Linear(inputs, 64), nn.SiLU(), nn.Linear(64, sum(self.sizes)))
        with torch.no_grad():
            self.time[2].weight.mul_(0.1)

    def forward(self, y: Tensor, phi: Tensor, h: Tensor) -> Tensor:
        angles = phi[:, None] * phi.new_tensor(self.FREQUENCIES)
        near = (phi.sin() + 0.02).log()[:, None]  # tells times near the data apart
        times = self.time(torch.cat([angles.sin(), angles.cos(), near], dim=1))
        with self.autocast(y.device):
            of_block = iter(self.cast(times)[..., None, None].split(self.sizes, dim=1))
            t = self.from_y(y) + self.from_h(h)
            for block in self.before:
                t = block(t, next(of_block))
            if len(self.middle):
                low = self.down(t)
                for block in self.middle:
                    low = block(low, next(of_block))
                t = t + F.pixel_shuffle(self.up(low), 2)
            for block in self.after:
                t = block(t, next(of_block))
            out = self.last(F.relu(t))
        return out.to(self.last.weight.dtype)
