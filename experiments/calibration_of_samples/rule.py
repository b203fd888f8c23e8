"""The registered rule: whether a kind of model gives calibrated marginals of vessels."""

from collections.abc import Sequence
from typing import NamedTuple

SMALL = 0.02  # half of the calibration error of the planted models
CLEAR = 0.005  # what makes two calibration errors different
NEAR = 0.05  # of ratios that are 1 for a calibrated model


class Seed(NamedTuple):
    """What the rule reads of one training: ends of the 95 % range of the calibration error over
    photographs, the error that a calibrated model would show, and two ratios with their standard
    errors."""

    low: float
    high: float
    floor: float
    area: float
    area_error: float
    slope: float
    slope_error: float


def is_near_one(ratio: float, error: float) -> bool:
    """Whether a ratio, with twice its error on both sides, lies within NEAR of 1."""
    return abs(ratio - 1) + 2 * error < NEAR


def is_calibrated(seed: Seed) -> bool:
    """Whether one training fulfils all three parts."""
    return (
        seed.high - seed.floor < SMALL
        and is_near_one(seed.area, seed.area_error)
        and is_near_one(seed.slope, seed.slope_error)
    )


def is_not_calibrated(seed: Seed) -> bool:
    """Whether the error of one training is clearly more than its samples explain."""
    return seed.low - seed.floor > CLEAR


def verdict(seeds: Sequence[Seed]) -> str:
    """`calibrated`, `not calibrated` or `undecided`, of the trainings of one kind of model."""
    if all(map(is_calibrated, seeds)):
        return "calibrated"
    if all(map(is_not_calibrated, seeds)):
        return "not calibrated"
    return "undecided"
