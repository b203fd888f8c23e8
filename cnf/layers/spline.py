"""Layers that bend each number by a monotone spline: a coupling, and an autoregressive one."""

import torch
from torch import Tensor, nn

from cnf.layers.base import (
    Bijection,
    check_channels,
    check_features,
    check_outputs,
    sum_except_batch,
)
from cnf.layers.coupling import Coupling
from cnf.layers.curve import Spline
from cnf.nets import MaskedNet


class SplineCoupling(Coupling):
    r"""Bend each number of one half by a rational-quadratic spline, given the other half and the
    features.

    Forward:  z_a = y_a,   z_b = f(y_b), f the `Spline` of every number, from net(y_a, h)
    Inverse:  y_a = z_a,   y_b = f^-1(z_b)
    log|det|: sum of log f'(y_b)                      (neural spline flows, Durkan et al. 2019)

    f is increasing in K bins on (-m, m), the identity outside, and of slope 1 at its ends. If the
    network returns zeros, as it does at the start, it is the identity everywhere.

    Args:
        channels: number of channels C >= 2; with odd C the a-half has the extra one.
        net: maps (y_a, h) to (B, (3 K - 1) C_b, ...), `SplineCoupling.outputs`.
        flip: change the first half instead of the second.
        bins: K.
        bound: m; the numbers that change should mostly lie in (-m, m), as they do after `ActNorm`.

    Shapes: y (B, C, ...), h (B, C_h, ...) -> z of the shape of y, log_det (B,) in nats.
    Raises: ValueError if C < 2, if bins < 1, unless bound > 0, if y has another number of channels,
        or if h is not at its resolution.
    """

    def __init__(
        self, channels: int, net: nn.Module, flip: bool = False, bins: int = 8, bound: float = 4.0
    ):
        super().__init__(channels, flip)
        self.net, self.spline = net, Spline(bins, bound)

    @staticmethod
    def outputs(changed: int, bins: int = 8) -> int:
        """How many channels the network returns for so many that change."""
        return Spline(bins).numbers * changed

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y_a, y_b = self.split(y)
        z_b, log_slope = self.spline.forward(y_b, self.params(y_a, h))
        return self.join(y_a, z_b), sum_except_batch(log_slope)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z_a, z_b = self.split(z)
        y_b, log_slope = self.spline.inverse(z_b, self.params(z_a, h))
        return self.join(z_a, y_b), -sum_except_batch(log_slope)

    def params(self, y_a: Tensor, h: Tensor | None) -> Tensor:
        """The free numbers of every curve, (B, C_b, ..., 3 K - 1)."""
        check_features(y_a, h)
        out = self.net(y_a, h)
        check_outputs(out, self.spline.numbers * self.num_b)
        return out.unflatten(1, (self.num_b, -1)).movedim(2, -1)


class AutoregressiveSpline(Bijection):
    r"""Bend each number of a vector by a rational-quadratic spline, given the numbers before it and
    the features.

    Forward:  z_i = f_i(y_i), f_i a `Spline` from net(y_<i, h)
    Inverse:  y_i = f_i^-1(z_i), number after number
    log|det|: sum of log f_i'(y_i): the Jacobian is triangular
                                                      (neural spline flows, Durkan et al. 2019)

    One pass of the network forward, D passes back: more of y is changed by a layer than by a
    coupling, and a sample takes D times as long.

    Args:
        net: of D numbers, with 3 K - 1 outputs each.
        flip: from the last number to the first.
        bound: f_i is the identity outside of (-bound, bound).

    Shapes: y (B, D), h (B, D_h) -> z (B, D), log_det (B,) in nats.
    Raises: ValueError if the outputs of net are not 3 K - 1 for a whole K >= 1, unless bound > 0,
        if y is no vector of D numbers, or if h is no vector.
    """

    channels: int

    def __init__(self, net: MaskedNet, flip: bool = False, bound: float = 4.0):
        super().__init__()
        bins, rest = divmod(net.outputs + 1, 3)
        if rest:
            raise ValueError(
                f"net has {net.outputs} outputs a number: for a spline of K bins give it 3 K - 1"
            )
        self.net, self.channels, self.flip = net, net.channels, flip
        self.spline = Spline(bins, bound)

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = self.ordered(y, h)
        z, log_slope = self.spline.forward(y, self.net(y, h))
        return self.turned(z), log_slope.sum(1)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self.ordered(z, h)
        y, log_slopes = z[:, :0], []
        for i in range(self.channels):
            known = torch.cat([y, torch.zeros_like(z[:, i:])], dim=1)
            raw = self.net(known, h)[:, i : i + 1]
            y_i, log_slope = self.spline.inverse(z[:, i : i + 1], raw)
            y = torch.cat([y, y_i], dim=1)
            log_slopes.append(log_slope)
        return self.turned(y), -torch.cat(log_slopes, dim=1).sum(1)

    def ordered(self, y: Tensor, h: Tensor | None) -> Tensor:
        """y, checked, in the order in which one number follows the other."""
        if y.dim() != 2:
            raise ValueError(f"y is {tuple(y.shape)}, but this layer is of vectors (B, D)")
        check_channels(y, self.channels, "layer")
        check_features(y, h)
        return self.turned(y)

    def turned(self, y: Tensor) -> Tensor:
        return y.flip(1) if self.flip else y
