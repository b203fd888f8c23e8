import torch
from torch import Tensor, nn

from cnf.layers.base import (
    Bijection,
    Scale,
    check_channels,
    check_features,
    scale_and_shift,
    sum_except_batch,
)


class Coupling(Bijection):
    """What couplings share: two halves of the channels, y_a that conditions and y_b that changes.

    Raises: ValueError if there are fewer than 2 channels.
    """

    def __init__(self, channels: int, flip: bool):
        super().__init__()
        if channels < 2:
            raise ValueError(
                f"a coupling needs at least 2 channels, not {channels}: squeeze pictures first, of "
                "vectors of one number leave couplings out (steps = 0)"
            )
        self.channels, self.flip, self.num_b = channels, flip, channels // 2
        self.num_a = channels - self.num_b

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y to (y_a, y_b): the half that conditions, the half that changes."""
        check_channels(y, self.num_a + self.num_b, "coupling")
        if self.flip:
            return y[:, self.num_b :], y[:, : self.num_b]
        return y[:, : self.num_a], y[:, self.num_a :]

    def join(self, y_a: Tensor, y_b: Tensor) -> Tensor:
        return torch.cat([y_b, y_a] if self.flip else [y_a, y_b], dim=1)


class AffineCoupling(Coupling):
    r"""Scale and shift one half of the channels, given the other half and the features.

    Forward:  z_a = y_a,   z_b = y_b s + t,   (log s, t) from net(y_a, h)  :eq:`eq-coupling-forward`
              (with features, :eq:`eq-conditional-coupling`)
    Inverse:  y_a = z_a,   y_b = (z_b - t) / s                             :eq:`eq-coupling-inverse`
    log|det|: sum of log s over the b-half                                 :eq:`eq-coupling-logdet`
              (the Jacobian is block-triangular, so only its diagonal counts:
              :eq:`eq-coupling-jacobian`)

    The paper writes the map from z to y; we multiply on the way to z and divide on the way back,
    as the released code does: the paper's scale is 1 / s and its shift -t / s,
    :eq:`eq-conditional-convention`.

    Args:
        channels: number of channels C >= 2; with odd C the a-half has the extra one.
        net: maps (y_a, h) to (B, 2 C_b, ...); to (B, C_b, ...) if `scale` is "additive".
        scale: "bounded": log s in (-m, m), m = max_log_scale. "softplus": s = softplus, unbounded
            below, as released. "additive": s = 1.
        flip: change the first half instead of the second.
        max_log_scale: m.

    Shapes: y (B, C, ...), h (B, C_h, ...) -> z of the shape of y, log_det (B,) in nats.
    Raises: ValueError if C < 2, if y has another number of channels, or if h is not at its
        resolution; both sizes are named.
    """

    def __init__(
        self,
        channels: int,
        net: nn.Module,
        scale: Scale = "bounded",
        flip: bool = False,
        max_log_scale: float = 1.5,
    ):
        super().__init__(channels, flip)
        self.net, self.scale, self.max_log_scale = net, scale, max_log_scale

    @staticmethod
    def outputs(changed: int) -> int:
        """How many channels the network returns for so many that change, unless "additive"."""
        return 2 * changed

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y_a, y_b = self.split(y)
        log_s, t = self.params(y_a, h)
        z_b = y_b * log_s.exp() + t
        return self.join(y_a, z_b), sum_except_batch(log_s)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z_a, z_b = self.split(z)
        log_s, t = self.params(z_a, h)
        y_b = (z_b - t) * (-log_s).exp()
        return self.join(z_a, y_b), -sum_except_batch(log_s)

    def params(self, y_a: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """(log s, t), each (B, C_b, ...)."""
        check_features(y_a, h)
        return scale_and_shift(self.net(y_a, h), self.num_b, self.scale, self.max_log_scale)
