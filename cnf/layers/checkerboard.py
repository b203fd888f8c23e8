import torch
from torch import Tensor, nn

from cnf.layers.base import (
    Bijection,
    Scale,
    check_features,
    check_picture,
    scale_and_shift,
    sum_except_batch,
)


class CheckerboardCoupling(Bijection):
    r"""Scale and shift the positions of one colour, given those of the other and the features: a
    coupling at full resolution, for a target that may have one channel.

    Forward:  z = y where i + j is even,   z = y s + t where it is odd,   (log s, t) from net(a, h)
    Inverse:  y = z where i + j is even,   y = (z - t) / s where it is odd
    log|det|: sum of log s over the odd positions           (RealNVP) :eq:`eq-vflow-checkerboard`

    Here a is y with zeros at the odd positions (i, j). What the network says at the even ones is
    not used.

    Args:
        net: maps (a, h) to (B, 2 C, H, W); to (B, C, H, W) if `scale` is "additive".
        scale: as in `AffineCoupling`.
        flip: change the even positions instead of the odd.
        max_log_scale: log s lies in (-m, m) if `scale` is "bounded".

    Shapes: y (B, C, H, W), h (B, C_h, H, W) -> z (B, C, H, W), log_det (B,) in nats.
    Raises: ValueError if h is not at the resolution of y, both sizes are named; or if y has no H
        and W.
    """

    def __init__(
        self,
        net: nn.Module,
        scale: Scale = "bounded",
        flip: bool = False,
        max_log_scale: float = 1.5,
    ):
        super().__init__()
        self.net, self.scale, self.flip, self.max_log_scale = net, scale, flip, max_log_scale

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_s, t = self.params(y, h)
        return y * log_s.exp() + t, sum_except_batch(log_s)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_s, t = self.params(z, h)  # z is y where the network looks
        return (z - t) * (-log_s).exp(), -sum_except_batch(log_s)

    def params(self, y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """(log s, t), each (B, C, H, W): zero where y is kept."""
        check_picture(y, "a checkerboard")
        check_features(y, h)
        changed = self.changed(y)
        out = self.net(y.masked_fill(changed, 0.0), h)
        log_s, t = scale_and_shift(out, y.shape[1], self.scale, self.max_log_scale)
        return log_s.masked_fill(~changed, 0.0), t.masked_fill(~changed, 0.0)

    def changed(self, y: Tensor) -> Tensor:
        """Where y changes, (H, W), bool."""
        rows, columns = (torch.arange(size, device=y.device) for size in y.shape[-2:])
        return (rows[:, None] + columns) % 2 == (0 if self.flip else 1)
