"""Kinds of models, and their files.

A kind is a registered function that makes a model of plain arguments. A file of weights names its
kind and the arguments, never an import path: what a file says can only choose among functions that
are registered, it runs no code.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from cnf.arguments import call, complete
from cnf.errors import CheckpointError, ConfigError, nearest
from cnf.model import ConditionalModel

KINDS: dict[str, Callable[..., ConditionalModel]] = {}


def kind(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a kind of model.

    Its parameters are annotated: they are checked as pydantic checks them, and hold what JSON can
    hold. A parameter whose annotation is a dataclass stands for the fields of that, written out
    one by one.

    A kind that an experiment registers is named "QUESTION/NAME", QUESTION the folder of its
    `plug.py`, by which it is found.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in KINDS:
            raise ValueError(f"there is a kind '{name}' already: choose another name")
        KINDS[name] = function
        return function

    return register


def maker(name: str) -> Callable[..., ConditionalModel]:
    """The function of a kind. Raises ConfigError, naming the nearest kinds that are known."""
    if name not in KINDS:
        raise ConfigError(f"no kind of model '{name}': the nearest are {nearest(name, KINDS)}")
    return KINDS[name]


def build(name: str, arguments: Mapping[str, Any]) -> ConditionalModel:
    """A model with untrained weights, which remembers its kind and all its arguments.

    Weights of convolutions lie in channels-last order, and so then do activations: the same values,
    sooner (see the chapter on speed).

    Raises ConfigError for an unknown kind, an unknown argument, or a value that does not fit.
    """
    function = maker(name)
    full = complete(function, arguments)
    model = call(function, full)
    model.kind, model.arguments = name, full
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# -- files -----------------------------------------------------------------------------------------


def read_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file of weights, and what it says beside. Raises CheckpointError."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights ({error})") from None


def described(said: Mapping[str, str], path: Path | str) -> ConditionalModel:
    """The model that a file says it is of, with untrained weights. Raises CheckpointError."""
    if "kind" not in said:
        raise CheckpointError(
            f"{path} does not say how to build its model: build it again and give it as "
            "cnf.load(path, into=model)"
        )
    try:
        return build(said["kind"], json.loads(said["arguments"]))
    except (ConfigError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} describes no model of this version ({error})") from None


def fill(
    model: ConditionalModel,
    tensors: Mapping[str, Tensor],
    said: Mapping[str, str],
    path: Path | str,
) -> ConditionalModel:
    """Give a model the weights of a file, in evaluation mode. Raises CheckpointError, before
    anything is copied, if they are those of another model."""
    own = {name: t.shape for name, t in model.state_dict().items()}
    found = {name: t.shape for name, t in tensors.items()}
    for name in own | found:
        if own.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} holds weights of another model ('{name}' does not fit): build the model "
                "that was saved"
            )
    of_file = json.loads(said.get("arguments", "{}"))
    for name, value in (model.arguments or {}).items():
        if of_file.get(name, value) != value:
            raise CheckpointError(
                f"{path} is of a model with {name} = {of_file[name]}, not {value}: build the model "
                "that was saved"
            )
    if any(t.dtype == torch.float64 for t in tensors.values()):
        model.double()
    target = model.state_dict()
    model.load_state_dict({name: t.to(target[name].dtype) for name, t in tensors.items()})
    model.metadata = {k: v for k, v in said.items() if k not in ("kind", "arguments")}
    return model.eval()


def load(path: Path | str, into: ConditionalModel | None = None) -> ConditionalModel:
    """The model of a file that `save` wrote, in evaluation mode, on the CPU.

    Args:
        into: a model that takes the weights, where the file cannot say how to build it: one with
            layers or a feature network of your own. It is returned.

    Raises CheckpointError for a file that is missing, cut short, or of another model.
    """
    tensors, said = read_weights(path)
    return fill(described(said, path) if into is None else into, tensors, said, path)


def count_parameters(model: nn.Module) -> int:
    """How many numbers its parameters hold, frozen ones too."""
    return sum(p.numel() for p in model.parameters())
