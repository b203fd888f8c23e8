"""Ranks, coverage, deviation: models whose answer is known."""

import numpy as np
import pytest
import scipy.stats
import torch

from cnf import noise
from cnf.replication.metrics import uncertainty

ENTRIES = (3, 200, 200)


def gaussian(n, sigma=1.0, seed=0, grey=10.0):
    """Whole grey levels: y and n samples of the same Gaussian, a mean and a width of its own in
    every entry; samples are `sigma` times as wide."""
    rng = np.random.default_rng(seed)
    mean, width = rng.uniform(50, 200, ENTRIES), rng.uniform(0.3, 1, ENTRIES) * grey
    y = np.round(mean + width * rng.normal(size=ENTRIES))
    samples = np.round(mean + sigma * width * rng.normal(size=(n, *ENTRIES)))
    return torch.from_numpy(y), torch.from_numpy(samples)


def spread(y, samples):
    return uncertainty.spread(y, samples, noise.keyed(0, [0], uncertainty.TIES_DRAW))


@pytest.mark.equation("eq-temp-spread", "eq-temp-coverage")
@pytest.mark.parametrize("grey", [10.0, 0.5])  # few ties, and almost nothing but ties
@pytest.mark.parametrize("n", [4, 32])
def test_samples_of_the_true_distribution_are_calibrated(n, grey):
    found = spread(*gaussian(n, grey=grey))
    assert found.ranks.sum() == np.prod(ENTRIES)
    # ranks of independent entries are multinomial: chi-square of n degrees of freedom
    assert 1e-4 < scipy.stats.chisquare(found.ranks).pvalue < 1 - 1e-4
    # a share of 120,000 entries: sd below 0.0015
    np.testing.assert_allclose(
        uncertainty.coverage(found.ranks), uncertainty.nominal(n), atol=0.006
    )
    for level in (0.5, 0.9):
        assert uncertainty.coverage_at(found.ranks, level) == pytest.approx(level, abs=0.006)
    # two mean squares over 120,000 entries: 0.4 % each
    assert uncertainty.spread_skill(found.moments, n) == pytest.approx(1, abs=0.015)


@pytest.mark.equation("eq-temp-spread")
@pytest.mark.parametrize(("sigma", "sign"), [(0.6, -1), (1.6, 1)])
def test_samples_too_narrow_cover_too_little_and_too_wide_too_much(sigma, sign):
    n = 32
    found = spread(*gaussian(n, sigma))
    assert sign * (uncertainty.coverage_at(found.ranks, 0.9) - 0.9) > 0.02
    ends = found.ranks[[0, -1]].mean() / found.ranks.mean()
    assert (ends < 0.5) if sign > 0 else (ends > 2)
    # y - mean of samples has variance 1 + sigma^2 / n, samples sigma^2
    expected = sigma * np.sqrt((n + 1) / n / (1 + sigma**2 / n))
    assert uncertainty.spread_skill(found.moments, n) == pytest.approx(expected, rel=0.02)


def test_ties_are_broken_evenly_and_by_keyed_noise():
    y = torch.zeros(ENTRIES)
    samples = torch.zeros(4, *ENTRIES)
    samples[0] = -1
    samples[1] = 1
    ranks = spread(y, samples).ranks
    assert ranks[0] == ranks[4] == 0
    # each of three places with probability 1/3: sd of a share of 120,000 is 0.0014
    np.testing.assert_allclose(ranks[1:4] / ranks.sum(), 1 / 3, atol=0.006)
    assert np.array_equal(ranks, spread(y, samples).ranks)


@pytest.mark.equation("eq-temp-coverage")
def test_ranks_and_coverage_by_hand():
    y = torch.tensor([5.0, 1.0, 9.0, 4.5])[None, None]
    samples = torch.tensor([4.0, 6.0, 2.0, 8.0])[:, None, None, None].expand(4, 1, 1, 4)
    ranks = spread(y, samples).ranks
    assert ranks.tolist() == [1, 0, 2, 0, 1]
    assert uncertainty.nominal(4).tolist() == [1.0, 0.6, 0.2]
    assert uncertainty.coverage(ranks).tolist() == [1.0, 0.5, 0.5]
    # half way between the intervals of 1.0 and 0.6, and of 0.6 and 0.2
    assert uncertainty.coverage_at(ranks, 0.8) == pytest.approx(0.75)
    assert uncertainty.coverage_at(ranks, 0.4) == pytest.approx(0.5)
    assert uncertainty.are_enough(4, 0.6) and not uncertainty.are_enough(4, 0.61)  # the whole line
    assert uncertainty.are_enough(19, 0.9) and not uncertainty.are_enough(18, 0.9)


def test_deviation_and_error_are_counted_entry_by_entry():
    y, samples = gaussian(8)
    found = spread(y, samples)
    error = (samples.mean(0) - y).abs().numpy()
    # variances are multiples of 1/56: so told, to stand on the right side of an edge
    deviation = np.sqrt(np.round(56 * samples.var(0).numpy()) / 56)
    expected = [deviation.size, (deviation**2).sum(), (error**2).sum()]
    np.testing.assert_allclose(found.moments, expected, rtol=1e-9)
    place = np.digitize(deviation, uncertainty.EDGES) - 1
    for i in range(len(uncertainty.EDGES)):
        chosen = place == i
        expected = [chosen.sum(), (deviation[chosen] ** 2).sum(), (error[chosen] ** 2).sum()]
        np.testing.assert_allclose(found.bins[i], expected, rtol=1e-9, atol=1e-9)
