"""What is measured: every name that a row of `results/` may give its number, with title, unit and
digits. Nothing is computed here: whoever names, prints or compares numbers loads no model.

`measures.yml` declares what the functions of `metrics/` compute, `experiments/NAME/measures.yml`
what those of an experiment do. A function has the name of its measure.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from cnf.errors import ConfigError
from cnf.replication.places import EXPERIMENTS

# The kinds of settings at which a measure is taken. bits: of y itself. mean: of the point estimate.
# sample: of one sample. samples: of many samples together. Another name is that of a function, in
# the file of the measure, which gives the settings for a scored model.
Of = Literal["bits", "mean", "sample", "samples"] | str
Tag = Literal["basic", "full", "stress"]
ANSWERS = {"mean": "the point estimate", "sample": "one sample"}  # {answer} in titles


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting at which one value is taken; None where a field does not matter.

    temperature, samples: of the samples that are scored; 0 samples: the model's own mean.
    draws: noise draws for each image, averaged; with `importance`, those of that bound.
    divided_by: what bits are divided by. threshold: of probabilities, or of scores of conformal
    prediction. protocol: of PSNR and SSIM.
    """

    temperature: float | None = None
    samples: int | None = None
    draws: int | None = None
    importance: bool = False
    divided_by: str | None = None
    threshold: float | None = None
    protocol: str | None = None

    @property
    def n(self) -> int:
        """The number of samples that are drawn, 0 for none."""
        return self.samples or 0


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Measure:
    """One measure at one kind of setting.

    Args:
        name: what rows call it. Of [mean, sample], the sample's is NAME_sample.
        title: in words. {answer} stands for the point estimate, or one sample.
        unit: "1" if it has none.
        digits: digits after the point; None: scientific notation.
        of: the kind of settings it is taken at, see `scoring.settings_of`.
        tolerance: the largest difference that the audit accepts on another machine; by default one
            unit of the last digit. `factor`: the largest ratio that it accepts instead. `because`:
            why they are not the defaults.
        task: the task it belongs to; None: every task.
        tag: the evaluation it belongs to. A "basic" one is in every evaluation that draws samples:
            of small patches bits alone are computed unless `--samples` is given.
        references: the references it is computed for, beside models.
        each_x: whether it is computed both for x rounded and for x not rounded; its rows then name
            the protocol of x.
        chosen_on_validation: whether `ScoredModel.valid` chooses its threshold; its rows then say
            where that came from.
        version: raised when the values change; rows of an older version are marked.
        function, file: what computes it. `owner`: the experiment that has the file; None: it is in
            `metrics/`.
    """

    name: str
    title: str
    unit: str
    digits: int | None
    of: Of
    function: str
    file: str
    tolerance: float
    factor: float = 1.0
    because: str = ""
    task: str | None = None
    tag: Tag = "full"
    references: tuple[str, ...] = ()
    each_x: bool = False
    chosen_on_validation: bool = False
    version: int = 1
    owner: str | None = None

    def __post_init__(self) -> None:
        is_usual = self.tolerance == last_digit(self.digits) and self.factor == 1
        if is_usual == bool(self.because):
            raise ValueError("a tolerance needs `because`, unless it is one unit of the last digit")

    def agree(self, a: float, b: float) -> bool:
        """Whether two values are the same, on different machines."""
        low, high = sorted((a, b))
        return high - low <= self.tolerance or 0 < low and high <= self.factor * low

    def write(self, value: float) -> str:
        return f"{value:.1e}" if self.digits is None else f"{value:.{self.digits}f}"


def last_digit(digits: int | None) -> float | None:
    """One unit of the last digit that is printed."""
    return None if digits is None else float(f"1e-{digits}")


def declared(path: Path, owner: str | None = None) -> list[Measure]:
    """The measures of one table, in its order. A field beside the measures of a file is a field of
    each of them. Raises ConfigError."""
    where = f"{path.parent.name}/{path.name}"
    try:
        groups = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(groups, Mapping) or not all(isinstance(g, Mapping) for g in groups.values()):
        raise ConfigError(f"{where}: name a file, and below it the measures that it computes")
    measures = []
    for file, group in groups.items():
        if file.startswith("."):  # what others of the table refer to
            continue
        shared = {k: v for k, v in group.items() if not isinstance(v, Mapping)}
        shared |= {"file": file, "owner": owner}
        for function, fields in group.items():
            if isinstance(fields, Mapping):
                fields = shared | dict(fields) | {"function": function}
                measures += [_measure(where, fields, of) for of in _kinds(fields.get("of"))]
    return measures


def _kinds(of: Any) -> Sequence[Any]:
    return of if isinstance(of, list) else [of]


def _measure(where: str, fields: dict[str, Any], of: Any) -> Measure:
    """One of the measures of an entry. Of several, that of a sample has a name of its own, and only
    the first answers for references."""
    name, kinds = fields["function"], _kinds(fields.get("of"))
    title = str(fields.get("title")).replace("{answer}", ANSWERS.get(of, "{answer}"))
    own: dict[str, Any] = {"name": name, "title": title, "of": of}
    if "tolerance" not in fields and isinstance(fields.get("digits"), int):
        own["tolerance"] = last_digit(fields["digits"])
    if of != kinds[0]:
        own |= {"name": f"{name}_{of}", "references": ()}
    try:
        return Measure(**(fields | own))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{where}, {name}: {field} {first['msg']}: see `Measure` in cnf/replication/measures.py"
        ) from None


def _all() -> dict[str, Measure]:
    """Every measure by its name. Raises ConfigError for two of one name."""
    measures = declared(Path(__file__).with_suffix(".yml"))
    for path in sorted(EXPERIMENTS.glob("*/measures.yml")):
        measures += declared(path, path.parent.name)
    by_name: dict[str, Measure] = {}
    for measure in measures:
        if measure.name in by_name:
            raise ConfigError(f"two measures have the name {measure.name}: choose another name")
        by_name[measure.name] = measure
    return by_name


MEASURES = _all()
# What answers without weights and without training: its rows name data alone.
REFERENCES = tuple({name: None for measure in MEASURES.values() for name in measure.references})
