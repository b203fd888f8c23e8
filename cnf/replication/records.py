"""What a run folder says of its training: config.json. Reading it loads no model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnf.errors import CheckpointError


def read_record(out: Path, needed: bool = True, keys: Sequence[str] = ()) -> dict[str, Any]:
    """config.json of a run folder; {} if it has none and it is not `needed`.

    Raises CheckpointError if it is missing or damaged, or lacks one of the `keys`.
    """
    path = Path(out) / "config.json"
    if not path.exists() and not needed:
        return {}
    if not path.exists():
        raise CheckpointError(
            f"{out} is not a run folder: it holds no config.json. A run that was killed before it "
            f"began starts again with --out {out}"
        )
    record = json_object(path.read_bytes(), str(path))
    missing = [key for key in keys if key not in record]
    if missing:
        raise CheckpointError(f"{path} does not say {', '.join(missing)}: restore a copy")
    return record


def ancestors(record: dict[str, Any], results: Path) -> dict[str, dict[str, Any]]:
    """The records, in `results`, of the run with whose weights a run started, of the run with whose
    weights that one started, and so on. A branch off a checkpoint continues its run, so it has no
    ancestor there."""
    records: dict[str, dict[str, Any]] = {}
    start = record.get("start")
    while start and "checkpoint" not in start and start["run"] not in records:
        record = read_record(results / start["run"], needed=False)
        if not record:
            break
        records[start["run"]] = record
        start = record.get("start")
    return records


def data_before(run: Path) -> list[dict[str, Any]]:
    """On what the runs were trained with whose weights a run began, the last first."""
    return read_record(run, needed=False).get("start", {}).get("data", [])


def json_object(text: bytes, place: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{place}: not valid JSON ({error}): restore a copy") from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise CheckpointError(f"{place}: a {kind}, not a JSON object: restore a copy")
    return content


def duration_text(seconds: float) -> str:
    """A duration in words."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"
