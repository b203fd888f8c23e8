"""Controls of super-resolution: one Gaussian, or a mixture, of the numbers at a position."""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor, nn

from cnf import noise
from cnf.arguments import Positive
from cnf.features import Features, upsampled
from cnf.flow import ConditionalFlow
from cnf.layers.base import Prior, sum_except_batch
from cnf.layers.residual import Residual
from cnf.layers.subbands import Subbands
from cnf.layers.uniform import UniformDequantization
from cnf.noise import Generator
from cnf.weights import kind

Pairs = Collection[tuple[Tensor, Tensor]]  # y (1, C, H, W) and x of each picture
POSITIONS = 200_000  # number of positions to which a mixture is fitted


class Upsampled(Features):
    """The upsampled input at y's resolution, and no features at the next level."""

    channels = [3, 0]
    multiple = factor = 2

    def forward(self, x: Tensor) -> list[Tensor]:
        return [upsampled(x), x[:, :0]]


class MixturePrior(Prior):
    """All channels of a position under one mixture of K Gaussians with full covariances, the same
    at every position and for every x.

    Shapes: y (B, C, H, W) -> None, log_p (B,) in nats.
    """

    def __init__(self, channels: int, components: int):
        super().__init__()
        self.channels = channels
        eye = torch.eye(channels).expand(components, -1, -1).clone()
        log_w = torch.full((components,), -np.log(components))
        self.log_w = nn.Parameter(log_w, requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(components, channels), requires_grad=False)
        self.root = nn.Parameter(eye, requires_grad=False)  # Cholesky factors of the covariances

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[None, Tensor]:
        normal = torch.distributions.MultivariateNormal(
            self.mean, scale_tril=self.root, validate_args=False
        )
        log_p = normal.log_prob(y.movedim(1, -1)[..., None, :]) + self.log_w
        return None, sum_except_batch(log_p.logsumexp(-1))

    def sample(
        self, kept: None, h: Tensor | None, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """z = mean_k + temperature root_k eps, k drawn from the weights."""
        if h is None:
            raise ValueError("sampling the last prior needs features h: they give the shape of z")
        shape = (len(h), self.channels, *h.shape[-2:])
        eps = noise.normal(shape, generator, self.mean)
        u = noise.uniform((len(h), 1, *h.shape[-2:]), generator, self.mean)[:, 0]
        k = (self.log_w.exp().cumsum(0)[:-1] < u[..., None]).sum(-1)
        scaled = torch.einsum("bhwcd,bdhw->bchw", self.root[k], eps)
        return self.mean[k].movedim(-1, 1) + temperature * scaled


class Mixture(ConditionalFlow):
    """A `MixturePrior` of the twelve numbers at every position of the residual in subbands, the
    difference of y and the upsampled input. It models colours and bands jointly, but each position
    alone, and has no network."""

    def __init__(self, components: int):
        prior = MixturePrior(12, components)
        super().__init__([UniformDequantization(), Residual(8.0), Subbands(), prior], Upsampled())

    @torch.no_grad()
    def fit(self, pairs: Pairs, seed: int = 0) -> None:
        """Expectation maximisation on positions drawn from all pictures."""
        from sklearn.mixture import GaussianMixture

        rng, positions = np.random.default_rng(seed), []
        for index, (y, x) in enumerate(pairs):
            z = self.encode(y, self.condition(x), noise.keyed(seed, [index]))[0][0]
            rows = z.movedim(1, -1).flatten(0, -2).double().numpy()
            number = min(len(rows), -(-POSITIONS // len(pairs)))
            positions.append(rows[rng.choice(len(rows), number, replace=False)])
        prior = self.layers[-1]
        mixture = GaussianMixture(len(prior.log_w), max_iter=200, random_state=seed)
        mixture.fit(np.concatenate(positions))
        prior.log_w.copy_(torch.from_numpy(np.log(mixture.weights_)))
        prior.mean.copy_(torch.from_numpy(mixture.means_))
        prior.root.copy_(torch.from_numpy(np.linalg.cholesky(mixture.covariances_)))


@kind("gaussian_mixtures/mixture")
def mixture(components: Positive = 16) -> Mixture:
    return Mixture(components)
