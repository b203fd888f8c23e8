"""What is said about a model on an image set: a metric is one decorated function.

    @metric("Brier score of marginals", "1", digits=4, tolerance=1e-4, task="vessels", of="mean")
    def brier(m: ScoredModel, s: Setting) -> Value | None: ...

`evaluate` calls it for every setting of its kind and leaves out what is None (undefined on this set
or for this model), the audit calls it for the setting of a row, tables take its title and digits.
A change that changes its values raises its `version`; rows of an older version say so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from cnf.replication.scored_model import ScoredModel, Setting

# bits: of y itself. mean: the point estimate. sample, one: one sample. samples: many together.
# stress, heat: samples of a set at all temperatures, at each. pass: y and a sample, there and back
Of = Literal["bits", "mean", "sample", "one", "samples", "stress", "heat", "pass"]


class Value(NamedTuple):
    """A value, its standard error over images, and what else a row says: `threshold`, `bound`."""

    value: float
    standard_error: float | None = None
    also: dict[str, Any] = {}


@dataclass(frozen=True)
class Metric:
    """`tolerance` is how far the audit may land from a row on another machine, or else within
    `factor`. `digits` after the point; None: two, and a power of ten. `of`: the kind of settings it
    is taken at. `tag`: the evaluation it belongs to. `references`: what else than a model it is
    told of. `each_x`: whether it is told for x rounded and not."""

    name: str
    title: str
    unit: str
    digits: int | None
    tolerance: float
    tasks: tuple[str, ...]
    of: Of
    function: Callable[[ScoredModel, Setting], Value | None]
    tag: Literal["basic", "full", "stress"] = "full"
    factor: float = 1.0
    references: Sequence[str] = ()
    each_x: bool = False
    version: int = 1

    def agree(self, a: float, b: float) -> bool:
        """Whether two values are the same, on different machines."""
        low, high = sorted((a, b))
        return high - low <= self.tolerance or 0 < low and high <= self.factor * low

    def write(self, value: float) -> str:
        return f"{value:.1e}" if self.digits is None else f"{value:.{self.digits}f}"


METRICS: dict[str, Metric] = {}


def metric(
    title: str,
    unit: str,
    digits: int | None,
    tolerance: float,
    *,
    task: str | tuple[str, ...],
    of: Of | Literal["both"],
    name: str | None = None,
    **more: Any,
) -> Callable:
    """Register a function as a metric under its own name, or `name`; `more` as `Metric` has it.
    With of="both" it is two: NAME of the point estimate, and NAME_sample of one sample."""
    common = (unit, digits, tolerance, (task,) if isinstance(task, str) else task)
    kinds = [("", "", of, more)]
    if of == "both":
        sample = ("_sample", " of one sample", "sample", more | {"references": ()})
        kinds = [("", " of the point estimate", "mean", more), sample]

    def register(function: Callable) -> Callable:
        for end, words, kind, options in kinds:
            key = (name or function.__name__) + end
            if key in METRICS:
                raise ValueError(f"there is a metric '{key}' already: choose another name")
            METRICS[key] = Metric(key, title + words, *common, kind, function, **options)
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
    """A number for each image, (N,), with the value of `jackknife` as their mean and its error as
    the standard error of that: so what is pooled over images has differences in pairs, too."""
    total = sums.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        without = function(total - sums)
        return function(total) + (len(sums) - 1) * (without.mean() - without)


def numbers(values: Any) -> Any:
    """Five digits each, as JSON holds them: of a dictionary, a list, an array, or one number."""
    if isinstance(values, dict):
        return {name: numbers(value) for name, value in values.items()}
    return float(f"{values:.5g}") if np.ndim(values) == 0 else [numbers(v) for v in values]
