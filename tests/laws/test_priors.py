"""Laws of priors: log_p is torch's, restore undoes forward, samples have the stated moments."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from cnf.layers import GaussianPrior
from cnf.noise import keyed
from tests.laws.cases import ALL_PRIORS, stated

every_prior = pytest.mark.parametrize("case", ALL_PRIORS, ids=str)
EXACT = {"rtol": 0, "atol": 0}


def features(layer, y: Tensor, h: Tensor | None) -> Tensor | None:
    """h; for the last prior, which takes the shape of z from h, at least an empty one."""
    return y[:, :0] if h is None and isinstance(layer, GaussianPrior) else h


@pytest.mark.equation(
    "eq-given-normal", "eq-conditional-prior", "eq-conditional-split", "eq-multiscale-split"
)
@every_prior
def test_log_p_is_that_of_torch_distributions(case):
    layer, y, h = case.make()
    mu, sigma = stated(layer, y, h)
    expected = Independent(Normal(mu, sigma), 3).log_prob(layer.latent(y))
    torch.testing.assert_close(layer(y, h)[1], expected, rtol=1e-12, atol=1e-10)


@every_prior
def test_restore_undoes_forward_exactly(case):
    layer, y, h = case.make()
    torch.testing.assert_close(layer.restore(layer(y, h)[0], layer.latent(y)), y, **EXACT)


@pytest.mark.equation("eq-temp-sample", "eq-conditional-prior", "eq-multiscale-split")
@every_prior
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


@every_prior
def test_temperature_zero_draws_the_mean_whatever_the_generator(case):
    layer, y, h = case.make()
    kept, h = layer(y, h)[0], features(layer, y, h)
    first, second = (layer.sample(kept, h, 0.0, keyed(seed, range(3))) for seed in (0, 1))
    torch.testing.assert_close(first, second, **EXACT)
    torch.testing.assert_close(first, layer.restore(kept, stated(layer, y, h)[0]))


@every_prior
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
