"""The files of a run folder: its lock, its record, its history, and how a file is replaced."""

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from cnf.config import Config, from_dict, load_config, to_dict
from cnf.errors import CheckpointError, ConfigError, TrainingError

FILES = ("config.json", "history.jsonl", "history.png", "last.pt", "weights.safetensors")
# ours, and the names under which safetensors writes before it renames
HALF_WRITTEN = (*(f"{name}.tmp*" for name in FILES), ".tmp??????")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder for this process, and delete what a killed one left half-written there."""
    lock = FileLock(out / ".lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise TrainingError(
            f"another run is writing to {out}: wait for it, stop it, or choose another --out"
        ) from None
    except OSError as error:
        raise TrainingError(f"cannot write to {out} ({error}): choose another --out") from error
    try:
        for pattern in HALF_WRITTEN:
            for left in out.glob(pattern):
                left.unlink()
        yield
    finally:
        lock.release()


def read_record(out: Path) -> dict[str, Any]:
    """config.json of a run folder. Raises CheckpointError if it is missing or damaged."""
    path = Path(out) / "config.json"
    if not path.exists():
        raise CheckpointError(
            f"{out} is not a run folder: it holds no config.json. A run that was killed before it "
            f"began starts again with --out {out}"
        )
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON ({error}): restore a copy") from error


def read_config(out: Path) -> Config:
    """The configuration of a run folder. Raises CheckpointError."""
    try:
        return from_dict(read_record(out)["config"])
    except (ConfigError, KeyError) as error:
        raise CheckpointError(
            f"{out}/config.json does not fit this version ({error}): use the version that made it"
        ) from error


def read_history(out: Path) -> list[dict[str, Any]]:
    """The lines of history.jsonl; a last line cut short by a crash is left out."""
    path = Path(out) / "history.jsonl"
    lines = path.read_text().split("\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1]]


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line to history.jsonl. Raises TrainingError if it cannot be written."""
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error}): make room, then {_go_on(path.parent)}"
        ) from error


def rewind_history(out: Path, step: int) -> None:
    """Drop lines written after the checkpoint: they will be written again."""
    kept = [line for line in read_history(out) if line["step"] <= step]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    write_atomically(out / "history.jsonl", text.encode())


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write to the path yielded; `path` changes only when all is on the disk.

    Raises TrainingError, and leaves `path` as it was, if the disk is full or cannot be written.
    """
    part = path.with_name(path.name + ".tmp")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        for left in path.parent.glob(part.name + "*"):
            left.unlink()
        raise TrainingError(
            f"{path} could not be written ({first_line(error)}); what was there is untouched: "
            f"make room, then {_go_on(path.parent)}"
        ) from error


def _go_on(out: Path) -> str:
    """What the user can do with the folder of a run that stopped."""
    return f"--resume {out}" if (out / "last.pt").exists() else f"start again with --out {out}"


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace the content of `path` in one move, see `atomic`."""
    with atomic(path) as part:
        part.write_bytes(content)


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """One phrase for every key whose value differs between two nested dictionaries."""
    old, new = _flat(there), _flat(here)
    return [
        f"{key} was {old.get(key)!r} and is now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def same_run(
    record: dict[str, Any],
    stored: Config,
    config: Config | None,
    minutes: float | None,
    steps: int | None,
    seed: int | None,
) -> Config:
    """The stored configuration. Raises CheckpointError if what is asked for differs from it."""
    if config is None:
        config = stored
    options = config.training
    if minutes is None and steps is None:  # the budget was fixed when the run began
        options = replace(options, minutes=stored.training.minutes, steps=stored.training.steps)
    else:
        options = replace(options, minutes=minutes, steps=steps)
        if steps == record["steps"]:
            options = replace(options, minutes=stored.training.minutes, steps=stored.training.steps)
    different = differences(to_dict(stored), to_dict(replace(config, training=options)))
    if seed is not None and seed != record["seed"]:
        different.append(f"seed was {record['seed']} and is now {seed}")
    if different:
        raise CheckpointError(
            f"resume needs the configuration of the run ({record['steps']} steps): "
            f"{'; '.join(different)}: leave it out, or start another run"
        )
    return stored


def command(config: Config, steps: int, seed: int, processes: int = 1) -> str:
    """The command line that repeats a run; empty if its preset is not one of `cnf/presets/`."""
    model = "flow" if config.model.kind == "flow" else "baseline"
    words = ["python"] if processes == 1 else ["torchrun", "--nproc-per-node", str(processes)]
    words += ["-m", "cnf", "train", config.experiment, "--model", model]
    words += ["--preset", config.preset]
    try:
        preset = _flat(to_dict(load_config(config.experiment, model, config.preset)))
    except ConfigError:
        return ""
    for key, value in _flat(to_dict(config)).items():
        if key not in ("training.steps", "training.minutes") and value != preset.get(key):
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--steps", str(steps), "--seed", str(seed)])


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, without its further lines."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def processor() -> str:
    """The model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()
