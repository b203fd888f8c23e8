"""Pictures of two pixels with four grey levels: probabilities sum to one, bounds lie below them."""

import pytest
import scipy.stats
import torch
from torch import Tensor

from cnf.flow import ConditionalFlow
from cnf.layers import UniformDequantization, VariationalDequantization
from tests.densities.toys import X, density, discrete, plane, repeat
from tests.laws.cases import affine

BINS = 4
EVERY_Y = torch.cartesian_prod(*[torch.arange(BINS, dtype=torch.float64)] * 2).view(-1, 2, 1, 1)

every_q = pytest.mark.parametrize("q", ["uniform", "variational"])
both_inputs = pytest.mark.parametrize("i", [0, 1], ids=["x0", "x1"])


@pytest.fixture(scope="module")
def flow() -> ConditionalFlow:
    """p(v|x), almost all of it in the unit square."""
    return density(2, 0.2)


def model_of(q: str, flow: ConditionalFlow) -> ConditionalFlow:
    if q == "uniform":
        return discrete(UniformDequantization(BINS), flow)
    return discrete(VariationalDequantization([affine(2, 1 + 2)], BINS), flow)


def place(y: Tensor) -> Tensor:
    """Where y stands in EVERY_Y."""
    return (BINS * y[:, 0] + y[:, 1]).flatten().long()


def masses(flow: ConditionalFlow, x: Tensor, low: float, high: float, n: int) -> Tensor:
    """Integrals of p(v|x) over [low, high]^2, by the y that v stands for: (16,)."""
    v, area = plane(low, high, n)
    p = flow.log_prob(v, repeat(x, len(v))).exp() * area
    return torch.zeros(16).double().index_add(0, place((v * BINS).floor().clamp(0, BINS - 1)), p)


@pytest.fixture(scope="module")
def exact(flow) -> Tensor:
    """P(y|x), the integral over the cell of y, (2, 16). Midpoints, 60 on a cell's side."""
    return torch.stack([masses(flow, x, 0.0, 1.0, 60 * BINS) for x in X.split(1)])


def terms(model: ConditionalFlow, x: Tensor, m: int) -> Tensor:
    """log p(v|x) - log q(v|y,x), m draws of every y: (m, 16)."""
    y = EVERY_Y.repeat(m, 1, 1, 1)
    return model.log_prob(y, repeat(x, len(y)), torch.Generator().manual_seed(0)).view(m, 16)


@both_inputs
def test_probabilities_sum_to_one_less_what_lies_beyond_the_levels(flow, exact, i):
    """The flow may put mass below the first level and above the last; samples count it."""
    n = 20000
    v = flow.sample(repeat(X[i : i + 1], n), 1, generator=torch.Generator().manual_seed(0))[0]
    outside = ((v < 0) | (v >= 1)).flatten(1).any(1).double().mean().item()
    assert 0 < outside < 0.05
    # 4 standard errors of a frequency among 20000, and 1e-4 of midpoint error
    error = 4 * (outside * (1 - outside) / n) ** 0.5 + 1e-4
    assert exact[i].sum().item() == pytest.approx(1 - outside, abs=error)


@both_inputs
def test_with_open_end_levels_they_sum_to_one_and_samples_follow_them(flow, i):
    """What `sample` draws: v beyond the ends counts as the first or the last level."""
    x, n = X[i : i + 1], 20000
    p = masses(flow, x, -1.5, 2.5, 128 * BINS)
    assert p.sum().item() == pytest.approx(1, abs=1e-3)  # midpoints, 128 on a cell's side
    model = model_of("uniform", flow)
    y = model.sample(repeat(x, n), 1, generator=torch.Generator().manual_seed(1))[0]
    counts = torch.bincount(place(y), minlength=16)
    common = n * p > 10  # the chi-square law needs some counts in every class
    observed = torch.cat([counts[common], counts[~common].sum()[None]])
    expected = torch.cat([p[common], p[~common].sum()[None]])
    assert scipy.stats.chisquare(observed, n * expected / expected.sum()).pvalue > 0.01


@pytest.mark.equation("eq-deq-mass")
@every_q
@both_inputs
def test_importance_weights_average_to_the_probabilities(flow, exact, q, i):
    m = 8000
    weights = terms(model_of(q, flow), X[i : i + 1], m).exp()
    error = weights.std(0) / m**0.5
    # 16 targets: 4 standard errors, and 1e-4 of midpoint error
    assert ((weights.mean(0) - exact[i]).abs() < 4 * error + 1e-4).all()
    total = weights.sum(1)
    error = (total.std() / m**0.5).item()
    assert error < 0.02
    assert total.mean().item() == pytest.approx(exact[i].sum().item(), abs=4 * error)


@pytest.mark.equation("eq-deq-bound")
@every_q
def test_the_bound_lies_below_the_probability(flow, exact, q):
    """Jensen, for each of the 16 targets."""
    m = 4000
    bound = terms(model_of(q, flow), X[:1], m)
    error = bound.std(0) / m**0.5
    truth = exact[0].log()
    assert (bound.mean(0) < truth + 3 * error).all()
    assert (bound.mean(0) < truth - 5 * error).any(), "nowhere strict: the noise does not matter"


@every_q
def test_the_bound_rises_with_the_number_of_samples(flow, exact, q):
    """In expectation over y, x and noise: 400 repeats, nats a picture."""
    model, repeats, p = model_of(q, flow), 400, exact[0]
    y, x = EVERY_Y.repeat(repeats, 1, 1, 1), repeat(X[:1], 16 * repeats)
    means = []
    for m in (1, 4, 16):
        bound = model.importance_log_prob(y, x, m, torch.Generator().manual_seed(m))
        means.append((p * bound.view(repeats, 16).mean(0)).sum().item())
    truth = (p * p.log()).sum().item()
    assert means[0] + 0.05 < means[1] < means[2] < truth  # differences far above their errors, 0.01
    assert means[2] > truth - 0.2


@every_q
def test_bits_per_dimension_count_two_dimensions(flow, exact, q):
    model, n = model_of(q, flow), 2000
    likely = exact[0].argmax()
    y = EVERY_Y[likely].expand(n, -1, -1, -1)
    bits = model.bits_per_dim(y, repeat(X[:1], n), torch.Generator().manual_seed(0)).mean().item()
    truth = -exact[0][likely].log2().item() / 2
    assert truth < bits < truth + 1
