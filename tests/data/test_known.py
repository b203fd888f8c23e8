from math import log

import numpy as np
import pytest
import torch
from scipy.stats import entropy, multivariate_normal, norm

from cnf.replication.data.known import FineField, GaussianField, RowField, ThresholdedField, _boxes
from cnf.resample import imresize_half

SMALL = [
    GaussianField((2, 1, 1)),
    GaussianField((1, 1, 3), levels=3, correlation=0.9, deviation=0.7),
    ThresholdedField((1, 1, 2)),
    ThresholdedField((1, 3, 1), correlation=0.95),
]
IDS = ["grey-2", "grey-3", "binary-2", "binary-3"]
every_field = pytest.mark.parametrize("field", SMALL, ids=IDS)


@every_field
def test_probabilities_sum_to_one_for_every_input(field):
    # The quadrature leaves out the mass beyond seven deviations, 2.6e-12 an entry.
    np.testing.assert_allclose(field.table.sum(1), 1, atol=1e-11)
    assert field.table.min() > 0


def test_four_entries_sum_to_one():
    field = GaussianField((1, 2, 2), levels=3, num_inputs=1)
    np.testing.assert_allclose(field.table.sum(1), 1, atol=1e-11)
    assert field.table.shape == (1, 81)


@every_field
def test_boxes_agree_with_scipy(field):
    lower, upper = field.cuts[field.values], field.cuts[field.values + 1]
    for index in np.random.default_rng(0).integers(len(field.values), size=4):
        scipy = multivariate_normal.cdf(
            upper[index], field.means[1], field.covariance, lower_limit=lower[index],
            abseps=1e-8, releps=1e-8, rng=0,
        )  # fmt: skip
        # SciPy was asked for 1e-8 and integrates by random lattices: 1e-7 for its error estimate.
        assert field.table[1, index] == pytest.approx(scipy, abs=1e-7)


@pytest.mark.equation("eq-binary-arcsin")
def test_orthants_of_two_equal_normals_have_the_textbook_probability():
    field = ThresholdedField((1, 1, 2), correlation=0.6, gain=0.0, num_inputs=1)
    # P(both positive) = 1/4 + asin(rho) / (2 pi)
    expected = 0.25 + np.arcsin(0.6) / (2 * np.pi)
    assert field.table[0, 3] == pytest.approx(expected, abs=1e-11)
    assert field.marginals[0, 0] == pytest.approx([0.5, 0.5], abs=1e-11)


def test_without_correlation_nothing_is_lost_by_factorising():
    field = GaussianField((1, 1, 2), correlation=0.0)
    assert field.best_factorised_bits() == pytest.approx(field.entropy_bits(), abs=1e-10)


@every_field
def test_factorised_models_miss_bits_when_entries_are_correlated(field):
    assert field.best_factorised_bits() > field.entropy_bits() + 0.05


@every_field
def test_no_factorised_model_beats_the_true_marginals(field):
    size = field.values.shape[1]
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = field.marginals * np.exp(rng.normal(0, 0.2, field.marginals.shape))
        other /= other.sum(2, keepdims=True)
        log_q = np.log(other[:, np.arange(size), field.values]).sum(2)
        bits = -(field.table * log_q).sum(1).mean() / (size * log(2))
        assert bits >= field.best_factorised_bits()


@pytest.mark.equation("eq-known-excess", "eq-known-information")
@every_field
def test_the_excess_over_the_entropy_is_a_divergence(field):
    """Of any model Q, and of the best product: the total correlation. KL by SciPy."""
    size = field.values.shape[1]
    product = field.marginals[:, np.arange(size), field.values].prod(2)
    other = np.random.default_rng(0).dirichlet(np.ones(product.shape[1]), len(product))
    for q in (product, other):
        bits = -(field.table * np.log2(q)).sum(1).mean() / size
        divergence = entropy(field.table, q, axis=1, base=2).mean() / size
        assert bits == pytest.approx(field.entropy_bits() + divergence, abs=1e-9)
    excess = entropy(field.table, product, axis=1, base=2).mean() / size
    assert field.best_factorised_bits() - field.entropy_bits() == pytest.approx(excess, abs=1e-9)


@every_field
def test_samples_follow_the_table(field):
    n = 40_000
    y, x = field.sample(n, torch.Generator().manual_seed(0))
    assert y.shape == x.shape == (n, *field.shape)
    assert y.dtype == torch.uint8 and x.dtype == torch.float32 and y.max() < field.levels
    bits = -field.log_prob(y, x).numpy() / (field.values.shape[1] * log(2))
    # Five standard errors of the mean.
    assert abs(bits.mean() - field.entropy_bits()) < 5 * bits.std() / np.sqrt(n)
    frequency = np.array([(y.flatten(1).numpy() == v).all(1).mean() for v in field.values])
    # Five standard deviations of a frequency of at most 1/2: 5 * 0.5 / sqrt(n) = 0.0125.
    np.testing.assert_allclose(frequency, field.table.mean(0), atol=0.0125)


@every_field
def test_log_prob_looks_up_the_right_pair(field):
    y = torch.from_numpy(field.values).reshape(-1, *field.shape)
    for index in range(len(field.inputs)):
        x = field.inputs[index].expand(len(y), -1, -1, -1)
        log_prob = field.log_prob(y.flip(0), x)
        expected = np.log(field.table[index, ::-1])
        # a logarithm in another loop may differ in its last digit
        np.testing.assert_allclose(log_prob.numpy(), expected, rtol=2 * np.finfo(float).eps)


def test_sampling_is_repeatable_under_a_generator():
    first, again = (SMALL[0].sample(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


# -- fields of realistic size ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def fine():
    return FineField(8)


@pytest.fixture(scope="module")
def pairs(fine):
    return fine.sample(4000, torch.Generator().manual_seed(0))


def test_a_seed_draws_the_same_pictures_on_every_machine(fine):
    y, _ = fine.sample(4, torch.Generator().manual_seed(0))
    assert y[:, :, 3, 5].tolist() == [
        [116, 122, 116],
        [177, 166, 181],
        [113, 119, 121],
        [103, 101, 93],
    ]


def cell_error(deviation):
    """Average and spread over y of the error of log N(y + 1/2; m, S + I/12), by quadrature, and the
    spread as the equation has it; in nats, of two entries that correlate by 0.6."""
    covariance = deviation**2 * np.array([[1, 0.6], [0.6, 1]])
    mean = np.array([24.3, 23.9])
    table = _boxes(np.concatenate([[-np.inf], np.arange(1, 48), [np.inf]]), mean, covariance)
    centre = np.stack(np.meshgrid(*[np.arange(48) + 0.5] * 2, indexing="ij"), -1)
    widened = covariance + np.eye(2) / 12
    near = (np.abs(centre - mean) < 4 * deviation).all(2)  # all that ever comes up
    table, centre = table[near], centre[near]
    error = multivariate_normal(mean, widened).logpdf(centre) - np.log(table)
    precision = np.diag(np.linalg.inv(widened))
    average = (table * error).sum()
    spread = np.sqrt((table * error**2).sum())
    return average, spread, np.sqrt(24 * (precision**4).sum()) / 2880


@pytest.mark.equation("eq-known-sheppard", "eq-known-error")
def test_a_wider_gaussian_gives_the_probability_of_cells():
    average, spread, predicted = cell_error(2.0)
    # The next cumulants are smaller by another factor Q ~ 0.4 with a small coefficient.
    assert spread == pytest.approx(predicted, rel=0.25)
    assert abs(average) < 0.2 * spread


@pytest.mark.equation("eq-known-error")
def test_the_error_of_cells_falls_with_the_fourth_power_of_the_grain():
    coarse, fine = cell_error(2.0)[1], cell_error(4.0)[1]
    # precision^2: 16 at the limit, and 1/12 still counts beside a variance of 4
    assert 12 < coarse / fine < 18


@pytest.mark.equation("eq-known-cell", "eq-known-sheppard")
def test_log_prob_of_a_picture_agrees_with_its_integral_over_the_cell(fine, pairs):
    """By Monte Carlo in 192 dimensions: noise in the cell leans as the density does, so that the
    weights hardly vary and their average is the integral over the cell."""
    y, x, draws = *(t[:2] for t in pairs), 5000
    full = torch.einsum("ca,anm,da->cndm", fine.axes, fine.covariance, fine.axes).reshape(192, 192)
    precision = torch.linalg.inv(full)
    residual = (y.double() + 0.5 - fine.mean(x)).flatten(1)
    g = -(residual @ precision)[:, None]  # the gradient of log p(v|x) at the centre
    t = torch.rand(2, draws, 192, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u = torch.log1p(t * torch.expm1(g)) / g  # of density g e^(g u) / (e^g - 1) on (0, 1)
    log_q = (g * u - torch.log(torch.expm1(g) / g)).sum(2)
    moved = residual[:, None] + u - 0.5
    log_p = -(moved @ precision * moved).sum(2) / 2 - torch.linalg.slogdet(2 * np.pi * full)[1] / 2
    weights = log_p - log_q
    exact = weights.logsumexp(1) - log(draws)
    # Weights deviate by 0.1 of themselves: the average by 0.1 / sqrt(5000) = 1.4e-3, five of which
    # are 7e-3 nats of some 500; the error proper is 1e-3.
    assert weights.std(1).max() < 0.1
    np.testing.assert_allclose(fine.log_prob(y, x), exact, atol=7e-3)
    Q = torch.linalg.inv(full + torch.eye(192).double() / 12)
    assert (24 * Q.pow(4).sum()).sqrt() / 2880 < 1e-3


@pytest.mark.equation("eq-known-posterior")
def test_covariance_given_x_is_that_of_the_joint_gaussian(fine, pairs):
    """Residuals y + 1/2 - E[v|x] have covariance S(x) + I/12, and do not depend on x."""
    y, x = pairs
    residual = y.double() + 0.5 - fine.mean(x)
    columns, residual = fine._columns(residual + 128), residual.flatten(1)
    whitened = torch.linalg.solve_triangular(fine.law.scale_tril, columns, upper=False)
    # 192 independent standard normals of each of 4000 pictures: mean square 1, to 5 deviations
    margin = 5 * (2 / whitened.numel()) ** 0.5
    assert whitened.square().mean().item() == pytest.approx(1, abs=margin)
    assert residual.mean().abs() < 5 * residual.std() / len(y) ** 0.5
    correlation = torch.corrcoef(torch.cat([residual.T, x.flatten(1).double().T]))[:192, 192:]
    # 192 x 48 correlations of independent numbers: the largest of 9216 is at about 4 deviations
    assert correlation.abs().max() < 6 / len(y) ** 0.5


@pytest.mark.equation("eq-known-data")
def test_x_is_the_halved_picture_with_the_noise_that_is_stated(pairs):
    y, x = pairs
    noise = (x.double() - imresize_half(y.double() + 0.5)).flatten()
    # halving averages away most of the deviation 0.29 of rounding
    assert noise.std().item() == pytest.approx((1 + 0.3 / 12) ** 0.5, abs=0.02)
    assert abs(noise.mean().item()) < 5 * noise.std().item() / len(noise) ** 0.5


def test_entropies_are_what_samples_score(fine, pairs):
    for log_prob, expected in (
        (fine.log_prob, fine.entropy_bits()),
        (fine.factorised_log_prob, fine.best_factorised_bits()),
    ):
        bits = -log_prob(*pairs) / (fine.dims * log(2))
        # Five standard errors.
        assert abs(bits.mean() - expected) < 5 * bits.std() / len(bits) ** 0.5


@pytest.mark.parametrize(("deviation", "hidden"), [(1.0, 0.0322), (0.5, 0.0751), (0.35, 0.0956)])
def test_what_the_bound_of_the_best_gaussian_hides_agrees_with_quadrature(deviation, hidden):
    """One entry: the density N(m, S + 1/6) of y + u, its mass in a cell, and its expected log."""
    S, q = deviation**2, norm(0, (deviation**2 + 1 / 6) ** 0.5)
    found = []
    for mean in np.linspace(0, 1, 41)[:-1] + 0.0125:  # where in its cell the mean lies
        k = np.arange(-12, 13)
        p = np.diff(norm(mean, deviation).cdf(np.append(k, 13)))
        k = k[p > 1e-9]  # farther out a mass is rounded to 0
        p = p[p > 1e-9]
        # y + u has the mean of v: rounding down takes 1/2, and u gives it back
        mass = q.cdf(k + 1 - mean) - q.cdf(k - mean)
        u = (np.arange(200) + 0.5) / 200
        score = q.logpdf(k[:, None] + u - mean).mean(1)
        found.append(p @ (np.log(mass) - score))
    assert np.mean(found) == pytest.approx(hidden, abs=2e-4)
    formula = (log((S + 1 / 6) / (S + 1 / 4)) + 1 / 6 / (S + 1 / 4)) / 2
    # the mass of a cell is replaced by a Gaussian: good to 2 % where the grain is a third of a cell
    assert formula == pytest.approx(hidden, rel=0.02)


@pytest.mark.equation("eq-known-gaussian-information")
def test_what_independence_costs_is_a_log_determinant(fine):
    """Of the covariance of one whole picture, 192 x 192, by a general determinant."""
    full = torch.einsum("ca,anm,da->cndm", fine.axes, fine.covariance, fine.axes).reshape(192, 192)
    rounded = full + torch.eye(192).double() / 12
    nats = (rounded.diagonal().log().sum() - torch.linalg.slogdet(rounded).logabsdet) / 2
    bits = fine.best_factorised_bits() - fine.entropy_bits()
    assert bits == pytest.approx(nats.item() / (fine.dims * log(2)), abs=1e-9)


def test_draws_given_x_score_the_entropy(fine, pairs):
    x = pairs[1][:40]
    y = fine.sample_given(x, 25, torch.Generator().manual_seed(1))
    assert y.shape == (25, 40, 3, 8, 8) and y.dtype == torch.uint8
    bits = -fine.log_prob(y.flatten(0, 1), x.repeat(25, 1, 1, 1)) / (fine.dims * log(2))
    # Five standard errors: residuals do not depend on x, so all 1000 are independent.
    assert abs(bits.mean() - fine.entropy_bits()) < 5 * bits.std() / len(bits) ** 0.5


def test_per_pixel_models_miss_most_of_a_bit(fine):
    assert fine.best_factorised_bits() > fine.entropy_bits() + 0.8


def test_independent_colours_and_places_miss_nothing():
    field = FineField(4, deviation=3.0, correlation=0.0, channel_correlation=0.0, noise=1e3)
    assert field.best_factorised_bits() == pytest.approx(field.entropy_bits(), abs=1e-5)


def test_pictures_stay_within_grey_levels(pairs):
    y, x = pairs
    assert y.dtype == torch.uint8 and x.dtype == torch.float32
    assert y.shape == (4000, 3, 8, 8) and x.shape == (4000, 3, 4, 4)
    assert 0 < y.min() and y.max() < 255


@pytest.mark.equation("eq-known-forward")
def test_orthants_of_a_row_are_those_of_the_quadrature_and_of_scipy():
    """A row of four is a `ThresholdedField`, whose covariance is correlation^distance, too."""
    row = RowField(4, correlation=0.8)
    x = torch.full((1, 3, 1, 4), 150.0)
    x[0, 1, 0] = torch.tensor([110.0, 160.0, 190.0, 140.0])
    thresholds = row.thresholds(x).numpy().ravel()
    field = ThresholdedField((1, 1, 4), correlation=0.8, num_inputs=1)
    cuts = np.array([-np.inf, 0, np.inf])
    table = _boxes(cuts, -thresholds, field.covariance).ravel()
    y = torch.from_numpy(field.values).view(-1, 1, 1, 4)
    log_prob = row.log_prob(y, x.expand(len(y), -1, -1, -1))
    np.testing.assert_allclose(log_prob.exp(), table, atol=1e-9)  # what `_boxes` promises
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-10)
    scipy = multivariate_normal.cdf(thresholds, np.zeros(4), field.covariance, abseps=1e-8, rng=0)
    assert table[0] == pytest.approx(scipy, abs=1e-7)


def test_rows_without_correlation_are_factorised():
    field = RowField(8, correlation=0.0)
    y, x = field.sample(4, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(field.log_prob(y, x), field.factorised_log_prob(y, x), rtol=1e-9)


def test_long_rows_are_summed_to_ten_digits():
    field = RowField(16)
    y, x = field.sample(2, torch.Generator().manual_seed(0))
    backwards = field.log_prob(y.flip(3), x.flip(3))  # the same chain, through other integrals
    np.testing.assert_allclose(field.log_prob(y, x), backwards, rtol=1e-9)


@pytest.mark.equation("eq-known-chain")
def test_samples_of_rows_have_the_marginals():
    field = RowField(8)
    y, x = field.sample(4000, torch.Generator().manual_seed(0))
    assert y.dtype == torch.uint8 and y.shape == (4000, 1, 8, 8)
    assert x.shape == (4000, 3, 8, 8) and 0 <= x.min() and x.max() <= 255
    p = field.marginals(x)
    error = y.double() - p
    # Five standard errors of a mean of 256000 numbers of deviation below 1/2 (rows correlate: x 3).
    assert abs(error.mean().item()) < 5 * 3 * 0.5 / y.numel() ** 0.5


@pytest.mark.parametrize("kind", ["rows", "fine"])
def test_samples_of_large_fields_follow_log_prob(kind):
    """Between y and its partner, a bit is 1 as often as their probabilities say."""
    generator = torch.Generator().manual_seed(0)
    if kind == "rows":
        field = RowField(4)
        y, x = field.sample(2000, generator)
        partner = y.clone()
        partner[..., 2] = 1 - partner[..., 2]
    else:
        field = FineField(4)
        y, x = field.sample(2000, generator)
        partner = y ^ 1  # swaps every even grey level with the odd one above
    bit = (y[:, 0, 0, 2] & 1).double()
    ratio = field.log_prob(y, x) - field.log_prob(partner, x)
    p = torch.sigmoid((2 * bit - 1) * ratio)  # that the bit is 1, given the pair
    assert p.min() < 0.1 and p.max() > 0.9
    surprise = (bit - p) * (p - 0.5).sign()
    assert abs(surprise.mean()) < 5 * surprise.std() / 2000**0.5  # five standard errors
