"""A model at a reduced temperature is a model: what it draws is what it scores."""

import itertools

import pytest
import torch
from torch.distributions import Normal

import cnf
from cnf import noise
from cnf.factorised import Bernoulli
from cnf.layers.prior import GaussianPrior
from cnf.replication import plugs

cooled = plugs.plug("baseline_temperature").cooled


class Ramps(torch.nn.Conv2d):
    """Features of a picture: a convolution with random weights."""

    channels = (4,)

    def __init__(self):
        super().__init__(3, 4, 3, padding=1)


def randomised(model):
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double().eval().requires_grad_(False)


def factorised():
    return randomised(Bernoulli(Ramps()))


def flow():
    return randomised(cnf.glow(channels=1, context=2, levels=1, steps=2, width=8))


X = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 0.8])
def test_probabilities_of_a_factorised_model_are_powers_normalised(temperature):
    model = factorised()
    p, q = model.mean(X), cooled(model, temperature).mean(X)
    vessel, other = p ** (1 / temperature), (1 - p) ** (1 / temperature)
    torch.testing.assert_close(q, vessel / (vessel + other), rtol=1e-12, atol=0)
    assert ((p > 0.5) == (q > 0.5)).all() and not torch.allclose(p, q, rtol=1e-3)


def test_probabilities_of_all_masks_sum_to_one():
    masks = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8))).double()
    model = cooled(factorised(), 0.5)
    x = X[:1, :, :2, :4].expand(256, -1, -1, -1)
    log_p = model.log_prob(masks.reshape(-1, 1, 2, 4), x)
    assert log_p.logsumexp(0).item() == pytest.approx(0, abs=1e-12)


def test_samples_are_those_of_the_model_at_that_temperature():
    model = factorised()
    ours = cooled(model, 0.5).sample(X, 3, 1.0, noise.keyed(0, range(2)))
    assert torch.equal(ours, model.sample(X, 3, 0.5, noise.keyed(0, range(2))))
    assert not torch.equal(ours, model.sample(X, 3, 1.0, noise.keyed(0, range(2))))


def test_samples_of_a_flow_are_those_at_that_temperature():
    model, x = flow(), torch.randn(2, 2, 4, 6, dtype=torch.float64)
    ours = cooled(model, 0.5).sample(x, 3, 1.0, noise.keyed(0, range(2)))
    theirs = model.sample(x, 3, 0.5, noise.keyed(0, range(2)))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(ours, model.sample(x, 3, 1.0, noise.keyed(0, range(2))), rtol=1e-3)


def test_the_density_of_a_cooled_prior_is_a_narrower_normal():
    model = flow()
    for ours, theirs in zip(priors(cooled(model, 0.5)), priors(model), strict=True):
        y = torch.randn(2, theirs.channels, 2, 3, dtype=torch.float64)
        h = torch.randn(2, 2, 2, 3, dtype=torch.float64)
        mu, log_sigma = theirs.params(h, like=y)
        expected = Normal(mu, 0.5 * log_sigma.exp()).log_prob(y).sum((1, 2, 3))
        torch.testing.assert_close(ours(y, h)[1], expected, rtol=1e-12, atol=0)


def priors(model):
    found = [part for part in model.modules() if isinstance(part, GaussianPrior)]
    assert found
    return found


def test_the_model_itself_stays_as_it_is():
    model = factorised()
    before = model.mean(X)
    cooled(model, 0.5)
    assert torch.equal(model.mean(X), before)
