from typing import Literal

import torch
from torch import Tensor, nn

from cnf import noise
from cnf.layers.base import (
    Prior,
    check_channels,
    check_features,
    gaussian_log_prob,
    halves,
    log_scale,
)
from cnf.noise import Generator

MAX_LOG_SIGMA = 6.0  # bounds sigma to (e^-6, e^6): binds only far from data, finite in float32


class GaussianPrior(Prior):
    r"""Score all that is left under a diagonal Gaussian whose parameters come from the features.

    Forward:  log p = log N(y; mu(h), sigma^2(h)),   nothing is kept  :eq:`eq-conditional-prior`
    Sample:   y = mu + temperature sigma eps      (paper, conditional prior) :eq:`eq-temp-sample`

    Training pulls mu to y and sigma to the residual, :eq:`eq-given-gradients`. If the layer before
    is scaled by c, and mu and sigma with it, nothing changes: :eq:`eq-given-flat`.

    Args:
        channels: number of channels C of y.
        net: maps (None, h) to (B, 2 C, ...): mu and the raw log-scale. None: N(0, I).
        scale: "bounded": log sigma in (-6, 6). "softplus": sigma = softplus, as released.

    Shapes: y (B, C, ...), h (B, C_h, ...) -> None, log_p (B,) in nats.
    Raises: ValueError if y has another number of channels, if h is at another resolution, or if it
        is missing when sampling (it gives the shape).
    """

    channels: int

    def __init__(
        self,
        channels: int,
        net: nn.Module | None = None,
        scale: Literal["bounded", "softplus"] = "bounded",
    ):
        super().__init__()
        self.channels, self.net, self.scale = channels, net, scale

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[None, Tensor]:
        check_features(y, h)
        check_channels(y, self.channels, "prior")
        mu, log_sigma = self.params(h, like=y)
        return None, gaussian_log_prob(y, mu, log_sigma)

    def sample(
        self, kept: None, h: Tensor | None, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        if h is None:
            raise ValueError("sampling the last prior needs features h: they give the shape of z")
        like = h.new_zeros(h.shape[0], self.channels, *h.shape[2:])
        mu, log_sigma = self.params(h, like)
        eps = noise.normal(like.shape, generator, mu)
        return mu + temperature * log_sigma.exp() * eps

    def params(self, h: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """(mu, log sigma), each of the shape of `like`."""
        if self.net is None:
            return torch.zeros_like(like), torch.zeros_like(like)
        mu, raw = halves(self.net(None, h), self.channels)
        return mu, log_scale(raw, self.scale, MAX_LOG_SIGMA)
