"""Typed configuration of a run: one source for defaults, help and validation.

A run is described by one frozen `Config`. Presets are YAML files in `presets/`, named
<task>-<model>-<preset>.yml; `--set a.b=c` overrides one value of a preset.
"""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cnf import weights
from cnf.arguments import Count, Positive, complete
from cnf.errors import ConfigError, nearest
from cnf.flow import ConditionalFlow
from cnf.model import ConditionalModel
from cnf.replication import models
from cnf.replication.data.config import DataConfig
from cnf.replication.places import EXPERIMENTS
from cnf.replication.tasks.task import Task, find_task

PRESETS = Path(__file__).resolve().parent / "presets"

Share = Annotated[float, Field(ge=0, lt=1)]

_strict = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_strict)
class TrainingConfig:
    """How a model is trained. Schedules follow steps; `minutes` becomes a step count at the start.

    `batch_size`: pictures of a step, over all processes. `accumulate`: number of micro-batches into
    which the share of a process is cut, to save memory. `recompute`: a flow keeps no activations of
    its steps and computes them again in backward. `cool`: share of the steps, at the end, over
    which the rate falls to 0. `keep`: shares of the steps after which a checkpoint is kept.
    Optimizer "muon": hidden filters are trained by Muon, the rest by AdamW; "amsgrad": that of the
    released code, like the schedule "halving", which halves the rate every 200,000 steps."""

    minutes: Annotated[float, Field(gt=0)] | None = None
    steps: Positive | None = None
    batch_size: Positive = 64
    accumulate: Positive = 1
    optimizer: Literal["adamw", "muon", "amsgrad"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Count = 100
    schedule: Literal["cosine", "halving", "constant"] = "cosine"
    cool: Annotated[float, Field(ge=0, le=1)] = 0.0
    keep: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    ema: Share = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    recompute: bool = False
    validate_every: Positive = 500
    validate_images: Positive = 256


@dataclass(frozen=True, config=_strict)
class Config:
    """One run.

    Args:
        task: "sr", "vessels", or an experiment that registers a task of its name.
        preset: the preset, or the file of an experiment, that it began as.
        model: {"kind": a registered kind of model, its options}; see `cnf.weights`.
    """

    task: str
    preset: str
    model: dict[str, Any]
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


_adapter = TypeAdapter(Config)
_parts = {"data.": DataConfig, "training.": TrainingConfig}
KEYS = [field.name for field in fields(Config)] + [
    prefix + field.name for prefix, part in _parts.items() for field in fields(part)
]


def from_dict(values: dict[str, Any]) -> Config:
    """Validate a nested dictionary; options that are not given are at their defaults. Raises
    ConfigError with one line per wrong key or value."""
    try:
        config = _adapter.validate_python(values)
    except ValidationError as error:
        raise ConfigError(_sentences(error.errors())) from None
    config = replace(config, model=_complete(config.model, find_task(config.task)))
    check_data(config)
    return config


def _complete(model: dict[str, Any], task: Task) -> dict[str, Any]:
    """The kind and all options of a model; channels and grey levels of y are those of the task."""
    kind = str(model.get("kind", ""))
    models.load(kind)
    function = weights.maker(kind)
    options = {k: v for k, v in model.items() if k != "kind"}
    task_options = {"channels": task.channels, "bins": task.bins}
    options |= {
        k: v for k, v in task_options.items() if k in inspect.signature(function).parameters
    }
    try:
        complete_options = complete(function, options)
    except ConfigError as error:
        raise ConfigError(f"model of kind {kind}: {error}") from None
    if task.bins > 2 and complete_options.get("dequantization") == "binary":
        raise ConfigError(
            f"model.dequantization = binary for {task.name}: it is for labels, so choose uniform "
            "or variational"
        )
    return {"kind": kind, **complete_options}


def check_data(config: Config) -> None:
    """Raise ConfigError for options of the data that the task does not use."""
    defaults = DataConfig()
    for name in find_task(config.task).data_unread:
        value, default = getattr(config.data, name), getattr(defaults, name)
        if value != default:
            value_text, default_text = (json.dumps(v).strip('"') for v in (value, default))
            raise ConfigError(
                f"data.{name} = {value_text}: nothing reads it for {config.task}, so leave it at "
                f"{default_text}"
            )


def build(config: Config) -> ConditionalModel:
    """The model that a configuration describes, with untrained weights. Raises ConfigError."""
    models.load(config.model["kind"])
    options = {k: v for k, v in config.model.items() if k != "kind"}
    model, task = weights.build(config.model["kind"], options), find_task(config.task)
    if model.factor != task.factor:
        raise ConfigError(
            f"model.kind = {config.model['kind']} makes y {model.factor} times as large as x, and "
            f"{config.task} wants {task.factor}: choose other features, or another kind"
        )
    model.config = config
    return model


def is_fitted(config: Config) -> bool:
    """Whether the model is fitted to all pictures in one pass, without gradients: it has `fit`."""
    models.load(config.model["kind"])
    return hasattr(get_type_hints(weights.maker(config.model["kind"])).get("return"), "fit")


def model_name(config: Config) -> str:
    """The name of the model in rows: "flow", or its kind without the experiment that owns it."""
    models.load(config.model["kind"])
    model_class = get_type_hints(weights.maker(config.model["kind"])).get("return")
    if (
        isinstance(model_class, type)
        and issubclass(model_class, ConditionalFlow)
        and not is_fitted(config)
    ):
        return "flow"
    return config.model["kind"].split("/")[-1]


def config_of(model: ConditionalModel) -> Config | None:
    """The configuration of the run that a loaded model belongs to; None if it belongs to none."""
    text = model.metadata.get("config")
    return None if text is None else from_dict(json.loads(text))


def _sentence(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown configuration key '{key}': the nearest are {nearest(key, KEYS)}"
    return f"{key} = {error['input']!r} does not fit: {error['msg'].lower()}"


def _sentences(errors: Sequence[Any]) -> str:
    """A line per wrong key or value: of a value that fits none of several types, one for all."""
    lines: dict[str, str] = {}
    for error in errors:
        key = ".".join(str(part) for part in error["loc"][:2])
        if key in KEYS and isinstance(error["loc"][-1], str):  # it ends with the name of a type
            error = error | {"loc": (key,)}
        key, line = ".".join(map(str, error["loc"])), _sentence(error)
        lines[key] = f"{lines[key]}, or {error['msg'].lower()}" if key in lines else line
    return "; ".join(lines.values())


def to_dict(config: Config) -> dict[str, Any]:
    """The nested dictionary that `from_dict` reads back."""
    return _adapter.dump_python(config, mode="json")


def config_sha256(config: Config) -> str:
    """Hash of the configuration, independent of the order of keys."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()


def preset_of(task: str, model: str = "flow", preset: str = "smoke") -> str:
    """The name of a preset: presets/<task>-<model>-<preset>.yml."""
    return f"{task}-{model}-{preset}"


def load_config(preset: str, overrides: Sequence[str] = ()) -> Config:
    """A preset by its name, such as "sr-flow-cpu", or a YAML file of the same form that says its
    `task`, too; with overrides: `training.lr=1e-3`.

    Raises ConfigError for a preset that does not exist, an unknown key, a value of the wrong type.
    """
    path = Path(preset) if preset.endswith(".yml") else PRESETS / f"{preset}.yml"
    if preset.startswith("experiments/") and not path.exists():  # away from the repository
        path = EXPERIMENTS / preset.removeprefix("experiments/")
    if not path.exists() and preset.endswith(".yml"):
        raise ConfigError(
            f"{preset}: no such file; those of experiments are experiments/QUESTION/runs/NAME.yml"
        )
    if not path.exists():
        names = sorted(p.stem for p in PRESETS.glob("*.yml"))
        raise ConfigError(f"no preset '{preset}': the nearest are {nearest(preset, names)}")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} is no YAML file ({' '.join(str(error).split())}): mend it"
        ) from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no options: begin with `task: vessels` or `task: sr`")
    values.setdefault("task", preset.split("-")[0])
    values["preset"] = preset
    for override in overrides:
        _apply(values, override)
    return from_dict(values)


def changed(config: Config, overrides: Sequence[str]) -> Config:
    """A configuration with these overrides. Raises ConfigError, as `load_config` does."""
    values = to_dict(config)
    for override in overrides:
        _apply(values, override)
    return from_dict(values)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(
            f"'{override}' is not an override: write it as key=value, e.g. training.lr=1e-3"
        )
    *parents, leaf = key.strip().split(".")
    for name in parents:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"unknown configuration key '{key}': '{name}' holds a single value")
    try:
        values[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"'{override}' is not YAML: quote it in a shell; as text it is '{key}=\"{text}\"'"
        ) from None
