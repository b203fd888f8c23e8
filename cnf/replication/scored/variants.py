"""Variants of a trained model: another model, made of its weights without any training.

Experiments own them, as they own kinds of models. "orientations/oriented" is registered by
experiments/orientations/plug.py, which is loaded when the variant is first asked for; one that
takes a value is written with it, "random_intercept/intercept=0.4". Rows of a variant are of a run
whose name has the variant's at its end: NAME-oriented.
"""

import inspect
from collections.abc import Callable
from typing import Any

from cnf.arguments import complete
from cnf.errors import ConfigError
from cnf.model import ConditionalModel
from cnf.replication import plugs

VARIANTS: dict[str, Callable[..., ConditionalModel]] = {}


def variant(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a variant: it takes `model`, and a value if it needs one, annotated
    and checked as pydantic checks it, and gives a model."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in VARIANTS:
            raise ValueError(f"there is a variant '{name}' already: choose another name")
        VARIANTS[name] = function
        return function

    return register


def variant_of(model: ConditionalModel, text: str) -> ConditionalModel:
    """The variant NAME or NAME=VALUE of a model. Raises ConfigError for an unknown name, a value
    that is missing, needless or does not fit, and where a model has no such variant."""
    name, equals, value = text.partition("=")
    owner, slash, _ = name.partition("/")
    if not slash:
        raise ConfigError(f"--variant {text}: give EXPERIMENT/NAME, or EXPERIMENT/NAME=VALUE")
    plugs.plug(owner)
    if name not in VARIANTS:
        names = ", ".join(other for other in VARIANTS if other.startswith(f"{owner}/"))
        raise ConfigError(f"no variant '{name}': experiments/{owner} has {names or 'none'}")
    function = VARIANTS[name]
    parameters = list(inspect.signature(function).parameters)[1:]
    if len(parameters) != len(equals):
        form = "=".join([name, *map(str.upper, parameters)])
        raise ConfigError(f"--variant {text}: give {form}")
    arguments = complete(function, dict.fromkeys(parameters, value), but=("model",))
    return function(model, **arguments)
