"""From a number to its command: how to get a row again (`results how`)."""

from collections.abc import Collection, Sequence
from pathlib import Path

from cnf.replication import records
from cnf.replication.data import catalogue
from cnf.replication.measures import MEASURES
from cnf.replication.results.rows import RESULTS, Row, describe, value, value_with_unit

ROOT = Path("$CNF_DATA")  # as a reader writes it


def facts(row: Row, results: Path = RESULTS) -> list[tuple[str, str]]:
    """What it takes to reproduce a row, as pairs of a name and a line."""
    if row.is_here:
        metric = MEASURES[row.metric]
        number = metric.write(row.value) if metric.digits in (None, 0) else f"{row.value:.6f}"
        within = [f"within {metric.tolerance:g}"] if metric.tolerance else []
        within += [f"within a factor of {metric.factor:g}"] if metric.factor > 1 else []
        lines = [
            ("command", f"python -m cnf results audit {row.id}"),
            ("expect", f"{number}, {' or '.join(within) or 'exactly'}"),
        ]
    else:
        lines = [
            ("weights", "not in the repository: train them, then score them"),
            ("expect", f"{value(row)}, but other weights on another machine"),
        ]
    lines += [("needs", needs(row) or "no data set: the pictures come with the package")]
    record = records.read_record(results / row.trained, needed=False)
    commands = training(row, results)
    lines += [("trained by", line) for line in commands]
    if commands and "version" in record:
        commit = f", commit {record['commit'][:8]}" if record.get("commit") else ""
        lines.append(("at", f"version {record['version']}{commit}, whose options had other names"))
    if commands and row.wall_s:
        duration = records.duration_text(row.wall_s)
        lines += [("that took", f"{row.steps:,} steps, {duration} on {row.hardware}")]
    lines += [("scored by", row.command)]
    commit = f"commit {row.git[:8]}, " if row.git else ""
    return [*lines, ("with", f"{commit}torch {row.torch}, {row.date}")]


def needs(row: Row) -> str | None:
    """The image sets of a row, where they belong and how to get them; None if all of them come with
    the package."""
    sentences = []
    for name in catalogue.parts(row.data):
        if name.startswith("folder:"):
            sentences.append(f"the pictures of {name}")
            continue
        entry = catalogue.find_entry(name)
        if entry.folder is not None:
            sentences.append(f"{entry.where(ROOT)}: {entry.how_to_get(ROOT)}")
    return "; ".join(sentences) or None


def training(row: Row, results: Path = RESULTS) -> list[str]:
    """The commands that train the weights of a row, in their order, from the record of its run;
    empty for a reference, and where there is no record."""
    return records.read_record(results / row.trained, needed=False).get("commands", [])


def text(rows: Sequence[Row], results: Path = RESULTS, first: Collection[str] = ()) -> str:
    """How to reproduce one row, a line a fact. Of several rows, the only one whose id is among
    `first`; the others have a line each, to choose from."""
    preferred = [row for row in rows if row.id in first]
    others = [row for row in rows if row not in preferred]
    if len(rows) == 1 or len(preferred) == 1:
        row = (preferred or rows)[0]
        lines = [row.id, f"{value_with_unit(row)}; {describe(row)}", ""]
        lines += [f"{name:>10}  {line}" for name, line in facts(row, results)]
        if len(rows) == 1:
            return "\n".join(lines)
        lines += ["", f"{len(others)} more rows are printed so; ask for one by its id:"]
    else:
        others = [*preferred, *others]
        lines = [f"{len(rows)} rows are printed so; ask for one by its id:"]
    lines += [f"{row.id}: {value_with_unit(row)}; {describe(row)}" for row in others]
    return "\n".join(lines)
