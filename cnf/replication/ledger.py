"""The ledger: every number that is printed anywhere is one line of `results/ledger.jsonl`.

A `Row` is one metric of one evaluated run. Rows are appended by `evaluate.evaluate` and never
edited; a newer row names the one it `supersedes`. Tables, the README and the model cards are
generated from rows; `cnf.replication.audit` computes them again.
"""

import fnmatch
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from cnf.errors import LedgerError

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"


class Metric(NamedTuple):
    """`tolerance` is how far `audit` may land from the ledger on another machine, see METRICS; or
    else within `factor`. `digits` after the point; None: two, and a power of ten."""

    title: str
    unit: str
    digits: int | None
    tolerance: float
    factor: float = 1.0

    def agree(self, a: float, b: float) -> bool:
        """Whether two values are the same, on different machines."""
        low, high = sorted((a, b))
        return high - low <= self.tolerance or 0 < low and high <= self.factor * low

    def write(self, value: float) -> str:
        return f"{value:.1e}" if self.digits is None else f"{value:.{self.digits}f}"


def _of_both(name: str, title: str, *fields: Any) -> dict[str, Metric]:
    """A metric of the point estimate (or of a reference), and of one sample."""
    ends = {"": " of the point estimate", "_sample": " of one sample"}
    return {name + end: Metric(title + of, *fields) for end, of in ends.items()}


# Noise is keyed, so a second evaluation sees the same draws and differs by rounding alone:
# log-probabilities are float32 sums (1e-4 bits a dimension), a sample's grey level may round the
# other way (0.01 dB, 1e-4 SSIM), a sampled pixel next to the threshold may flip (1 in 1000). A flip
# can part or join two pieces (1 in 50 of them, 2 of an Euler number), cut a branch from the largest
# (0.02 of its share), or move a count past the end of an interval: one photograph of 20 (0.05). Of
# rounding errors themselves only the order of magnitude can be had again.
METRICS = {
    "bits_per_dim": Metric("bits/dim", "bits/dim", 3, 1e-4),
    "bits_per_pixel": Metric("bits/pixel", "bits/pixel", 4, 1e-4),
    "psnr": Metric("PSNR of the point estimate", "dB", 2, 0.01),
    "ssim": Metric("SSIM of the point estimate", "1", 4, 1e-4),
    "psnr_sample": Metric("PSNR of one sample", "dB", 2, 0.01),
    "ssim_sample": Metric("SSIM of one sample", "1", 4, 1e-4),
    "f_half": Metric("F at 0.5, pooled", "1", 3, 1e-3),
    "f_half_image": Metric("F at 0.5, mean over images", "1", 3, 1e-3),
    "f_valid": Metric("F at the validation threshold, pooled", "1", 3, 1e-3),
    "f_valid_image": Metric("F at the validation threshold, mean over images", "1", 3, 1e-3),
    "f_best": Metric("F at the best test threshold, pooled", "1", 3, 1e-3),
    "f_sample": Metric("F of one sample, pooled", "1", 3, 1e-3),
    "f_sample_image": Metric("F of one sample, mean over images", "1", 3, 1e-3),
    "f_likeliest": Metric("F of the likeliest of 16 samples, pooled", "1", 3, 1e-3),
    "f_likeliest_image": Metric("F of the likeliest of 16 samples, mean over images", "1", 3, 1e-3),
    "f_p_half": Metric("F where p is at least 0.5, before weighting, pooled", "1", 3, 1e-3),
    "f_p_half_image": Metric("F where p is at least 0.5, mean over images", "1", 3, 1e-3),
    "auc": Metric("area under the ROC curve", "1", 4, 1e-3),
    "ap": Metric("average precision", "1", 4, 1e-3),
    "nonfinite_samples": Metric("samples that are not finite", "samples", 0, 0),
    "outside_range": Metric("sampled values outside [0, 1), before clipping", "1", 5, 1e-5),
    "largest_value": Metric("largest |v| sampled", "1", 2, 0, 1.1),
    "nonfinite_log_probs": Metric("log p that are not finite", "pictures", 0, 0),
    "reconstruction_error": Metric("worst |v - f^-1(f(v))| in float32", "1", None, 1e-6, 10),
    "psnr_rgb": Metric("PSNR (RGB) of the point estimate", "dB", 2, 0.01),
    "ssim_rgb": Metric("SSIM (RGB) of the point estimate", "1", 4, 1e-4),
    "psnr_rgb_sample": Metric("PSNR (RGB) of one sample", "dB", 2, 0.01),
    "ssim_rgb_sample": Metric("SSIM (RGB) of one sample", "1", 4, 1e-4),
    **_of_both("consistency", "PSNR, halved, against x,", "dB", 2, 0.02),
    **_of_both("power_low", "power up to 1/8 cycle a pixel, over the truth's,", "dB", 2, 0.01),
    **_of_both("power_mid", "power from 1/8 to 1/4, over the truth's,", "dB", 2, 0.01),
    **_of_both("power_high", "power from 1/4 to 1/2, over the truth's,", "dB", 2, 0.01),
    **_of_both("gradient", "mean |gradient|", "grey levels", 2, 0.01),
    **_of_both("gradient_kurtosis", "kurtosis of gradients", "1", 1, 0.05, 1.01),
    **_of_both("gradient_distance", "distance of gradients to the truth's", "grey levels", 3, 0.01),
    "spread_skill": Metric("deviation of samples over error of their mean", "1", 3, 2e-3),
    "deviation_correlation": Metric("correlation of deviation and error", "1", 3, 2e-3),
    "coverage_50": Metric("coverage of 50 % intervals", "1", 3, 2e-3),
    "coverage_90": Metric("coverage of 90 % intervals", "1", 3, 2e-3),
    "coverage_error": Metric("mean error of coverage", "1", 3, 2e-3),
    "rank_distance": Metric("chi-square of ranks, an entry", "1", 3, 2e-3, 1.01),
    "second_bits": Metric("bits/pixel of the second observer's mask", "bits/pixel", 4, 1e-4),
    "calibration_error": Metric("calibration error of marginals in [0.05, 0.95]", "1", 4, 1e-3),
    "brier": Metric("Brier score of marginals", "1", 4, 1e-4),
    "disagreement_auc": Metric("AUC of deviation for where observers differ", "1", 3, 1e-3),
    **_of_both("area", "share of pixels that are vessel,", "1", 4, 1e-4),
    **_of_both("components", "pieces", "pieces", 1, 1.0, 1.02),
    **_of_both("euler", "Euler number", "pieces", 1, 2.0, 1.02),
    **_of_both("largest_share", "share of the largest piece", "1", 3, 0.02),
    **_of_both("cldice", "clDice", "1", 3, 2e-3),
    "components_ratio_sample": Metric("pieces of one sample over the truth's", "1", 2, 0.02, 1.02),
    "area_ratio": Metric("mean area of samples over the truth's", "1", 3, 2e-3),
    "area_coverage": Metric("coverage of 90 % intervals of area", "1", 2, 0.05),
    "components_ratio": Metric("mean pieces of samples over the truth's", "1", 2, 0.02, 1.02),
    "components_coverage": Metric("coverage of 90 % intervals of pieces", "1", 2, 0.05),
    "crossings_ratio": Metric("mean crossings of samples over the truth's", "1", 3, 5e-3),
    "crossings_coverage": Metric("coverage of 90 % intervals of crossings", "1", 2, 0.05),
}
BITS = ("bits_per_dim", "bits_per_pixel", "second_bits")
STRESS = (
    "nonfinite_samples",
    "outside_range",
    "largest_value",
    "nonfinite_log_probs",
    "reconstruction_error",
)

FEW = 2_000  # steps of training: models of fewer are far from done learning

# Models that are not networks: their rows have data but neither weights nor training.
REFERENCES = ("bicubic", "second observer", "truth")

Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
_strict = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_strict)
class Paper:
    """The paper's figure beside ours. `tag` says how sure we are that the paper says so."""

    table: str | None
    value: float
    tag: Literal["confirmed", "unconfirmed"]


@dataclass(frozen=True, config=_strict)
class Row:
    """One number and all that is needed to dispute it.

    Args:
        id: unique, lower case. `run` names the folder of the run; its rows share it.
        model: "flow", the baseline's kind, or a reference ("bicubic", "second observer", "truth").
        metric, value, unit: see METRICS. `standard_error` is over images; None where undefined.
        bound: "exact", or what makes the bits an upper bound; None where `metric` is not in bits.
        divided_by: what the bits are divided by.
        temperature: of the samples. `samples`: how many; 0 if the model's own mean was used.
        draws: noise draws an image. `threshold`: of the probabilities, for F.
        rounded_x: super-resolution only: whether x was rounded to 8 bits.
        stand_in: whether `data` replaces a set that the paper used and we do not have.
        seed, steps, wall_s, hardware: of the training run. `noise_seed`: of this evaluation.
        git, dirty: commit of the code that evaluated; whether `cnf/` or `cnf/presets/` had changes.
        weights: path inside the repository, None if the weights are not in it.
        protocol: of PSNR and SSIM, see `scores.pictures`. None: scored as "standard" says, with an
            x that was rounded or not, as `rounded_x` says.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    run: Text
    experiment: Literal["sr", "vessels"]
    model: Literal[
        *("flow", "logistic", "bernoulli", "weighted", "class_weighted"),
        *("bicubic", "second observer", "truth"),
    ]
    preset: str | None
    metric: str
    value: float
    standard_error: Annotated[float, Field(ge=0)] | None
    num_images: Annotated[int, Field(gt=0)]
    unit: str
    bound: str | None
    divided_by: Literal["sub-pixels", "all pixels", "field of view"] | None
    temperature: Annotated[float, Field(ge=0)] | None
    draws: Count | None
    samples: Count | None
    threshold: float | None
    rounded_x: bool | None
    data: Text
    stand_in: bool
    split: Literal["train", "valid", "test"]
    data_sha256: Sha
    config_sha256: Sha | None
    seed: int | None
    noise_seed: int
    steps: Count | None
    wall_s: Annotated[float, Field(ge=0)] | None
    hardware: str | None
    torch: Text
    git: str | None
    dirty: bool
    weights: str | None
    weights_sha256: Sha | None
    command: Text
    date: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    deviation: str | None
    supersedes: str | None
    paper: Paper | None
    protocol: Literal["standard", "released"] | None = None

    @model_validator(mode="after")
    def _is_consistent(self):
        if self.metric not in METRICS:
            raise ValueError(f"metric '{self.metric}' is unknown: one of {', '.join(METRICS)}")
        if self.unit != METRICS[self.metric].unit:
            raise ValueError(f"{self.metric} is in {METRICS[self.metric].unit}, not {self.unit}")
        if (self.metric in BITS) != (self.bound is not None and self.divided_by is not None):
            raise ValueError("bits, and only bits, need `bound` and `divided_by`")
        if self.protocol and not self.metric.startswith(("psnr", "ssim")):
            raise ValueError(f"{self.metric} has no protocol: PSNR and SSIM have")
        if self.protocol and (self.protocol == "standard") != bool(self.rounded_x):
            raise ValueError("the standard protocol rounds x, the released one does not")
        if (self.model in REFERENCES) != (self.weights_sha256 is None):
            raise ValueError("a trained model needs `weights_sha256`, a reference has none")
        return self

    @property
    def is_bound(self) -> bool:
        """Whether the value is an upper bound on bits rather than the exact figure."""
        return self.bound not in (None, "exact")


_row = TypeAdapter(Row)


def make_row(values: dict[str, Any]) -> Row:
    """Validate. Raises LedgerError that names each field that does not fit."""
    try:
        return _row.validate_python(values)
    except ValidationError as error:
        problems = []
        for e in error.errors():
            where = ".".join(map(str, e["loc"]))
            shown = "" if isinstance(e["input"], (dict, Row)) else f" = {e['input']!r}"
            problems.append(f"{where}{shown}: {e['msg']}".lstrip(": "))
        name = values.get("id", "?")
        raise LedgerError(f"row '{name}' does not fit the ledger: {'; '.join(problems)}") from None


def to_dict(row: Row) -> dict[str, Any]:
    """The dictionary that `make_row` reads back. A protocol is there only if the row has one."""
    values = _row.dump_python(row, mode="json")
    return values if row.protocol else {k: v for k, v in values.items() if k != "protocol"}


def read(results: Path = RESULTS) -> list[Row]:
    """Every row, oldest first. Raises LedgerError naming the line that cannot be read."""
    path = results / "ledger.jsonl"
    rows: list[Row] = []
    seen = set()
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        try:
            row = make_row(json.loads(line))
        except (json.JSONDecodeError, LedgerError) as error:
            raise LedgerError(f"{path.name} line {number}: {error}") from None
        if row.id in seen:
            raise LedgerError(f"{path.name} line {number}: id '{row.id}' is there twice")
        seen.add(row.id)
        rows.append(row)
    return rows


def current(rows: Iterable[Row]) -> list[Row]:
    """The rows that no other row supersedes."""
    rows = list(rows)
    replaced = {row.supersedes for row in rows}
    return [row for row in rows if row.id not in replaced]


FIELDS = tuple(Row.__dataclass_fields__)
TELLING = ("run", "model", "data", "split", "metric", "bound", "divided_by", "temperature")
TELLING += ("draws", "samples", "rounded_x", "protocol", "num_images", "noise_seed")


def select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The newest rows whose fields are as `wanted` says, oldest first: `run="sr-flow-*"`,
    `metric="psnr"`, `rounded_x=True`.

    A text may hold the wildcards of `fnmatch`. A list holds alternatives, the most wanted first:
    the first of them that has rows counts. Raises LedgerError for a field that rows do not have.
    """
    unknown = [name for name in wanted if name not in FIELDS]
    if unknown:
        raise LedgerError(f"rows have no field '{unknown[0]}': choose from {', '.join(FIELDS)}")
    rows = current(rows)
    choices = [v if isinstance(v, (list, tuple)) else [v] for v in wanted.values()]
    for values in itertools.product(*choices):
        pairs = dict(zip(wanted, values, strict=True)).items()
        if found := [row for row in rows if all(fits(getattr(row, k), v) for k, v in pairs)]:
            return found
    return []


def fits(found: Any, wanted: Any) -> bool:
    """Whether a field is as wanted: equal, or of the form of the wildcards."""
    if isinstance(found, str) and isinstance(wanted, str):
        return fnmatch.fnmatchcase(found, wanted)
    return found == wanted


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The only row that `select` finds, of the most pictures: a row of a part of a set does not
    stand for the set. Raises LedgerError if there is none, or several."""
    found = select(rows, **wanted)
    most = max((row.num_images for row in found), default=0)
    found = [row for row in found if row.num_images == most]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{k}={v!r}" for k, v in wanted.items())
    if not found:
        raise LedgerError(f"no row has {asked}")
    differ = [f for f in TELLING if len({getattr(row, f) for row in found}) > 1]
    names = ", ".join(row.id for row in found[:3])
    raise LedgerError(
        f"{len(found)} rows have {asked}: {names}{', ...' * (len(found) > 3)}; choose by "
        f"{', '.join(differ)}"
    )


def append(rows: Sequence[Row], results: Path = RESULTS) -> None:
    """Add rows to the ledger, all or none. Only `evaluate` calls this.

    Raises LedgerError for an id that is taken, or `supersedes` that names no row.
    """
    path = results / "ledger.jsonl"
    ids = {row.id for row in read(results)}
    for row in rows:
        if row.id in ids:
            raise LedgerError(
                f"row '{row.id}' is already in the ledger and rows are never edited: see "
                f"`python -m cnf results show {row.id}`, or evaluate with --supersede"
            )
        if row.supersedes is not None and row.supersedes not in ids:
            raise LedgerError(f"row '{row.id}' supersedes '{row.supersedes}', which is not a row")
        ids.add(row.id)
    lines = "".join(json.dumps(to_dict(make_row(to_dict(row)))) + "\n" for row in rows)
    write_text(path, (path.read_text() if path.exists() else "") + lines)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text)
    os.replace(partial, path)


def find(row_id: str, results: Path = RESULTS) -> Row:
    """The row of that id. Raises LedgerError."""
    rows = {row.id: row for row in read(results)}
    if row_id not in rows:
        raise LedgerError(f"no row '{row_id}': `python -m cnf results table` lists them")
    return rows[row_id]


def show(row_id: str, results: Path = RESULTS) -> str:
    """Every field of one row, one a line, as text."""
    return "\n".join(f"{k:>15}  {v}" for k, v in to_dict(find(row_id, results)).items())


# --- tables ---------------------------------------------------------------------------------------


def value(row: Row) -> str:
    """The value as it is printed everywhere: "≤ 2.505 ± 0.012". "≤" marks bits that are a bound."""
    write = METRICS[row.metric].write
    text = f"{'≤ ' if row.is_bound else ''}{write(row.value)}"
    return text if row.standard_error is None else f"{text} ± {write(row.standard_error)}"


def valued(row: Row) -> str:
    """The value with its unit, where it has one: "36.18 ± 1.34 dB"."""
    return value(row) if row.unit == "1" else f"{value(row)} {row.unit}"


def described(row: Row) -> str:
    """What a value is of, in words: metric, how it was scored, model and its steps, pictures."""
    metric = _metric(row).removeprefix(row.unit).strip()  # bits/dim says its unit
    scored = ", ".join(part for part in (metric, _how(row)) if part)
    model = row.model if row.model in REFERENCES else row.run
    if row.steps is not None:
        model += f" after {'only ' * (row.steps < FEW)}{row.steps:,} steps"
    stand_in = ", a stand-in" * row.stand_in
    return f"{scored}; {model}; {row.num_images} {row.split} pictures of {row.data}{stand_in}"


def _metric(row: Row) -> str:
    title = METRICS[row.metric].title
    if row.divided_by == "field of view":
        title += " inside the field of view"
    if row.bound and "importance" in row.bound:
        title += f" ({row.draws} importance samples)"
    return title


def _how(row: Row) -> str:
    parts = []
    if row.bound:
        parts.append(row.bound if row.bound == "exact" else f"bound: {row.bound}")
    if row.protocol is not None:
        parts.append(f"{row.protocol} protocol")
    if row.rounded_x is not None:
        parts.append("x rounded to 8 bits" if row.rounded_x else "x not rounded")
    if row.samples:
        parts.append(f"{row.samples} samples" if row.samples > 1 else "1 sample")
    if row.temperature is not None and row.samples:
        parts.append(f"temperature {row.temperature:g}")
    if row.threshold is not None and not row.metric.startswith("f_half"):
        parts.append(f"threshold {row.threshold:.3f}")
    return ", ".join(parts)


def _paper(row: Row) -> str:
    if row.paper is None:
        return ""
    figure = f"{row.paper.value:g}"
    return figure if row.paper.tag == "confirmed" else f"({figure}, recalled, unconfirmed)"


COLUMNS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "id": ("row", lambda row: f"`{row.id}`"),
    "run": ("run", lambda row: row.run),
    "model": ("model", lambda row: row.model),
    "preset": ("preset", lambda row: row.preset or ""),
    "data": ("data", lambda row: f"{row.data} {row.split}{' (stand-in)' * row.stand_in}"),
    "metric": ("metric", _metric),
    "value": ("value", value),
    "images": ("images", lambda row: str(row.num_images)),
    "how": ("how", _how),
    "paper": ("paper", _paper),
}
DEFAULT_COLUMNS = ("model", "data", "metric", "value", "images", "how", "id")


def matching(rows: Iterable[Row], words: Sequence[str]) -> list[Row]:
    """The newest rows that have every word somewhere in id, run, model, data, split, metric, bound
    or protocol. Raises LedgerError if none has."""

    def text(row: Row) -> str:
        told = (row.id, row.run, row.model, row.data, row.split, row.metric, row.bound)
        return " ".join(str(part) for part in (*told, row.protocol)).lower()

    found = [row for row in current(rows) if all(word.lower() in text(row) for word in words)]
    if words and not found:
        raise LedgerError(f"no row has {' and '.join(map(repr, words))}")
    return found


def table(rows: Iterable[Row], columns: Sequence[str] = DEFAULT_COLUMNS) -> str:
    """A markdown table, a line a row, of the named COLUMNS. Superseded rows are left out."""
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise LedgerError(f"no column '{unknown[0]}': choose from {', '.join(COLUMNS)}")
    lines = [[COLUMNS[name][1](row) for name in columns] for row in current(rows)]
    return markdown([COLUMNS[name][0] for name in columns], lines)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A markdown table; a "|" inside a cell is escaped."""
    rule = ["---"] * len(head)
    rows = [[cell.replace("|", "\\|") for cell in cells] for cells in [head, rule, *lines]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
