"""The area of vessels in one photograph, with an interval that was calibrated on drawings of three
cameras; `areas.yml` has the calibrations of models, by the checksum of its weights.

The interval reaches from the expected area over a factor to the factor times it. The factor is the
conformal quantile of |log(area drawn / area answered)| over photographs that the model did not
learn from; experiments/conformal_repair/cameras.py computes it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

AREAS = Path(__file__).with_name("areas.yml")
UNKNOWN = (
    "areas that these weights answer for whole photographs of several cameras were not compared "
    "with drawn ones, as those of vessels-baseline-jitter-s0 were"
)


class Area(NamedTuple):
    """Of vessels, as shares of the field of view, 0 to 1: the expected area, the ends of its
    calibrated 90 % interval (None if the model is not calibrated for this photograph), and the
    median, 5 % and 95 % quantile of the areas of samples."""

    mean: float
    low: float | None
    high: float | None
    median: float
    spread_low: float
    spread_high: float


@dataclass(frozen=True)
class Calibration:
    """How far a model's areas are to be trusted.

    Args:
        factor: the ends of the 90 % interval are the expected area over this and times this.
        samples: of which the expected area was the mean; 0: the model has one of its own.
        held: {camera: (areas held, of so many)}, by the factor of the other cameras alone.
    """

    factor: float
    samples: int
    held: dict[str, tuple[int, int]]

    def ends(self, mean: float) -> tuple[float, float]:
        """Those of the interval around an expected area, a share of the field of view."""
        return mean / self.factor, min(1.0, mean * self.factor)

    def __str__(self) -> str:
        shares = ", ".join(f"{held} of {n} on {name}" for name, (held, n) in self.held.items())
        return f"on cameras left out of the calibration it held the drawn area in {shares}"


def calibration(weights: Path, areas: Path = AREAS) -> Calibration | None:
    """The calibration of the model in this file; None if there is none."""
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    for known in yaml.safe_load(areas.read_text("utf-8")).values():
        if known["weights_sha256"] == sha256:
            held = {name: (one["held"], one["of"]) for name, one in known["held"].items()}
            return Calibration(known["factor"], known["samples"], held)
    return None
