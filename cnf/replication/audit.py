"""The audit (`results audit`): it computes numbers again from the weights and pictures that their
rows name."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from cnf.errors import CnfError, DataError, ResultsError
from cnf.replication import releases, run_folder
from cnf.replication.data import ImageSet, load
from cnf.replication.measures import MEASURES
from cnf.replication.metrics import compute
from cnf.replication.results.rows import RESULTS, Row, find_rows, read_rows
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from cnf.replication.scored.thresholds import validation

MINUTES = 10.0  # an audit's default limit

Status = Literal["same", "differs", "not checked"]


class Check(NamedTuple):
    """What the audit found for one row."""

    row: Row
    status: Status
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

    A row "differs" if its value lies outside the tolerance of its measure, or if its weights or
    data are not those it names. For a row that was not computed, the reason is given.
    """
    chosen = read_rows(results)
    if only:
        chosen = [row for text in only for row in find_rows(text, chosen)]
    end = float("inf") if only or minutes is None else time.process_time() + 60 * minutes
    models: dict[tuple, ScoredModel] = {}  # by file; what a pass computed is forgotten after it
    load_images = lru_cache(maxsize=None)(load)
    checks_by_id = {}
    for (key, _), rows in _passes(chosen):
        for row in rows:
            status: Status = "not checked"
            reason = "its weights are not in the repository"
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
        sampling = MEASURES[row.metric].tag == "stress", row.samples, row.draws, row.temperature
        groups.setdefault(((row.run, row.file), sampling), []).append(row)

    def cost(group: tuple[tuple, list[Row]]) -> tuple[bool, int]:
        row = group[1][0]
        is_stress = MEASURES[row.metric].tag == "stress"
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
    if row.weights is None:
        raise ResultsError(f"the weights of {row.id} are not in the repository")
    path = repository / row.weights
    if not path.exists():
        raise ResultsError(f"{row.weights} is named but not there")
    if run_folder.file_sha256(path) != row.weights_sha256:
        raise ResultsError(f"{row.weights} holds other weights than the row names")
    scored = ScoredModel(releases.load(path), images, options)
    scored.valid = validation(scored, row.data, run_folder.data_before(path.parent))
    return scored


def _check(row: Row, scored: ScoredModel) -> tuple[Status, str]:
    """Compute the metric again: (status, reason). Raises ResultsError if that is not possible."""
    if len(scored.indices) != row.num_images:
        raise ResultsError(f"{row.data} {row.split} has {len(scored.indices)} pictures")
    measure = MEASURES[row.metric]
    recomputed = compute(measure, scored, row.setting)
    if recomputed is None:
        raise ResultsError(f"this code computes no {row.metric} on {row.data}")
    reason = f"{row.value:.6f} written, {recomputed.value:.6f} now, tolerance {measure.tolerance:g}"
    if measure.factor > 1:
        reason += f" or a factor of {measure.factor:g}"
    return "same" if measure.agree(recomputed.value, row.value) else "differs", reason


def report(checks: Sequence[Check], named: bool = False) -> str:
    """The audit as text: a line for each row that differs, or for every row if they were `named`;
    then counts for each run and set, and why rows were not checked."""

    def counted(checks: Iterable[Check]) -> str:
        counts = Counter(check.status for check in checks)
        return ", ".join(f"{counts[kind]} {kind}" for kind in get_args(Status) if counts[kind])

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
