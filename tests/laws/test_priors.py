"""Laws of priors: log_p is torch's, restore undoes forward, samples have the stated moments."""

import itertools
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Independent, Normal

from cnf import noise
from cnf.layers import AutoregressivePrior, GaussianPrior
from cnf.nets import CausalNet
from cnf.noise import keyed
from tests.laws.cases import (
    ALL_PRIORS,
    AUTOREGRESSIVE_PRIORS,
    FEATURES,
    GAUSSIAN_PRIORS,
    causal,
    mixtures,
    randomise,
    stated,
)

every_prior = pytest.mark.parametrize("case", ALL_PRIORS, ids=str)
every_gaussian = pytest.mark.parametrize("case", GAUSSIAN_PRIORS, ids=str)
every_autoregressive = pytest.mark.parametrize("case", AUTOREGRESSIVE_PRIORS, ids=str)
EXACT = {"rtol": 0, "atol": 0}


def features(layer, y: Tensor, h: Tensor | None) -> Tensor | None:
    """h; for the last prior, which takes the shape of z from h, at least an empty one."""
    return y[:, :0] if h is None and isinstance(layer, GaussianPrior) else h


@pytest.mark.equation(
    "eq-given-normal", "eq-conditional-prior", "eq-conditional-split", "eq-multiscale-split"
)
@every_gaussian
def test_log_p_is_that_of_torch_distributions(case):
    layer, y, h = case.make()
    mu, sigma = stated(layer, y, h)
    expected = Independent(Normal(mu, sigma), y.dim() - 1).log_prob(layer.latent(y))
    torch.testing.assert_close(layer(y, h)[1], expected, rtol=1e-12, atol=1e-10)


@every_prior
def test_restore_undoes_forward_exactly(case):
    layer, y, h = case.make()
    torch.testing.assert_close(layer.restore(layer(y, h)[0], layer.latent(y)), y, **EXACT)


@pytest.mark.equation("eq-temp-sample", "eq-conditional-prior", "eq-multiscale-split")
@every_gaussian
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_samples_have_the_stated_mean_and_deviation(case, temperature):
    layer, y, h = case.make(batch=1)
    n = 4000
    mu, sigma = stated(layer, y, h)
    kept = layer(y, h)[0]
    y, kept, h = (None if t is None else t.expand(n, *t.shape[1:]) for t in (y, kept, h))
    drawn = layer.sample(kept, features(layer, y, h), temperature, torch.Generator().manual_seed(0))
    std, mean = torch.std_mean(layer.latent(drawn), dim=0)
    # 45 entries at most: 5 standard errors of a mean (1/sqrt n) and of a deviation (1/sqrt 2n)
    assert ((mean - mu[0]).abs() <= 5 * temperature * sigma[0] / n**0.5 + 1e-12).all()
    error = temperature * sigma[0] / (2 * n) ** 0.5
    assert ((std - temperature * sigma[0]).abs() <= 5 * error).all()
    if kept is not None:
        torch.testing.assert_close(layer(drawn, h)[0], kept, **EXACT)


@every_gaussian
def test_noise_differs_between_samples_entries_and_seeds(case):
    layer, y, h = case.make(batch=1)
    y, h = y.expand(3, *y.shape[1:]), None if h is None else h.expand(3, *h.shape[1:])
    kept, h = layer(y, h)[0], features(layer, y, h)
    mu, sigma = stated(layer, y, h)
    for generators in (keyed(0, range(3)), torch.Generator().manual_seed(0), None):
        eps = (layer.latent(layer.sample(kept, h, 1.0, generators)) - mu) / sigma
        assert len(eps.flatten().unique()) == eps.numel()
    first, second = (layer.sample(kept, h, 1.0, keyed(seed, range(3))) for seed in (0, 1))
    assert not torch.equal(first, second)


# -- autoregressive priors -------------------------------------------------------------------------


@every_autoregressive
def test_log_p_of_numbers_in_order_is_that_of_torch_distributions(case):
    layer, y, h = case.make()
    expected = mixtures(layer, y, h).log_prob(y).sum((1, 2, 3))
    torch.testing.assert_close(layer(y, h)[1], expected, rtol=1e-12, atol=1e-10)


@every_autoregressive
def test_a_number_sees_those_before_it_and_none_after(case):
    """Every number replaced from some place on: the term of those before stays, sum for sum."""
    layer, y, h = case.make(batch=1)
    channels, (height, width) = layer.net.channels, y.shape[-2:]
    order = list(itertools.product(range(height), range(width), range(channels)))
    log_p = mixtures(layer, y, h).log_prob(y)
    for place, (i, j, c) in enumerate(order):
        other = y.clone()
        for a, b, d in order[place:]:
            other[:, d, a, b] = 9.0
        now = mixtures(layer, other, h).log_prob(y)[:, c, i, j]
        torch.testing.assert_close(now, log_p[:, c, i, j], rtol=1e-12, atol=1e-12)


@every_autoregressive
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_fronts_draw_what_one_number_after_the_other_gives(case, temperature):
    """A picture that is wider and higher than the network sees."""
    layer, _, _ = case.make()
    torch.manual_seed(3)
    h = torch.randn(2, FEATURES, 9, 8).double()
    drawn = layer.sample(None, h, temperature, keyed(0, range(2)))
    z = torch.zeros(2, layer.net.channels, 9, 8).double()
    generators = keyed(0, range(2))
    eps, u = noise.normal(z.shape, generators, z), noise.uniform(z.shape, generators, z)
    for i, j, c in itertools.product(range(9), range(8), range(layer.net.channels)):
        now = mixtures(layer, z, h)
        w, normal = now.mixture_distribution.logits[:, c, i, j], now.component_distribution
        p = (w / temperature).softmax(1) if temperature else F.one_hot(w.argmax(1), w.shape[1])
        k = (p.cumsum(1) < u[:, c, i, j, None]).sum(1)
        mu, sigma = (t[range(2), c, i, j, k] for t in (normal.loc, normal.scale))
        z[:, c, i, j] = mu + temperature * sigma * eps[:, c, i, j]
    torch.testing.assert_close(drawn, z, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("eq-blowup-clip")
def test_a_clipped_network_answers_alike_to_all_that_is_far_out():
    """So what is drawn after a number far out is no farther out than after one at the clip."""
    net = randomise(causal(3, 4, clip=6.0).net, 0, 0.4)
    h = torch.randn(1, 4, 5, 5)
    far = torch.randn(1, 3, 5, 5).sign() * 6
    assert torch.equal(net(1e6 * far, h), net(far, h))
    assert not torch.equal(net(-far, h), net(far, h))


def test_an_untrained_mixture_has_its_components_apart():
    layer = AutoregressivePrior(CausalNet(2, 4, 6, 1, 9))
    log_w, mu, log_sigma = layer.params(layer.net(torch.zeros(1, 2, 1, 1), torch.randn(1, 4, 1, 1)))
    assert mu[0, ..., 0, 0].tolist() == [[-1, 0, 1]] * 2
    assert not log_sigma.any() and len(log_w.unique()) == 1


def test_a_draw_next_to_one_takes_the_last_component():
    """Weights that are rounded to float32 may sum to less."""
    layer = AutoregressivePrior(CausalNet(32, 4, 6, 0, 3 * 8))
    with torch.no_grad():
        layer.net.last.bias.view(32, 3, 8)[:, 0] = torch.randn(32, 8)
    almost = torch.full((1, 32, 1, 1), 1 - 2**-24)
    with mock.patch.object(noise, "_draw", lambda *a: almost):
        drawn = layer.sample(None, torch.randn(1, 4, 1, 1))
    torch.testing.assert_close(drawn, 1 + almost)  # mu = 1, sigma = 1
