"""Rows: the numbers in `results/`, which has a folder for each run and in it a file an evaluation.

`results/<run>/evaluations/<set>-<split>[-options].json` says what was evaluated (weights, pictures,
training), and has a line for each value. A new evaluation replaces the file; git keeps the history.
A `Row` is one value with everything that is needed to check it.
"""

import csv
import dataclasses
import difflib
import fnmatch
import itertools
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, create_model

from cnf.errors import ResultsError, UnwritableError, nearest
from cnf.files import replaced
from cnf.replication.measures import MEASURES, REFERENCES, Setting
from cnf.replication.places import IS_CHECKOUT, RESULTS

WHERE = (
    "the repository has all, clone it; the package conditional-normalizing-flows-weights has those "
    "of released models"
)
DIGITS = 2e-6  # values of pictures are written to 1e-6; a mean of them may be twice as far off
FEW = 2_000  # steps of training: a model of fewer has not converged


@dataclass(frozen=True)
class Row:
    """One value.

    Args:
        run: name of the run's folder.
        model: "flow", the kind of the baseline, or one of REFERENCES.
        stand_in: whether `data` replaces a set that the paper used and we do not have.
        limit: how many of its images were scored; None: all.
        rounded_x: whether x was rounded to 8 bits; None for a task without a low-resolution x.
        noise_seed: seed of the noise of this evaluation.
        weights: path inside the repository; None if the weights are not in it.
        preset to hardware: facts of the training run; `wall_s` is its duration in seconds.
        command: the command that computed the value.
        git, dirty: commit of the code that evaluated; whether `cnf/` had changes.
        metric, version: see `Measure`. `standard_error` is over images; None where undefined.
        bound: "exact", or what makes the bits an upper bound, or why they are no likelihood; None
            where `metric` is not in bits.
        divided_by to protocol: see `measures.Setting`.
        threshold_from: "validation", "given", or the run that chose the threshold.
        variant: what an experiment made of the model in `weights`, see `variants`.
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
        return self.version < MEASURES[self.metric].version

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
        """The setting at which the metric was taken."""
        names = ("temperature", "samples", "draws", "divided_by", "protocol")
        threshold = self.threshold if self.threshold_from not in (None, "validation") else None
        fields = {name: getattr(self, name) for name in names}
        return Setting(**fields, importance=self.is_weighted, threshold=threshold)

    @property
    def file(self) -> str:
        """The name of its file without the suffix: <set>-<split>, then every option that is not at
        its default."""
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
        """RUN/FILE/METRIC, then the settings that distinguish it from other rows of the file."""
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


def ending(variant: str | None) -> str:
    """The suffix of the name of a run whose model is a variant of the trained model."""
    return "" if variant is None else f"-{variant.partition('=')[0].rpartition('/')[2]}"


DEFAULTS = {field.name: field.default for field in dataclasses.fields(Row)}
TYPES: dict[str, Any] = {name: (hint, None) for name, hint in get_type_hints(Row).items()}
FILED = create_model("Filed", __config__=ConfigDict(strict=True), **TYPES)  # a file may be wrong
PROVENANCE = ("git", "dirty", "torch", "date")  # of each value; the same for most of a file
HEADER = tuple(itertools.takewhile(lambda name: name != "git", DEFAULTS))


# -- files -----------------------------------------------------------------------------------------


def read_rows(results: Path = RESULTS, run: str = "*") -> list[Row]:
    """Every row of every run, or of one run, in the order of files. Raises ResultsError naming a
    damaged file, and in an installed package that has no results."""
    if results == RESULTS and not results.exists():
        raise ResultsError(f"no results here: {WHERE}")
    rows = []
    for path in sorted(results.glob(f"{run}/evaluations/*.json")):
        if not path.stem.endswith(".curves"):
            rows += read_file(path)
    return rows


def read_file(path: Path) -> list[Row]:
    """The rows of one evaluation. Raises ResultsError."""
    try:
        content = json.loads(path.read_text("utf-8"))
        provenance = content.pop("made")
        rows = []
        for value in content.pop("values"):
            fields = content | provenance[value.pop("made")] | value
            FILED(**fields)
            rows.append(Row(**fields))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ResultsError) as error:
        said = " ".join(str(error).split())
        raise ResultsError(
            f"{path}: not an evaluation ({said}): restore it, or delete it and evaluate again"
        ) from None
    for row in rows:
        if row.metric not in MEASURES:
            raise ResultsError(
                f"{path}: no measure '{row.metric}': the nearest are "
                f"{nearest(row.metric, MEASURES)}; or get the experiment that declares it from the "
                "clone that evaluated"
            )
        check_bound(row, str(path))
    ids = [row.id for row in rows]
    duplicates = sorted({i for i in ids if ids.count(i) > 1})
    if duplicates:
        raise ResultsError(f"{path}: '{duplicates[0]}' is there twice")
    return rows


def check_bound(row: Row, where: str) -> None:
    """Raise ResultsError unless the row names a bound if, and only if, its metric is of bits."""
    bounded = row.bound is not None and row.divided_by is not None
    if (MEASURES[row.metric].of == "bits") != bounded:
        raise ResultsError(
            f"{where}: {row.metric}: bits, and only bits, are a bound: declare another `of` of a "
            "measure of yours"
        )


def write(rows: Sequence[Row], runs: Path) -> list[Path]:
    """Write rows into the evaluations of their runs, folders of `runs`; returns the files.

    A row that a file holds already stays if it is of the same model and pictures and was not
    computed again; rows of another model or other pictures are removed.
    """

    def subject(row: Row) -> tuple:
        return row.weights_sha256, row.data_sha256, row.variant

    groups: dict[Path, dict[str, Row]] = {}
    for row in rows:
        check_bound(row, row.run)
        path = runs / row.run / "evaluations" / f"{row.file}.json"
        if path not in groups:
            old = read_file(path) if path.exists() else []
            mine = [other for other in old if subject(other) == subject(row)]
            # as the folder is called now
            mine = [replace(other, run=row.run, weights=row.weights) for other in mine]
            groups[path] = {other.id: other for other in mine}
        groups[path][row.id] = row
    for path, rows_by_id in groups.items():
        write_text(path, _text(list(rows_by_id.values())))
    return list(groups)


def _text(rows: Sequence[Row]) -> str:
    """The content of a file: the header that the rows share, their provenance, a line a value."""
    header = {name: getattr(rows[-1], name) for name in HEADER}
    provenances: list[dict[str, Any]] = []
    lines = []
    for row in rows:
        provenance = {name: getattr(row, name) for name in PROVENANCE}
        if row.command != header["command"]:
            provenance["command"] = row.command
        if provenance not in provenances:
            provenances.append(provenance)
        fields = {
            k: v for k, v in vars(row).items() if k not in header | provenance and v != DEFAULTS[k]
        }
        lines.append(json.dumps(fields | {"made": provenances.index(provenance)}))
    top = json.dumps(header | {"made": provenances}, indent=1)
    return top.removesuffix("\n}") + ',\n "values": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. Raises UnwritableError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as part:
            part.write_text(text, "utf-8")
    except OSError as error:
        raise UnwritableError(
            f"{path} cannot be written ({error.strerror or error}): make room, give yourself "
            "permission, or give another --out"
        ) from None


# -- looking rows up -------------------------------------------------------------------------------

DISTINGUISHING = (
    *("run", "model", "data", "split", "metric", "bound", "divided_by", "temperature"),
    *("draws", "samples", "rounded_x", "protocol", "num_images", "noise_seed"),
)

# fields that are equal in two rows whose values may be subtracted
COMPARABLE = ("data_sha256", "metric", "num_images", "rounded_x", "divided_by", "protocol")


def select(rows: Iterable[Any], **wanted: Any) -> list[Any]:
    """The rows whose fields have the wanted values: `run="sr-flow-*"`, `metric="psnr"`.

    A "*" in a text stands for any characters. A list holds alternatives in order of preference:
    the first one that has rows is taken. Raises ResultsError for a field that rows do not have.
    """
    rows = list(rows)
    for name in wanted:
        if rows and name not in vars(rows[0]):
            fields = ", ".join(vars(rows[0]))
            raise ResultsError(f"rows have no field '{name}': choose from {fields}")
    choices = [v if isinstance(v, (list, tuple)) else [v] for v in wanted.values()]
    for values in itertools.product(*choices):
        matches = rows
        for name, value in zip(wanted, values, strict=True):
            matches = _with(matches, name, value)
        if matches:
            return matches
    return []


def _with(rows: list[Any], name: str, wanted: Any) -> list[Any]:
    """The rows of which a field equals the wanted value, or matches it where that holds a "*"."""
    if not (isinstance(wanted, str) and "*" in wanted):
        return [row for row in rows if getattr(row, name) == wanted]
    texts = [row for row in rows if isinstance(getattr(row, name), str)]
    return [row for row in texts if fnmatch.fnmatchcase(getattr(row, name), wanted)]


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The only row that `select` finds. Where a set was scored in part as well, the row of the most
    pictures is taken. Raises ResultsError if there is no such row, or several."""
    matches: list[Row] = select(rows, **wanted)
    largest: Counter[tuple[str, str]] = Counter()
    for row in matches:
        largest[row.data, row.split] = max(largest[row.data, row.split], row.num_images)
    matches = [row for row in matches if row.num_images == largest[row.data, row.split]]
    if len(matches) == 1:
        return matches[0]
    wanted_text = ", ".join(f"{k}={v!r}" for k, v in wanted.items())
    if not matches:
        raise ResultsError(f"no row has {wanted_text}")
    differ = [f for f in DISTINGUISHING if len({getattr(row, f) for row in matches}) > 1]
    names = ", ".join(row.id for row in matches[:3])
    if len(matches) > 3:
        names += ", ..."
    raise ResultsError(
        f"{len(matches)} rows have {wanted_text}: {names}; choose by {', '.join(differ)}"
    )


def seeds_of(row: Row, rows: Iterable[Row]) -> list[Row]:
    """A row and the same row of all runs whose names differ in the seed alone: NAME-s0, NAME-s1."""
    names = ("data", "split", "noise_seed", "bound", "draws", "temperature", "samples", "variant")
    alike = {name: getattr(row, name) for name in (*COMPARABLE, *names)}
    name = re.sub(r"-s\d+$", "", row.trained)
    return [r for r in select(rows, **alike) if re.sub(r"-s\d+$", "", r.trained) == name]


def pictures(row: Row, results: Path = RESULTS) -> dict[str, float]:
    """The value of each picture by its name, where a row is the mean over pictures. Of an F over
    pooled pixels, the F of each picture alone. Empty where these values were not kept.
    Raises ResultsError for a damaged file."""
    folder = results / row.run / "evaluations"
    pooled = MEASURES[row.metric].title.endswith("pooled")
    ends = "", f"_{row.protocol}", "_xrounded" if row.rounded_x else "_xfloat"
    for name in dict.fromkeys((row.file, row.file.removesuffix("-x8"))):  # --full writes one file
        columns = _columns(folder / f"{name}.csv")
        for column in (row.metric.removesuffix("_image") + end for end in ends):
            if column not in columns:
                continue
            values = [value for value in columns[column].values() if not math.isnan(value)]
            if pooled or values and abs(statistics.fmean(values) - row.value) < DIGITS:
                return columns[column]
    return {}


def _columns(path: Path) -> dict[str, dict[str, float]]:
    """The columns of a file of values of pictures, each by the names of the pictures; {} without
    that file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
        columns = [name for name in lines[0] if name != "image"]
        return {name: {line["image"]: float(line[name]) for line in lines} for name in columns}
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise ResultsError(f"{path}: {error!r}: restore it, or evaluate again") from None


def find_rows(text: str, rows: Iterable[Row]) -> list[Row]:
    """The row with this id, or all rows that are printed as this number: "0.0551". Raises
    ResultsError naming the nearest ids."""
    by_id = {row.id: row for row in rows}
    if text in by_id:
        return [by_id[text]]
    number = text.removeprefix("≤ ").split(" ±")[0]
    matches = [row for row in by_id.values() if MEASURES[row.metric].write(row.value) == number]
    if matches:
        return matches
    nearest = difflib.get_close_matches(text, by_id, 3, 0.5)
    hint = f"; the nearest are {', '.join(nearest)}" if nearest else ""
    elsewhere = "" if IS_CHECKOUT else f"; {WHERE}"
    raise ResultsError(
        f"no row has the id, or is printed as, '{text}'{hint}: "
        f"`python -m cnf results table WORD` lists rows by words{elsewhere}"
    )


def show(row: Row) -> str:
    """Every field of a row as text, a line a field."""
    fields = {"id": row.id} | vars(row)
    return "\n".join(f"{name:>15}  {value}" for name, value in fields.items())


def find_by_words(rows: Iterable[Row], words: Sequence[str]) -> list[Row]:
    """The rows that have every word in their id, model, metric, bound or protocol. Raises
    ResultsError if no row has them all."""
    matches = []
    for row in rows:
        text = f"{row.id} {row.model} {row.bound} {row.protocol}".lower()
        if all(word.lower() in text for word in words):
            matches.append(row)
    if words and not matches:
        raise ResultsError(f"no row has {' and '.join(map(repr, words))}")
    return matches


# -- words and tables ------------------------------------------------------------------------------


def value(row: Row) -> str:
    """The value as it is printed everywhere: "≤ 2.505 ± 0.012". "≤" marks bits that are a bound,
    "†" a value of an older version of its metric. Pictures that all have the same value, as where
    no interval holds the truth, do not tell its error: it is left out."""
    write = MEASURES[row.metric].write
    text = f"{'≤ ' if row.is_bound else ''}{write(row.value)}{'†' if row.is_old else ''}"
    return f"{text} ± {write(row.standard_error)}" if row.standard_error else text


def value_with_unit(row: Row) -> str:
    """The value with its unit, where it has one: "36.18 ± 1.34 dB"."""
    unit = MEASURES[row.metric].unit
    return value(row) if unit == "1" else f"{value(row)} {unit}"


def describe(row: Row) -> str:
    """What a row measures, in words: metric, how it was scored, model, its steps, and pictures."""
    metric = _metric(row).removeprefix(MEASURES[row.metric].unit).strip()  # bits/dim says it
    scored = ", ".join(part for part in (metric, _how(row)) if part)
    model = row.model if row.is_reference else row.run
    if row.steps is not None:
        only = "only " if row.steps < FEW else ""
        is_fitted = row.steps == 1
        model += " fitted in one pass" if is_fitted else f" after {only}{row.steps:,} steps"
    stand_in = ", a stand-in" if row.stand_in else ""
    return f"{scored}; {model}; {row.num_images} {row.split} pictures of {row.data}{stand_in}"


def _metric(row: Row) -> str:
    title = MEASURES[row.metric].title
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
    if row.threshold is not None and "at 0.5" not in MEASURES[row.metric].title:
        words.append(f"threshold {row.threshold:.3f}")
    if row.is_old:
        words.append(f"version {row.version} of the metric")
    return ", ".join(words)


def cells(row: Row) -> dict[str, str]:
    """The cell of a row in every column of `table`."""
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


COLUMNS = ("model", "data", "metric", "value", "images", "how", "row")


def table(rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> str:
    """A markdown table with a line for each row and these columns of `cells`."""
    return markdown(columns, ([cells(row)[name] for name in columns] for row in rows))


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]], stacked: bool = False) -> str:
    """A markdown table; a "|" inside a cell is escaped. With `stacked`, pages on a phone show each
    line as a card, without the header."""
    rule = ["---"] * len(header)
    rows = [[cell.replace("|", "\\|") for cell in cells] for cells in [header, rule, *lines]]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    return f'<div class="stacked">\n\n{text}\n\n</div>' if stacked else text
