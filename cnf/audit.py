"""The audit: every row of the ledger computed again, from the weights and data that it names."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cnf import evaluation, models, runs, stress
from cnf import results as ledger
from cnf.config import load_config
from cnf.data import load
from cnf.errors import CnfError, DataError, LedgerError
from cnf.scores import survey
from cnf.subject import Options, Subject

SURVEYED = {
    *survey.UNCERTAINTY,
    *(name + end for name in survey.TEXTURES for end in ("", "_sample")),
}  # without a protocol


class Check(NamedTuple):
    """What `audit` found for one row."""

    row: ledger.Row
    status: Literal["same", "differs", "not checked"]
    reason: str


def audit(
    root: Path | None = None,
    results: Path = ledger.RESULTS,
    only: Sequence[str] = (),
) -> list[Check]:
    """Compute every row again whose weights are in the repository and whose data are there.

    Args:
        root: folder of the image sets, as for `cnf.data.load`.
        only: ids to look at; all if empty.

    A row "differs" if its value lands outside the metric's tolerance, or if its weights or its data
    are not those it names. A row that could not be computed says why.
    """
    rows = ledger.read(results)
    live = {row.id for row in ledger.current(rows)}
    cache: dict[tuple, Any] = {}
    checks = []
    for row in [ledger.find(i, results) for i in only] if only else rows:
        if row.id not in live:
            newer = next(r.id for r in rows if r.supersedes == row.id)
            checks.append(Check(row, "not checked", f"superseded by {newer}"))
            continue
        if row.model not in ledger.REFERENCES and row.weights is None:
            checks.append(Check(row, "not checked", "its weights are not in the repository"))
            continue
        try:
            found, reason = again(row, root, results.parent, cache), ""
        except DataError as error:
            checks.append(Check(row, "not checked", f"its data are not here: {error}"))
            continue
        except CnfError as error:
            found, reason = math.nan, str(error)
        metric = ledger.METRICS[row.metric]
        same = metric.agree(found, row.value)
        if not reason:
            reason = f"{row.value:.6f} written, {found:.6f} now, tolerance {metric.tolerance:g}"
            reason += f" or a factor of {metric.factor:g}" * (metric.factor > 1)
        checks.append(Check(row, "same" if same else "differs", reason))
    return checks


def report(checks: Sequence[Check]) -> str:
    """The audit as text; the command exits with 1 if any row differs."""
    lines = [f"{check.status:>11}  {check.row.id}: {check.reason}" for check in checks]
    kinds = ("same", "differs", "not checked")
    counts = [f"{sum(check.status == kind for check in checks)} {kind}" for kind in kinds]
    return "\n".join([*lines, ", ".join(counts)])


def again(row: ledger.Row, root: Path | None, repository: Path, cache: dict[tuple, Any]) -> float:
    """The value of a row, computed again. `cache` keeps what rows of one run share.

    Raises DataError if the data are not there, LedgerError if weights or data are others.
    """
    reference = row.model in ledger.REFERENCES
    weights = None if reference else _weights_of(row, repository)
    key = (weights, row.data, row.split, row.num_images, row.noise_seed, row.rounded_x)
    if key not in cache:
        images = (stress.read if row.metric in ledger.STRESS else load)(row.data, row.split, root)
        if images.sha256 != row.data_sha256:
            raise LedgerError(f"{row.data} {row.split} holds other pictures than the row names")
        if reference:  # it needs no model: any will do
            config = load_config(row.experiment, "baseline")
            model = models.build(config)
        else:
            model, config, _ = models.load_model(weights)
        options = Options(row.num_images, row.noise_seed, round_x=row.rounded_x)
        subject = Subject(model, config, images, options)
        cache[key] = subject, None if reference else evaluation.validation(subject, root)
    subject, valid = cache[key]
    if len(subject.indices) != row.num_images:
        raise LedgerError(f"{row.data} {row.split} has {len(subject.indices)} pictures")
    if row.metric in ledger.STRESS:
        found = stress.again(subject, row)
        if found is not None:
            return found
    full = row.protocol is not None or row.metric in SURVEYED
    weighted = row.bound is not None and "importance" in row.bound
    pictures = subject.experiment == "sr" and row.metric not in ledger.BITS
    subject.options = dataclasses.replace(
        subject.options,
        draws=1 if weighted else row.draws or 1,
        importance=row.draws if weighted else 0,
        samples=row.samples if row.samples and row.samples > 1 else 1 if pictures else None,
        temperature=row.temperature if row.samples == 1 else None,
    )
    if full:
        found = survey.again(subject, row)
        if found is not None:
            return found
        raise LedgerError(f"this code computes no {row.metric} for {row.model} on {row.data}")
    if reference:
        found = evaluation.reference_scores(subject, row.metric)
    else:
        found = evaluation.score(subject, valid, row.metric)
    for s in found:
        if (s.metric, s.bound, s.divided_by) == (row.metric, row.bound, row.divided_by):
            if (s.model or subject.config.model.kind) == row.model:
                return s.value
    raise LedgerError(f"this code computes no {row.metric} for {row.model} on {row.data}")


def _weights_of(row: ledger.Row, repository: Path) -> Path:
    path = repository / row.weights
    if not path.exists():
        raise LedgerError(f"{row.weights} is named but not there")
    if runs.file_sha256(path) != row.weights_sha256:
        raise LedgerError(f"{row.weights} holds other weights than the row names")
    return path
