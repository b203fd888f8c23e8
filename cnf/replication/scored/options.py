"""What an evaluation is asked for, beside the model and the pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict

from cnf.errors import ConfigError, nearest
from cnf.inputs import check_draws
from cnf.replication.measures import MEASURES
from cnf.replication.options import Count, Flag, Maybe, Number, Real, option


@dataclass(frozen=True)
class Options:
    """How to evaluate."""

    limit: Number = None
    """only the first N pictures."""
    seed: Count = 0
    """of the noise; 0 by default."""
    draws: Count = 1
    """noise draws a picture, their log-probabilities averaged; 1 by default."""
    samples: Number = None
    """model samples for means and marginals; 16 or 32 by default, 0 for small patches.
    With --full 32 (sr) or 64 (vessels) by default, and 0 for bits alone.
    With --stress: samples of each image set, 2000 by default."""
    importance: Count = 0
    """noise draws of an importance-weighted bound beside the plain one; none by default."""
    temperature: Real = None
    """of the single sample; 0.8 (sr) or 1 (vessels) by default."""
    round_x: Maybe = None
    """whether the low-resolution input is rounded to 8 bits; by default as in training."""
    full: Flag = False
    """super-resolution: for x rounded and not, bits, PSNR and SSIM under two protocols at
    five temperatures; power spectra, gradients, consistency, and how far samples can be
    trusted. Vessels: F of the likeliest sample, calibration, connectedness, area, pieces
    and crossings, the second observer. In minutes a set, with what curves are drawn from."""
    metrics: Annotated[str | None, option("NAME[,NAME...]")] = None
    """only these metrics, such as energy_distance,matched_iou, also those that --full
    computes; rows of others stay as they are, and values of single pictures, too."""
    variant: Annotated[str | None, option("NAME[=VALUE]")] = None
    """score a variant of the model that an experiment makes of its weights, such as
    orientations/oriented, its mean over eight turns and mirrorings of the picture, or
    random_intercept/intercept=0.4: a model of its own, and eight or nine times the
    work; rows are of the run RUN-oriented or RUN-intercept."""
    threshold: Real = None
    """of vessel probabilities, chosen on a validation split; by default the best on
    that of the set, unless the model trained on it."""
    threshold_from: Annotated[str | None, option("DIR[,DIR...]")] = None
    """a run that did not train on the validation split of its set, of the same
    kind: its best threshold there is used; of several, such as the folds of a
    cross-validation, the best of all together."""

    def __post_init__(self):
        least = {"limit": 1, "seed": 0, "draws": 1, "samples": 0, "importance": 0}
        for name, value in least.items():
            number = getattr(self, name)
            if number is not None and number < value:
                raise ConfigError(f"--{name} {number}: give {value} or more")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"--threshold {self.threshold}: give a probability, 0 to 1")
        if self.threshold is not None and self.threshold_from is not None:
            raise ConfigError("--threshold and --threshold-from contradict each other: give one")
        if self.temperature is not None:
            check_draws(self.temperature)
            if self.full:
                raise ConfigError("--full has temperatures of its own: leave --temperature out")
        for name in self.names_of_metrics or ():
            if not name:
                raise ConfigError(f"--metrics {self.metrics!r} names no metric: say one")
            if name not in MEASURES:
                close = nearest(name, MEASURES)
                raise ConfigError(
                    f"--metrics {name or repr(name)}: no such metric; the nearest are {close} "
                    "(measures.yml declares all of them)"
                )

    @property
    def names_of_metrics(self) -> list[str] | None:
        """The names in `metrics`; None: all metrics."""
        return None if self.metrics is None else [n.strip() for n in self.metrics.split(",")]


class EvaluateOptions(TypedDict, total=False):
    """The fields of `Options` as keywords, so that tools find one that is misspelt."""

    limit: int | None
    seed: int
    draws: int
    samples: int | None
    importance: int
    temperature: float | None
    round_x: bool | None
    full: bool
    metrics: str | None
    variant: str | None
    threshold: float | None
    threshold_from: Path | str | None
