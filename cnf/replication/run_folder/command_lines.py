"""The command lines that make a run again."""

import json
import shlex
from pathlib import Path
from typing import Any

import yaml

from cnf.errors import ConfigError
from cnf.replication.config import Config, load_config, to_dict
from cnf.replication.records import read_record


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
        theirs: Any = preset.get(key)
        is_section = isinstance(value, dict) and isinstance(theirs, dict)
        if is_section and value.get("kind") == theirs.get("kind"):
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
