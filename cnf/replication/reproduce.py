"""From a number to the command that gives it again: `python -m cnf results how ID`, and the page
"Reproduce a number"."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cnf.config import config_sha256, load_config
from cnf.errors import LedgerError
from cnf.replication import audit, run_folder, stress
from cnf.replication import results as ledger
from cnf.replication.data import catalogue
from cnf.replication.results import Row

ROOT = Path("$CNF_DATA")  # as a reader writes it

# What ablations of the preset changed: the one whose hash is that of the row is shown.
CHANGES = (
    *((), ("model.scale=additive",), ("model.couplings_see_x=false",)),
    *(("model.prior=blind",), ("model.prior=fixed",)),
)


class How(NamedTuple):
    """How a row is had again.

    Args:
        row: the row; `what` it is in words.
        expect: the value, and how far from it another machine may land.
        audit: the command that derives it again from the committed weights; None without weights.
        seconds: of one core that it takes, about; None without `audit`.
        data: the set that it needs, where it belongs and how to get it; None if it is embedded.
        evaluate: the command that made the row.
        train: the commands that made the weights, in their order; None if none is known to.
    """

    row: Row
    what: str
    expect: str
    audit: str | None
    seconds: float | None
    data: str | None
    evaluate: str
    train: tuple[str, ...] | None


def how(row: Row, results: Path = ledger.RESULTS) -> How:
    """All that it takes to have a row again."""
    metric = ledger.METRICS[row.metric]
    number = metric.write(row.value) if metric.digits in (None, 0) else f"{row.value:.6f}"
    within = [f"within {metric.tolerance:g}"] if metric.tolerance else []
    within += [f"within a factor of {metric.factor:g}"] if metric.factor > 1 else []
    expect = f"{number}, {' or '.join(within) or 'exactly'}"
    can = row.model in ledger.REFERENCES or row.weights is not None
    return How(
        row,
        ledger.described(row),
        expect,
        f"python -m cnf results audit {row.id}" if can else None,
        seconds(row) if can else None,
        needs(row),
        row.command,
        training(row, results),
    )


def seconds(row: Row) -> float:
    """About how long an audit of one row computes: values of y, over samples or draws."""
    entries = catalogue.find(row.data).values
    if row.metric in ledger.STRESS:
        entries = min(entries, 3 * stress.SIDE**2)
    return entries * row.num_images * audit.times(row) / audit.SPEED


def needs(row: Row) -> str | None:
    """The set of a row, where it belongs and how it is had; None if it comes with the package."""
    entry = catalogue.find(row.data)
    where = entry.where(ROOT)
    return None if where is None else f"{where}: {entry.how_to_get(ROOT)}"


def training(row: Row, results: Path = ledger.RESULTS) -> tuple[str, ...] | None:
    """The commands that train the weights of a row, in their order. None for a reference, and for
    a run of which neither its record is here nor a preset gives its configuration."""
    if row.model in ledger.REFERENCES:
        return None
    folder = results / row.run
    if (folder / "config.json").exists():
        record, config = run_folder.read_record(folder), run_folder.read_config(folder)
        if config_sha256(config) == row.config_sha256:
            line = run_folder.command(config, record["steps"], record["seed"], record["processes"])
            if "start" not in record:
                return (line,) if line else None
            first = record["start"]["run"]
            begin = run_folder.read_record(results / first)["command"]
            return begin, f"{line} --start runs/{first}"
    model = "flow" if row.model == "flow" else "baseline"
    for change in CHANGES:
        config = load_config(row.experiment, model, row.preset, list(change))
        config = replace(config, training=replace(config.training, steps=row.steps, minutes=None))
        if config_sha256(config) == row.config_sha256:
            return (run_folder.command(config, row.steps, row.seed),)
    return None


def find(text: str, rows: Iterable[Row]) -> list[Row]:
    """The rows that a reader means by an id, or by a number as it is printed: "0.0551". For a row
    that was superseded, the newest. Raises LedgerError naming the nearest ids."""
    rows = list(rows)
    by_id = {row.id: row for row in rows}
    if text in by_id:
        newer = {row.supersedes: row.id for row in rows if row.supersedes}
        while text in newer:
            text = newer[text]
        return [by_id[text]]
    rows = ledger.current(rows)
    found = [row for row in rows if ledger.METRICS[row.metric].write(row.value) == text]
    if found:
        return found
    near = difflib.get_close_matches(text, [row.id for row in rows], 3, 0.5)
    near = f"; the nearest are {', '.join(near)}" if near else ""
    raise LedgerError(
        f"no row has the id, or is printed as, '{text}'{near}: `python -m cnf results table WORD` "
        "lists rows by words"
    )


def text(found: Sequence[Row], results: Path = ledger.RESULTS) -> str:
    """How one row is had again, a line each; of several rows a line each, to choose from."""
    if len(found) > 1:
        lines = [f"{row.id}: {ledger.valued(row)}; {ledger.described(row)}" for row in found]
        return "\n".join([f"{len(found)} rows are printed so; ask for one by its id:", *lines])
    told, (row,) = how(found[0], results), found
    lines = [row.id, f"{ledger.valued(row)}; {told.what}", ""]
    lines += [f"{name:>9}  {line}" for name, line in facts(told)]
    return "\n".join(lines)


def facts(told: How) -> list[tuple[str, str]]:
    """What a reader needs, as pairs of a name and a line."""
    row, lines = told.row, []
    if told.audit:
        lines += [("command", told.audit), ("expect", told.expect)]
        lines += [("takes", f"about {audit.about(told.seconds)} of one core")]
    else:
        lines += [("weights", "not in the repository: train them, then score them")]
        lines += [("expect", f"{ledger.value(row)}, but other weights on another machine")]
    lines += [("needs", told.data or "no data set: the pictures come with the package")]
    for line in told.train or ():
        lines += [("trained by", line)]
    if told.train:
        lines += [
            ("that took", f"{row.steps:,} steps, {audit.about(row.wall_s)} on {row.hardware}")
        ]
    lines += [("scored by", row.command)]
    commit = f"commit {row.git[:8]}, " if row.git else ""
    return [*lines, ("with", f"{commit}torch {row.torch}, {row.date}")]
