import math
from typing import Any, cast

import torch
from torch import Tensor

from cnf import noise
from cnf.layers.base import Prior, check_channels, check_features, log_scale, sum_except_batch
from cnf.layers.prior import MAX_LOG_SIGMA
from cnf.nets import CausalNet
from cnf.noise import Generator


class AutoregressivePrior(Prior):
    r"""Score all channels one number after the other, each under a mixture of K Gaussians whose
    parameters see the features and the numbers before: positions in raster order, the channels of a
    position in turn.

    Forward:  log p = sum_i log sum_k w_ik N(z_i; mu_ik, sigma_ik^2),   z = y,
              (w, mu, sigma)_i from net(z_<i, h)
    Sample:   z_i = mu_ik + temperature sigma_ik eps_i, with k drawn from w_i^(1/temperature),
              position after position                              (ours, not the paper's)

    One pass to score, as a chain of many short ones to draw; with a net of no blocks only the
    channels of a position follow each other, and the chain is as long as there are channels. With
    K = 1 and blind to z_<i it is the conditional prior.

    Args:
        net: of C channels, with 3 K outputs a channel.

    Shapes: y (B, C, H, W), h (B, C_h, H, W) -> None, log_p (B,) in nats.
    Raises: ValueError if net has another number of outputs, if y has another number of channels, or
        if h is not at its resolution.
    """

    def __init__(self, net: CausalNet):
        super().__init__()
        if net.outputs % 3:
            raise ValueError(
                f"net has {net.outputs} outputs a channel: for a mixture of K Gaussians give it 3 K"
            )
        self.net, self.channels = net, net.channels
        self.mixture = net.outputs // 3
        with torch.no_grad():  # components that start alike would stay alike
            mu = cast(Tensor, net.last.bias).view(net.channels, 3, self.mixture)[:, 1]
            if self.mixture > 1 and not mu.any():  # of a net that is trained they differ
                mu.copy_(torch.linspace(-1, 1, self.mixture))

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[None, Tensor]:
        check_features(y, h)
        check_channels(y, self.net.channels, "prior")
        log_w, mu, log_sigma = self.params(self.net(y, h))
        eps = (y[:, :, None] - mu) * (-log_sigma).exp()
        log_p = log_w - 0.5 * eps.square() - log_sigma - 0.5 * math.log(2 * math.pi)
        return None, sum_except_batch(log_p.logsumexp(2))

    @torch.no_grad()
    def sample(
        self, kept: None, h: Tensor | None, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        if h is None:
            raise ValueError("an autoregressive prior needs features h: they give the shape of z")
        h = h.to(self.net.last.weight.dtype)
        shape = (len(h), self.net.channels, *h.shape[-2:])
        eps, u = noise.normal(shape, generator, h), noise.uniform(shape, generator, h)

        def choose(out: Tensor, channel: int, at: Any) -> Tensor:
            log_w, mu, log_sigma = self.params(out[:, None])
            p = (log_w / max(temperature, 1e-6)).softmax(2)
            k = (p.cumsum(2) < u[:, channel : channel + 1][at][:, :, None]).sum(2, keepdim=True)
            k = k.clamp(max=self.mixture - 1)  # what rounding leaves of the sum below 1
            mu, log_sigma = (t.gather(2, k)[:, 0, 0] for t in (mu, log_sigma))
            return mu + temperature * log_sigma.exp() * eps[:, channel][at]

        return self.net.sample_sequentially(h, choose)

    def params(self, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(log w, mu, log sigma), each (B, C, K, H, W), of what the network returned."""
        logits, mu, raw = out.chunk(3, dim=2)
        return logits.log_softmax(2), mu, log_scale(raw, "bounded", MAX_LOG_SIGMA)
