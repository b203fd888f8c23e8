"""A coupling that bends each number by a monotone spline."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.layers.base import check_features, check_outputs, log_scale, sum_except_batch
from cnf.layers.coupling import Coupling

MAX_LOG = 3.0  # of raw widths, heights and slopes: keeps every bin wide enough for float32


class SplineCoupling(Coupling):
    r"""Bend each number of one half by a rational-quadratic spline, given the other half and the
    features: on (-m, m) increasing in K bins, outside of it the identity.

    Forward:  z_a = y_a,   z_b = v + h (s u^2 + d u (1 - u)) / (s + (d + d' - 2 s) u (1 - u)),
              u = (y_b - x) / w in the bin [x, x + w] of y_b, which goes to [v, v + h], s = h / w,
              with slopes d and d' at its ends
    Inverse:  y_a = z_a,   y_b = x + w u, u the root of the same quadratic equation
    log|det|: the sum over the b-half, inside of (-m, m), of
              log s^2 (d' u^2 + 2 s u (1 - u) + d (1 - u)^2) / (s + (d + d' - 2 s) u (1 - u))^2
                                                      (neural spline flows, Durkan et al. 2019)

    At the ends of the spline the slope is 1, so z and its slope are continuous everywhere. The
    network gives K widths and K heights, whose exponentials are divided by their sum, and the
    logarithms of the K - 1 slopes inside, all bounded to (-3, 3); zeros make the identity.

    Args:
        channels: number of channels C >= 2; with odd C the a-half has the extra one.
        net: maps (y_a, h) to (B, (3 K - 1) C_b, ...), `SplineCoupling.outputs`.
        flip: change the first half instead of the second.
        bins: K.
        bound: m; the numbers that change should mostly lie in (-m, m), as they do after `ActNorm`.

    Shapes: y (B, C, ...), h (B, C_h, ...) -> z of the shape of y, log_det (B,) in nats.
    Raises: ValueError if C < 2, if bins < 1, if y has another number of channels, or if h is not
        at its resolution.
    """

    def __init__(
        self, channels: int, net: nn.Module, flip: bool = False, bins: int = 8, bound: float = 4.0
    ):
        super().__init__(channels, flip)
        if bins < 1 or not bound > 0:
            raise ValueError(f"bins = {bins}, bound = {bound}: give 1 or more, and more than 0")
        self.net, self.bins, self.bound = net, bins, bound

    @staticmethod
    def outputs(changed: int, bins: int = 8) -> int:
        """How many channels the network returns for so many that change."""
        return (3 * bins - 1) * changed

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y_a, y_b = self.split(y)
        x, w, v, height, d, d_next = self.bin_of(y_b, self.params(y_a, h), by=0)
        s, u = height / w, (self.inside(y_b) - x) / w
        below = s + (d + d_next - 2 * s) * u * (1 - u)
        z_b = v + height * (s * u.square() + d * u * (1 - u)) / below
        return self.join(y_a, torch.where(self.within(y_b), z_b, y_b)), self.log_det(
            y_b, s, d, d_next, u
        )

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z_a, z_b = self.split(z)
        x, w, v, height, d, d_next = self.bin_of(z_b, self.params(z_a, h), by=1)
        s, rise = height / w, self.inside(z_b) - v
        # a u^2 + b u + c = 0, solved without a difference of nearly equal numbers
        curvature = rise * (d + d_next - 2 * s)
        a, b, c = height * (s - d) + curvature, height * d - curvature, -s * rise
        u = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        y_b = torch.where(self.within(z_b), x + w * u, z_b)
        return self.join(z_a, y_b), -self.log_det(z_b, s, d, d_next, u)

    def log_det(self, t: Tensor, s: Tensor, d: Tensor, d_next: Tensor, u: Tensor) -> Tensor:
        """The log-determinant (B,), from the slopes at u. Entries of t outside have slope 1."""
        below = s + (d + d_next - 2 * s) * u * (1 - u)
        above = d_next * u.square() + 2 * s * u * (1 - u) + d * (1 - u).square()
        slope = 2 * s.log() + above.log() - 2 * below.log()
        return sum_except_batch(torch.where(self.within(t), slope, 0.0))

    def params(self, y_a: Tensor, h: Tensor | None) -> Tensor:
        """Knots of y, knots of z and slopes there, (B, C_b, ..., 3, K + 1)."""
        check_features(y_a, h)
        out = self.net(y_a, h)
        check_outputs(out, self.outputs(self.num_b, self.bins))
        raw = out.unflatten(1, (self.num_b, -1)).movedim(2, -1)
        raw = log_scale(raw, "bounded", MAX_LOG)
        sizes = raw[..., : 2 * self.bins].unflatten(-1, (2, self.bins)).softmax(-1)
        inner = self.bound * (2 * sizes.cumsum(-1)[..., :-1] - 1)
        knots = F.pad(F.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)
        slopes = F.pad(raw[..., 2 * self.bins :], (1, 1)).exp()
        return torch.cat([knots, slopes[..., None, :]], dim=-2)

    def bin_of(self, t: Tensor, params: Tensor, by: int) -> list[Tensor]:
        """The bin in which each number of t lies, found among the knots of y (`by` 0) or of z (1):
        its left end and width, lower end and height, and the slopes at both ends."""
        knots, where = params[..., by, :].detach().contiguous(), self.inside(t.detach())
        place = torch.searchsorted(knots, where[..., None].contiguous()).clamp(1, self.bins)
        place = torch.cat([place - 1, place], dim=-1)[..., None, :]
        ends = params.gather(-1, place.expand(*place.shape[:-2], 3, 2))
        (x, x_next), (v, v_next), (d, d_next) = (pair.unbind(-1) for pair in ends.unbind(-2))
        return [x, x_next - x, v, v_next - v, d, d_next]

    def inside(self, t: Tensor) -> Tensor:
        """t, held in [-m, m]."""
        return t.clamp(-self.bound, self.bound)

    def within(self, t: Tensor) -> Tensor:
        """Which numbers lie in (-m, m)."""
        return t.abs() < self.bound
