"""Typed configuration: one source for defaults, help and validation.

A run is described by one frozen ``Config``. Presets are YAML files in ``cnf/presets/``, named
``<experiment>-<model>-<preset>.yml``; ``--set a.b=c`` overrides one value of a preset.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from cnf.errors import ConfigError

PRESETS = Path(__file__).resolve().parent / "presets"

Experiment = Literal["sr", "vessels"]
Scale = Literal["bounded", "softplus", "additive"]
Activation = Literal["relu", "silu"]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

# fields that came after runs were hashed, at the value that leaves a model as it was
LATER = {
    **{"norm": "none", "pretrained": False, "optimizer": "adamw", "cool": 0.0, "keep": []},
    **{"ar_width": 0, "ar_blocks": 3, "mixture": 1, "ar_clip": None},
    **{"activation": "relu", "cells": 1, "jitter": 1.0},
}

_strict = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_strict)
class FeaturesConfig:
    """The network h = g(x). `kind` names a class of `cnf.features`; the other fields are its sizes.

    With `fractions` a residual network also sees how far each value of x is from a whole grey
    level, and so whether x was rounded to 8 bits; its maps are clipped to (-`clip`, `clip`). A
    `pretrained` VGG network begins training with torchvision's weights for ImageNet.
    """

    kind: Literal["residual", "rrdb", "unet", "vgg"] = "residual"
    channels: Positive = 64
    blocks: Positive = 4
    growth: Positive = 32
    scales: Positive = 3
    fractions: bool = False
    clip: Annotated[float, Field(gt=0)] | None = None
    pretrained: bool = False
    activation: Activation = "relu"


@dataclass(frozen=True, config=_strict)
class GlowConfig:
    """The layers of a conditional flow: dequantization, L levels of K steps, split priors, a prior.
    What `cnf.glow` takes as keywords.

    Each step is activation normalization, an invertible 1x1 convolution (`lu`: in its P L U form)
    and a conditional coupling (its second half changes; with `flip` the halves take turns), whose
    network has `width` channels and reads h by convolutions of size `h_kernel`; its log s is
    "bounded" by `max_log_scale`, that of a "softplus", or 0 ("additive"). The networks of priors
    have `prior_width` channels (0: one convolution), those of q `q_width`, and q has `q_steps`
    steps beside its affine map. `gain`: the last convolutions have a learned gain, as released.
    With `residual` the upsampled input in h[0] is subtracted and the rest magnified so much.

    With `subbands` the low band leaves first, after `low_steps` steps on all bands, under a prior
    of width `low_width`. With `ar_width` splits and the last prior are autoregressive: mixtures of
    `mixture` Gaussians from networks of `ar_blocks` blocks (0: only the channels of a position
    follow each other). The networks of couplings read y_a clipped to (-`clip`, `clip`), those of
    autoregressive priors the z that they score to (-`ar_clip`, `ar_clip`): what they answer to
    inputs far from all data is then bounded, given h. `activation`: of couplings and priors.
    Without levels nothing is squeezed: the steps couple the colours of a checkerboard at the
    resolution of y. With norm "instance" hidden maps of couplings and priors are normalised over
    the picture. For ablations: the split priors of a `blind` prior do not see x, and all priors of
    a `fixed` one are N(0, I); couplings may be kept from seeing x.
    """

    levels: Count = 2
    steps: Count = 8
    width: Positive = 64
    h_kernel: Literal[1, 3] = 1
    scale: Scale = "bounded"
    max_log_scale: Annotated[float, Field(gt=0)] = 1.5
    gain: bool = False
    flip: bool = False
    lu: bool = False
    prior_width: Count = 0
    prior_scale: Literal["bounded", "softplus"] = "bounded"
    residual: Annotated[float, Field(gt=0)] | None = None
    subbands: bool = False
    low_steps: Count = 0
    low_width: Count = 0
    clip: Annotated[float, Field(gt=0)] | None = None
    prior: Literal["conditional", "blind", "fixed"] = "conditional"
    couplings_see_x: bool = True
    dequantization: Literal["uniform", "variational", "binary"] | None = None
    noise: Literal["logistic", "gaussian"] = "logistic"
    q_width: Positive = 32
    q_steps: Count = 0
    auxiliary: Annotated[float, Field(ge=0)] = 0.0
    norm: Literal["none", "instance"] = "none"
    ar_width: Count = 0
    ar_blocks: Count = 3
    ar_clip: Annotated[float, Field(gt=0)] | None = None
    mixture: Positive = 1
    activation: Activation = "relu"


@dataclass(frozen=True, config=_strict)
class FlowConfig(GlowConfig):
    """A flow of the paper's kind: layers as in `GlowConfig`, on a feature network."""

    kind: Literal["flow"] = "flow"
    features: FeaturesConfig = FeaturesConfig()
    dequantization: Literal["uniform", "variational", "binary"] = "uniform"


@dataclass(frozen=True, config=_strict)
class BaselineConfig:
    """A factorised model: every sub-pixel independent given x. `beta` is that of the weighted
    likelihood, or of the class-weighted cross-entropy, which is no likelihood. A "logistic" gives
    each grey level the mass of its own cell, or of `cells` cells: 2 is what the released code does,
    and no likelihood, since the masses sum to about 2.
    """

    kind: Literal["logistic", "bernoulli", "weighted", "class_weighted"] = "logistic"
    features: FeaturesConfig = FeaturesConfig()
    beta: Annotated[float, Field(gt=0, lt=1)] = 0.5
    cells: Literal[1, 2] = 1


@dataclass(frozen=True, config=_strict)
class AutoregressiveConfig:
    """The yardstick for joint models of labels: masked convolutions in raster order."""

    kind: Literal["autoregressive"] = "autoregressive"
    features: FeaturesConfig = FeaturesConfig()
    width: Positive = 64
    blocks: Positive = 3


@dataclass(frozen=True, config=_strict)
class ControlConfig:
    """What is fitted in one pass, `cnf.replication.controls`: a table of counts over `neighbours`
    causal labels, or over these and the logit of a baseline on `features`, for vessels; a mixture
    of `components` Gaussians for super-resolution."""

    kind: Literal["counts", "counts_logit", "mixture"]
    neighbours: Annotated[int, Field(gt=0, le=24)] = 20  # the table has 2^neighbours rows
    components: Positive = 16
    features: FeaturesConfig = FeaturesConfig()
    baseline: str = "vessels-baseline"


@dataclass(frozen=True, config=_strict)
class DataConfig:
    """What is trained on. `crop` is in pixels of y; `round_x` rounds the input to 8 bits, or with
    "mixed" that of half the pictures, so that one model serves both kinds of input. To `noise` of
    the pictures of super-resolution, a share, noise of 0 to 64 grey levels is added. The colours of
    photographs of the eye vary `jitter` times as much as one camera's (0: not at all).

    `use_valid` trains on the validation split too, once no choice is left to make: the last weights
    are kept, not the best, and no threshold can be chosen on validation.
    """

    train: str = "embedded-sr"
    use_valid: bool = False
    round_x: bool | Literal["mixed"] = False
    crop: Positive | None = None
    augment: bool = True
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    jitter: Annotated[float, Field(ge=0, le=4)] = 1.0


@dataclass(frozen=True, config=_strict)
class TrainingConfig:
    """How it is trained. Schedules follow steps; `minutes` becomes a step count at the start.

    `batch_size` counts the pictures of a step over all processes; `accumulate` cuts each process's
    share of them into so many micro-batches, one after the other, to save memory. With `recompute`
    a flow keeps no activation of its steps and rebuilds them in backward. `cool` is the share of
    the steps, at the end, over which the rate falls to 0; a checkpoint is kept after each share of
    the steps in `keep`. With optimizer "muon" hidden filters learn by Muon, the rest by AdamW.
    """

    minutes: Annotated[float, Field(gt=0)] | None = None
    steps: Positive | None = None
    batch_size: Positive = 64
    accumulate: Positive = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.99)
    amsgrad: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Count = 100
    schedule: Literal["cosine", "halving", "constant"] = "cosine"
    halve_every: Positive = 200_000
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
    """One run: which experiment, which model, on what, how."""

    experiment: Experiment
    preset: str
    model: Annotated[
        FlowConfig | BaselineConfig | AutoregressiveConfig | ControlConfig,
        Field(discriminator="kind"),
    ]
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def family(self) -> str:
        """What `train --model` calls its model."""
        names = {FlowConfig: "flow", BaselineConfig: "baseline", ControlConfig: "control"}
        return names.get(type(self.model), "autoregressive")


_adapter = TypeAdapter(Config)
_glow = TypeAdapter(GlowConfig)


def from_dict(values: dict[str, Any]) -> Config:
    """Validate a nested dictionary. Raises ConfigError with one line per wrong key or value."""
    return _validated(_adapter, values)


def glow_config(values: dict[str, Any]) -> GlowConfig:
    """The keywords of `cnf.glow`, validated. Raises ConfigError as `from_dict`."""
    return _validated(_glow, values)


def _validated(adapter: TypeAdapter, values: dict[str, Any]) -> Any:
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(e) for e in error.errors())) from None


def _sentence(error: Any) -> str:
    loc = [str(part) for part in error["loc"]]
    if loc[:1] == ["model"]:
        del loc[1:2]  # the kind of model, which pydantic puts there
    key = ".".join(loc)
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown configuration key '{key}': cnf/config.py and cnf/presets/ show the keys"
    return f"{key} = {error['input']!r} does not fit: {error['msg'].lower()}"


def to_dict(config: Config) -> dict[str, Any]:
    """The nested dictionary that `from_dict` reads back."""
    return _adapter.dump_python(config, mode="json")


def config_sha256(config: Config) -> str:
    """Hash of the configuration, independent of the order of keys and of fields of `LATER` that
    are at their default: what it was before there were these fields."""
    values = _without_later(to_dict(config))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _without_later(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_later(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if not (key in LATER and value == LATER[key])
    }


def load_config(
    experiment: str, model: str = "flow", preset: str = "smoke", overrides: list[str] | None = None
) -> Config:
    """Read `presets/<experiment>-<model>-<preset>.yml`, apply overrides: `training.lr=1e-3`.

    Raises ConfigError for a preset that does not exist, an unknown key, a value of the wrong type.
    """
    path = PRESETS / f"{experiment}-{model}-{preset}.yml"
    if not path.exists():
        known = sorted(p.stem for p in PRESETS.glob("*.yml"))
        raise ConfigError(f"no preset '{path.stem}': choose one of {', '.join(known)}")
    values = yaml.safe_load(path.read_text("utf-8"))
    values |= {"experiment": experiment, "preset": preset}
    for override in overrides or []:
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
