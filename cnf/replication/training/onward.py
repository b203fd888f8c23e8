"""The configuration of a run that goes on from another one's weights: `train --start`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cnf.errors import ConfigError
from cnf.replication import releases, run_folder
from cnf.replication.config import Config, changed, load_config, model_name, preset_of
from cnf.replication.training.checkpoints import BOUNDS

OF_PRESET = tuple(bound.removeprefix("model.") for bound in BOUNDS)


def stored(start: Path) -> Config:
    """The configuration of a run folder, of a name such as "sr", or of a checkpoint. Raises
    CheckpointError."""
    if start.suffix == ".pt":
        return run_folder.read_checkpoint(start)[1]
    return run_folder.trained(releases.find_weights(start)).config


def config_from(
    start: Path,
    task: str | None = None,
    model: str | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """What `start` was trained with, with these overrides; with a preset, its model alone, and all
    else of the preset, with the bounds of what networks read (`model.clip`, `model.ar_clip`).

    A run that trained on validation pictures as well, once no choice was left to make, keeps those
    of another set for validation unless `data.use_valid` is overridden.

    Args:
        task: that `start` must be of; None: any.
        model, preset: as for `train`; a preset without a model is one for models such as `start`.

    Raises ConfigError for another task or another kind of model; CheckpointError.
    """
    config = stored(start)
    if task not in (None, config.task):
        raise ConfigError(
            f"--start {start} is a model of {config.task}, not of {task}: give `train "
            f"{config.task}`, or weights of {task}"
        )
    if model or preset:
        kind = "flow" if model_name(config) == "flow" else "baseline"
        name = preset_of(config.task, model or kind, preset or "smoke")
        given = load_config(name, overrides)
        if model_name(given) != model_name(config):
            raise ConfigError(
                f"--start {start} is a {config.model['kind']}, {name} is of a "
                f"{given.model['kind']}: leave --model out, or start with such weights"
            )
        bounds = {k: given.model[k] for k in OF_PRESET if k in given.model and k in config.model}
        own = replace(load_config(name), model=config.model | bounds)
        return changed(own, overrides)
    went_on = changed(config, overrides)
    is_chosen = any(override.startswith("data.use_valid=") for override in overrides)
    if went_on.data.train != config.data.train and not is_chosen:
        went_on = replace(went_on, data=replace(went_on.data, use_valid=False))
    return went_on
