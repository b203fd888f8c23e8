"""Files of a run folder: written whole or not at all, and read again."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from filelock import FileLock, Timeout

from cnf.errors import CheckpointError, ConfigError, TrainingError
from cnf.files import replaced
from cnf.model import ConditionalModel
from cnf.replication import releases
from cnf.replication.config import Config, from_dict, to_dict
from cnf.replication.records import json_object, read_record

# temporary names: ours, and those of safetensors
HALF_WRITTEN = ("config.json.tmp*", "history.*.tmp*", "*.pt.tmp*", "weights.*.tmp*", ".tmp??????")
# what torch.load may raise for a damaged file
DAMAGED = (RuntimeError, ValueError, KeyError, TypeError, OSError, EOFError, UnpicklingError)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock the folder for this process, and delete half-written files of a killed one. A folder in
    which nothing was written is removed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock", timeout=0).acquire()
    except Timeout:
        raise TrainingError(
            f"another run is writing to {out}: wait for it, stop it, or choose another --out"
        ) from None
    except OSError as error:
        raise TrainingError(f"cannot write to {out} ({error}): choose another --out") from error
    with lock:
        for pattern in HALF_WRITTEN:
            for leftover in out.glob(pattern):
                leftover.unlink()
        try:
            yield
        finally:
            if out.exists() and [path.name for path in out.iterdir()] == [".lock"]:
                shutil.rmtree(out, ignore_errors=True)


def write_record(out: Path, record: dict[str, Any]) -> None:
    """Replace config.json."""
    write_atomically(out / "config.json", json.dumps(record, indent=1).encode())


def read_config(out: Path) -> Config:
    """The configuration of a run folder. Raises CheckpointError."""
    try:
        return from_dict(read_record(out, keys=["config"])["config"])
    except ConfigError as error:
        raise CheckpointError(
            f"{out}/config.json does not fit this version ({error}): use the version that made it"
        ) from error


def read_history(out: Path) -> list[dict[str, Any]]:
    """The lines of history.jsonl; a last line cut short by a crash is left out. Raises
    CheckpointError if another is damaged."""
    path = Path(out) / "history.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [json_object(line, f"{path}, line {n}") for n, line in enumerate(lines[:-1], 1)]


def write_history(out: Path, lines: list[dict[str, Any]]) -> None:
    """Replace history.jsonl."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomically(out / "history.jsonl", text.encode())


def refuse_unwritable(path: Path) -> None:
    """Raise ConfigError if a file cannot be written: nobody should wait for minutes before."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        reason = "no permission" if folder.is_dir() else "no folder"
        raise ConfigError(f"{path} cannot be written ({folder}: {reason}): give another --out")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """`replaced`, of a file of a run. Raises TrainingError if the disk is full or not writable."""
    try:
        with replaced(path) as part:
            yield part
    except OSError as error:
        has_begun = (path.parent / "last.pt").exists()
        go_on = "--resume" if has_begun else "start again with --out"
        raise TrainingError(
            f"{path} could not be written ({first_line(error)}); what was there is untouched: "
            f"make room, then {go_on} {path.parent}"
        ) from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace the content of `path` in one move, see `atomic`."""
    with atomic(path) as part:
        part.write_bytes(content)


def write_checkpoint(path: Path, state: dict[str, Any], config: Config) -> None:
    """Replace a checkpoint, see `atomic`."""
    buffer = io.BytesIO()
    torch.save(state | {"config": json.dumps(to_dict(config), sort_keys=True)}, buffer)
    write_atomically(path, buffer.getbuffer())


def check_there(path: Path) -> None:
    """Raise CheckpointError if there is no such checkpoint."""
    if path.exists():
        return
    remedy = f"A run that was killed before its first one starts again with --out {path.parent}"
    if (path.parent / releases.WEIGHTS).exists():
        remedy = f"Begin another run with the weights: --start {path.parent}, and another --out"
    raise CheckpointError(f"{path}: no such checkpoint. {remedy}")


def read_checkpoint(path: Path) -> tuple[dict[str, Any], Config]:
    """The state and the configuration of a checkpoint. Raises CheckpointError."""
    check_there(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state, from_dict(json.loads(state["config"]))
    except DAMAGED as error:
        raise CheckpointError(
            f"{path}: cannot be read ({first_line(error)}): it was cut short or is not a "
            "checkpoint; restore a copy or train again"
        ) from error


def trained(path: Path) -> ConditionalModel:
    """The model of a run. Raises CheckpointError for one that has no configuration."""
    model = releases.load(path)
    if model.config is None:
        raise CheckpointError(f"{path} is of no run: `python -m cnf train` did not make it")
    return model


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
