"""A monotone curve for every number: what spline layers apply, whatever they condition it on."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf.layers.base import log_scale

MAX_LOG = 3.0  # of raw widths, heights and slopes: keeps every bin wide enough for float32


@dataclass(frozen=True)
class Spline:
    r"""A rational-quadratic spline: on (-m, m) increasing in K bins, outside of it the identity.

    Forward:  z = v + g (s u^2 + d u (1 - u)) / (s + (d + d' - 2 s) u (1 - u)),   u = (y - x) / w
              in the bin [x, x + w] of y, which goes to [v, v + g], s = g / w, with slopes d and d'
              at its ends
    Inverse:  y = x + w u, u the root in [0, 1] of the same quadratic equation
    slope:    s^2 (d' u^2 + 2 s u (1 - u) + d (1 - u)^2) / (s + (d + d' - 2 s) u (1 - u))^2
                                                      (neural spline flows, Durkan et al. 2019)

    At the ends of the spline the slope is 1, so z and its slope are continuous everywhere. It is
    made of 3 K - 1 free numbers: K widths and K heights, whose exponentials are divided by their
    sum, and the logarithms of the K - 1 slopes inside, all bounded to (-3, 3); zeros make the
    identity.

    Args:
        bins: K.
        bound: m; the numbers that change should mostly lie in (-m, m), as they do after `ActNorm`.

    Shapes: y (...), raw (..., 3 K - 1) -> z and log slope, each of the shape of y.
    Raises: ValueError if bins < 1, or unless bound > 0.
    """

    bins: int = 8
    bound: float = 4.0

    def __post_init__(self) -> None:
        if self.bins < 1 or not self.bound > 0:
            raise ValueError(
                f"bins = {self.bins}, bound = {self.bound}: give 1 or more, and more than 0"
            )

    @property
    def numbers(self) -> int:
        """How many free numbers make one curve."""
        return 3 * self.bins - 1

    def forward(self, y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log slope at y)."""
        x, w, v, height, d, d_next = self.bin_of(y, raw, by=0)
        s, u = height / w, (self.inside(y) - x) / w
        bend = u * (1 - u)
        below = s + (d + d_next - 2 * s) * bend
        z = v + height * (s * u.square() + d * bend) / below
        return self.outside(y, z, log_slope(s, d, d_next, u, bend, below))

    def inverse(self, z: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
        """(y, log slope at y): that of `forward`, not negated."""
        x, w, v, height, d, d_next = self.bin_of(z, raw, by=1)
        s, rise = height / w, self.inside(z) - v
        # a u^2 + b u + c = 0, solved without a difference of nearly equal numbers
        curvature = rise * (d + d_next - 2 * s)
        a, b, c = height * (s - d) + curvature, height * d - curvature, -s * rise
        u = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        bend = u * (1 - u)
        below = s + (d + d_next - 2 * s) * bend
        return self.outside(z, x + w * u, log_slope(s, d, d_next, u, bend, below))

    def outside(self, t: Tensor, inside: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """What becomes of t, and the log slope: inside of (-m, m) as given, else t and 0."""
        within = t.abs() < self.bound
        return torch.where(within, inside, t), torch.where(within, log_slope, 0.0)

    def knots(self, raw: Tensor) -> Tensor:
        """Knots of y, knots of z and slopes there, (..., 3, K + 1)."""
        raw = log_scale(raw, "bounded", MAX_LOG)
        sizes = raw[..., : 2 * self.bins].unflatten(-1, (2, self.bins)).softmax(-1)
        inner = self.bound * (2 * sizes.cumsum(-1)[..., :-1] - 1)
        knots = F.pad(F.pad(inner, (1, 0), value=-self.bound), (0, 1), value=self.bound)
        slopes = F.pad(raw[..., 2 * self.bins :], (1, 1)).exp()
        return torch.cat([knots, slopes[..., None, :]], dim=-2)

    def bin_of(self, t: Tensor, raw: Tensor, by: int) -> list[Tensor]:
        """The bin in which each number of t lies, found among the knots of y (`by` 0) or of z (1):
        its left end and width, lower end and height, and the slopes at both ends."""
        knots = self.knots(raw)
        where = self.inside(t.detach())[..., None].contiguous()
        place = torch.searchsorted(knots[..., by, :].detach().contiguous(), where)
        place = place.clamp(1, self.bins)
        place = torch.cat([place - 1, place], dim=-1)[..., None, :]
        ends = knots.gather(-1, place.expand(*place.shape[:-2], 3, 2))
        (x, x_next), (v, v_next), (d, d_next) = (pair.unbind(-1) for pair in ends.unbind(-2))
        return [x, x_next - x, v, v_next - v, d, d_next]

    def inside(self, t: Tensor) -> Tensor:
        """t, held in [-m, m]."""
        return t.clamp(-self.bound, self.bound)


def log_slope(
    s: Tensor, d: Tensor, d_next: Tensor, u: Tensor, bend: Tensor, below: Tensor
) -> Tensor:
    """Of z in y, at u: bend = u (1 - u), below = s + (d + d' - 2 s) bend."""
    above = d_next * u.square() + 2 * s * bend + d * (1 - u).square()
    return 2 * (s / below).log() + above.log()
