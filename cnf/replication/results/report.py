"""The tables of the README and of the replication report, made of rows. `tables.yml` says which
rows they show."""

import csv
import io
import math
import statistics
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from cnf.errors import ResultsError
from cnf.replication.measures import MEASURES, Measure
from cnf.replication.places import REPOSITORY
from cnf.replication.results import claims
from cnf.replication.results.rows import (
    RESULTS,
    Row,
    find_by_words,
    markdown,
    one,
    read_rows,
    seeds_of,
    select,
    value,
    write_text,
)
from cnf.replication.results.rows import table as table_of

STEPS = "steps of training"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TABLES = yaml.safe_load(Path(__file__).with_name("tables.yml").read_text("utf-8"))

# -- tables ----------------------------------------------------------------------


class Grid(NamedTuple):
    """A small table. Each cell shows one row of results: the row with the fields `of` the table, of
    the cell's line and of its column. With `steps`, a last column says how long the model of a line
    was trained; with `full`, a cell says how many samples it depends on, and ranges that are known
    instead of a standard error."""

    title: str
    of: dict[str, Any]
    lines: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, Any]]
    steps: bool = False
    name: str = ""
    full: bool = False

    def cells(self, rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
        """The row of each cell by its line and column, without cells that no row fits. Raises
        ResultsError if several rows fit a cell."""
        found = {}
        for line, line_fields in self.lines.items():
            only = {k: v for k, v in line_fields.items() if not isinstance(v, list)}
            of_line = select(rows, **only)
            for column, column_fields in self.columns.items():
                wanted = self.of | line_fields | column_fields
                if select(of_line, **wanted):
                    found[line, column] = one(of_line, **wanted)
        return found

    def write(self, rows: Sequence[Row]) -> str:
        """The table as markdown; "" without rows."""
        cells, lines = self.cells(rows), []
        for name, fields in self.lines.items():
            shown = {c: cells[name, c] for c in self.columns if (name, c) in cells}
            line = {"": name} | {
                c: _cell(shown[c], rows, self.full) if c in shown else "" for c in self.columns
            }
            if self.steps:
                steps = {row.steps for row in select(rows, **(self.of | fields))} - {None}
                line[STEPS] = " or ".join(f"{n:,}" if n > 1 else "–" for n in sorted(steps))
            lines.append(line)
        text = full_table(lines, {"", STEPS})
        return f"**{self.title}**\n\n{text}" if self.title and text else text

    def csv(self, rows: Sequence[Row]) -> str:
        """The table as CSV, a line for each cell."""
        lines = []
        for (line, column), row in self.cells(rows).items():
            values = [each.value for each in seeds_of(row, rows)]
            deviation = statistics.stdev(values) if len(values) > 1 else ""
            lines.append(
                {
                    "model": line,
                    "column": column,
                    "value": row.value,
                    "standard_error": row.standard_error,
                    "seeds": len(values),
                    "deviation_over_seeds": deviation,
                    "is_upper_bound": row.is_bound,
                    "steps": row.steps,
                    "row": row.id,
                }
            )
        return _csv(lines)


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as comma-separated values, with a header; "" without lines."""
    if not lines:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")


def _cell(row: Row, rows: Sequence[Row], full: bool = False) -> str:
    """The value with its error over pictures and, where there are runs of other seeds, the
    deviation over seeds. With `full` also `_samples`, and of a calibration error the `_range`, as
    its standard error misleads."""
    text = value(row)
    if full:
        if row.metric == "calibration_error":
            text = MEASURES[row.metric].write(row.value)
        notes = [note for note in (_samples(row), *_range(row, rows)) if note]
        text += f" ({'; '.join(notes)})" if notes else ""
    values = [each.value for each in seeds_of(row, rows)]
    if len(values) < 2:
        return text
    return f"{text}; {len(values)} seeds ± {_small(MEASURES[row.metric], statistics.stdev(values))}"


def _small(measure: Measure, deviation: float) -> str:
    """A deviation in the digits of its measure, and in one that is not 0 if these are all 0."""
    text = measure.write(deviation)
    if deviation == 0 or float(text) > 0:
        return text
    return f"{deviation:.{-math.floor(math.log10(deviation))}f}"


def _range(row: Row, rows: Sequence[Row]) -> list[str]:
    """The 95 % range of a calibration error over photographs drawn with replacement, and the error
    of a perfectly calibrated model seen through as many samples; [] without these rows."""
    if row.metric != "calibration_error":
        return []
    same = {name: getattr(row, name) for name in ("run", "data", "split", "samples", "noise_seed")}
    texts = []
    for metric in ("calibration_low", "calibration_high", "calibration_floor"):
        if found := select(rows, **same | {"metric": metric, "num_images": row.num_images}):
            texts.append(MEASURES[metric].write(one(found).value))
    return [f"95 %: {texts[0]} to {texts[1]}", f"floor {texts[2]}"] if len(texts) == 3 else []


def _samples(row: Row) -> str:
    """How many samples a mean, a marginal or a limit was computed from."""
    if row.metric == "psnr_limit":
        return f"n → ∞, from {row.samples} samples"
    return f"n = {row.samples}" if (row.samples or 0) > 1 else ""


def full_table(lines: Sequence[dict[str, str]], label_columns: Collection[str]) -> str:
    """A markdown table without the lines and columns that are empty apart from `label_columns`;
    "" if nothing is left."""
    lines = [line for line in lines if any(line[c] for c in line if c not in label_columns)]
    if not lines:
        return ""
    columns = [c for c in lines[0] if c in label_columns or any(line[c] for line in lines)]
    return markdown(columns, [[line[column] for column in columns] for line in lines])


README = Grid(**TABLES["readme"])
REPORT = tuple(Grid(**grid) for grid in TABLES["report"])


def table(words: Sequence[str] = (), as_csv: bool = False, results: Path = RESULTS) -> str:
    """A table of the report by its name, or every row that has all these words, as markdown or CSV.
    Raises ResultsError if no row has them."""
    rows = read_rows(results)
    for grid in REPORT:
        if list(words) == [grid.name]:
            return grid.csv(rows) if as_csv else grid.write(rows)
    rows = find_by_words(rows, words)
    return _csv([{"id": row.id} | vars(row) for row in rows]) if as_csv else table_of(rows)


def readme(path: Path = REPOSITORY / "README.md", results: Path = RESULTS) -> str:
    """Rewrite the table of numbers between the two markers of README.md; returns the new text.

    Raises ResultsError if the markers are not there.
    """
    text = path.read_text("utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ResultsError(f"{path.name} must hold '{BEGIN}' and '{END}' once each")
    rows = read_rows(results)
    body = README.write(rows) or "No run has been evaluated yet."
    if (results / "claims.yml").exists():
        counts = claims.counts(claims.read_claims(results))
        body += f"\n\nClaims and numbers of the paper beside ours, by verdict. {counts}"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    new = f"{before}{BEGIN}\n{body}\n{END}{after}"
    if new != text:
        write_text(path, new)
    return new
