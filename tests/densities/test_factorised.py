"""The baselines are probabilities: they sum to one, and mean and samples follow them."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import sklearn.metrics
import torch
from torch import Tensor

from cnf.factorised import (
    Bernoulli,
    DiscretisedLogistic,
    WeightedBernoulli,
    discretised_logistic,
    logistic_draws,
    weighted_logit,
)
from cnf.features import RawFeatures
from cnf.replication import plugs
from tests.laws.cases import ALL_FACTORISED, randomise

ClassWeighted = plugs.plug("weighted_likelihood").ClassWeighted

LEVELS = torch.arange(256, dtype=torch.float64)
BETAS = [0.05, 0.5, 0.87, 0.95]


def pmf(mu: float, s: float, **options) -> Tensor:
    """The 256 probabilities of one sub-pixel."""
    mu, log_s = torch.tensor([[mu], [math.log(s)]], dtype=torch.float64)
    return discretised_logistic(LEVELS, mu, log_s, **options).exp()


# -- discretised logistic --------------------------------------------------------------------------


@pytest.mark.equation("eq-bits-logistic")
@pytest.mark.parametrize("mu", [-0.5, 0.0, 0.123, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("s", [1e-4, 1 / 512, 0.01, 0.1, 5.0])
def test_the_discretised_logistic_sums_to_one(mu, s):
    assert pmf(mu, s).sum().item() == pytest.approx(1, abs=1e-12)  # 256 float64 numbers


@pytest.mark.equation("eq-bits-two")
@pytest.mark.parametrize("s", [0.005, 0.01, 0.02])
def test_the_half_width_of_the_released_code_sums_to_two(s):
    """1/256 covers every cell and half of both neighbours: one bit per dimension for free."""
    total = pmf(0.5, s, half_width=1 / 256)[1:-1].sum().item()
    assert total == pytest.approx(2, abs=0.01)  # a scale of at most 5 levels: the ends hold nothing


@pytest.mark.equation("eq-bits-logistic", "eq-fact-difference")
def test_the_discretised_logistic_is_a_difference_of_distribution_functions():
    mu, s = 0.4, 0.03
    edges = (LEVELS[:-1].numpy() + 0.5) / 256
    cdf = scipy.stats.logistic.cdf(edges, mu, s)
    expected = torch.tensor([cdf[0], *(cdf[1:] - cdf[:-1]), 1 - cdf[-1]])
    torch.testing.assert_close(pmf(mu, s), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.equation("eq-fact-pull")
@pytest.mark.parametrize("s", [0.002, 0.03])
def test_the_slope_in_mu_is_bounded_by_one_over_s(s):
    """(sigmoid(a) + sigmoid(b) - 1) / s, with a and b the two ends of the cell in units of s."""
    mu = torch.full((254,), 0.4, dtype=torch.float64, requires_grad=True)
    inner = LEVELS[1:-1]
    discretised_logistic(inner, mu, torch.full_like(mu, math.log(s)).detach()).sum().backward()
    a, b = ((inner / 256 + w - 0.4) / s for w in (1 / 512, -1 / 512))
    expected = (torch.sigmoid(a) + torch.sigmoid(b) - 1) / s
    torch.testing.assert_close(mu.grad, expected, rtol=1e-9, atol=1e-9)
    assert mu.grad.abs().max() <= 1 / s


def test_far_tails_keep_their_logarithm_and_gradient_in_float32():
    mu = torch.tensor([-3.0, 0.0, 1.0, 4.0])
    for log_s in (-10.0, -4.0, 2.0):
        m = mu.repeat(256, 1).requires_grad_()
        s = torch.full_like(m, log_s).requires_grad_()
        log_p = discretised_logistic(LEVELS.float()[:, None], m, s)
        log_p.sum().backward()
        assert log_p.isfinite().all() and (log_p <= 1e-6).all()
        assert m.grad.isfinite().all() and s.grad.isfinite().all()


def one_pixel(seed: int = 0) -> tuple[DiscretisedLogistic, Tensor]:
    """A model whose sub-pixels have means inside of the range and scales of a few levels."""
    x = torch.tensor([0.2, 0.5, 0.9]).double().view(1, 3, 1, 1)
    return randomise(DiscretisedLogistic(RawFeatures(3)), seed, scale=0.2).double().requires_grad_(
        False
    ), x


def test_the_network_moves_the_upsampled_input_and_gives_a_bounded_scale():
    model, x = one_pixel()
    model.head.bias.copy_(torch.arange(6) - 1)
    shift, raw = model.head(x).chunk(2, dim=1)
    mu, log_s = model.condition(x)
    torch.testing.assert_close(mu, x - 1 / 512 + shift)
    torch.testing.assert_close(log_s, 6 * torch.tanh(raw / 6) - 4)


def probabilities(model: DiscretisedLogistic, x: Tensor) -> Tensor:
    """(3, 256): the marginal of each sub-pixel, from log_prob with the others held."""
    mu, log_s = model.condition(x)
    return discretised_logistic(LEVELS, mu.view(3, 1), log_s.view(3, 1)).exp()


@pytest.mark.equation("eq-fact-product")
def test_log_prob_adds_the_sub_pixels():
    model, x = one_pixel()
    y = torch.tensor([40.0, 130.0, 255.0]).double().view(1, 3, 1, 1)
    p = probabilities(model, x)[range(3), y.flatten().long()]
    torch.testing.assert_close(model.log_prob(y, x), p.log().sum()[None])


@pytest.mark.equation("eq-fact-mean")
def test_the_mean_is_the_mean_of_the_probabilities():
    model, x = one_pixel()
    expected = probabilities(model, x) @ LEVELS
    torch.testing.assert_close(model.mean(x).flatten(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.equation("eq-bits-two")
def test_a_model_of_two_cells_takes_the_mass_from_the_level_below_to_the_one_above():
    (model, x), y = one_pixel(), torch.full((1, 3, 1, 1), 130.0).double()
    twice = DiscretisedLogistic(RawFeatures(3), cells=2).double()
    twice.load_state_dict(model.state_dict())
    mu, log_s = model.condition(x)
    above, below = (torch.sigmoid((k / 256 - mu) / log_s.exp()) for k in (131, 129))
    torch.testing.assert_close(twice.log_prob(y, x), (above - below).log().sum((1, 2, 3)))
    assert twice.log_prob(y, x) > model.log_prob(y, x)


def test_samples_follow_the_discretised_logistic():
    model, x = one_pixel()
    n = 5000
    drawn = model.sample(x, n, generator=torch.Generator().manual_seed(0)).view(n, 3)
    for values, p in zip(drawn.T, probabilities(model, x), strict=True):
        groups = (10 * p.cumsum(0)).clamp(max=9.999).long()  # some ten classes of equal mass
        expected = torch.zeros(10).double().index_add(0, groups, p)
        counts = torch.bincount(groups[values.long()], minlength=10)
        keep = expected > 1e-3
        statistic = scipy.stats.chisquare(counts[keep], n * expected[keep] / expected[keep].sum())
        assert statistic.pvalue > 0.01


def test_temperature_narrows_the_discretised_logistic():
    model, x = one_pixel()
    mu, _ = model.condition(x)
    cold = model.sample(x, 1, 0.0)[0]
    assert torch.equal(cold, (256 * mu).round().clamp(0, 255))
    wide, narrow = (
        model.sample(x, 2000, t, torch.Generator().manual_seed(0)).std(0) for t in (1.0, 0.5)
    )
    # rounding to levels adds 1/12 to the variance of a few levels; the ends cut the widest
    assert ((narrow / wide > 0.4) & (narrow / wide < 0.75)).all()


# -- Bernoulli -------------------------------------------------------------------------------------


@pytest.mark.equation("eq-fact-bernoulli")
def test_the_likelihood_of_labels_is_that_of_torch_distributions():
    x, y = torch.randn(2, 2, 3, 5).double(), torch.randint(2, (2, 1, 3, 5)).double()
    model = randomise(Bernoulli(RawFeatures(2))).double()
    expected = torch.distributions.Bernoulli(logits=model.logit(x)).log_prob(y).sum((1, 2, 3))
    torch.testing.assert_close(model.log_prob(y, x), expected)


@pytest.mark.equation("eq-fact-draw")
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_divides_the_logit_of_a_draw(temperature):
    """P(a + temperature eps > 0) = sigmoid(a / temperature)."""
    n, logit = 20000, torch.linspace(-3, 3, 7).double().view(1, 1, 1, 7)
    drawn = logistic_draws(logit, 1.0, n, temperature, torch.Generator().manual_seed(0))
    p = torch.sigmoid(logit / temperature)[0]
    # 21 frequencies: 4.5 standard errors
    assert (((drawn > 0).double().mean((0, 1)) - p).abs() < 4.5 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.parametrize("case", [c for c in ALL_FACTORISED if c.channels == 1], ids=str)
def test_the_probabilities_of_all_labels_sum_to_one(case):
    """Sixteen labels of a 2x2 patch; the rest of the picture is held and divides out."""
    model, y, x = case.make(batch=1)
    patches = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).double()
    every = y.repeat(16, 1, 1, 1)
    every[:, 0, :2, :2] = patches.view(16, 2, 2)
    log_p = model.log_prob(every, x.expand(16, -1, -1, -1))
    q = model.mean(x)[0, 0]
    others = torch.where(y[0, 0] == 1, q, 1 - q).log()
    others[:2, :2] = 0
    assert (log_p - others.sum()).exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("case", [c for c in ALL_FACTORISED if c.channels == 1], ids=str)
def test_samples_have_the_mean_that_the_model_states(case):
    model, _, x = case.make(batch=1)
    n, q = 4000, model.mean(x)[0]
    frequency = model.sample(x, n, generator=torch.Generator().manual_seed(0)).mean(0)[0]
    # 32 pixels: 4.5 standard errors of a frequency
    assert ((frequency - q).abs() < 4.5 * (q * (1 - q) / n).sqrt()).all()
    assert torch.equal(model.sample(x, 1, 0.0)[0, 0], (q > 0.5).double())


# -- the weighted likelihood -----------------------------------------------------------------------


def weighted(a: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """(P(y=1), P(y=0)) from its definition in p = sigmoid(a)."""
    p = torch.sigmoid(a)
    one, zero = p**beta, (1 - p) ** (1 - beta)
    return one / (one + zero), zero / (one + zero)


@pytest.mark.equation("eq-fact-weighted", "eq-fact-q")
@pytest.mark.parametrize("beta", BETAS)
def test_the_weighted_likelihood_is_a_bernoulli_in_q(beta):
    a = torch.linspace(-8, 8, 33).double()
    q = torch.sigmoid(weighted_logit(a, beta))
    one, zero = weighted(a, beta)
    torch.testing.assert_close(q, one)
    torch.testing.assert_close(1 - q, zero)
    assert (q.diff() > 0).all()  # a monotone relabelling of p


def test_beta_one_half_halves_the_logit():
    a = torch.linspace(-30, 30, 61).double()
    torch.testing.assert_close(weighted_logit(a, 0.5), a / 2)


@pytest.mark.equation("eq-fact-half")
@pytest.mark.parametrize(("beta", "q"), [(0.87, 0.3745), (0.90, 0.3648), (0.95, 0.3489)])
def test_even_p_stands_for_a_lower_q(beta, q):
    value = torch.sigmoid(weighted_logit(torch.zeros(1).double(), beta)).item()
    assert value == pytest.approx(1 / (1 + 2 ** (2 * beta - 1)), abs=1e-12)
    assert value == pytest.approx(q, abs=5e-5)  # four printed digits


@pytest.mark.equation("eq-fact-gradient", "eq-fact-slope")
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("y", [0.0, 1.0])
def test_the_gradient_is_weighted_by_beta(beta, y):
    """d log P/da = (y - q) [(1 - beta) sigmoid(a) + beta sigmoid(-a)]."""
    a = torch.linspace(-8, 8, 33).double().requires_grad_()
    logit = weighted_logit(a, beta)
    q = torch.sigmoid(logit).detach()
    torch.nn.functional.logsigmoid((2 * y - 1) * logit).sum().backward()
    weight = (1 - beta) * torch.sigmoid(a) + beta * torch.sigmoid(-a)
    torch.testing.assert_close(a.grad, ((y - q) * weight).detach())


@pytest.mark.equation("eq-fact-weighted")
def test_the_weighted_model_scores_and_draws_in_q():
    x = torch.randn(1, 2, 3, 5).double()
    y = torch.randint(2, (1, 1, 3, 5)).double()
    plain = randomise(Bernoulli(RawFeatures(2))).double()
    model = WeightedBernoulli(RawFeatures(2), 0.87).double()
    model.load_state_dict(plain.state_dict())
    one, zero = weighted(plain.logit(x), 0.87)
    torch.testing.assert_close(model.mean(x), one)
    torch.testing.assert_close(
        model.log_prob(y, x), torch.where(y == 1, one, zero).log().sum((1, 2, 3))
    )


def test_the_weighted_model_is_calibrated_at_its_optimum():
    """Minimising the likelihood on labels of rate 0.1 finds q = 0.1, whatever beta."""
    for beta in (0.5, 0.87):
        a = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([a], max_iter=50, line_search_fn="strong_wolfe")

        def loss(beta=beta, a=a, optimiser=optimiser):
            optimiser.zero_grad()
            logit = weighted_logit(a, beta)
            value = -(
                0.1 * torch.nn.functional.logsigmoid(logit)
                + 0.9 * torch.nn.functional.logsigmoid(-logit)
            ).sum()
            value.backward()
            return value

        optimiser.step(loss)
        q = torch.sigmoid(weighted_logit(a, beta)).item()
        assert q == pytest.approx(0.1, abs=1e-4)  # where LBFGS stops


@pytest.mark.parametrize("beta", BETAS)
def test_the_weighted_model_also_gives_p(beta):
    x = torch.randn(1, 2, 3, 5).double()
    model = randomise(WeightedBernoulli(RawFeatures(2), beta)).double()
    p, q = model.p(x), model.mean(x)
    torch.testing.assert_close(q, p**beta / (p**beta + (1 - p) ** (1 - beta)))
    assert torch.equal(p > 0.5, q > 1 / (1 + 2 ** (2 * beta - 1)))
    plain = randomise(Bernoulli(RawFeatures(2))).double()
    assert torch.equal(plain.p(x), plain.mean(x))


# -- class-weighted cross-entropy ------------------------------------------------------------------


@pytest.mark.equation("eq-fact-loss")
@pytest.mark.parametrize("beta", BETAS)
def test_class_weights_are_those_of_scikit_learn(beta):
    x = torch.randn(2, 2, 3, 5).double()
    y = torch.randint(2, (2, 1, 3, 5)).double()
    model = randomise(ClassWeighted(RawFeatures(2), beta)).double()
    loss, logs = model.loss(y, x)
    labels, p = y.flatten().numpy(), model.p(x).detach().flatten().numpy()
    weights = np.where(labels == 1, beta, 1 - beta)
    summed = sklearn.metrics.log_loss(labels, p, sample_weight=weights, normalize=False)
    assert loss.item() == pytest.approx(summed / len(labels), rel=1e-12)
    assert logs["nats"].item() == pytest.approx(sklearn.metrics.log_loss(labels, p), rel=1e-12)


@pytest.mark.equation("eq-fact-odds")
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("eta", [0.05, 0.1, 0.5])
def test_class_weighted_cross_entropy_is_least_at_other_odds_than_those_of_the_labels(beta, eta):
    """beta eta : (1 - beta) (1 - eta), found by SciPy in the loss itself."""
    labels = torch.zeros(20, 1, 1, 1, dtype=torch.float64)
    labels[: round(20 * eta)] = 1
    model = ClassWeighted(RawFeatures(1), beta).double()
    x = torch.zeros(20, 1, 1, 1, dtype=torch.float64)

    def loss(logit: float) -> float:
        with torch.no_grad():
            model.head.bias.fill_(logit)
        return model.loss(labels, x)[0].item()

    least = scipy.optimize.minimize_scalar(loss, bounds=(-12, 12), options={"xatol": 1e-9}).x
    expected = math.log(beta * eta / ((1 - beta) * (1 - eta)))
    assert least == pytest.approx(expected, abs=1e-5)  # a flat minimum, in float64
    bits = [model.bits_per_dim(labels, x).mean().item()]
    loss(math.log(eta / (1 - eta)))
    bits.append(model.bits_per_dim(labels, x).mean().item())
    if beta != 0.5:
        assert bits[0] > bits[1] + 1e-3  # miscalibrated, and its likelihood shows it


@pytest.mark.equation("eq-fact-excess")
def test_class_weighted_cross_entropy_is_not_the_likelihood_of_anything():
    """exp(-loss) of a vessel and of no vessel do not sum to 1; the weighted likelihood's do."""
    beta, totals, x = 0.87, [], torch.zeros(1, 1, 1, 1).double()
    for kind in (ClassWeighted, WeightedBernoulli):
        model = kind(RawFeatures(1), beta).double()
        model.head.bias.data.fill_(math.log(0.3 / 0.7))
        totals.append(sum((-model.loss(x + y, x)[0]).exp().item() for y in (0, 1)))
    assert totals == pytest.approx([0.3**beta + 0.7 ** (1 - beta), 1]) and totals[0] > 1.2
