"""Binary pictures of two and three pixels: half-infinite noise gives probabilities and bounds."""

import pytest
import scipy.stats
import torch
from torch import Tensor

from cnf.flow import ConditionalFlow
from cnf.layers import BinaryDequantization
from tests.densities.toys import X, density, discrete, plane, repeat
from tests.laws.cases import affine

every_q = pytest.mark.parametrize("q", ["none", "logistic", "gaussian"])


def labels(pixels: int) -> Tensor:
    """Every y, (2^pixels, pixels, 1, 1)."""
    both = torch.tensor([0.0, 1.0], dtype=torch.float64)
    return torch.cartesian_prod(*[both] * pixels).view(-1, pixels, 1, 1)


def model_of(q: str, pixels: int) -> ConditionalFlow:
    """The same p(v|x) for every q: P(y|x) does not depend on how it is bounded."""
    if q == "none":
        return discrete(BinaryDequantization(), density(pixels, 1.0))
    layers = [affine(pixels, 1 + pixels)]
    return discrete(BinaryDequantization(layers, noise=q), density(pixels, 1.0))


def terms(model: ConditionalFlow, x: Tensor, y: Tensor, m: int) -> Tensor:
    """log p(v|x) - log q(v|y,x), m draws of every y: (m, number of y)."""
    every = y.repeat(m, 1, 1, 1)
    log_w = model.log_prob(every, repeat(x, len(every)), torch.Generator().manual_seed(0))
    return log_w.view(m, len(y))


@pytest.fixture(scope="module")
def exact() -> Tensor:
    """P(y|x) of two pixels, (2, 4): integrals of p(v|x) over the four orthants."""
    flow = density(2, 1.0)
    v, area = plane(0.5 - 9, 0.5 + 9, 240)  # nine deviations; the threshold lies between midpoints
    place = (2 * (v[:, 0] > 0.5) + (v[:, 1] > 0.5)).flatten().long()
    masses = [flow.log_prob(v, repeat(x, len(v))).exp() * area for x in X.split(1)]
    return torch.stack([torch.zeros(4).double().index_add(0, place, p) for p in masses])


def test_the_orthants_share_the_whole_mass(exact):
    # midpoints on a density with kinks, 13 a deviation
    torch.testing.assert_close(exact.sum(1), torch.ones(2).double(), rtol=0, atol=1e-3)
    assert (exact[0] - exact[1]).abs().max() > 0.05  # and the two inputs differ


@every_q
@pytest.mark.parametrize("pixels", [2, 3])
@pytest.mark.parametrize("i", [0, 1], ids=["x0", "x1"])
def test_the_probabilities_of_all_pictures_sum_to_one(pixels, q, i):
    m = 8000
    total = terms(model_of(q, pixels), X[i : i + 1], labels(pixels), m).exp().sum(1)
    error = (total.std() / m**0.5).item()
    assert error < 0.02
    assert total.mean().item() == pytest.approx(1, abs=4 * error)


@pytest.mark.equation("eq-binary-orthant", "eq-binary-weight")
@every_q
@pytest.mark.parametrize("i", [0, 1], ids=["x0", "x1"])
def test_importance_weights_average_to_the_orthants(exact, q, i):
    m = 8000
    weights = terms(model_of(q, 2), X[i : i + 1], labels(2), m).exp()
    error = weights.std(0) / m**0.5
    assert ((weights.mean(0) - exact[i]).abs() < 4 * error + 1e-3).all()


@pytest.mark.equation("eq-binary-importance")
@every_q
def test_the_bound_rises_with_the_number_of_samples_and_stays_below(exact, q):
    """In expectation over y and noise, nats a picture; each mean with its standard error."""
    model, repeats, p = model_of(q, 2), 400, exact[0]
    y, x = labels(2).repeat(repeats, 1, 1, 1), repeat(X[:1], 4 * repeats)
    means, errors = [], []
    for m in (1, 4, 16, 64):
        bound = model.importance_log_prob(y, x, m, torch.Generator().manual_seed(m))
        averages = (bound.view(repeats, 4) * p).sum(1)
        means.append(averages.mean().item())
        errors.append(averages.std().item() / repeats**0.5)
    truth = (p * p.log()).sum().item()
    for looser, tighter, error in zip(means, means[1:], errors, strict=False):
        assert looser + 2 * error < tighter
    assert truth - 0.2 < means[-1] < truth


@pytest.mark.equation("eq-binary-bound")
@every_q
def test_the_bound_lies_below_the_probability_of_every_picture(exact, q):
    m = 4000
    bound = terms(model_of(q, 2), X[:1], labels(2), m)
    assert (bound.mean(0) < exact[0].log() - 5 * bound.std(0) / m**0.5).all()


@pytest.mark.parametrize("i", [0, 1], ids=["x0", "x1"])
def test_samples_follow_the_probabilities(exact, i):
    model, n = model_of("none", 2), 10000
    drawn = model.sample(repeat(X[i : i + 1], n), 1, generator=torch.Generator().manual_seed(0))[0]
    counts = torch.bincount((2 * drawn[:, 0] + drawn[:, 1]).flatten().long(), minlength=4)
    assert scipy.stats.chisquare(counts, n * exact[i] / exact[i].sum()).pvalue > 0.01
