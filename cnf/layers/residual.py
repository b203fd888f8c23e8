import math

from torch import Tensor

from cnf.layers.base import Bijection, check_features, per_entry


class Residual(Bijection):
    r"""Subtract the upsampled input, which the first channels of the features carry, and magnify.

    Forward:  z = a (v - h[:, :C])
    Inverse:  v = z / a + h[:, :C]
    log|det|: D log a, of D entries                 (ours, not the paper's) :eq:`eq-better-residual`

    A conditional affine layer with nothing to learn: the flow then models what the input does not
    already say. It changes no bound and costs nothing.

    Args:
        scale: the magnification a > 0; about 1 / standard deviation of the residual.

    Shapes: v (B, C, ...), h (B, C_h >= C, ...) -> z of the shape of v, log_det (B,) in nats.
    Raises: ValueError if a <= 0, or if h is missing, too thin, or not at the resolution of v.
    """

    def __init__(self, scale: float):
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale = {scale}: the magnification must be positive")
        self.scale = scale

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y - self.centre(y, h)) * self.scale, self.log_det(y)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z / self.scale + self.centre(z, h), -self.log_det(z)

    def centre(self, y: Tensor, h: Tensor | None) -> Tensor:
        channels = y.shape[1]
        if h is None or h.shape[1] < channels:
            raise ValueError(f"h must carry the upsampled input in its first {channels} channels")
        check_features(y, h)
        return h[:, :channels]

    def log_det(self, y: Tensor) -> Tensor:
        return per_entry(y, math.log(self.scale))
