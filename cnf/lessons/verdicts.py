"""Which classes of my_flow.py are right, what is wrong and why, and what is next."""

import importlib.util
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnf.lessons.pieces import LESSONS, PIECES, WHICH, Piece
from cnf.testing import Fault, Skip, placed, seeded, tried

LAWS = {  # of cnf.testing, in the words of the lessons
    "shapes": "z has the rows of y, and the term is one number a row",
    "inputs": "what a layer is given is as it was",
    "rows": "a picture is treated alike whatever the others of the batch are",
    "inverse": "back undoes the layer",
    "log_det": "the term is log|det dz/dy|, here compared with autograd's Jacobian",
    "context": "h changes what its own picture gives",
    "start": "the first batch sets weights, no other",
    "precision": "float64 is computed in float64",
    "loaded": "weights that are loaded take effect: nothing of the old ones is kept",
    "state": "a new layer that loads the weights gives the same numbers",
}
WORDS = {"inverse(forward(x))": "back(layer(y))", "log_det": "the term", "the context": "h"}


def plain(text: str) -> str:
    """In the words of the lessons, and not longer than two lines."""
    for old, new in WORDS.items():
        text = text.replace(old, new)
    return text if len(text) < 180 else f"{text[:170]} ..."


@dataclass
class Verdict:
    """Of one class: right, wrong, or to write."""

    piece: Piece
    status: str
    law: str = ""
    message: str = ""
    likely: str = ""

    def __str__(self) -> str:
        name = f"{self.piece.name} (lesson {self.piece.lesson})"
        if self.status == "right":
            return f"✓ {name}"
        if self.status == "to write":
            return f"· {name}: {self.message}"
        lines = [f"✗ {name}: {self.message}"]
        lines += [f"    likely: {self.likely}"] if self.likely else []
        return "\n".join([*lines, f"    law: {self.law}. Read {self.piece.where}"])


def verdict(piece: Piece, names: Mapping[str, Any]) -> Verdict:
    """The laws of one class, up to the first failure whose cause has a name."""
    made = names.get(piece.name)
    if made is None:
        return Verdict(piece, "to write", message="there is no such class yet")
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        return Verdict(piece, "wrong", "a class", f"{made!r} is no class of nn.Module")
    if found := misfit(piece.name, made):
        meaning = "methods take what they are given, in this order"
        return Verdict(piece, "wrong", meaning, *map(plain, found))
    case, laws = piece.laws(made)
    failure, missing = None, ""
    for name, law in laws.items():
        with seeded(0, torch.float64):
            outcome = tried(law, case)
            why = getattr(outcome, "why", "")
            words = (why() if callable(why) else why) or hint(outcome)
        unwritten = (outcome, getattr(outcome, "__cause__", None))
        if any(isinstance(error, NotImplementedError) for error in unwritten):
            missing = missing or words_of(next(filter(None, reversed(unwritten))))
            continue
        if outcome is None or isinstance(outcome, Skip):
            continue
        meaning = LAWS.get(name) or (law.__doc__ or name).strip().splitlines()[0].rstrip(".")
        said = plain(str(outcome) if isinstance(outcome, Fault) else placed(outcome))
        words = plain(words)
        failure = failure or Verdict(piece, "wrong", meaning, said, words)
        if words:
            return Verdict(piece, "wrong", meaning, said, words)
        if not isinstance(outcome, Fault):
            break
    if failure and failure.law == LAWS["rows"]:
        failure.likely = "a mean, a norm or a sum over the whole batch"
    if missing and failure is None:
        return Verdict(piece, "to write", message=missing)
    return failure or Verdict(piece, "right")


def misfit(name: str, made: type) -> tuple[str, str] | None:
    """(what is wrong, the line that is right) of a method that cannot be called as the stub's."""
    from cnf.lessons import my_flow  # which imports this package

    for method, stub in vars(vars(my_flow)[name]).items():
        own = getattr(made, method, None)
        if not inspect.isfunction(stub) or not inspect.isfunction(own):
            continue
        right, signature = inspect.signature(stub).parameters.values(), inspect.signature(own)
        needed = [p.name for p in right if p.default is p.empty]
        named = {p.name: p.default for p in right if p.default is not p.empty}
        named.pop("m" if name == "Coupling" else "", None)  # which nobody gives
        order = [p for p in signature.parameters if p in needed]
        try:
            signature.bind(*needed, **named)
        except TypeError:
            lost = [p for p in [*needed, *named] if p not in signature.parameters]
            words = "asks for more than it is given"
            words = f"does not take {' and '.join(lost)}" if lost else words
        else:
            if order == needed or len(order) < len(needed):
                continue
            words = "has another order"
        return f"{method}{signature} {words}", f"def {method}({', '.join(map(str, right))}):"
    return None


def hint(error: Exception | None) -> str:
    """What usually leads to an error of torch."""
    said = str(error)
    if found := re.search(r"expected input.* to have (\d+) channels, but got (\d+)", said):
        made, given = found.groups()
        return f"a network made for {made} channels is given {given}: are those of h among them?"
    if "Sizes of tensors must match except in dimension 1" in said:
        return "tensors of different height or width are joined: h is to have those of y"
    if "argument 0, but got NoneType" in said:
        return "h is None there: a coupling and a prior need the features of x"
    return ""


def words_of(error: BaseException) -> str:
    """`to write: back`, of `lesson 3: Coupling.back`."""
    method = str(error).partition(".")[2]
    return f"to write: {method}" if method else "to write"


def verdicts(names: Mapping[str, Any], lesson: int | None = None) -> list[Verdict]:
    """Of all classes, or those of one lesson, in the order of the lessons."""
    if not isinstance(names, Mapping):
        kind = type(names).__name__
        raise TypeError(f"the names are a {kind}: give vars(my_flow), or globals() in a notebook")
    if lesson is not None and lesson not in LESSONS:
        raise ValueError(f"lesson = {lesson!r}: choose from {WHICH}")
    return [verdict(p, names) for p in PIECES if lesson in (None, p.lesson)]


def text(found: list[Verdict]) -> str:
    """A line for each class, and what to do next."""
    todo = [v for v in found if v.status != "right"]
    wrong = [v for v in todo if v.status == "wrong"]
    if wrong:
        end = f"next: mend {wrong[0].piece.name}, {wrong[0].piece.where}"
    elif todo and len(found) > 1 and todo[0].piece.lesson > 9:
        end = f"next: train your Flow; lesson {todo[0].piece.lesson} has a rival for it"
    elif todo:
        end = f"next: write {todo[0].piece.name}, {todo[0].piece.where}"
    else:
        end = "all is right" if len(found) < len(PIECES) else "all is right: train your Flow"
    return "\n".join([*map(str, found), end])


def check_lesson(lesson: int, names: Mapping[str, Any]) -> None:
    """Of the classes of a lesson, in a notebook: `check_lesson(5, globals())`. Prints."""
    print(text(verdicts(names, lesson)))


def load(path: Path) -> dict[str, Any]:
    """The names of a file, which is run. Raises FileNotFoundError, and whatever the file raises."""
    if path.suffix != ".py":
        raise FileNotFoundError(f"{path} is no file of Python: give FILE.py")
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: python -m cnf start {path} writes it")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)
