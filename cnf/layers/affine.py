from torch import Tensor, nn

from cnf.layers.base import (
    Bijection,
    check_channels,
    check_features,
    scale_and_shift,
    sum_except_batch,
)


class ConditionalAffine(Bijection):
    r"""Scale and shift every element by amounts that depend on the features alone.

    Forward:  z = y s + t,   (log s, t) from net(h)
    Inverse:  y = (z - t) / s
    log|det|: sum of log s                                                                 (ours)

    The default map of the noise in q. Before a standard normal it is the conditional prior,
    written as a layer: the same likelihood, to rounding (:eq:`eq-given-equivalence`).

    Args:
        channels: number of channels C of y.
        net: maps (None, h) to (B, 2 C, ...).
        max_log_scale: log s lies in (-m, m).

    Shapes: y (B, C, ...), h (B, C_h, ...) -> z of the shape of y, log_det (B,) in nats.
    Raises: ValueError if y has another number of channels, or if h is missing or not at its
        resolution.
    """

    channels: int

    def __init__(self, channels: int, net: nn.Module, max_log_scale: float = 5.0):
        super().__init__()
        self.channels, self.net, self.max_log_scale = channels, net, max_log_scale

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_s, t = self.params(y, h)
        return y * log_s.exp() + t, sum_except_batch(log_s).expand(y.shape[0])

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_s, t = self.params(z, h)
        return (z - t) * (-log_s).exp(), -sum_except_batch(log_s).expand(z.shape[0])

    def params(self, y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """(log s, t), each (B, C, ...)."""
        if h is None:
            raise ValueError("ConditionalAffine needs features h: s and t come from them")
        check_channels(y, self.channels, "map")
        check_features(y, h)
        return scale_and_shift(self.net(None, h), self.channels, "bounded", self.max_log_scale)
