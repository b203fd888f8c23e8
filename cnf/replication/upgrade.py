"""Upgrade of configurations, files of weights and rows of version 0.2.

Version 0.2 had one flat list of options for all models. Today a model is a registered kind with its
own options, and experiments own kinds and variants.
"""

import json
from collections.abc import Mapping
from typing import Any

from cnf.errors import ConfigError, ResultsError

FAMILIES = {  # as names of presets had them
    "flow": "flow",
    "autoregressive": "autoregressive",
    "counts": "control",
    "counts_logit": "control",
    "mixture": "control",
}
KIND_OF_EXPERIMENT = {  # by experiments
    "autoregressive": "exact_yardstick/autoregressive",
    "class_weighted": "weighted_likelihood/class_weighted",
    "counts": "controls/counts",
    "counts_logit": "controls/counts_logit",
    "mixture": "gaussian_mixtures/mixture",
}
FEATURES = {  # what each kind of feature network has
    "residual": ("channels", "blocks", "fractions", "clip", "activation"),
    "rrdb": ("channels", "blocks", "growth"),
    "unet": ("channels", "scales"),
    "vgg": ("channels", "scales"),
}
GLOW = (
    "levels steps width h_kernel scale max_log_scale flip gain norm clip prior_width "
    "dequantization noise"
).split()
OPTIONS_OF_KIND = {  # what each kind has beside its features
    "glow": GLOW,
    "subband-flow": GLOW,
    "subband-autoregressive-flow": [*GLOW, "ar_width", "ar_blocks", "mixture", "ar_clip"],
    "autoregressive-flow": [*GLOW, "ar_width", "ar_blocks", "mixture"],
    "likelihood_alone/with_pixel_loss": [*GLOW, "auxiliary", "q_width"],
    "ablations/flow": [*GLOW, "couplings_see_x"],
    "logistic": ["cells"],
    "weighted": ["beta"],
    "weighted_likelihood/class_weighted": ["beta"],
    "exact_yardstick/autoregressive": ["width", "blocks"],
    "controls/counts": ["neighbours"],
    "controls/counts_logit": ["neighbours", "baseline"],
    "gaussian_mixtures/mixture": ["components"],
}
REMOVED_FROM_TRAINING = {  # at the only values that published runs had
    "betas": ([0.9, 0.99], [0.9, 0.999]),
    "amsgrad": (False, True),
    "halve_every": (200_000,),
}


REMOVED = {  # options that are gone, at the values that leave a model as it is
    "activation": "relu",
    "ar_blocks": 3,
    "ar_clip": None,
    "ar_width": 0,
    "auxiliary": 0.0,
    "couplings_see_x": True,
    "low_steps": 0,
    "low_width": 0,
    "lu": False,
    "mixture": 1,
    "pretrained": False,
    "prior": "conditional",
    "q_steps": 0,
    "q_width": 32,
    "residual": None,
    "subbands": False,
}


VARIANTS = {  # of a trained model: fields of a row, and options of `evaluate`
    "oriented": "orientations/oriented",
    "intercept": "random_intercept/intercept",
}


def kind_of(model: Mapping[str, Any]) -> str:
    """Today's kind of a model of version 0.2."""
    kind = model["kind"]
    if kind != "flow":
        return KIND_OF_EXPERIMENT.get(kind, kind)
    if model.get("auxiliary"):
        return "likelihood_alone/with_pixel_loss"
    if model.get("ar_width"):
        return "subband-autoregressive-flow" if model.get("subbands") else "autoregressive-flow"
    if model.get("prior", "conditional") != "conditional" or not model.get("couplings_see_x", True):
        return "ablations/flow"
    return "subband-flow" if model.get("subbands") else "glow"


def model_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Kind and options of a model of version 0.2."""
    kind = kind_of(model)
    options = {name: model[name] for name in OPTIONS_OF_KIND.get(kind, ()) if name in model}
    if model["kind"] == "flow":
        check_removed(model, options, kind)
    if "noise" in options and options.get("dequantization", "uniform") != "binary":
        del options["noise"]
    if kind == "ablations/flow":
        options["prior_sees"] = model.get("prior", "conditional")
    if model["kind"] == "flow":
        options.setdefault("dequantization", "uniform")
    if "features" in model and kind not in ("controls/counts", "gaussian_mixtures/mixture"):
        features = model["features"]
        names = FEATURES[features["kind"]]
        options["features"] = {k: v for k, v in features.items() if k in ("kind", *names)}
    return {"kind": kind, **options}


def check_removed(old: Mapping[str, Any], options: Mapping[str, Any], kind: str = "glow") -> None:
    """Raise ConfigError for a removed option, unless it was at its default."""
    defaults = dict(REMOVED)
    if kind.startswith("subband") or kind == "ablations/flow":
        defaults |= {"residual": 8.0, "subbands": True}
    softplus = old.get("scale") == "softplus"
    defaults["prior_scale"] = "softplus" if softplus else "bounded"
    if kind == "ablations/flow":
        del defaults["prior"]
    for name, value in defaults.items():
        if name not in options and old.get(name, value) != value:
            raise ConfigError(
                f"{name} = {old[name]}: this option of version 0.2 is no more; use that version"
            )


def config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of this version; one that is of this version already is returned as it is."""
    if "experiment" not in values:
        return dict(values)
    family = FAMILIES.get(values["model"]["kind"], "baseline")
    training = dict(values.get("training", {}))
    if training.get("amsgrad"):
        training["optimizer"] = "amsgrad"
    for name in REMOVED_FROM_TRAINING:
        training.pop(name, None)
    return {
        "task": values["experiment"],
        "preset": f"{values['experiment']}-{family}-{values['preset']}",
        "model": model_of(values["model"]),
        "data": dict(values.get("data", {})),
        "training": training,
    }


def metadata(values: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file of weights that is of no run, of this version."""
    upgraded = dict(values)
    if "glow" in values and "kind" not in values:
        old = json.loads(upgraded.pop("glow"))
        names = (*GLOW, "channels", "context", "bins", "features")
        arguments = {k: v for k, v in old.items() if k in names}
        if arguments.get("dequantization") != "binary":
            arguments.pop("noise", None)
        check_removed(old, arguments)
        upgraded["arguments"] = json.dumps(arguments)
        if "features" not in old:
            upgraded["kind"] = "glow"
    return upgraded


def record(values: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run. Older records have one `command`, without that of a run before it."""
    upgraded = dict(values)
    command = upgraded.pop("command", None)
    if command:
        upgraded["commands"] = [command]
    return upgraded


def row(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row, of this version; one that is of this version already is returned as it
    is. Raises ResultsError for a random intercept of a mean over orientations, which was
    removed."""
    upgraded = dict(values)
    old = {name: upgraded.pop(name, None) for name in VARIANTS}
    variants = {name: value for name, value in old.items() if value not in (None, False)}
    if len(variants) > 1:
        raise ResultsError(f"{' and '.join(variants)} together are no more: use version 0.2")
    for name, value in variants.items():
        upgraded["variant"] = VARIANTS[name] if value is True else f"{VARIANTS[name]}={value:g}"
    command = upgraded["command"].replace("--oriented", f"--variant {VARIANTS['oriented']}")
    upgraded["command"] = command.replace("--intercept ", f"--variant {VARIANTS['intercept']}=")
    return upgraded
