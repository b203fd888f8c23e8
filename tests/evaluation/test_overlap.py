"""F, areas under curves and thresholds, by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from cnf.replication.metrics import influences, jackknife
from cnf.replication.metrics.overlap import best_threshold, f_score, histogram, roc_area


@pytest.mark.equation("eq-retina-f")
def test_f_by_hand():
    found = np.array([[3, 1, 2], [0, 0, 0], [0, 4, 0]])
    np.testing.assert_allclose(f_score(found), [6 / 9, 1.0, 0.0])
    assert jackknife(found, f_score).value == pytest.approx(6 / 13)


def test_error_of_pooled_f_is_the_jackknife():
    found = np.array([[3, 1, 2], [5, 2, 1], [4, 0, 6]])
    error = jackknife(found, f_score).standard_error
    without = [jackknife(np.delete(found, i, 0), f_score).value for i in range(3)]
    assert error == pytest.approx(np.sqrt(2 / 3 * np.sum((without - np.mean(without)) ** 2)))
    assert jackknife(found[:1], f_score).standard_error is None


def test_influences_of_images_have_the_pooled_value_as_their_mean_and_its_error():
    found = np.array([[3, 1, 2], [5, 2, 1], [4, 0, 6]])
    each = influences(found, f_score)
    assert each.mean() == pytest.approx(f_score(found.sum(0)))
    assert each.std(ddof=1) / np.sqrt(3) == pytest.approx(jackknife(found, f_score).standard_error)
    without = [f_score(np.delete(found, i, 0).sum(0)) for i in range(3)]
    assert each.argmax() == np.argmin(without)  # without the one that raises it most, least is left
    mean = np.stack([found[:, 0], np.ones(3)], 1)  # of a mean they are the values themselves
    each = influences(mean, lambda sums: sums[..., 0] / sums[..., 1])
    np.testing.assert_allclose(each, [3, 5, 4])


def test_best_threshold_beats_every_other():
    rng = np.random.default_rng(0)
    labels = rng.random(100) < 0.2
    p = np.clip(0.4 * labels + rng.normal(0.3, 0.2, 100), 0, 1).astype(np.float32)
    f = f1_score(labels, p >= best_threshold(labels, p))
    assert all(f >= f1_score(labels, p >= t) for t in p)


@pytest.mark.parametrize("levels", [9, 10**6])
def test_binned_areas_are_those_of_scikit_learn(levels):
    rng = np.random.default_rng(levels)
    y = rng.random(20_000) < 0.15
    p = np.clip(0.5 * y + rng.normal(0.2, 0.2, len(y)), 0, 1)
    p = np.round(p * levels) / levels
    bins = histogram([y[:7000], y[7000:]], [p[:7000], p[7000:]])
    assert bins.sum() == len(y)
    # few values: the same; many: ties of bins of five pixels
    error = 1e-12 if levels == 9 else 2e-3
    assert roc_area(bins.sum(0)) == pytest.approx(roc_auc_score(y, p), abs=error)
