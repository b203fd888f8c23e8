"""The files of a run folder, and how they are written, read and published:

config.json          configuration, seed, hashes of the data, budget in steps, hardware, commit
history.jsonl, .png  one line a validation, and the plot of it
last.pt, step-N.pt   everything needed to resume, or to branch off
weights.safetensors  averaged weights of the best validation, for `cnf.load`
"""

import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import safetensors.numpy
import torch
import yaml
from filelock import FileLock, Timeout

from cnf.errors import CheckpointError, ConfigError, ResultsError, TrainingError
from cnf.files import replaced
from cnf.flow import ConditionalModel
from cnf.replication import releases
from cnf.replication.config import (
    Config,
    config_sha256,
    from_dict,
    load_config,
    to_dict,
)
from cnf.replication.places import REPOSITORY, git_state
from cnf.replication.records import (  # noqa: F401
    ancestors,
    data_before,
    duration_text,
    json_object,
    read_record,
)

MAX_BYTES = 4_000_000  # of published weights, so that the repository stays a quick clone
MAX_LINES = 300  # of a published history
# temporary names: ours, and those of safetensors
HALF_WRITTEN = ("config.json.tmp*", "history.*.tmp*", "*.pt.tmp*", "weights.*.tmp*", ".tmp??????")
# what torch.load may raise for a damaged file
DAMAGED = (RuntimeError, ValueError, KeyError, TypeError, OSError, EOFError, UnpicklingError)
_PART = r"[^\s/:,=\"'\\]"  # of a path in a command, a list or a NAME+NAME
ABSOLUTE = re.compile(rf"(?<![\w./-])/(?:{_PART}+/+)+(?={_PART})")  # a path but for its last part


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


def first_seed(seed: int | None, start: Path | None) -> int:
    """The seed of a run; if none is given, that of the checkpoint from which it branches off, else
    0. Raises CheckpointError."""
    if seed is None and start is not None and start.suffix == ".pt":
        state, _ = read_checkpoint(start)
        if "seed" not in state:
            raise CheckpointError(f"{start} does not say its seed: give --seed, or restore a copy")
        return state["seed"]
    return seed or 0


def trained(path: Path) -> ConditionalModel:
    """The model of a run. Raises CheckpointError for one that has no configuration."""
    model = releases.load(path)
    if model.config is None:
        raise CheckpointError(f"{path} is of no run: `python -m cnf train` did not make it")
    return model


def differences(
    old: dict[str, Any], new: dict[str, Any], sections: tuple[str, ...] = ("",)
) -> list[str]:
    """A phrase for every key of these sections that differs between two nested dictionaries."""
    old_values, new_values = _flat(old), _flat(new)
    return [
        f"{key} was {old_values.get(key)!r} and is now {new_values.get(key)!r}"
        for key in sorted(old_values.keys() | new_values.keys())
        if key.startswith(sections) and old_values.get(key) != new_values.get(key)
    ]


def same_run(
    out: Path, config: Config | None, minutes: float | None, steps: int | None, seed: int | None
) -> tuple[Config, dict[str, Any]]:
    """Configuration and record of a run that is resumed. Raises CheckpointError if the given
    configuration, budget or seed differs from the stored one."""
    stored, record = read_config(out), read_record(out, keys=["seed", "steps", "data"])
    requested = to_dict(config or stored) | {"seed": record["seed"] if seed is None else seed}
    stored_values = to_dict(stored) | {"seed": record["seed"]}
    if minutes is None and steps in (None, record["steps"]):  # fixed when the run began
        minutes, steps = stored.training.minutes, stored.training.steps
    requested["training"] |= {"minutes": minutes, "steps": steps}
    different = differences(stored_values, requested)
    if different:
        raise CheckpointError(
            f"resume needs the configuration of the run ({record['steps']} steps): "
            f"{'; '.join(different)}: leave it out, or start another run"
        )
    check_there(out / "last.pt")
    return stored, record


def commands(
    out: Path, config: Config, steps: int, seed: int, processes: int, start: Path | None
) -> list[str]:
    """The command lines that lead to the weights of a run in `out`, in their order: those of the
    run from whose weights it starts, then its own; [] if its preset does not exist."""
    own_command = command(out, config, steps, seed, processes, start)
    if start is None or not own_command:
        return [own_command] if own_command else []
    start_record = read_record(start.parent if start.suffix == ".pt" else start, needed=False)
    return [*start_record.get("commands", []), own_command]


def command(
    out: Path, config: Config, steps: int, seed: int, processes: int, start: Path | None
) -> str:
    """The command line that repeats a run; "" if its preset does not exist. It contains no path of
    this machine."""
    words = ["python"] if processes == 1 else ["torchrun", "--nproc-per-node", str(processes)]
    try:
        preset = to_dict(load_config(config.preset))
    except ConfigError:
        return ""
    words += ["-m", "cnf", "train", *source_words(config.preset)]
    for key, value in changes(to_dict(config), preset).items():
        if key not in ("training.steps", "training.minutes"):
            words += ["--set", f"{key}={written(value)}"]
    words += ["--steps", str(steps), "--seed", str(seed)]
    if start is not None:
        parts = start.resolve().parts[-3 if start.suffix == ".pt" else -2 :]
        words += ["--start", "/".join(parts)]
    return shlex.join([*words, "--out", f"runs/{out.resolve().name}"])


def changes(values: dict[str, Any], preset: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """What of a configuration differs from a preset, by key, "training.lr". A model or a feature
    network of another kind is there whole, as its options are not those of the preset."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        theirs = preset.get(key)
        both = isinstance(value, dict) and isinstance(theirs, dict)
        if both and value.get("kind") == theirs.get("kind"):
            found |= changes(value, theirs, f"{prefix}{key}.")
        elif value != theirs or key not in preset:
            found[prefix + key] = value
    return found


def written(value: Any) -> str:
    """A value as `--set` reads it again."""
    is_plain = isinstance(value, str) and yaml.safe_load(value) == value
    return value if is_plain else json.dumps(value)


def source_words(preset: str) -> list[str]:
    """The arguments of `train` for a preset, or for the file of an experiment."""
    if preset.endswith(".yml"):
        return [preset]
    task, model, name = preset.split("-", 2)
    return [task, "--model", model, "--preset", name]


def name_of(preset: str) -> str:
    """The name of the run folder of a preset, or of the file of an experiment."""
    if not preset.endswith(".yml"):
        return preset
    parts = [part for part in Path(preset).with_suffix("").parts[-3:] if part != "runs"]
    return "-".join(parts).replace("_", "-")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


# -- publishing ------------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Raise ResultsError unless `name` can be a folder of `results/`."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ResultsError(
            f"'{name}' cannot name a run: use a-z, 0-9, '-', '_' and '.': rename its folder"
        )


def publish(run: Path, folder: Path) -> Path:
    """Copy the run folder `run` into `folder`, weights as float16; returns `folder`. The copy
    contains no path of this machine, see `without_absolute_paths`.

    Raises ResultsError if the weights are larger than 4 MB, or if `folder` holds another run;
    CheckpointError if the run is damaged.
    """
    if run.resolve() == folder.resolve():
        return folder
    model, weights = trained(run / "weights.safetensors"), folder / "weights.safetensors"
    model.config = from_dict(without_absolute_paths(to_dict(model.config)))
    model.metadata |= {"config": json.dumps(to_dict(model.config))}
    with tempfile.TemporaryDirectory() as folder_name:
        half_file = Path(folder_name) / weights.name
        model.save(half_file, half=True)
        size = half_file.stat().st_size
        if size > MAX_BYTES:
            raise ResultsError(
                f"the weights of {run.name} take {size / 1e6:.1f} MB, more than "
                f"{MAX_BYTES / 1e6:.0f}: evaluate without --publish: the rows keep their hash"
            )
        if weights.exists() and not _same_weights(weights, half_file):
            raise ResultsError(f"results/{folder.name} holds other weights: give another --name")
        publish_record(run, folder)
        if not weights.exists():
            write_atomically(weights, half_file.read_bytes())
    return folder


def publish_record(run: Path, folder: Path) -> None:
    """Copy what a run folder says of its training, without its weights, into `folder`: its record
    and its history."""
    record, history = read_record(run, needed=False), read_history(run)
    folder.mkdir(parents=True, exist_ok=True)
    if record:
        clean = without_absolute_paths(record)
        if clean.get("config") != record.get("config"):
            clean["config_sha256"] = config_sha256(from_dict(clean["config"]))
        write_atomically(folder / "config.json", f"{json.dumps(clean, indent=1)}\n".encode())
    if history:
        places = np.linspace(0, len(history) - 1, min(len(history), MAX_LINES)).round().astype(int)
        write_history(folder, [history[place] for place in places])
    if (run / "history.png").exists():
        shutil.copyfile(run / "history.png", folder / "history.png")


def without_absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The same values with absolute paths cut to their last part."""
    return json.loads(ABSOLUTE.sub("", json.dumps(values, ensure_ascii=False)))


def _same_weights(path: Path, other_path: Path) -> bool:
    """Whether two files hold the same arrays; the bytes of their metadata may differ in order."""
    a, b = safetensors.numpy.load_file(path), safetensors.numpy.load_file(other_path)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def training_record(run: Path, config: Config) -> dict[str, Any]:
    """Facts of a training run: hash of the configuration, seed, steps, wall_s, hardware.

    A fact that the run folder does not hold is None. The hash was taken when training began,
    because the configuration may have gained fields since.
    """
    record = read_record(run, needed=False)
    last = (read_history(run) or [{}])[-1]
    return {
        "config_sha256": record.get("config_sha256", config_sha256(config)),
        "seed": record.get("seed"),
        "steps": last.get("step", record.get("steps")),
        "wall_s": last.get("seconds"),
        "hardware": record.get("hardware"),
    }


# -- where and with what ---------------------------------------------------------------------------


def provenance(repository: Path = REPOSITORY) -> dict[str, Any]:
    """The code that computes a number now, and the date: `git_state`, version of torch."""
    commit, dirty = git_state(repository)
    today = date.today().isoformat()
    return {"git": commit, "dirty": dirty, "torch": torch.__version__, "date": today}


def device_name(device: torch.device) -> str:
    """The card, or the model of this machine's processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def file_sha256(path: Path) -> str:
    """sha256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def processor() -> str:
    """The model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    if match:
        return " ".join(match[1].split())
    return platform.processor() or platform.machine()
