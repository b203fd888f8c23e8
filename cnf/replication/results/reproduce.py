"""How to reproduce a number (`results how`), and the audit, which computes numbers again from the
weights and pictures that their rows name (`results audit`)."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from cnf.errors import CnfError, DataError, ResultsError
from cnf.replication import releases, run_folder
from cnf.replication.data import ImageSet, catalogue, load
from cnf.replication.evaluation.scored_model import Options, ScoredModel
from cnf.replication.evaluation.thresholds import validation
from cnf.replication.metrics import METRICS
from cnf.replication.results.rows import RESULTS, Row, describe, find, read, value, value_with_unit
from cnf.replication.run_folder import duration_text

ROOT = Path("$CNF_DATA")  # as a reader writes it
MINUTES = 10.0  # an audit's default limit

# -- how -------------------------------------------------------------------------------------------


def facts(row: Row, results: Path = RESULTS) -> list[tuple[str, str]]:
    """What it takes to reproduce a row, as pairs of a name and a line."""
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
    commands = training(row, results)
    lines += [("trained by", line) for line in commands]
    if commands and "version" in record:
        commit = f", commit {record['commit'][:8]}" if record.get("commit") else ""
        lines.append(("at", f"version {record['version']}{commit}, whose options had other names"))
    if commands and row.wall_s:
        lines += [
            ("that took", f"{row.steps:,} steps, {duration_text(row.wall_s)} on {row.hardware}")
        ]
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
        entry = catalogue.find(name)
        if entry.folder is not None:
            sentences.append(f"{entry.where(ROOT)}: {entry.how_to_get(ROOT)}")
    return "; ".join(sentences) or None


def training(row: Row, results: Path = RESULTS) -> list[str]:
    """The commands that train the weights of a row, in their order, from the record of its run;
    empty for a reference, and where there is no record."""
    return run_folder.read_record(results / row.trained, needed=False).get("commands", [])


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
    """Compute again every row whose weights are in the repository and whose data are there.

    Args:
        only: ids of the rows to compute; all rows if empty.
        minutes: processor time after which no further value is started. Values of embedded
            pictures come first, then those of few samples. None, or with `only`: no limit.

    A row "differs" if its value lies outside the tolerance of the metric, or if its weights or data
    are not those it names. For a row that was not computed, the reason is given.
    """
    chosen = read(results)
    if only:
        chosen = [row for text in only for row in find(text, chosen)]
    end = float("inf") if only or minutes is None else time.process_time() + 60 * minutes
    models: dict[tuple, ScoredModel] = {}  # by file; what a pass computed is forgotten after it
    load_images = lru_cache(maxsize=None)(load)
    checks_by_id = {}
    for (key, _), rows in _passes(chosen):
        for row in rows:
            status, reason = "not checked", "its weights are not in the repository"
            if row.is_here and time.process_time() >= end:
                reason = "no time left: --minutes, or --all"
            elif row.is_here:
                try:
                    if key not in models:
                        models[key] = _scored(row, load_images, results.parent)
                    status, reason = _check(row, models[key])
                except CnfError as error:
                    if isinstance(error, DataError) and key not in models:
                        reason = f"its data are not here: {error}"
                    else:
                        status, reason = "differs", str(error)
            checks_by_id[row.id] = Check(row, status, reason)
        if key in models:
            models[key].forget()
    return [checks_by_id[row.id] for row in chosen]


def _passes(rows: Iterable[Row]) -> list[tuple[tuple, list[Row]]]:
    """Rows grouped by (their file, the samples and noise draws that they need): embedded pictures
    first, then the groups with the fewest samples and pictures."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        sampling = METRICS[row.metric].tag == "stress", row.samples, row.draws, row.temperature
        groups.setdefault(((row.run, row.file), sampling), []).append(row)

    def cost(group: tuple[tuple, list[Row]]) -> tuple[bool, int]:
        row = group[1][0]
        is_stress = METRICS[row.metric].tag == "stress"
        times = 1 if is_stress else max(row.samples or 1, row.draws or 1)
        return not row.data.startswith("embedded"), times * row.num_images

    return sorted(groups.items(), key=cost)


def _scored(row: Row, load_images: Callable[[str, str], ImageSet], repository: Path) -> ScoredModel:
    """The model of a row on its pictures. Raises DataError if the data are not there, ResultsError
    if weights or data are not those that the row names."""
    images = load_images(row.data, row.split)
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
    scored.valid = validation(scored, row.data, run_folder.data_before(path.parent))
    return scored


def _check(row: Row, scored: ScoredModel) -> tuple[str, str]:
    """Compute the metric again: (status, reason). Raises ResultsError if that is not possible."""
    if len(scored.indices) != row.num_images:
        raise ResultsError(f"{row.data} {row.split} has {len(scored.indices)} pictures")
    metric = METRICS[row.metric]
    recomputed = metric.function(scored, row.setting)
    if recomputed is None:
        raise ResultsError(f"this code computes no {row.metric} on {row.data}")
    reason = f"{row.value:.6f} written, {recomputed.value:.6f} now, tolerance {metric.tolerance:g}"
    if metric.factor > 1:
        reason += f" or a factor of {metric.factor:g}"
    return "same" if metric.agree(recomputed.value, row.value) else "differs", reason


def report(checks: Sequence[Check], named: bool = False) -> str:
    """The audit as text: a line for each row that differs, or for every row if they were `named`;
    then counts for each run and set, and why rows were not checked."""

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
