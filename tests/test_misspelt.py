"""A misspelt keyword is found twice: by whoever reads types, and by the call itself.

`make lint` runs mypy over this file: each wrong call below carries the error that mypy must find
there, and an `ignore` of one that it does not find is an error itself.
"""

from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import cnf
from cnf.errors import ConfigError
from cnf.glow import GlowConfig, GlowOptions
from cnf.replication.answers import sample
from cnf.replication.evaluation.evaluate import evaluate
from cnf.replication.scored import options

WRONG = {
    "width": lambda: cnf.glow(channels=1, widht=32),  # type: ignore[call-arg]
    "steps": lambda: cnf.glow(1, 2, step=4),  # type: ignore[call-arg]
    "samples": lambda: cnf.upscale("cat.png", sampels=3),  # type: ignore[call-overload]
    "uncertainty": lambda: cnf.segment("eye.png", uncertain=True),  # type: ignore[call-overload]
    "overwrite": lambda: sample.sample("sr", [], overwrit=True),  # type: ignore[call-arg]
    "importance": lambda: evaluate("sr", importanse=2),  # type: ignore[call-arg]
    "publish": lambda: evaluate("sr", publsh=True),  # type: ignore[call-arg]
}


def no_layer() -> Any:
    return cnf.layers.Splitt  # type: ignore[attr-defined]


def right() -> tuple[Any, ...]:
    """Nobody calls it: mypy finds nothing here."""
    return (
        cnf.glow(1, 2, levels=1, steps=4, width=32, net="conv", dequantization=None, clip=2.0),
        cnf.upscale("cat.png", "sr", samples=3, temperature=0.8, uncertainty=True),
        cnf.segment("eye.png", fov="mask.png", mean_samples=8, device="cpu"),
        sample.sample("sr", [Path("cat.png")], out="there", json=None, seed=1),
        evaluate("sr", "set5", samples=2, threshold_from=Path("runs/mine"), publish=False),
        cnf.layers.Split,
    )


@pytest.mark.parametrize("meant", WRONG)
def test_a_misspelt_keyword_names_the_one_that_was_meant(meant):
    with pytest.raises(ConfigError, match=rf"unknown option '\w+': the nearest are .*\b{meant}\b"):
        WRONG[meant]()


def test_a_layer_that_there_is_not_is_an_error():
    with pytest.raises(AttributeError, match="Splitt"):
        no_layer()


@pytest.mark.parametrize(
    ("keywords", "fields"),
    [
        (GlowOptions, GlowConfig),
        (sample.SampleOptions, sample.Options),
        (options.EvaluateOptions, options.Options),
    ],
)
def test_keywords_are_the_fields_of_their_dataclass(keywords, fields):
    wanted = {name: members(t) for name, t in get_type_hints(fields).items()}
    found = {name: members(t) for name, t in get_type_hints(keywords).items()}
    for name, types in found.items():
        if {str, Path} <= types:  # a path may be given as text
            assert {str, Path} & wanted[name], name
            found[name], wanted[name] = (t - {str, Path} for t in (types, wanted[name]))
    assert found == wanted


def members(annotation: Any) -> set:
    """The types of a union; of another type itself."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return {*get_args(annotation)} if is_union else {annotation}
