"""Configurations, files of weights and rows of version 0.2, in today's words.

They had one flat list of options, a switch for each question that had been asked. Today's kinds of
models are named by what they are, and an experiment owns its own, as it owns its variants.
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
OWNED = {  # by experiments
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
OF_KIND = {  # what each kind has beside its features
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
GONE = {  # from the configuration of a training, at the only value that a published run had
    "betas": ([0.9, 0.99], [0.9, 0.999]),
    "amsgrad": (False, True),
    "halve_every": (200_000,),
}


LEFT = {  # the package, at the values that leave a model as it is
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
        return OWNED.get(kind, kind)
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
    options = {name: model[name] for name in OF_KIND.get(kind, ()) if name in model}
    if model["kind"] == "flow":
        check_left(model, options, kind)
    if "noise" in options and options.get("dequantization", "uniform") != "binary":
        del options["noise"]
    if kind == "ablations/flow":
        options["prior_sees"] = model.get("prior", "conditional")
    if model["kind"] == "flow":
        options.setdefault("dequantization", "uniform")
    if "features" in model and kind not in ("controls/counts", "gaussian_mixtures/mixture"):
        features = model["features"]
        own = FEATURES[features["kind"]]
        options["features"] = {k: v for k, v in features.items() if k in ("kind", *own)}
    return {"kind": kind, **options}


def check_left(old: Mapping[str, Any], kept: Mapping[str, Any], kind: str = "glow") -> None:
    """Raise ConfigError for an option that is no more, unless it was at its default."""
    usual = dict(LEFT)
    if kind.startswith("subband") or kind == "ablations/flow":
        usual |= {"residual": 8.0, "subbands": True}
    softplus = old.get("scale") == "softplus"
    usual["prior_scale"] = "softplus" if softplus else "bounded"
    if kind == "ablations/flow":
        del usual["prior"]
    for name, value in usual.items():
        if name not in kept and old.get(name, value) != value:
            raise ConfigError(
                f"{name} = {old[name]}: this option of version 0.2 is no more; use that version"
            )


def config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in today's words; one that is already passes through."""
    if "experiment" not in values:
        return dict(values)
    family = FAMILIES.get(values["model"]["kind"], "baseline")
    training = dict(values.get("training", {}))
    if training.get("amsgrad"):
        training["optimizer"] = "amsgrad"
    for name in GONE:
        training.pop(name, None)
    return {
        "task": values["experiment"],
        "preset": f"{values['experiment']}-{family}-{values['preset']}",
        "model": model_of(values["model"]),
        "data": dict(values.get("data", {})),
        "training": training,
    }


def metadata(said: Mapping[str, str]) -> dict[str, str]:
    """What a file of weights says, in today's words."""
    new = dict(said)
    if "kind" in said:
        return new
    if "config" in said:
        from cnf.replication.config import from_dict, to_dict

        run = from_dict(json.loads(said["config"]))
        new["config"] = json.dumps(to_dict(run))
        new["kind"] = run.model["kind"]
        arguments = {k: v for k, v in run.model.items() if k != "kind"}
        new["arguments"] = json.dumps(arguments)
    elif "glow" in said:
        old = json.loads(new.pop("glow"))
        kept = (*GLOW, "channels", "context", "bins", "features")
        arguments = {k: v for k, v in old.items() if k in kept}
        if arguments.get("dequantization") != "binary":
            arguments.pop("noise", None)
        check_left(old, arguments)
        new["arguments"] = json.dumps(arguments)
        if "features" not in old:
            new["kind"] = "glow"
    return new


def record(values: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run, which once had its own command alone, without its folder."""
    new = dict(values)
    if command := new.pop("command", None):
        new["commands"] = [command]
    return new


def row(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row in today's words; one that is already passes through. Raises ResultsError
    for a random intercept of a mean over orientations, which is no more."""
    new = dict(values)
    old = {name: new.pop(name, None) for name in VARIANTS}
    said = {name: value for name, value in old.items() if value not in (None, False)}
    if len(said) > 1:
        raise ResultsError(f"{' and '.join(said)} together are no more: use version 0.2")
    for name, value in said.items():
        new["variant"] = VARIANTS[name] if value is True else f"{VARIANTS[name]}={value:g}"
    command = new["command"].replace("--oriented", f"--variant {VARIANTS['oriented']}")
    new["command"] = command.replace("--intercept ", f"--variant {VARIANTS['intercept']}=")
    return new
