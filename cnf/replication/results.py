"""What `results/` holds: a folder a run, with one file an evaluation.

`results/<run>/evaluations/<set>-<split>[-options].json` says what was evaluated (weights, pictures,
training), and has a line a value. It is written anew when it is made anew: git keeps the history.
A `Row` is one value with all that it takes to dispute it. The paper's claims and others' numbers
are in `report`.
"""

import dataclasses
import fnmatch
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnf.errors import ResultsError
from cnf.replication.metrics import METRICS, Setting, likelihood, stress, superresolution, vessels  # noqa: F401
from cnf.replication.metrics.likelihood import BITS
from cnf.replication.task import TASKS

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"
FEW = 2_000  # steps of training: models of fewer are far from done learning
# What answers without weights and training: rows of it have data alone.
REFERENCES = ("bicubic", "second observer", "truth")


@dataclass(frozen=True)
class Row:
    """One value.

    Args:
        run: the folder. model: "flow", the baseline's kind, or one of REFERENCES.
        metric, version: see `metrics`. `standard_error` is over images; None where undefined.
        bound: "exact", or what makes the bits an upper bound; None where `metric` is not in bits.
        temperature to protocol: how it was taken, see `metrics.Setting`; threshold_from: where the
            threshold of f_valid comes from: "validation", "given", or the run that chose it.
        rounded_x: super-resolution only: whether x was rounded to 8 bits.
        stand_in: whether `data` replaces a set that the paper used and we do not have.
        limit: only so many of its images; num_images: how many. noise_seed: of this evaluation.
        preset to hardware: of the training run; wall_s: its seconds by the clock.
        git, dirty: commit of the code that evaluated; whether `cnf/` had changes.
        weights: path inside the repository, None if the weights are not in it.
    """

    run: str
    experiment: str
    model: str
    data: str
    split: str
    stand_in: bool
    num_images: int
    limit: int | None
    rounded_x: bool | None
    noise_seed: int
    data_sha256: str
    weights: str | None
    weights_sha256: str | None
    preset: str | None
    config_sha256: str | None
    seed: int | None
    steps: int | None
    wall_s: float | None
    hardware: str | None
    git: str | None
    dirty: bool
    torch: str
    date: str
    metric: str
    value: float
    standard_error: float | None = None
    bound: str | None = None
    divided_by: str | None = None
    temperature: float | None = None
    draws: int | None = None
    samples: int | None = None
    threshold: float | None = None
    threshold_from: str | None = None
    protocol: str | None = None
    version: int = 1

    def __post_init__(self):
        if not math.isfinite(self.value):
            where = f"{self.run} on {self.data} {self.split}"
            raise ResultsError(f"{self.metric} of {where} is {self.value}: not written")

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit

    @property
    def is_bound(self) -> bool:
        """Whether the value is an upper bound on bits rather than the exact figure."""
        return self.bound not in (None, "exact")

    @property
    def is_old(self) -> bool:
        """Whether an older version of the metric made it."""
        return self.version < METRICS[self.metric].version

    @property
    def setting(self) -> Setting:
        """What the metric was asked for."""
        weighted = self.bound is not None and "importance" in self.bound
        kept = ("temperature", "samples", "draws", "divided_by", "protocol")
        chosen = self.threshold if self.threshold_from not in (None, "validation") else None
        return Setting(
            **{name: getattr(self, name) for name in kept}, importance=weighted, threshold=chosen
        )

    @property
    def file(self) -> str:
        """The name of its file, without its end: <set>-<split>, and what is not at its default."""
        parts = [self.data.replace(":", "-").replace("/", "-"), self.split]
        parts += ["x8"] * bool(self.rounded_x) + [f"n{self.limit}"] * (self.limit is not None)
        return "-".join(parts + [f"noise{self.noise_seed}"] * bool(self.noise_seed))

    @property
    def id(self) -> str:
        """RUN/FILE/METRIC, and the settings that tell it from others of the file."""
        parts = [self.metric]
        parts += ["view"] * (self.divided_by == "field of view")
        if self.bound and "importance" in self.bound:
            parts.append(f"iw{self.draws}")
        elif (self.draws or 0) > 1:
            parts.append(f"d{self.draws}")
        parts += [f"s{self.samples}"] * ((self.samples or 0) > 1)
        if self.temperature not in (None, 1.0):
            parts.append(f"t{self.temperature:g}")
        parts += [self.protocol] * (self.protocol is not None)
        return f"{self.run}/{self.file}/{'-'.join(parts)}"

    @property
    def command(self) -> str:
        """The command that gives it again."""
        folder = self.run if self.weights_sha256 is None else f"runs/{self.run}"
        if self.weights is not None:
            folder = Path(self.weights).parent.as_posix()
        words = ["python -m cnf evaluate", folder, "--on", self.data]
        words += [f"--split {self.split}"] * (self.split != "test")
        words += [f"--limit {self.limit}"] * (self.limit is not None)
        words += [f"--seed {self.noise_seed}"] * bool(self.noise_seed)
        metric, task = METRICS[self.metric], TASKS[self.experiment]
        if metric.tag == "stress":
            of_all = len(stress.TEMPERATURES) if metric.of == "heat" else 1
            words += [f"--samples {of_all * self.samples}"] if self.samples else []
            return " ".join([*words, "--stress"])
        full = metric.tag == "full" or self.protocol is not None
        full |= self.samples == task.full_samples and not task.rounds_x
        if self.samples not in (None, 0, 1, task.full_samples if full else task.samples):
            words.append(f"--samples {self.samples}")
        if self.bound and "importance" in self.bound:
            words.append(f"--importance {self.draws}")
        elif (self.draws or 0) > 1:
            words.append(f"--draws {self.draws}")
        if self.threshold_from == "given":
            words.append(f"--threshold {self.threshold:.9g}")
        elif self.threshold_from not in (None, "validation"):
            words.append(f"--threshold-from {self.threshold_from}")
        if not full and self.samples == 1 and self.temperature not in (None, task.temperature):
            words.append(f"--temperature {self.temperature:g}")
        if full:
            words.append("--full")
        elif self.rounded_x is not None:
            words.append("--round-x" if self.rounded_x else "--no-round-x")
        return " ".join(words)


FIELDS = tuple(field.name for field in dataclasses.fields(Row))
DEFAULTS = {f.name: f.default for f in dataclasses.fields(Row) if f.name != "metric"}
MADE = ("git", "dirty", "torch", "date")  # of each value; the same for most of a file
HEADER = FIELDS[: FIELDS.index("git")]


# -- files -----------------------------------------------------------------------------------------


def read(results: Path = RESULTS) -> list[Row]:
    """Every row of every run, in the order of files. Raises ResultsError naming a file that cannot
    be read."""
    paths = sorted(results.glob("*/evaluations/*.json"))
    return [row for p in paths if not p.stem.endswith(".curves") for row in read_file(p)]


def read_file(path: Path) -> list[Row]:
    """The rows of one evaluation. Raises ResultsError."""
    try:
        content = json.loads(path.read_text())
        made = content.pop("made")
        rows = []
        for value in content.pop("values"):
            rows.append(Row(**content, **made[value.pop("made")], **value))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ResultsError) as error:
        raise ResultsError(
            f"{path}: not an evaluation ({error}): restore it, or delete it and evaluate again"
        ) from None
    for row in rows:
        if row.metric not in METRICS:
            raise ResultsError(f"{path}: no metric '{row.metric}': one of {', '.join(METRICS)}")
        if (row.metric in BITS) != (row.bound is not None and row.divided_by is not None):
            raise ResultsError(f"{path}: {row.metric}: bits, and only bits, are a bound")
    ids = [row.id for row in rows]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ResultsError(f"{path}: '{twice[0]}' is there twice")
    return rows


def write(rows: Sequence[Row], runs: Path) -> list[Path]:
    """Write rows into the evaluations of their runs, folders of `runs`; returns the files.

    Values of the same weights and pictures that were not made again are kept; those of others go.
    """
    groups: dict[Path, list[Row]] = {}
    for row in rows:
        path = runs / row.run / "evaluations" / f"{row.file}.json"
        groups.setdefault(path, []).append(row)
    for path, new in groups.items():
        same = ("weights_sha256", "data_sha256")
        old = [
            row
            for row in (read_file(path) if path.exists() else [])
            if all(getattr(row, k) == getattr(new[0], k) for k in same)
        ]
        kept = {row.id: row for row in old} | {row.id: row for row in new}
        write_text(path, _text(list(kept.values())))
    return list(groups)


def _text(rows: Sequence[Row]) -> str:
    """The file of rows that share a header."""
    head = {name: getattr(rows[-1], name) for name in HEADER}
    made = list(dict.fromkeys(tuple(getattr(row, name) for name in MADE) for row in rows))
    lines = []
    for row in rows:
        value = {
            name: getattr(row, name)
            for name in FIELDS[FIELDS.index("metric") :]
            if name == "metric" or getattr(row, name) != DEFAULTS[name]
        }
        value["made"] = made.index(tuple(getattr(row, name) for name in MADE))
        lines.append(json.dumps(value))
    top = json.dumps(head | {"made": [dict(zip(MADE, m, strict=True)) for m in made]}, indent=1)
    return top.removesuffix("\n}") + ',\n "values": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text)
    os.replace(partial, path)


# -- looking rows up -------------------------------------------------------------------------------

TELLING = ("run", "model", "data", "split", "metric", "bound", "divided_by", "temperature")
TELLING += ("draws", "samples", "rounded_x", "protocol", "num_images", "noise_seed")


def select(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows whose fields are as `wanted` says: `run="sr-flow-*"`, `metric="psnr"`.

    A text may hold "*" for any letters. A list holds alternatives, the most wanted first:
    the first of them that has rows counts. Raises ResultsError for a field that rows do not have.
    """
    unknown = [name for name in wanted if name not in FIELDS]
    if unknown:
        raise ResultsError(f"rows have no field '{unknown[0]}': choose from {', '.join(FIELDS)}")
    rows = list(rows)
    choices = [v if isinstance(v, (list, tuple)) else [v] for v in wanted.values()]
    for values in itertools.product(*choices):
        pairs = dict(zip(wanted, values, strict=True)).items()
        if found := [row for row in rows if all(fits(getattr(row, k), v) for k, v in pairs)]:
            return found
    return []


def fits(found: Any, wanted: Any) -> bool:
    """Whether a field is as wanted: equal, or of its form where that holds a "*"."""
    if isinstance(found, str) and isinstance(wanted, str) and "*" in wanted:
        return fnmatch.fnmatchcase(found, wanted)
    return found == wanted


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The only row that `select` finds, of the most pictures: a row of a part of a set does not
    stand for the set. Raises ResultsError if there is none, or several."""
    found = select(rows, **wanted)
    most = max((row.num_images for row in found), default=0)
    found = [row for row in found if row.num_images == most]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{k}={v!r}" for k, v in wanted.items())
    if not found:
        raise ResultsError(f"no row has {asked}")
    differ = [f for f in TELLING if len({getattr(row, f) for row in found}) > 1]
    names = ", ".join(row.id for row in found[:3])
    raise ResultsError(
        f"{len(found)} rows have {asked}: {names}{', ...' * (len(found) > 3)}; choose by "
        f"{', '.join(differ)}"
    )


def find(row_id: str, results: Path = RESULTS) -> Row:
    """The row of that id. Raises ResultsError."""
    for row in read(results):
        if row.id == row_id:
            return row
    raise ResultsError(f"no row '{row_id}': `python -m cnf results table` lists them")


def show(row_id: str, results: Path = RESULTS) -> str:
    """Every field of one row, one a line, as text."""
    row = find(row_id, results)
    fields = {"id": row.id} | dataclasses.asdict(row) | {"command": row.command}
    return "\n".join(f"{k:>15}  {v}" for k, v in fields.items())


def matching(rows: Iterable[Row], words: Sequence[str]) -> list[Row]:
    """The rows that have every word somewhere in id, model, metric, bound or protocol. Raises
    ResultsError if none has."""

    def text(row: Row) -> str:
        return f"{row.id} {row.model} {row.bound} {row.protocol}".lower()

    found = [row for row in rows if all(word.lower() in text(row) for word in words)]
    if words and not found:
        raise ResultsError(f"no row has {' and '.join(map(repr, words))}")
    return found


# -- words and tables ------------------------------------------------------------------------------


def value(row: Row) -> str:
    """The value as it is printed everywhere: "≤ 2.505 ± 0.012". "≤" marks bits that are a bound,
    "†" a value of an older version of its metric."""
    write = METRICS[row.metric].write
    text = f"{'≤ ' if row.is_bound else ''}{write(row.value)}{'†' if row.is_old else ''}"
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
    if row.is_old:
        parts.append(f"version {row.version} of the metric")
    return ", ".join(parts)


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
}
DEFAULT_COLUMNS = ("model", "data", "metric", "value", "images", "how", "id")


def table(rows: Iterable[Row], columns: Sequence[str] = DEFAULT_COLUMNS) -> str:
    """A markdown table, a line a row, of the named COLUMNS."""
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise ResultsError(f"no column '{unknown[0]}': choose from {', '.join(COLUMNS)}")
    lines = [[COLUMNS[name][1](row) for name in columns] for row in rows]
    return markdown([COLUMNS[name][0] for name in columns], lines)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A markdown table; a "|" inside a cell is escaped."""
    rule = ["---"] * len(head)
    rows = [[cell.replace("|", "\\|") for cell in cells] for cells in [head, rule, *lines]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
