"""Metrics of a model on an image set. A metric is a function of a scored model and a setting, and
has the name of the measure that `cnf/replication/measures.yml` declares:

    def auc(m: ScoredModel, s: Setting) -> Value | None: ...

One that a single experiment needs stands in its folder, in `metrics.py` and `measures.yml`.

`evaluate` calls it for every setting of its kind; a value that is None (undefined on this set or
for this model) makes no row. The audit calls it for the setting of a row. If you change the values
of a metric, raise the `version` of its measure: rows of an older version are marked.
"""

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from cnf.errors import ConfigError
from cnf.replication import plugs
from cnf.replication.measures import Measure, Setting
from cnf.replication.scored.model import ScoredModel

# By task, the file whose `per_image` gives values of single images beside the bits, {metric: (N,)},
# and whose `curves` gives the data of the plots of a full evaluation, for JSON
FAMILIES = {"sr": "superresolution", "vessels": "vessels"}


class Value(NamedTuple):
    """A value, its standard error over images, and other fields of its row: `threshold`,
    `bound`."""

    value: float
    standard_error: float | None = None
    also: dict[str, Any] = {}


def module_of(measure: Measure) -> ModuleType:
    """The module whose functions compute a measure, loaded when it is first needed."""
    if measure.owner is not None:
        return plugs.module(measure.owner, measure.file)
    return import_module(f"{__name__}.{measure.file}")


def family_of(task: str) -> ModuleType | None:
    """The module of `FAMILIES` for a task; None for a task of one's own."""
    return import_module(f"{__name__}.{FAMILIES[task]}") if task in FAMILIES else None


def compute(measure: Measure, m: ScoredModel, s: Setting) -> Value | None:
    """The value of a measure; None where it is undefined. Raises ConfigError if it is declared and
    no function computes it."""
    module = module_of(measure)
    if not hasattr(module, measure.function):
        raise ConfigError(
            f"{measure.name} is declared, but {module.__name__} has no function "
            f"{measure.function}(m, s): write it, or delete it from measures.yml"
        )
    return getattr(module, measure.function)(m, s)


def mean_se(values: np.ndarray | Sequence[float], **also: Any) -> Value:
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
