"""The rule that decides whether marginals of vessels are calibrated: planted miscalibrations fail
it, and a calibrated model passes it if there are enough photographs."""

import numpy as np
import pytest
import scipy.special

from cnf.replication import plugs
from cnf.replication.metrics import calibration, jackknife

rule = plugs.module("calibration_of_samples", "rule")


def seed_of(change, photographs, pixels=8_000, seed=0):
    """What the rule reads of a factorised model whose logits are `change` of the true ones. The
    true ones are, as in a fundus photograph, mostly clear: an eighth of the pixels is vessel."""
    random = np.random.default_rng(seed)
    is_vessel = random.random((photographs, pixels)) < 1 / 8
    logits = random.normal(np.where(is_vessel, 3.0, -5.0), 2.5)
    y = random.random(logits.shape) < scipy.special.expit(logits)
    p = scipy.special.expit(change(logits))
    sums = calibration.table(list(p), list(y))
    low, high = np.quantile(calibration.bootstrap(sums), [0.025, 0.975])
    drawn = list(random.random(p.shape) < p)
    area = jackknife(np.stack([p.sum(1), y.sum(1)], 1), calibration.ratio_of)
    slope = jackknife(
        np.array([calibration.moments(q, q, t) for q, t in zip(p, y, strict=True)]),
        calibration.slope_of,
    )
    return rule.Seed(
        low=float(low),
        high=float(high),
        floor=float(calibration.error_of(calibration.table(list(p), drawn).sum(0))),
        area=area.value,
        area_error=area.standard_error,
        slope=slope.value,
        slope_error=slope.standard_error,
    )


def three(change, photographs):
    return [seed_of(change, photographs, seed=seed) for seed in range(3)]


def test_true_probabilities_are_calibrated():
    assert rule.verdict(three(lambda logits: logits, 20)) == "calibrated"


@pytest.mark.parametrize(
    "change",
    [
        lambda logits: 1.1 * logits - 0.3,  # whose slope alone is near 1
        lambda logits: 1.2 * logits,
        lambda logits: 0.8 * logits,
        lambda logits: logits + np.log(0.87 / 0.13),  # class weights
    ],
)
def test_planted_miscalibrations_are_not_calibrated(change):
    assert rule.verdict(three(change, 20)) == "not calibrated"


def test_the_slope_alone_lets_a_planted_model_pass():
    """The rule before this one: why it has three parts."""
    seed = seed_of(lambda logits: 1.1 * logits - 0.3, 20)
    assert rule.is_near_one(seed.slope, seed.slope_error)
    assert not rule.is_calibrated(seed)


GOOD = rule.Seed(0.004, 0.01, 0.003, 1.0, 0.01, 1.0, 0.01)


def test_every_part_of_the_rule_is_asked():
    assert rule.verdict([GOOD] * 3) == "calibrated"
    for change in ({"high": 0.03}, {"area": 0.96}, {"slope_error": 0.03}):
        assert rule.verdict([GOOD, GOOD, GOOD._replace(**change)]) == "undecided"
    bad = GOOD._replace(low=0.02, high=0.04)
    assert rule.verdict([bad] * 3) == "not calibrated"
    assert rule.verdict([bad, bad, GOOD]) == "undecided"
