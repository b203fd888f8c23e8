"""Paths between data and noise, as priors: flow matching and diffusion in one network."""

import math

import torch
from torch import Tensor, nn

from cnf import noise
from cnf.layers.base import Prior, gaussian_log_prob, sum_except_batch
from cnf.noise import Generator
from cnf.replication import plugs

ode = plugs.module("families", "ode")
END, NEAR = math.pi / 2, 0.2  # times lie with density 1 / (phi + NEAR), in training and solving
SAMPLE_STEPS = 8


class Path(Prior):
    r"""p(v|h) by the path x = cos(phi) v + sin(phi) eps from data, phi = 0, to noise, phi = pi / 2.
    Its velocity is -E[w | x], w = sin(phi) v - cos(phi) eps, which a network learns. It starts from
    a simple model of v given h whose E[w | x] is known: here N(0, I), of which it is 0.

    Args:
        net: (x, phi, h) -> as many numbers as x has, from which `mean_w` makes E[w | x].
        steps: of the solver; with `bound` the number of times at which the bound is drawn.
        bound: whether the term is a variational bound and not the density of the path.

    Shapes: v (B, C, H, W), h (B, C_h, H, W) -> log_p (B,) in nats, without gradients.
    """

    def __init__(self, channels: int, net: nn.Module, steps: int, bound: bool):
        super().__init__()
        self.channels, self.net, self.steps, self.bound = channels, net, steps, bound

    def known(self, h: Tensor) -> Tensor | None:
        """What the simple model makes of h."""
        return None

    def known_log_prob(self, v: Tensor, known: Tensor | None) -> Tensor:
        return standard_normal(v)

    def mean_w(self, x: Tensor, phi: Tensor, out: Tensor | None, known: Tensor | None) -> Tensor:
        """E[w | x], by what the network returned; None: of the simple model."""
        return torch.zeros_like(x) if out is None else scale(phi) * out

    def target(self, v: Tensor, eps: Tensor, x: Tensor, phi: Tensor) -> Tensor:
        """What the mean of w is learned from."""
        return phi.sin() * v - phi.cos() * eps

    def field(self, x: Tensor, phi: Tensor, h: Tensor, known: Tensor | None) -> Tensor:
        return self.mean_w(x, phi.view(-1, 1, 1, 1), self.net(x, phi, h), known)

    def errors(
        self, v: Tensor, h: Tensor, known: Tensor | None, u: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """At the times of u (B,) in [0, 1): the squared error of the field, that of the simple
        model, both (B,), and the weight with which their difference, in the mean over u, is that
        of their variational bounds in nats: the weight of VDM (arXiv:2107.00630), cot(phi) dphi."""
        phi = time_of(u)
        weight = (phi + NEAR) * math.log((END + NEAR) / NEAR) / phi.clamp(min=1e-4).tan()
        at = phi.view(-1, 1, 1, 1)
        eps = noise.normal(v.shape, generator, v)
        x = at.cos() * v + at.sin() * eps
        w, fields = self.target(v, eps, x, at), [self.field(x, phi, h, known)]
        fields.append(self.mean_w(x, at, None, known))
        error, simple = (sum_except_batch((field - w).square()) for field in fields)
        return error, simple, weight

    def forward(self, v: Tensor, h: Tensor, generator: Generator = None) -> tuple[None, Tensor]:
        if self.bound:
            return None, self.lower_bound(v, h, generator)
        signs = ode.signs(noise.uniform(v.shape, generator, v))
        return None, self.log_prob(v, h, signs, self.steps)

    @torch.no_grad()
    def log_prob(self, v: Tensor, h: Tensor, probes: list[Tensor], steps: int) -> Tensor:
        """log p(v|h), (B,), nats, by the solver: in the mean over signs, or with all unit vectors
        exactly but for the solver."""
        known = self.known(h)

        def slope(x: Tensor, phi: float) -> tuple[Tensor, Tensor]:
            return ode.with_divergence(
                lambda x: -self.field(x, x.new_tensor([phi]), h, known), x, probes
            )

        z, divergence = ode.rk4(slope, v, times(steps))
        return standard_normal(z) + divergence

    @torch.no_grad()
    def lower_bound(self, v: Tensor, h: Tensor, generator: Generator) -> Tensor:
        """A draw of the variational bound: that of the simple model, which is tight, and what the
        network gains, in the mean over `steps` times, one in each part of them."""
        known = self.known(h)
        gain = torch.zeros_like(v[:, 0, 0, 0])
        for step in range(self.steps):
            u = (step + noise.uniform((len(v),), generator, v)) / self.steps
            error, simple, weight = self.errors(v, h, known, u, generator)
            gain = gain + weight * (simple - error) / self.steps
        return self.known_log_prob(v, known) + gain

    @torch.no_grad()
    def sample(
        self, kept: None, h: Tensor, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        known, like = self.known(h), self.net.last.weight
        z = temperature * noise.normal((len(h), self.channels, *h.shape[2:]), generator, like)

        def slope(x: Tensor, phi: float) -> tuple[Tensor, float]:
            return -self.field(x, x.new_tensor([phi]), h, known), 0.0

        return ode.rk4(slope, z, times(SAMPLE_STEPS)[::-1])[0]


def time_of(u: Tensor) -> Tensor:
    """phi, from 0 of the data to pi / 2 of noise, of u in [0, 1]."""
    return NEAR * ((END + NEAR) / NEAR) ** u - NEAR


def times(steps: int) -> list[float]:
    """From the data to noise."""
    return time_of(torch.linspace(0, 1, steps + 1, dtype=torch.float64)).tolist()


def scale(phi: Tensor) -> Tensor:
    """The size that E[w | x] has in the mean: sin(phi) near data of a smooth density, cos(phi) near
    noise, as the mean of v is 0; in between it does not matter."""
    s, c = phi.sin(), phi.cos()
    return s * c / ((s.square() + NEAR**2) * (c.square() + NEAR**2)).sqrt()


def standard_normal(z: Tensor) -> Tensor:
    zero = torch.zeros_like(z)
    return gaussian_log_prob(z, zero, zero)
