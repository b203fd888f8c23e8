from math import log

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from cnf.data.known import GaussianField, ThresholdedField

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
    for index in range(field.num_inputs):
        x = field.inputs[index].expand(len(y), -1, -1, -1)
        log_prob = field.log_prob(y.flip(0), x)
        np.testing.assert_array_equal(log_prob.numpy(), np.log(field.table[index, ::-1]))


def test_sampling_is_repeatable_under_a_generator():
    first, again = (SMALL[0].sample(50, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_an_unknown_input_is_refused():
    with pytest.raises(ValueError, match="not one of this field's inputs"):
        SMALL[0].log_prob(torch.zeros(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 2)])
def test_too_many_entries_are_refused(shape):
    with pytest.raises(ValueError, match="one to four entries"):
        ThresholdedField(shape)


def test_impossible_correlation_is_refused():
    with pytest.raises(ValueError, match=r"correlation = 1\.0"):
        GaussianField(correlation=1.0)
