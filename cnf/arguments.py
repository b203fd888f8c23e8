"""The arguments of a function, checked: what configurations and files of weights hold."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from cnf.errors import ConfigError, nearest

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Bound = Annotated[float, Field(gt=0)]


def complete(
    function: Callable[..., Any], arguments: Mapping[str, Any], but: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The arguments of a function, with the defaults of those that are not given, as JSON holds
    them. A parameter whose annotation is a dataclass stands for the fields of that, one by one.

    Args:
        function: or a class; its parameters are annotated, and checked as pydantic checks them.
        but: parameters that somebody else gives.

    Raises ConfigError, with a phrase for each wrong key or value.
    """
    try:
        return _model_of(function, but)(**arguments).model_dump(mode="json")
    except ValidationError as error:
        known = _model_of(function, but).model_fields
        raise ConfigError("; ".join(_phrase(e, known) for e in error.errors())) from None


def _phrase(error: Any, known: Iterable[str]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown option '{key}': the nearest are {nearest(key, known)}"
    if error["type"] == "missing":
        return f"'{key}' is missing: give it"
    if error["type"] == "value_error":  # of a check of ours, which says all
        return str(error["ctx"]["error"])
    return f"{key} = {error['input']!r} does not fit: {error['msg'].lower()}"


@cache
def _model_of(function: Callable[..., Any], but: tuple[str, ...]) -> type[BaseModel]:
    """The arguments of a function as a pydantic model."""
    wanted: dict[str, Any] = {}
    parameters = inspect.signature(function).parameters
    for name, annotation in _annotations(function).items():
        if name in but:
            continue
        if is_dataclass(annotation):
            hints = get_type_hints(annotation, include_extras=True)
            for field in fields(annotation):
                wanted[field.name] = hints[field.name], field.default
        else:
            default = parameters[name].default
            wanted[name] = annotation, ... if default is inspect.Parameter.empty else default
    strict = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model("arguments", __config__=strict, **wanted)


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """{parameter: its annotation}, in their order; of a class those of its constructor."""
    hints = get_type_hints(
        function.__init__ if inspect.isclass(function) else function, include_extras=True
    )
    return {name: hints[name] for name in inspect.signature(function).parameters}


def call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The function of all its arguments, as `complete` gives them."""
    given: dict[str, Any] = {}
    for name, annotation in _annotations(function).items():
        if is_dataclass(annotation):
            own = {field.name: arguments[field.name] for field in fields(annotation)}
            given[name] = annotation(**own)  # type: ignore[operator]
        else:
            given[name] = arguments[name]
    return function(**given)
