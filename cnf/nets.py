"""The networks inside layers: (y_a, h) -> parameters. Feature networks are in `cnf.features`.

Nothing here has a likelihood term. A network may run in bfloat16 (`set_precision`); what it returns
to a layer is in the type of its weights, so z, log-determinants and priors stay in float32.
"""

from contextlib import AbstractContextManager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["none", "instance"]


class Network(nn.Module):
    """A network whose body may run under autocast."""

    precision = "fp32"

    def autocast(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def cast(self, t: Tensor) -> Tensor:
        """t in the type the body works in: what several networks read is then cast once."""
        return t.bfloat16() if self.precision == "bf16" else t


def set_precision(module: nn.Module, precision: str) -> None:
    """Run every network inside `module` in "fp32" or "bf16"; the layers stay as they are,
    :eq:`eq-speed-bf16`."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision '{precision}' is unknown: choose fp32 or bf16")
    for part in module.modules():
        if isinstance(part, Network):
            part.precision = precision


class ZeroConv(nn.Conv2d):
    """A 3x3 convolution that starts at zero; with `gain`, each output channel is multiplied by
    exp(3 logs), logs learned, as in the first author's released code."""

    def __init__(self, in_channels: int, out_channels: int, gain: bool = False):
        super().__init__(in_channels, out_channels, 3, padding=1)
        for p in self.parameters():
            nn.init.zeros_(p)
        self.logs = nn.Parameter(torch.zeros(out_channels, 1, 1)) if gain else None

    def forward(self, t: Tensor) -> Tensor:
        out = super().forward(t)
        return out if self.logs is None else out * (3 * self.logs).exp()


class CouplingNet(Network):
    """conv3x3 of y_a plus a convolution of h, ReLU, conv1x1, ReLU, conv3x3 from zero.

    The first convolution of the concatenated (y_a, h) is written as the sum of its two parts, which
    is the same map (with h_kernel=3), :eq:`eq-speed-linear`; h_kernel=1 is the cheaper form: h has
    seen its surroundings.

    With `clip` it reads y_a clipped to (-clip, clip). With norm "instance" each hidden map is
    normalised to mean 0 and variance 1 over the picture, :eq:`eq-norms-instance`, then scaled and
    shifted: what it answers at one position then depends on all of them, the edges of a padded
    picture included. Only y_a and h are normalised, never what is transformed (which would lose
    two directions a channel, :eq:`eq-norms-null`), so a coupling stays invertible.

    Shapes: y_a (B, y_channels, H, W) or None, h (B, h_channels, H, W) or None
        -> (B, out_channels, H, W). `width=0` leaves only the last convolution.
    """

    def __init__(
        self,
        y_channels: int,
        h_channels: int,
        out_channels: int,
        width: int,
        h_kernel: int = 1,
        gain: bool = False,
        clip: float | None = None,
        norm: Norm = "none",
    ):
        super().__init__()
        self.y_channels, self.h_channels, self.clip = y_channels, h_channels, clip
        if width == 0:
            self.last = ZeroConv(y_channels + h_channels, out_channels, gain)
            self.middle = None
            return
        plain = norm == "none"  # a norm takes away what a bias adds
        self.from_y = nn.Conv2d(y_channels, width, 3, padding=1, bias=plain) if y_channels else None
        bias = plain and not y_channels
        self.from_h = (
            nn.Conv2d(h_channels, width, h_kernel, padding=h_kernel // 2, bias=bias)
            if h_channels
            else None
        )
        self.middle = nn.Conv2d(width, width, 1, bias=plain)
        self.norms = nn.ModuleList(
            nn.Identity() if plain else nn.InstanceNorm2d(width, affine=True) for _ in range(2)
        )
        self.last = ZeroConv(width, out_channels, gain)

    def forward(self, y_a: Tensor | None, h: Tensor | None) -> Tensor:
        """h may hold fewer samples than y_a: each group of its B samples is given the same h. A
        network of no h_channels does not look at it."""
        h = h if self.h_channels else None
        if self.clip and y_a is not None:
            y_a = y_a.clamp(-self.clip, self.clip)
        inputs = [t for t in (y_a, h) if t is not None and t.shape[1]]
        with self.autocast(inputs[0].device):
            if self.middle is None:
                alike = [t.repeat(len(inputs[0]) // len(t), 1, 1, 1) for t in inputs]
                out = self.last(torch.cat([t.to(inputs[0].dtype) for t in alike], dim=1))
            else:
                t = None if self.from_y is None else self.from_y(y_a)
                if self.from_h is not None:
                    t = self.from_h(h) if t is None else add_(t, self.from_h(h))
                # in place: no backward needs what the convolutions returned
                t = F.relu(self.norms[0](t), inplace=True)
                t = F.relu(self.norms[1](self.middle(t)), inplace=True)
                out = self.last(t)
        return out.to(self.last.weight.dtype)


def add_(t: Tensor, part: Tensor) -> Tensor:
    """t += part, of shapes (n B, ...) and (B, ...)."""
    if len(t) == len(part):
        return t.add_(part)  # autograd copies where one writes to a view
    t.unflatten(0, (-1, len(part))).add_(part)
    return t
