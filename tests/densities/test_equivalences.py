"""Learned priors are layers in disguise, and a scale may move from the flow into the prior."""

import math

import pytest
import torch
from torch import Tensor, nn

from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import ActNorm, AffineCoupling, ConditionalAffine, GaussianPrior, Split
from cnf.layers.prior import MAX_LOG_SIGMA
from tests.laws.cases import coupling, net, randomise

EQUAL = {"rtol": 1e-11, "atol": 1e-11}  # the same sums in another order, float64


def log_sigma(raw: Tensor, scale: str) -> Tensor:
    if scale == "softplus":
        return nn.functional.softplus(raw).log()
    return MAX_LOG_SIGMA * torch.tanh(raw / MAX_LOG_SIGMA)


def raw_of(log_s: Tensor) -> Tensor:
    """The parameter of a bounded scale with this logarithm."""
    return MAX_LOG_SIGMA * torch.atanh(log_s / MAX_LOG_SIGMA)


class Converted(nn.Module):
    """From the (mu, raw sigma) of a prior to the (raw s, t) of the layer z -> (z - mu) / sigma."""

    def __init__(self, of_prior: nn.Module, scale: str):
        super().__init__()
        self.of_prior, self.scale = of_prior, scale

    def forward(self, y_a: Tensor | None, h: Tensor | None) -> Tensor:
        mu, raw = self.of_prior(y_a, h).chunk(2, dim=1)
        log_s = -log_sigma(raw, self.scale)
        return torch.cat([raw_of(log_s), -mu * log_s.exp()], dim=1)


def inputs(channels: int) -> tuple[Tensor, Tensor]:
    return torch.randn(3, channels, 4, 5).double(), torch.randn(3, 2, 4, 5).double()


@pytest.mark.equation("eq-given-equivalence")
@pytest.mark.parametrize("scale", ["bounded", "softplus"])
def test_a_conditional_prior_is_an_affine_layer_before_a_standard_normal(scale):
    """N(f; mu, sigma^2) |det df/dy| = N(f'; 0, I) |det df'/dy| with f' = (f - mu) / sigma."""
    prior = randomise(GaussianPrior(3, net(0, 2, 6), scale)).double()
    layer = ConditionalAffine(3, Converted(prior.net, scale), max_log_scale=MAX_LOG_SIGMA)
    y, h = inputs(3)
    z, log_det = layer(y, h)
    torch.testing.assert_close(log_det + GaussianPrior(3)(z, h)[1], prior(y, h)[1], **EQUAL)


@pytest.mark.equation("eq-multiscale-coupling")
@pytest.mark.parametrize("scale", ["bounded", "softplus"])
def test_a_conditional_split_is_a_coupling_before_a_standard_split(scale):
    split = randomise(Split(4, net(2, 2, 4), scale)).double()
    layer = AffineCoupling(4, Converted(split.net, scale), max_log_scale=MAX_LOG_SIGMA)
    y, h = inputs(4)
    z, log_det = layer(y, h)
    kept, log_p = Split(4)(z, h)
    torch.testing.assert_close(log_det + log_p, split(y, h)[1], **EQUAL)
    assert torch.equal(kept, split(y, h)[0])


class Scaled(nn.Module):
    """A prior's network with mu and sigma multiplied by c."""

    def __init__(self, net: nn.Module, c: float):
        super().__init__()
        self.net, self.c = net, c

    def forward(self, y_a: Tensor | None, h: Tensor | None) -> Tensor:
        mu, raw = self.net(y_a, h).chunk(2, dim=1)
        return torch.cat([self.c * mu, raw_of(log_sigma(raw, "bounded") + math.log(self.c))], dim=1)


@pytest.mark.equation("eq-given-flat")
@pytest.mark.parametrize("c", [0.1, 3.0, 20.0])
def test_scaling_the_last_layer_mu_and_sigma_changes_nothing(c):
    """The flat direction: -D log c from the prior cancels +D log c from the determinant."""
    layers = [coupling(4, 2), ActNorm(4), GaussianPrior(4, net(0, 2, 8))]
    flow = randomise(ConditionalFlow(layers, RawFeatures(2))).double()
    y, x = inputs(4)
    expected = flow.log_prob(y, x)
    with torch.no_grad():
        flow.layers[1].log_scale += math.log(c)
    assert not torch.allclose(flow.log_prob(y, x), expected)  # one without the other is no gauge
    flow.layers[2].net = Scaled(flow.layers[2].net, c)
    torch.testing.assert_close(flow.log_prob(y, x), expected, **EQUAL)


@pytest.mark.equation("eq-given-gradients")
def test_the_gradient_of_the_prior_pulls_mu_to_z_and_sigma_to_the_residual():
    """d(-log N)/dmu = -(z - mu) / sigma^2, d(-log N)/dlog sigma = 1 - (z - mu)^2 / sigma^2."""
    prior = GaussianPrior(1, nn.Identity()).double()
    prior.net.forward = lambda y_a, h: h  # h holds mu and the raw scale
    z = torch.randn(5, 1, 1, 1).double()
    h = torch.randn(5, 2, 1, 1).double().requires_grad_()
    (-prior(z, h)[1].sum()).backward()
    mu, raw = h.detach().chunk(2, dim=1)
    sigma = log_sigma(raw, "bounded").exp()
    d_mu, d_raw = h.grad.chunk(2, dim=1)
    torch.testing.assert_close(d_mu, -(z - mu) / sigma**2)
    d_log_sigma = d_raw / (1 - torch.tanh(raw / MAX_LOG_SIGMA) ** 2)
    torch.testing.assert_close(d_log_sigma, 1 - (z - mu) ** 2 / sigma**2)
