"""What a run that goes on, or branches off, keeps of the one before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnf.errors import CheckpointError, ConfigError
from cnf.replication import run_folder
from cnf.replication.config import Config, changed, load_config, preset_of, to_dict


def asked(
    folder: Path,
    target: str | None,
    model: str | None,
    preset: str | None,
    overrides: Sequence[str],
) -> Config | None:
    """The configuration that a command asks of the run in `folder`; None: that of the run. Raises
    ConfigError if the command speaks of another run."""
    stored = run_folder.read_config(folder)
    source = stored.preset
    if target not in (None, stored.task, source):
        raise ConfigError(f"{folder} is a run of {stored.task}, not of {target}")
    if not (model or preset):
        return changed(stored, overrides) if overrides else None
    if source.endswith(".yml"):
        raise ConfigError(f"{source} says which model it is of: leave --model and --preset out")
    _, its_model, its_preset = source.split("-", 2)
    source = preset_of(stored.task, model or its_model, preset or its_preset)
    return load_config(source, overrides)


def sets_budget(overrides: Sequence[str]) -> bool:
    """Whether one of the overrides is a budget."""
    return any(o.startswith(("training.steps=", "training.minutes=")) for o in overrides)


def same_run(
    out: Path, config: Config | None, minutes: float | None, steps: int | None, seed: int | None
) -> tuple[Config, dict[str, Any]]:
    """Configuration and record of a run that is resumed. Raises CheckpointError if the given
    configuration, budget or seed differs from the stored one."""
    stored, record = (
        run_folder.read_config(out),
        run_folder.read_record(out, keys=["seed", "steps", "data"]),
    )
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
    run_folder.check_there(out / "last.pt")
    return stored, record


def first_seed(seed: int | None, start: Path | None) -> int:
    """The seed of a run; if none is given, that of the checkpoint from which it branches off, else
    0. Raises CheckpointError."""
    if seed is None and start is not None and start.suffix == ".pt":
        state, _ = run_folder.read_checkpoint(start)
        if "seed" not in state:
            raise CheckpointError(f"{start} does not say its seed: give --seed, or restore a copy")
        return state["seed"]
    return seed or 0


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


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
