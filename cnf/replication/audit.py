"""The audit: rows of the ledger computed again, from the weights and data that they name.

Rows that take one pass over the same pictures are computed together, passes that cost least first,
those on embedded pictures before all, until the time is used up. What is left is named, with what
it would take.
"""

import dataclasses
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from cnf import build
from cnf.config import load_config
from cnf.errors import CnfError, DataError, LedgerError
from cnf.replication import evaluate, run_folder, stress
from cnf.replication import results as ledger
from cnf.replication.data import load
from cnf.replication.metrics import survey, vessel_survey
from cnf.replication.scored_model import Options, Subject

SURVEYED = {
    *survey.UNCERTAINTY,
    *(name + end for name in survey.TEXTURES for end in ("", "_sample")),
}  # without a protocol
MINUTES = 10.0
SPEED = 3e5  # entries of y a second, before a speed was measured: a slow core
LATE = "no time left"


class Check(NamedTuple):
    """What `audit` found for one row. `seconds`: its share of a pass that there was no time for."""

    row: ledger.Row
    status: Literal["same", "differs", "not checked"]
    reason: str
    seconds: float = 0.0


class Pass(NamedTuple):
    """Rows that share a pass over pictures. `cost`: entries of y, times samples or draws."""

    rows: list[ledger.Row]
    cost: float

    @property
    def order(self) -> tuple[bool, float]:
        return not self.rows[0].data.startswith("embedded"), self.cost

    @property
    def kind(self) -> tuple:
        """Passes of one kind go through so many entries a second."""
        return self.rows[0].weights, self.rows[0].metric in ledger.BITS


def audit(
    root: Path | None = None,
    results: Path = ledger.RESULTS,
    only: Sequence[str] = (),
    minutes: float | None = None,
) -> list[Check]:
    """Compute rows again whose weights are in the repository and whose data are there.

    Args:
        root: folder of the image sets, as for `cnf.replication.data.load`.
        only: ids to look at; all if empty.
        minutes: of the processor; a pass that would end later, judged by the speed of those before
            it, is left out. None: no pass is. Rows in `only` never are.

    A row "differs" if its value lands outside the metric's tolerance, or if its weights or its data
    are not those it names. A row that was not computed says why.
    """
    start = time.process_time()
    rows = ledger.read(results)
    newer = {row.supersedes: row.id for row in rows if row.supersedes}
    asked = [ledger.find(i, results) for i in only] if only else rows
    cache: dict[tuple, Any] = {}
    found: dict[str, Check] = {}
    shared = defaultdict(list)
    for row in asked:
        if row.id in newer:
            reason = f"superseded by {newer[row.id]}"
            found[row.id] = Check(row, "not checked", reason)
        elif row.model not in ledger.REFERENCES and row.weights is None:
            found[row.id] = Check(row, "not checked", "its weights are not in the repository")
        else:
            try:
                subject, _ = _subject(row, root, results.parent, cache)
                shared[_pass(row)].append((row, _entries(row, subject)))
            except DataError as error:
                found[row.id] = Check(row, "not checked", f"its data are not here: {error}")
            except CnfError as error:
                found[row.id] = Check(row, "differs", str(error))
    passes = [
        Pass([row for row, _ in pairs], pairs[0][1] * max(times(row) for row, _ in pairs))
        for pairs in shared.values()
    ]
    seconds, done = Counter(), Counter()
    for one in sorted(passes, key=lambda p: p.order):
        speed = done[one.kind] / seconds[one.kind] if done[one.kind] else SPEED
        begin = time.process_time()
        late = minutes is not None and begin - start + one.cost / speed > 60 * minutes
        if late and not only:
            share = one.cost / speed / len(one.rows)
            found |= {row.id: Check(row, "not checked", LATE, share) for row in one.rows}
            continue
        for row in one.rows:
            found[row.id] = _check(row, root, results.parent, cache)
        seconds[one.kind] += time.process_time() - begin
        done[one.kind] += one.cost
        subject, _ = _subject(one.rows[0], root, results.parent, cache)
        subject._cache.clear()  # pictures of a whole set, that no other pass needs
    return [found[row.id] for row in asked]


def about(seconds: float) -> str:
    """A time in words."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _check(row: ledger.Row, root: Path | None, repository: Path, cache: dict[tuple, Any]) -> Check:
    try:
        found, reason = again(row, root, repository, cache), ""
    except CnfError as error:
        found, reason = math.nan, str(error)
    metric = ledger.METRICS[row.metric]
    if not reason:
        reason = f"{row.value:.6f} written, {found:.6f} now, tolerance {metric.tolerance:g}"
        reason += f" or a factor of {metric.factor:g}" * (metric.factor > 1)
    return Check(row, "same" if metric.agree(found, row.value) else "differs", reason)


def _key(row: ledger.Row) -> tuple:
    """Rows with the same key share a `Subject`."""
    weights = row.weights, row.weights_sha256
    pictures = row.data, row.split, row.num_images, row.data_sha256, row.rounded_x
    return *weights, *pictures, row.noise_seed, row.metric in ledger.STRESS


def _pass(row: ledger.Row) -> tuple:
    """Rows with the same value come out of one pass over pictures."""
    if row.metric in ledger.STRESS:
        return _key(row)
    full = row.protocol is not None or row.metric in SURVEYED
    full |= row.metric in vessel_survey.SURVEYED
    return *_key(row), row.model, full, row.bound, row.draws, row.temperature, row.samples


def _entries(row: ledger.Row, subject: Subject) -> int:
    """Of y, over all pictures; the stress test cuts the middle out of large ones."""
    most = 3 * stress.SIDE**2 if row.metric in ledger.STRESS else np.inf
    return int(np.minimum(subject.sizes(), most).sum())


def times(row: ledger.Row) -> float:
    """How often a model goes over the pictures for a row. References cost a look."""
    if row.model in ledger.REFERENCES:
        return 0.1
    samples = row.samples or 1
    if row.metric in ledger.STRESS:  # so many of the set, not of each picture
        samples /= row.num_images
    return max(row.draws or 1, samples)


def report(checks: Sequence[Check], named: bool = False) -> str:
    """The audit as text: a line a row for rows that differ, or for all if they were `named`; else a
    line a run and set as well, and why rows of it were not checked. The command exits with 1 if
    any differs."""
    kinds = ("same", "differs", "not checked")

    def counted(checks: Sequence[Check]) -> str:
        counts = Counter(check.status for check in checks)
        return ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])

    lines, groups = [], defaultdict(list)
    for check in checks:
        groups[check.row.run, check.row.data, check.row.split].append(check)
        if named or check.status == "differs":
            lines.append(f"{check.status:>11}  {check.row.id}: {check.reason}")
    for name, group in {} if named else groups.items():
        lines.append(f"{' '.join(name)}: {counted(group)}")
        reasons, seconds = Counter(), 0.0
        for check in group:
            if check.status == "not checked":
                reasons["superseded" if "superseded" in check.reason else check.reason] += 1
                seconds += check.seconds
        for why, count in reasons.items():
            late = f", they take about {about(seconds)}" * (why == LATE)
            lines.append(f"{count:>11} {why}{late}")
    late = [check for check in checks if check.reason == LATE]
    lines.append(counted(checks))
    if late:
        whole = about(sum(check.seconds for check in late))
        lines.append(f"{len(late)} rows were left out for time: --minutes, or --all, about {whole}")
    return "\n".join(lines)


def again(row: ledger.Row, root: Path | None, repository: Path, cache: dict[tuple, Any]) -> float:
    """The value of a row, computed again. `cache` keeps what rows of one run share.

    Raises DataError if the data are not there, LedgerError if weights or data are others.
    """
    reference = row.model in ledger.REFERENCES
    subject, valid = _subject(row, root, repository, cache)
    if len(subject.indices) != row.num_images:
        raise LedgerError(f"{row.data} {row.split} has {len(subject.indices)} pictures")
    if row.metric in ledger.STRESS:
        found = stress.again(subject, row)
        if found is not None:
            return found
    full = row.protocol is not None or row.metric in SURVEYED
    weighted = row.bound is not None and "importance" in row.bound
    pictures = subject.experiment == "sr" and row.metric not in ledger.BITS
    chosen = row.metric.startswith("f_valid") and "--threshold" in row.command
    subject.options = dataclasses.replace(
        subject.options,
        threshold=row.threshold if chosen else None,
        draws=1 if weighted else row.draws or 1,
        importance=row.draws if weighted else 0,
        samples=row.samples if row.samples and row.samples > 1 else 1 if pictures else None,
        temperature=row.temperature if row.samples == 1 else None,
    )
    if row.metric in vessel_survey.SURVEYED:
        found = vessel_survey.again(subject, row)
        if found is not None:
            return found
    elif full:
        found = survey.again(subject, row)
        if found is not None:
            return found
        raise LedgerError(f"this code computes no {row.metric} for {row.model} on {row.data}")
    if reference:
        found = evaluate.reference_scores(subject, row.metric)
    else:
        found = evaluate.score(subject, valid, row.metric)
    for s in found:
        if (s.metric, s.bound, s.divided_by) == (row.metric, row.bound, row.divided_by):
            if (s.model or subject.config.model.kind) == row.model:
                return s.value
    raise LedgerError(f"this code computes no {row.metric} for {row.model} on {row.data}")


def _subject(
    row: ledger.Row, root: Path | None, repository: Path, cache: dict[tuple, Any]
) -> tuple[Subject, Subject | None]:
    """The model of a row on its pictures, and on the validation split if thresholds need it.

    Raises DataError if the data are not there, LedgerError if weights or data are others.
    """
    reference, key = row.model in ledger.REFERENCES, _key(row)
    if key not in cache:
        weights = None if reference else _weights_of(row, repository)
        images = _once(cache, (load, row.data, row.split), lambda: load(row.data, row.split, root))
        if images.sha256 != row.data_sha256:
            raise LedgerError(f"{row.data} {row.split} holds other pictures than the row names")
        if reference:  # it needs no model: any will do
            config = load_config(row.experiment, "baseline")
            model = build.build(config)
        else:
            model, config, _ = _once(cache, (weights,), lambda: build.load_model(weights))
        options = Options(row.num_images, row.noise_seed, round_x=row.rounded_x)
        subject = Subject(model, config, images, options)
        cache[key] = subject, None if reference else evaluate.validation(subject, root)
    return cache[key]


def _once(cache: dict[tuple, Any], key: tuple, compute: Callable[[], Any]) -> Any:
    if key not in cache:
        cache[key] = compute()
    return cache[key]


def _weights_of(row: ledger.Row, repository: Path) -> Path:
    path = repository / row.weights
    if not path.exists():
        raise LedgerError(f"{row.weights} is named but not there")
    if run_folder.file_sha256(path) != row.weights_sha256:
        raise LedgerError(f"{row.weights} holds other weights than the row names")
    return path
