"""Conformal prediction: quantiles and thresholds by hand, their promise, and metrics of vessels."""

import dataclasses
import json
import math

import numpy as np
import pytest

from cnf.replication import plugs, results, run_folder, training
from cnf.replication.config import load_config
from cnf.replication.data import load
from cnf.replication.metrics.masks import Masks
from cnf.replication.scored.model import ScoredModel
from tests.evaluation.toys import eyes, told, value

prediction_sets = plugs.module("conformal_repair", "metrics")
intervals = plugs.module("conformal_repair", "intervals")
LEVEL, THRESHOLDS = prediction_sets.LEVEL, prediction_sets.THRESHOLDS
controlled_threshold, quantile = prediction_sets.controlled_threshold, prediction_sets.quantile

NAMES = {
    "area_interval_coverage",
    "area_interval_factor",
    "vessel_set_coverage",
    "vessel_set_size",
}


@pytest.fixture
def calibrated(scored):
    """A baseline, and its photographs that were held out in two folds."""

    def make(count):
        m = scored("vessels-baseline", eyes(count=4), metrics=",".join(NAMES))
        m.valid = [
            scored("vessels-baseline", eyes(split="valid", count=n))
            for n in (count // 2, count - count // 2)
        ]
        return m

    return make


@pytest.mark.parametrize(("n", "place"), [(20, 19), (19, 18), (9, 9), (8, None), (99, 90)])
def test_the_quantile_is_corrected_for_few_scores(n, place):
    scores = np.random.default_rng(0).permutation(n) + 1.0
    assert quantile(scores) == (place or math.inf)


def test_a_new_score_of_the_same_kind_is_below_the_quantile():
    """With probability ceil((n + 1) level) / (n + 1) = 19 / 21, if no two scores are equal."""
    rng = np.random.default_rng(0)
    scores, new = rng.standard_exponential((4000, 20)), rng.standard_exponential(4000)
    held = np.mean(new <= [quantile(row) for row in scores])
    assert held == pytest.approx(19 / 21, abs=0.02)  # four standard errors


def losses(p, n):
    """The share of the vessel pixels, with marginals p, below each threshold; of n photographs."""
    return (p[:n, :, None] < THRESHOLDS).mean(1)


def test_the_expected_loss_at_the_controlled_threshold_is_small():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(100):
        ease = rng.uniform(0.5, 4, (21, 1))  # photographs differ
        p = rng.beta(ease, 1, (21, 40))
        threshold = controlled_threshold(losses(p, 20))
        found.append((p[20] < threshold).mean())
    error = np.std(found) / math.sqrt(len(found))
    # tight up to 2 / (n + 1) where losses are continuous
    assert 1 - LEVEL - 2 / 21 - 3 * error < np.mean(found) < 1 - LEVEL + 3 * error


def test_a_threshold_is_the_largest_that_is_allowed():
    of_photographs = losses(np.random.default_rng(2).random((20, 31)), 20)
    threshold = controlled_threshold(of_photographs)
    allowed = [k for k, loss in enumerate(of_photographs.T) if (loss.sum() + 1) / 21 <= 0.1]
    assert threshold == THRESHOLDS[max(allowed)] and 0 < threshold < 0.1
    nine = of_photographs[:9]  # the tenth may miss all, so they must miss nothing
    assert controlled_threshold(nine) == THRESHOLDS[nine.max(0) == 0].max()
    assert controlled_threshold(of_photographs[:8]) is None


def test_metrics_of_vessels_by_hand(calibrated):
    m = calibrated(11)
    fov = [m.fov(i) for i in m.indices]
    p = [p[0].numpy().astype(float)[view] for p, view in zip(m.means(0), fov, strict=True)]
    y = [m.mask(i)[view] for i, view in zip(m.indices, fov, strict=True)]
    factor = value(m, "area_interval_factor")
    ratios = [a.sum() / b.sum() for a, b in zip(y, p, strict=True)]
    held = [1 / factor.value <= ratio <= factor.value for ratio in ratios]
    coverage = value(m, "area_interval_coverage")
    assert coverage.value == np.mean(held)
    scores = np.concatenate([prediction_sets.area_scores(valid, 0) for valid in m.valid])
    assert math.log(factor.value) == pytest.approx(np.sort(scores)[10])  # 0.9 x 12, rounded up
    inside, size = value(m, "vessel_set_coverage"), value(m, "vessel_set_size")
    t = inside.also["threshold"]
    assert inside.value == pytest.approx(
        np.mean([(b[a] >= t).mean() for a, b in zip(y, p, strict=True)])
    )
    drawn = sum(a.sum() for a in y)
    assert size.value == pytest.approx(sum((b >= t).sum() for b in p) / drawn)
    # the audit has the threshold of a row, and no photographs that were held out
    again = dataclasses.replace(m.mean_setting, threshold=coverage.also["threshold"])
    m.valid = []
    assert prediction_sets.area_interval_coverage(m, again) == coverage


def test_a_pixel_at_the_threshold_is_in_the_set_that_is_counted_and_covers(scored):
    """Marginals of four samples are equal to the threshold for many pixels."""
    m = scored("vessels-baseline", eyes(), samples=4, full=True, variant="equal_shares/sampled")
    fov = [m.fov(i) for i in m.indices]
    marginals = m.statistics(Masks).marginals(4)
    p = [p[0].numpy()[view] for p, view in zip(marginals, fov, strict=True)]
    y = [m.mask(i)[view] for i, view in zip(m.indices, fov, strict=True)]
    assert min((one == 0.5).sum() for one in p) > 5
    assert any((a[b] == 0.5).any() for a, b in zip(p, y, strict=True))
    setting = dataclasses.replace(m.mean_setting, threshold=0.5)
    size, held = (
        compute(m, setting).value
        for compute in (prediction_sets.vessel_set_size, prediction_sets.vessel_set_coverage)
    )
    assert size == sum((one >= 0.5).sum() for one in p) / sum(one.sum() for one in y)
    assert held == pytest.approx(np.mean([(a[b] >= 0.5).mean() for a, b in zip(p, y, strict=True)]))


def test_a_lower_limit_is_that_of_clopper_and_pearson():
    """Of n of n it is the share whose n-th power is 5 %; else by the tail of the binomial."""
    assert intervals.lower_limit(20, 20) == pytest.approx(0.05 ** (1 / 20))
    assert intervals.lower_limit(0, 16) == 0
    p = intervals.lower_limit(17, 20)
    tail = sum(math.comb(20, k) * p**k * (1 - p) ** (20 - k) for k in range(17, 21))
    assert tail == pytest.approx(0.05)


def test_the_ideal_factor_holds_nine_tenths_and_none_smaller_does():
    expected, true = np.ones(20), np.exp(np.linspace(-0.2, 0.185, 20))
    f = intervals.ideal_factor(true, expected)

    def held(factor):
        return np.mean((true <= factor) & (true >= 1 / factor))

    assert held(f + 1e-9) == 0.9 and held(f - 1e-9) < 0.9


def test_the_table_of_intervals_is_that_of_the_rows():
    assert json.loads(intervals.TABLE.read_text("utf-8")) == intervals.table()


def test_the_factor_of_the_baseline_is_computed_again_from_the_scores_that_were_kept():
    """As log(expected area / area drawn), to 1e-4, in the table of the random intercept."""
    lines = map(json.loads, plugs.plug("random_intercept").TABLE.open())
    scores = np.array([abs(line["log_area"]) for line in lines])
    (row,) = results.select(
        results.read_rows(run="vessels-baseline-cpu-s0"),
        metric="area_interval_factor",
        data="drive",
    )
    assert len(scores) == 20
    # five trainings of seed 0, made again on another machine for the row
    assert quantile(scores) == pytest.approx(math.log(row.value), abs=1e-3)


def test_scores_say_of_each_photograph_which_weights_were_kept(tmp_path):
    folder = training.train(load_config("vessels-baseline-smoke"), tmp_path / "fold", steps=2)
    lines = intervals.scores(folder, 0)
    images = load("embedded-vessels", "valid")
    m = ScoredModel(run_folder.trained(folder), images)
    expected = prediction_sets.area_scores(m, 0)
    assert [line["photograph"] for line in lines] == [example.name for example in images]
    assert [line["score"] for line in lines] == pytest.approx(list(expected), abs=1e-6)
    assert {(line["kept"], line["steps"]) for line in lines} == {(2, 2)}


def test_too_few_held_out_photographs_promise_nothing(calibrated):
    assert told(calibrated(9), "full") == NAMES
    assert not told(calibrated(8), "full")


def test_a_photograph_without_a_vessel_misses_none_and_has_no_area(scored):
    m = scored("vessels-baseline", eyes(bare=True))
    assert prediction_sets.missed(m, 0, THRESHOLDS).max() == 0
    assert (prediction_sets.area_scores(m, 0) == math.inf).all()
    assert m.statistics(Masks).marginals(0)[0].min() > 0
