"""What `results/` holds: a folder a run, with one file an evaluation.

`results/<run>/evaluations/<set>-<split>[-options].json` says what was evaluated (weights, pictures,
training), and has a line a value. It is written anew when it is made anew: git keeps the history.
A `Row` is one value with all that it takes to dispute it.
"""

import dataclasses
import difflib
import fnmatch
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cnf.errors import ResultsError
from cnf.replication import upgrade
from cnf.replication.evaluation.variants import ending
from cnf.replication.metrics import METRICS, Setting, likelihood, stress, superresolution, vessels  # noqa: F401
from cnf.replication.run_folder import REPOSITORY, replaced
from cnf.replication.tasks import TASKS

RESULTS = REPOSITORY / "results"
DIGITS = 2e-6  # what the values of pictures are written to, and twice
FEW = 2_000  # steps of training: models of fewer are far from done learning
# What answers without weights and training: rows of it have data alone.
REFERENCES = tuple({name: None for task in TASKS.values() for name in task.references})


@dataclass(frozen=True)
class Row:
    """One value.

    Args:
        run: the folder. model: "flow", the baseline's kind, or one of REFERENCES.
        stand_in: whether `data` replaces a set that the paper used and we do not have.
        limit: only so many of its images. rounded_x: whether x had 8 bits; None for vessels.
        noise_seed: of this evaluation. weights: path inside the repository, None if not in it.
        preset to hardware: of the training run; wall_s: its seconds by the clock.
        command: the one that made it.
        git, dirty: commit of the code that evaluated; whether `cnf/` had changes.
        metric, version: see `metrics`. `standard_error` is over images; None where undefined.
        bound: "exact", what makes the bits an upper bound, or why they are of no likelihood; None
            where `metric` is not in bits.
        divided_by to protocol: see `metrics.Setting`; threshold_from: "validation", "given", or
            the run that chose the threshold.
        variant: what an experiment made of the model in `weights`: see `evaluation.variants`.
    """

    run: str
    task: str
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
    command: str
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
    variant: str | None = None
    version: int = 1

    def __post_init__(self):
        if not math.isfinite(self.value):
            where = f"{self.run} on {self.data} {self.split}"
            raise ResultsError(f"{self.metric} of {where} is {self.value}: not written")

    @property
    def is_bound(self) -> bool:
        return "dequantization" in (self.bound or "")

    @property
    def is_old(self) -> bool:
        return self.version < METRICS[self.metric].version

    @property
    def is_weighted(self) -> bool:
        """Whether it is the bound of `draws` importance samples."""
        return "importance" in (self.bound or "")

    @property
    def is_repeated(self) -> bool:
        """Whether it is the mean over several draws of noise."""
        return not self.is_weighted and (self.draws or 0) > 1

    @property
    def is_reference(self) -> bool:
        return self.model in REFERENCES

    @property
    def is_here(self) -> bool:
        """Whether all but the pictures is in the repository."""
        return self.is_reference or self.weights is not None

    @property
    def trained(self) -> str:
        """The run that was trained."""
        return self.run.removesuffix(ending(self.variant))

    @property
    def setting(self) -> Setting:
        """What the metric was asked for."""
        kept = ("temperature", "samples", "draws", "divided_by", "protocol")
        chosen = self.threshold if self.threshold_from not in (None, "validation") else None
        found = {name: getattr(self, name) for name in kept}
        return Setting(**found, importance=self.is_weighted, threshold=chosen)

    @property
    def file(self) -> str:
        """The name of its file, without its end: <set>-<split>, and what is not at its default."""
        words = [re.sub("[:/]", "-", self.data), self.split]
        if self.rounded_x:
            words.append("x8")
        if self.limit is not None:
            words.append(f"n{self.limit}")
        if self.noise_seed:
            words.append(f"noise{self.noise_seed}")
        return "-".join(words)

    @property
    def id(self) -> str:
        """RUN/FILE/METRIC, and the settings that tell it from others of the file."""
        words = [self.metric]
        if self.divided_by == "field of view":
            words.append("view")
        if self.is_weighted:
            words.append(f"iw{self.draws}")
        if self.is_repeated:
            words.append(f"d{self.draws}")
        if (self.samples or 0) > 1:
            words.append(f"s{self.samples}")
        if self.temperature not in (None, 1.0):
            words.append(f"t{self.temperature:g}")
        if self.protocol:
            words.append(self.protocol)
        return f"{self.run}/{self.file}/{'-'.join(words)}"


DEFAULTS = {field.name: field.default for field in dataclasses.fields(Row)}
MADE = ("git", "dirty", "torch", "date")  # of each value; the same for most of a file
HEADER = tuple(itertools.takewhile(lambda name: name != "git", DEFAULTS))


# -- files -----------------------------------------------------------------------------------------


def read(results: Path = RESULTS, run: str = "*") -> list[Row]:
    """Every row of every run, or of one, in the order of files. Raises ResultsError naming a
    damaged file."""
    paths = sorted(results.glob(f"{run}/evaluations/*.json"))
    return [row for p in paths if not p.stem.endswith(".curves") for row in read_file(p)]


def read_file(path: Path) -> list[Row]:
    """The rows of one evaluation. Raises ResultsError."""
    try:
        content = json.loads(path.read_text("utf-8"))
        made = content.pop("made")
        rows = []
        for value in content.pop("values"):
            rows.append(Row(**upgrade.row(content | made[value.pop("made")] | value)))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ResultsError) as error:
        raise ResultsError(
            f"{path}: not an evaluation ({error}): restore it, or delete it and evaluate again"
        ) from None
    for row in rows:
        if row.metric not in METRICS:
            raise ResultsError(f"{path}: no metric '{row.metric}': one of {', '.join(METRICS)}")
        bounded = row.bound is not None and row.divided_by is not None
        if (METRICS[row.metric].of == "bits") != bounded:
            raise ResultsError(f"{path}: {row.metric}: bits, and only bits, are a bound")
    ids = [row.id for row in rows]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ResultsError(f"{path}: '{twice[0]}' is there twice")
    return rows


def write(rows: Sequence[Row], runs: Path) -> list[Path]:
    """Write rows into the evaluations of their runs, folders of `runs`; returns the files.

    Values of the same model and pictures that were not made again are kept; those of others go.
    """

    def of(row: Row) -> tuple:
        return row.weights_sha256, row.data_sha256, row.variant

    groups: dict[Path, dict[str, Row]] = {}
    for row in rows:
        path = runs / row.run / "evaluations" / f"{row.file}.json"
        if path not in groups:
            old = read_file(path) if path.exists() else []
            groups[path] = {o.id: o for o in old if of(o) == of(row)}
        groups[path][row.id] = row
    for path, kept in groups.items():
        write_text(path, _text(list(kept.values())))
    return list(groups)


def _text(rows: Sequence[Row]) -> str:
    """The file of rows that share a header: what made them once, a value a line."""
    head = {name: getattr(rows[-1], name) for name in HEADER}
    made: list[dict[str, Any]] = []
    lines = []
    for row in rows:
        own = {name: getattr(row, name) for name in MADE}
        if row.command != head["command"]:
            own["command"] = row.command
        if own not in made:
            made.append(own)
        said = {k: v for k, v in vars(row).items() if k not in head | own and v != DEFAULTS[k]}
        lines.append(json.dumps(said | {"made": made.index(own)}))
    top = json.dumps(head | {"made": made}, indent=1)
    return top.removesuffix("\n}") + ',\n "values": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        part.write_text(text, "utf-8")


# -- looking rows up -------------------------------------------------------------------------------

TELLING = ("run", "model", "data", "split", "metric", "bound", "divided_by", "temperature")
TELLING += ("draws", "samples", "rounded_x", "protocol", "num_images", "noise_seed")

# of rows whose values may be subtracted
ALIKE = ("data_sha256", "metric", "num_images", "rounded_x", "divided_by", "protocol")


def select(rows: Iterable[Any], **wanted: Any) -> list[Any]:
    """The rows whose fields are as `wanted` says: `run="sr-flow-*"`, `metric="psnr"`.

    A text may hold "*" for any letters. A list holds alternatives, the most wanted first:
    the first of them that has rows counts. Raises ResultsError for a field that rows do not have.
    """
    rows = list(rows)
    for name in wanted:
        if rows and name not in vars(rows[0]):
            known = ", ".join(vars(rows[0]))
            raise ResultsError(f"rows have no field '{name}': choose from {known}")
    choices = [v if isinstance(v, (list, tuple)) else [v] for v in wanted.values()]
    for values in itertools.product(*choices):
        pairs = dict(zip(wanted, values, strict=True)).items()
        if found := [row for row in rows if all(_fits(getattr(row, k), v) for k, v in pairs)]:
            return found
    return []


def _fits(found: Any, wanted: Any) -> bool:
    """Whether a field is as wanted: equal, or of its form where that holds a "*"."""
    if isinstance(found, str) and isinstance(wanted, str) and "*" in wanted:
        return fnmatch.fnmatchcase(found, wanted)
    return found == wanted


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The only row that `select` finds, of the most pictures: a row of a part of a set does not
    stand for the set. Raises ResultsError if there is none, or several."""
    found, most = select(rows, **wanted), Counter()
    for row in found:
        most[row.data, row.split] = max(most[row.data, row.split], row.num_images)
    found = [row for row in found if row.num_images == most[row.data, row.split]]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{k}={v!r}" for k, v in wanted.items())
    if not found:
        raise ResultsError(f"no row has {asked}")
    differ = [f for f in TELLING if len({getattr(row, f) for row in found}) > 1]
    names = ", ".join(row.id for row in found[:3])
    if len(found) > 3:
        names += ", ..."
    raise ResultsError(f"{len(found)} rows have {asked}: {names}; choose by {', '.join(differ)}")


def seeds_of(row: Row, rows: Iterable[Row]) -> list[Row]:
    """A row and those like it of runs whose name differs in the seed alone: NAME-s0, NAME-s1."""
    names = (*ALIKE, "data", "split", "noise_seed", "bound", "draws", "temperature", "samples")
    names = (*names, "variant")
    alike = {name: getattr(row, name) for name in names}
    name = re.sub(r"-s\d+$", "", row.trained)
    return [r for r in select(rows, **alike) if re.sub(r"-s\d+$", "", r.trained) == name]


def pictures(row: Row, results: Path = RESULTS) -> dict[str, float]:
    """The value of each picture, by its name, of which a row is the mean; of an F over pooled
    pixels that of the picture alone. Empty where it was not kept. Raises ResultsError."""
    folder, pooled = results / row.run / "evaluations", METRICS[row.metric].title.endswith("pooled")
    ends = "", f"_{row.protocol}", "_xrounded" if row.rounded_x else "_xfloat"
    for name in dict.fromkeys((row.file, row.file.removesuffix("-x8"))):  # --full writes one file
        try:
            table = pd.read_csv(folder / f"{name}.csv", index_col="image")
        except FileNotFoundError:
            continue
        except ValueError as error:
            message = f"{folder / name}.csv: {error}: restore it, or evaluate again"
            raise ResultsError(message) from None
        for column in (row.metric.removesuffix("_image") + end for end in ends):
            if column not in table:
                continue
            if pooled or abs(table[column].mean() - row.value) < DIGITS:
                return table[column].to_dict()
    return {}


def find(asked: str, rows: Iterable[Row]) -> list[Row]:
    """The row of an id, or those of a number as it is printed: "0.0551". Raises ResultsError naming
    the nearest ids."""
    by_id = {row.id: row for row in rows}
    if asked in by_id:
        return [by_id[asked]]
    number = asked.removeprefix("≤ ").split(" ±")[0]
    if found := [row for row in by_id.values() if METRICS[row.metric].write(row.value) == number]:
        return found
    near = ", ".join(difflib.get_close_matches(asked, by_id, 3, 0.5))
    raise ResultsError(
        f"no row has the id, or is printed as, '{asked}'{near and f'; the nearest are {near}'}: "
        "`python -m cnf results table WORD` lists rows by words"
    )


def show(row: Row) -> str:
    """Every field of a row, one a line, as text."""
    fields = {"id": row.id} | vars(row)
    return "\n".join(f"{name:>15}  {value}" for name, value in fields.items())


def matching(rows: Iterable[Row], words: Sequence[str]) -> list[Row]:
    """The rows that have every word somewhere in id, model, metric, bound or protocol. Raises
    ResultsError if none has."""
    texts = ((row, f"{row.id} {row.model} {row.bound} {row.protocol}".lower()) for row in rows)
    found = [row for row, text in texts if all(word.lower() in text for word in words)]
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
    unit = METRICS[row.metric].unit
    return value(row) if unit == "1" else f"{value(row)} {unit}"


def described(row: Row) -> str:
    """What a value is of, in words: metric, how it was scored, model and its steps, pictures."""
    metric = _metric(row).removeprefix(METRICS[row.metric].unit).strip()  # bits/dim says it
    scored = ", ".join(part for part in (metric, _how(row)) if part)
    model = row.model if row.is_reference else row.run
    if row.steps is not None:
        only = "only " if row.steps < FEW else ""
        many = f"after {only}{row.steps:,} steps"
        model += " fitted in one pass" if row.steps == 1 else f" {many}"
    stand_in = ", a stand-in" if row.stand_in else ""
    return f"{scored}; {model}; {row.num_images} {row.split} pictures of {row.data}{stand_in}"


def _metric(row: Row) -> str:
    title = METRICS[row.metric].title
    if row.divided_by == "field of view":
        title += " inside the field of view"
    if row.is_weighted:
        title += f" ({row.draws} importance samples)"
    return title


def _how(row: Row) -> str:
    words = []
    if row.bound is not None:
        words.append(f"bound: {row.bound}" if row.is_bound else row.bound)
    if row.protocol:
        words.append(f"{row.protocol} protocol")
    if row.rounded_x is not None:
        words.append("x rounded to 8 bits" if row.rounded_x else "x not rounded")
    if row.samples:
        words.append("1 sample" if row.samples == 1 else f"{row.samples} samples")
        if row.temperature is not None:
            words.append(f"temperature {row.temperature:g}")
    if row.threshold is not None and not row.metric.startswith("f_half"):
        words.append(f"threshold {row.threshold:.3f}")
    if row.is_old:
        words.append(f"version {row.version} of the metric")
    return ", ".join(words)


def cells(row: Row) -> dict[str, str]:
    """Every column of `table`."""
    stand_in = " (stand-in)" if row.stand_in else ""
    return {
        "model": row.model,
        "data": f"{row.data} {row.split}{stand_in}",
        "metric": _metric(row),
        "value": value(row),
        "images": str(row.num_images),
        "how": _how(row),
        "row": f"`{row.id}`",
    }


USUAL = ("model", "data", "metric", "value", "images", "how", "row")


def table(rows: Iterable[Row], columns: Sequence[str] = USUAL) -> str:
    """A markdown table, a line a row, of these columns of `cells`."""
    return markdown(columns, ([cells(row)[name] for name in columns] for row in rows))


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]], stacked: bool = False) -> str:
    """A markdown table; a "|" inside a cell is escaped. With `stacked` the pages show it on a phone
    as a card a line, without the head."""
    rule = ["---"] * len(head)
    rows = [[cell.replace("|", "\\|") for cell in cells] for cells in [head, rule, *lines]]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    return f'<div class="stacked">\n\n{text}\n\n</div>' if stacked else text
