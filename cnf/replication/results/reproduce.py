"""From a number to the command that gives it again (`results how`), and numbers computed again from
the weights and pictures that they name (`results audit`)."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from cnf.errors import CnfError, DataError, ResultsError
from cnf.replication import releases, run_folder
from cnf.replication.data import ImageSet, catalogue, load
from cnf.replication.evaluation.scored_model import Options, ScoredModel
from cnf.replication.evaluation.thresholds import validation
from cnf.replication.metrics import METRICS
from cnf.replication.results.rows import RESULTS, Row, described, find, read, value, valued
from cnf.replication.run_folder import about

ROOT = Path("$CNF_DATA")  # as a reader writes it
MINUTES = 10.0  # of an audit that was not told how long

# -- how -------------------------------------------------------------------------------------------


def facts(row: Row, results: Path = RESULTS) -> list[tuple[str, str]]:
    """What it takes to have a row again, as pairs of a name and a line."""
    if row.is_here:
        metric = METRICS[row.metric]
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
    record = run_folder.read_record(results / row.trained, needed=False)
    trained = training(row, results)
    lines += [("trained by", line) for line in trained]
    if trained and "experiment" in record.get("config", {}):
        commit = (record.get("commit") or "")[:8]
        lines.append(("at", f"version 0.2, commit {commit}, whose options had other names"))
    if trained and row.wall_s:
        lines += [("that took", f"{row.steps:,} steps, {about(row.wall_s)} on {row.hardware}")]
    lines += [("scored by", row.command)]
    commit = f"commit {row.git[:8]}, " if row.git else ""
    return [*lines, ("with", f"{commit}torch {row.torch}, {row.date}")]


def needs(row: Row) -> str | None:
    """The sets of a row, where they belong and how they are had; None if all come with the
    package."""
    told = []
    for name in catalogue.parts(row.data):
        if name.startswith("folder:"):
            told.append(f"the pictures of {name}")
        elif (where := catalogue.find(name).where(ROOT)) is not None:
            told.append(f"{where}: {catalogue.find(name).how_to_get(ROOT)}")
    return "; ".join(told) or None


def training(row: Row, results: Path = RESULTS) -> list[str]:
    """The commands that train the weights of a row, in their order, as the record of its run has
    them; none for a reference, and where there is no record."""
    return run_folder.read_record(results / row.trained, needed=False).get("commands", [])


def text(found: Sequence[Row], results: Path = RESULTS) -> str:
    """How one row is had again, a line each; of several rows a line each, to choose from."""
    if len(found) > 1:
        lines = [f"{row.id}: {valued(row)}; {described(row)}" for row in found]
        return "\n".join([f"{len(found)} rows are printed so; ask for one by its id:", *lines])
    (row,) = found
    lines = [row.id, f"{valued(row)}; {described(row)}", ""]
    return "\n".join([*lines, *(f"{name:>10}  {line}" for name, line in facts(row, results))])


# -- audit -----------------------------------------------------------------------------------------


class Check(NamedTuple):
    """What the audit found for one row."""

    row: Row
    status: Literal["same", "differs", "not checked"]
    reason: str


def audit(
    results: Path = RESULTS,
    only: Sequence[str] = (),
    minutes: float | None = None,
) -> list[Check]:
    """Compute rows again whose weights are in the repository and whose data are there.

    Args:
        only: ids to look at; all if empty.
        minutes: of the processor; no value is begun after that. Values of embedded pictures come
            first, then those of few samples. None, or `only`: no limit.

    A row "differs" if its value lands outside the metric's tolerance, or if its weights or its data
    are not those it names. A row that was not computed says why.
    """
    asked = read(results)
    if only:
        asked = [row for text in only for row in find(text, asked)]
    end = float("inf") if only or minutes is None else time.process_time() + 60 * minutes
    models: dict[tuple, ScoredModel] = {}  # by file; what a pass computed is forgotten after it
    images = lru_cache(maxsize=None)(load)
    found = {}
    for (key, _), rows in _passes(asked):
        for row in rows:
            status, reason = "not checked", "its weights are not in the repository"
            if row.is_here and time.process_time() >= end:
                reason = "no time left: --minutes, or --all"
            elif row.is_here:
                try:
                    if key not in models:
                        models[key] = _scored(row, images, results.parent)
                    status, reason = _check(row, models[key])
                except CnfError as error:
                    if isinstance(error, DataError) and key not in models:
                        reason = f"its data are not here: {error}"
                    else:
                        status, reason = "differs", str(error)
            found[row.id] = Check(row, status, reason)
        if key in models:
            models[key].forget()
    return [found[row.id] for row in asked]


def _passes(rows: Iterable[Row]) -> list[tuple[tuple, list[Row]]]:
    """Rows by (their file, what is drawn for them): embedded pictures first, then passes of few
    samples of few pictures."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        drawn = METRICS[row.metric].tag == "stress", row.samples, row.draws, row.temperature
        groups.setdefault(((row.run, row.file), drawn), []).append(row)

    def cost(group: tuple) -> tuple:
        (_, (is_stress, samples, draws, _)), (row, *_) = group
        times = 1 if is_stress else max(samples or 1, draws or 1)
        return not row.data.startswith("embedded"), times * row.num_images

    return sorted(groups.items(), key=cost)


def _scored(row: Row, read: Callable[[str, str], ImageSet], repository: Path) -> ScoredModel:
    """The model of a row on its pictures. Raises DataError if the data are not there, ResultsError
    if weights or data are others."""
    images = read(row.data, row.split)
    if images.sha256 != row.data_sha256:
        raise ResultsError(f"{row.data} {row.split} holds other pictures than the row names")
    options = Options(
        row.limit, row.noise_seed, round_x=row.rounded_x, full=True, variant=row.variant
    )
    if row.is_reference:
        return ScoredModel(None, images, options, reference=row.model)
    path = repository / row.weights
    if not path.exists():
        raise ResultsError(f"{row.weights} is named but not there")
    if run_folder.file_sha256(path) != row.weights_sha256:
        raise ResultsError(f"{row.weights} holds other weights than the row names")
    scored = ScoredModel(releases.load(path), images, options)
    scored.valid = validation(scored, row.data)
    return scored


def _check(row: Row, scored: ScoredModel) -> tuple[str, str]:
    """Call the metric again: (status, reason). Raises ResultsError if it is not that of the row."""
    if len(scored.indices) != row.num_images:
        raise ResultsError(f"{row.data} {row.split} has {len(scored.indices)} pictures")
    metric = METRICS[row.metric]
    found = metric.function(scored, row.setting)
    if found is None:
        raise ResultsError(f"this code computes no {row.metric} on {row.data}")
    reason = f"{row.value:.6f} written, {found.value:.6f} now, tolerance {metric.tolerance:g}"
    if metric.factor > 1:
        reason += f" or a factor of {metric.factor:g}"
    return "same" if metric.agree(found.value, row.value) else "differs", reason


def report(checks: Sequence[Check], named: bool = False) -> str:
    """The audit as text: a line a row for rows that differ, or for all if they were `named`; else
    how many of each run and set, and why rows were not checked."""

    def counted(checks: Iterable[Check]) -> str:
        counts = Counter(check.status for check in checks)
        kinds = ("same", "differs", "not checked")
        return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])

    shown = [check for check in checks if named or check.status == "differs"]
    lines = [f"{check.status:>11}  {check.row.id}: {check.reason}" for check in shown]
    groups: dict[str, list[Check]] = {}
    for check in () if named else checks:
        row = check.row
        groups.setdefault(f"{row.run} {row.data} {row.split}", []).append(check)
    for key, of_key in groups.items():
        lines.append(f"{key}: {counted(of_key)}")
        why = Counter(check.reason for check in of_key if check.status == "not checked")
        lines += [f"{count:>11} {reason}" for reason, count in why.items()]
    return "\n".join([*lines, counted(checks)])
