"""Calibration: models whose answer is known, scikit-learn, and brute force."""

import numpy as np
import pytest
import scipy.stats
from sklearn.calibration import calibration_curve

from cnf.errors import DataError
from cnf.replication.metrics import calibration, jackknife

N = 200_000


def labels(p, seed=0):
    return np.random.default_rng(seed).random(p.shape) < p


def draws(seed=1):
    return np.random.default_rng(seed).random(N)


# --- marginals ------------------------------------------------------------------------------------


def test_true_probabilities_are_calibrated():
    p = draws()
    error = calibration.calibration_error(p, labels(p))
    # a bin holds 12,000 labels: the mean of |error| is below 0.005 sqrt(2 / pi)
    assert error < 0.006


@pytest.mark.parametrize("shift", [-0.2, 0.1])
def test_a_shift_is_the_calibration_error(shift):
    p = 0.3 + 0.4 * draws()
    error = calibration.calibration_error(p + shift, labels(p))
    assert error == pytest.approx(abs(shift), abs=0.006)


def test_only_doubtful_pixels_count():
    p = draws()
    y = np.where((p < 0.05) | (p > 0.95), p < 0.5, labels(p))  # certain ones are all wrong
    assert calibration.calibration_error(p, y) < 0.006
    assert calibration.calibration_error(p, y, 0.0, 1.0) > 0.05
    with pytest.raises(DataError, match=r"no p lies in \[0.05, 0.95\]"):
        calibration.calibration_error(np.zeros(9), np.zeros(9))


def test_bins_without_ties_agree_with_scikit_learn():
    p = draws()[:9000]
    y = labels(p)
    found = calibration.reliability(p, y, bins=15)
    share, mean = calibration_curve(y, p, n_bins=15, strategy="quantile")
    np.testing.assert_allclose(found.count, 600)
    # quantiles are interpolated there: a bin may differ by a pixel of 600
    np.testing.assert_allclose(found.p, mean, atol=1e-3)
    np.testing.assert_allclose(found.share, share, atol=3e-3)


def test_equal_p_share_a_bin_whatever_the_order_of_pixels():
    p = np.round(draws() * 16) / 16  # the marginals of 16 samples
    y = labels(p)
    order = np.lexsort((y, p))  # would give a cut through ties labels of one kind
    a, b = (calibration.reliability(p[o], y[o]) for o in (np.arange(N), order))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other)
    assert a.count.sum() == N
    by_hand = [y[p == value].mean() for value in np.unique(p)]
    fine = calibration.reliability(p, y, bins=1000)  # more bins than values: one value each
    np.testing.assert_allclose(fine.share, by_hand)
    np.testing.assert_allclose(fine.p, np.unique(p))


def slope(a, b, y):
    sums = [calibration.moments(*image) for image in zip(a, b, y, strict=True)]
    return calibration.slope_of(np.sum(sums, 0))


@pytest.mark.parametrize("samples", [2, 3, 32])
@pytest.mark.parametrize("true_slope", [1.0, 0.8])
def test_the_slope_does_not_depend_on_the_number_of_samples(samples, true_slope):
    p = draws().reshape(4, -1)  # four images
    y = labels(0.5 + true_slope * (p - 0.5))
    drawn = np.array([labels(p, seed=seed) for seed in range(2, samples + 2)])
    a, b = drawn[: samples // 2].mean(0), drawn[samples // 2 :].mean(0)
    # of single samples, as covariances: (1/4) / sqrt(200,000) / (1/12) is 0.007
    assert slope(a, b, y) == pytest.approx(true_slope, abs=0.02)
    exact = slope(p, p, y)
    assert exact == pytest.approx(true_slope, abs=0.01)
    assert exact == pytest.approx(np.polyfit(p.ravel(), y.ravel(), 1)[0], rel=1e-9)


def test_the_slope_of_one_estimate_twice_would_be_that_of_its_noise():
    p = draws()
    counted = np.mean([labels(p, seed=seed) for seed in (2, 3)], 0)
    # var(p) = 1/12, and E p (1 - p) / 2 = 1/12 more from counting
    assert slope([counted], [counted], [labels(p)]) == pytest.approx(0.5, abs=0.01)


def test_error_is_the_mean_distance_of_the_bins_drawn():
    p = draws() ** 2
    y = labels(p / 2)
    found = calibration.reliability(p, y, 0.05, 0.95)
    by_hand = np.average(np.abs(found.p - found.share), weights=found.count)
    assert calibration.calibration_error(p, y) == pytest.approx(by_hand, rel=1e-12)
    assert calibration.calibration_error(p, y) > 0.2


def test_images_add_up_and_leave_one_out_gives_an_error_bar():
    p = draws().reshape(10, -1)
    y = labels(p)
    sums = calibration.table(list(p), list(y))
    value, error, _ = jackknife(sums, calibration.error_of)
    assert value == pytest.approx(calibration.calibration_error(p, y), rel=1e-12)
    assert 0 < error < 0.005
    counts, total_p, total_y = sums.sum(0).reshape(3, -1)
    kept = (p >= 0.05) & (p <= 0.95)
    assert counts.sum() == kept.sum()
    assert total_p.sum() == pytest.approx(p[kept].sum()) and total_y.sum() == y[kept].sum()


def test_images_drawn_again_hold_the_error_of_a_shift():
    """Shifts that differ between images: leaving one out shows less of it."""
    rng = np.random.default_rng(0)
    p = draws().reshape(20, -1)
    shifted = np.clip(p + rng.normal(0, 0.05, (20, 1)), 0, 1)
    sums = calibration.table(list(p), list(labels(shifted)))
    low, high = np.quantile(calibration.bootstrap(sums), [0.025, 0.975])
    assert low < calibration.error_of(sums.sum(0)) < high < 0.08
    assert (calibration.bootstrap(sums) == calibration.bootstrap(sums)).all()
    assert (calibration.bootstrap(sums, seed=1) != calibration.bootstrap(sums)).any()


def test_a_picture_without_a_doubtful_pixel_leaves_the_others_their_spread():
    p = draws().reshape(20, -1)
    sums = calibration.table([p[0], np.zeros(9)], [labels(p[0]), np.zeros(9)])
    errors = calibration.bootstrap(sums)
    # both draws are of the second picture in a quarter of the cases
    assert np.isfinite(errors).all() and 0.7 < len(errors) / 2_000 < 0.8


# --- joint statements -----------------------------------------------------------------------------


def counts(images, n, seed=0, tie=1.0):
    """Draws and truth of one distribution, with a mean of its own an image; many ties."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(3, 30, (images, 1))
    return rng.poisson(mean, (images, n)) * tie, rng.poisson(mean[:, 0]) * tie


def test_draws_of_the_true_distribution_are_calibrated():
    found = calibration.joint(*counts(4000, 64))
    assert found.coverage == pytest.approx(0.9, abs=0.02)  # sd 0.005, interpolated between ranks
    assert found.coverage_se == pytest.approx(np.sqrt(0.9 * 0.1 / 4000), rel=0.25)
    assert scipy.stats.chisquare(np.bincount(found.ranks, minlength=65)).pvalue > 1e-3
    assert found.ranks.min() >= 0 and found.ranks.max() <= 64


def test_equal_numbers_have_ranks_by_the_seed():
    one, again, other = (
        calibration.joint(np.ones((20, 9)), np.ones(20), seed=seed).ranks for seed in (1, 1, 0)
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize(("factor", "covers"), [(2.0, False), (1.0, True)])
def test_too_many_pieces_are_found_out_on_twenty_photographs(factor, covers):
    samples, truth = counts(20, 64, 3)
    found = calibration.joint(factor * samples, truth)
    assert (found.coverage > 0.75) == covers
    if not covers:  # the truth lies below its draws
        assert found.ranks.mean() < 16


def test_interval_by_hand():
    low, high = calibration.interval(np.arange(101.0)[None], 0.9)
    assert (low, high) == (pytest.approx(5), pytest.approx(95))
