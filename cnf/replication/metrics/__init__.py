"""Metrics of a model on an image set. A metric is one decorated function:

    @metric(title="Brier score", unit="1", digits=4, tolerance=1e-4, task="vessels", of="mean")
    def brier(m: ScoredModel, s: Setting) -> Value | None: ...

One that a single experiment needs stands in its `metrics.py`, experiments/NAME/metrics.py.

`evaluate` calls it for every setting of its kind; a value that is None (undefined on this set or
for this model) makes no row. The audit calls it for the setting of a row. Tables use its title and
digits. If you change the values of a metric, raise its `version`: rows of an older version are
marked.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from cnf.replication.evaluation.scored_model import ScoredModel, Setting

# The kinds of settings at which a metric is taken. bits: of y itself. mean: of the point estimate.
# sample: of one sample. samples: of many samples together; or a kind of SETTINGS.
Of = Literal["bits", "mean", "sample", "samples"] | str
Tag = Literal["basic", "full", "stress"]


class Value(NamedTuple):
    """A value, its standard error over images, and other fields of its row: `threshold`,
    `bound`."""

    value: float
    standard_error: float | None = None
    also: dict[str, Any] = {}


@dataclass(frozen=True)
class Metric:
    """One metric, as `metric` registers it."""

    name: str
    function: Callable[[ScoredModel, Setting], Value | None]
    title: str
    unit: str
    digits: int | None
    tolerance: float
    of: Of
    task: str | None
    tag: Tag
    factor: float
    references: Sequence[str]
    each_x: bool
    by_valid: bool
    version: int

    def agree(self, a: float, b: float) -> bool:
        """Whether two values are the same, on different machines."""
        low, high = sorted((a, b))
        return high - low <= self.tolerance or 0 < low and high <= self.factor * low

    def write(self, value: float) -> str:
        return f"{value:.1e}" if self.digits is None else f"{value:.{self.digits}f}"


# Those of `experiments/*/metrics.py` are there once `plugs.load_metrics` was called.
METRICS: dict[str, Metric] = {}
# Kinds of settings that an experiment adds, each with the function that gives those of a model.
SETTINGS: dict[str, Callable[[ScoredModel], Iterator[Setting]]] = {}


def settings(of: str) -> Callable:
    """Register a function as the settings of a kind: it takes a scored model, and gives those at
    which an evaluation computes the metrics of this kind."""

    def register(function: Callable) -> Callable:
        if of in SETTINGS:
            raise ValueError(f"there are settings '{of}' already: choose another name")
        SETTINGS[of] = function
        return function

    return register


def metric(
    *,
    title: str,
    unit: str,
    digits: int | None,
    tolerance: float,
    of: Of,
    task: str | None = None,
    tag: Tag = "full",
    factor: float = 1.0,
    references: Sequence[str] = (),
    each_x: bool = False,
    by_valid: bool = False,
    version: int = 1,
) -> Callable:
    """Register a function as a metric under its own name.

    Args:
        digits: digits after the point; None: scientific notation.
        tolerance: the largest difference that the audit accepts on another machine.
        factor: the largest ratio that it accepts instead.
        of: the kind of settings it is taken at, see `scoring.settings_of`.
        task: the task it belongs to; None: every task.
        tag: the evaluation it belongs to. A "basic" one is in every evaluation that draws samples:
            of small patches bits alone are computed unless `--samples` is given.
        references: the references it is computed for, beside models.
        each_x: whether it is computed both for x rounded and for x not rounded; its rows then name
            the protocol of x.
        by_valid: whether `ScoredModel.valid` chooses its threshold; its rows then say where that
            came from.
    """

    def register(function: Callable) -> Callable:
        name = function.__name__
        if name in METRICS:
            raise ValueError(f"there is a metric '{name}' already: choose another name")
        METRICS[name] = Metric(
            name,
            function,
            title,
            unit,
            digits,
            tolerance,
            of,
            task,
            tag,
            factor,
            references,
            each_x,
            by_valid,
            version,
        )
        return function

    return register


def mean_se(values: np.ndarray, **also: Any) -> Value:
    """The mean, and its standard error over images."""
    n = len(values)
    error = float(np.std(values, ddof=1) / math.sqrt(n)) if n > 1 else None
    return Value(float(np.mean(values)), error, also)


def jackknife(sums: np.ndarray, function: Callable[[np.ndarray], np.ndarray], **also: Any) -> Value:
    """`function` of the sums of all images together, and its standard error by leaving out one
    image at a time; None where that leaves `function` undefined.

    Args:
        sums: what each image adds, (N, K). `function`: of such sums, along the last axis.
    """
    value = float(function(sums.sum(0)))
    error = mean_se(influences(sums, function)).standard_error if len(sums) > 1 else None
    return Value(value, error if error is None or math.isfinite(error) else None, also)


def influences(sums: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A number for each image, (N,), such that their mean is the value of `jackknife` and the
    standard error of that mean is its error. So a value that is pooled over images can be compared
    in pairs as well."""
    total = sums.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = function(total - sums)
        return function(total) + (len(sums) - 1) * (without.mean() - without)


def numbers(values: Any) -> Any:
    """Numbers for JSON, rounded to five digits, of a dictionary, a list, an array or a number."""
    if isinstance(values, dict):
        return {name: numbers(value) for name, value in values.items()}
    return float(f"{values:.5g}") if np.ndim(values) == 0 else [numbers(v) for v in values]
