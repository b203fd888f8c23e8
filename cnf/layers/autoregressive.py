import math
from typing import Any, cast

import torch
from torch import Tensor

from cnf import noise
from cnf.layers.base import Prior, check_features, log_scale, sum_except_batch
from cnf.layers.prior import MAX_LOG_SIGMA
from cnf.nets import CausalNet
from cnf.noise import Generator


class AutoregressivePrior(Prior):
    r"""Score the last channels one number after the other, each under a mixture of K Gaussians
    whose parameters see the features, the channels that go on, and the numbers before: positions
    in raster order, the channels of a position in turn.

    Forward:  y = (z0, z1),   log p = sum_i log sum_k w_ik N(z1_i; mu_ik, sigma_ik^2),
              (w, mu, sigma)_i from net(z1_<i, z0, h),   z0 is kept, or nothing if C_0 = 0
    Sample:   z1_i = mu_ik + temperature sigma_ik eps_i, with k drawn from w_i^(1/temperature),
              position after position
    Restore:  y = (z0, z1)                                         (ours, not the paper's)

    One pass to score, as a chain of many short ones to draw; with a net of no blocks only the
    channels of a position follow each other, and the chain is as long as there are channels. With
    K = 1 and blind to z1_<i it is the conditional (split) prior.

    Args:
        net: of C_1 channels that leave, with 3 K outputs a channel; it reads (h, z0).
        num_kept: C_0, how many channels go on. 0: this is the last prior.

    Shapes: y (B, C_0 + C_1, H, W), h (B, C_h, H, W) -> z0 (B, C_0, H, W) or None, log_p (B,), nats.
    Raises: ValueError if y has another number of channels, or if h is not at its resolution.
    """

    def __init__(self, net: CausalNet, num_kept: int = 0):
        super().__init__()
        self.net, self.num_kept, self.keeps = net, num_kept, num_kept > 0
        self.channels = num_kept + net.channels
        self.mixture = net.outputs // 3
        with torch.no_grad():  # components that start alike would stay alike
            mu = cast(Tensor, net.last.bias).view(net.channels, 3, self.mixture)[:, 1]
            if self.mixture > 1 and not mu.any():  # of a net that is trained they differ
                mu.copy_(torch.linspace(-1, 1, self.mixture))

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        check_features(y, h)
        if y.shape[1] != self.num_kept + self.net.channels:
            raise ValueError(
                f"y has {y.shape[1]} channels, but this prior is of {self.num_kept} that go on and "
                f"{self.net.channels} that leave"
            )
        kept, z = y[:, : self.num_kept] if self.keeps else None, self.latent(y)
        log_w, mu, log_sigma = self.params(self.net(z, self.context(kept, h)))
        eps = (z[:, :, None] - mu) * (-log_sigma).exp()
        log_p = log_w - 0.5 * eps.square() - log_sigma - 0.5 * math.log(2 * math.pi)
        return kept, sum_except_batch(log_p.logsumexp(2))

    @torch.no_grad()
    def sample(
        self,
        kept: Tensor | None,
        h: Tensor | None,
        temperature: float = 1.0,
        generator: Generator = None,
    ) -> Tensor:
        context = self.context(kept, h).to(self.net.last.weight.dtype)
        shape = (len(context), self.net.channels, *context.shape[-2:])
        eps, u = noise.normal(shape, generator, context), noise.uniform(shape, generator, context)

        def choose(out: Tensor, channel: int, at: Any) -> Tensor:
            log_w, mu, log_sigma = self.params(out[:, None])
            p = (log_w / max(temperature, 1e-6)).softmax(2)
            k = (p.cumsum(2) < u[:, channel : channel + 1][at][:, :, None]).sum(2, keepdim=True)
            k = k.clamp(max=self.mixture - 1)  # what rounding leaves of the sum below 1
            mu, log_sigma = (t.gather(2, k)[:, 0, 0] for t in (mu, log_sigma))
            return mu + temperature * log_sigma.exp() * eps[:, channel][at]

        return self.restore(kept, self.net.sample_sequentially(context, choose))

    def context(self, kept: Tensor | None, h: Tensor | None) -> Tensor:
        """What the network is given beside z1. Raises ValueError if there is neither."""
        if kept is None and h is None:
            raise ValueError("an autoregressive prior needs features h: they give the shape of z")
        if kept is None or h is None:
            return cast(Tensor, h if kept is None else kept)
        check_features(kept, h)
        return torch.cat([h.expand(kept.shape[0], *h.shape[1:]), kept], dim=1)

    def params(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(log w, mu, log sigma), each (B, C_1, K, H, W), of what the network returned."""
        logits, mu, raw = out.chunk(3, dim=2)
        return logits.log_softmax(2), mu, log_scale(raw, "bounded", MAX_LOG_SIGMA)
