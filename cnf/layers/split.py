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
from cnf.layers.prior import MAX_LOG_SIGMA
from cnf.noise import Generator


class Split(Prior):
    r"""Factor out the last channels, scored given the half that goes on and the features.

    Forward:  y = (z0, z1),   log p = log N(z1; mu(z0, h), sigma^2(z0, h)),   z0 is kept
                                                                      :eq:`eq-conditional-split`
    Sample:   z1 = mu(z0, h) + temperature sigma(z0, h) eps                 :eq:`eq-temp-sample`
    Restore:  y = (z0, z1)                                        (paper, conditional split prior)

    With no features it is :eq:`eq-multiscale-split`. The score is that of a coupling before a split
    that sees nothing, :eq:`eq-multiscale-coupling`.

    Args:
        channels: number of channels C >= 2.
        net: maps (z0, h) to (B, 2 C_1, ...), C_1 = C - C_0: mu and the raw log-scale. None:
            N(0, I), a split prior that sees nothing.
        scale: "bounded" or "softplus", as in GaussianPrior.
        num_kept: C_0, how many channels go on; by default half, with odd C the larger half.

    Shapes: y (B, C, ...), h (B, C_h, ...) -> z0 (B, C_0, ...), log_p (B,) in nats.
    Raises: ValueError unless 1 <= C_0 < C, if y has another number of channels, or if h is not at
        its resolution.
    """

    keeps = True

    def __init__(
        self,
        channels: int,
        net: nn.Module | None = None,
        scale: Literal["bounded", "softplus"] = "bounded",
        num_kept: int | None = None,
    ):
        super().__init__()
        if channels < 2:
            raise ValueError(
                f"a split needs at least 2 channels, not {channels}: squeeze pictures first"
            )
        self.num_kept = channels - channels // 2 if num_kept is None else num_kept
        if not 0 < self.num_kept < channels:
            raise ValueError(f"num_kept = {num_kept}: keep 1 to {channels - 1} of {channels}")
        self.channels, self.num_left = channels, channels - self.num_kept
        self.net, self.scale = net, scale

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_channels(y, self.num_kept + self.num_left, "split")
        kept = y[:, : self.num_kept]
        mu, log_sigma = self.params(kept, h)
        return kept, gaussian_log_prob(self.latent(y), mu, log_sigma)

    def sample(
        self, kept: Tensor, h: Tensor | None, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        mu, log_sigma = self.params(kept, h)
        eps = noise.normal(mu.shape, generator, mu)
        return self.restore(kept, mu + temperature * log_sigma.exp() * eps)

    def params(self, kept: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """(mu, log sigma) of the part that leaves, each (B, C_1, ...)."""
        check_features(kept, h)
        if self.net is None:
            zero = torch.zeros_like(kept[:, :1]).expand(-1, self.num_left, *kept.shape[2:])
            return zero, zero
        mu, raw = halves(self.net(kept, h), self.num_left)
        return mu, log_scale(raw, self.scale, MAX_LOG_SIGMA)
