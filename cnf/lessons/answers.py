"""`check("ex-why-edge", 0.43)`: is this number, or formula, an answer of the exercise? The answers
lie in answers.json, written so that one does not read them by accident. They are no secret."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("answers.json")


def encoded(values: list[float]) -> str:
    """As answers.json has them."""
    return base64.b64encode(json.dumps(values).encode()).decode()


def decoded(text: str) -> list[float]:
    return json.loads(base64.b64decode(text))


def read_answers() -> dict[str, dict[str, Any]]:
    """By label: `hint`, and `parts`, each what it `asks`, its `values`; and where they are needed
    its `unit` (bits or nats), `dims` (of what is asked for one dimension), `at` (points of a
    formula of one variable) and `tol` (relative; 0.015 without)."""
    return json.loads(FILE.read_text("utf-8"))


def check(label: str, answer: float | Callable[[float], float] | None = None) -> None:
    """Print whether an answer is right, right but for its unit or sign, or else a hint.

    Args:
        label: of the exercise, which the page shows: ex-why-edge.
        answer: a number, or a function of one number where a formula is asked for. None: print
            what is asked.
    """
    print(said_of(label, answer))


def said_of(label: str, answer: float | Callable[[float], float] | None) -> str:
    exercises = read_answers()
    if label not in exercises:
        raise ValueError(f"no number is asked for in {label!r}: choose from {', '.join(exercises)}")
    parts = exercises[label]["parts"]
    if answer is None:
        return f"asked: {'; '.join(part['asks'] for part in parts)}"
    kind = [part for part in parts if ("at" in part) == callable(answer)]
    for part in kind:
        try:
            found = numbers(answer, part)
        except (TypeError, ValueError, RuntimeError):
            given = "a function that fails" if callable(answer) else repr(answer)
            return f"not yet: {given:.40} is no number: give one, or a function of one"
        if agrees(found, part, lambda v: v):
            others = [p["asks"] for p in parts if p is not part]
            more = f" Also asked: {'; '.join(others)}." if others else ""
            return f"right: {part['asks']}.{more}"
    for part in kind:
        found = numbers(answer, part)
        for words, change in changes(part):
            if agrees(found, part, change):
                return f"nearly: this would be {part['asks']}, but {words}"
    if callable(answer) and not kind:
        return "not yet: give a number"
    return f"not yet. Hint: {exercises[label]['hint']}"


def numbers(answer: float | Callable[[float], float], part: dict[str, Any]) -> list[float]:
    """The answer, or what a formula gives at the points of this part."""
    return [float(answer(t)) for t in part["at"]] if callable(answer) else [float(answer)]


def agrees(found: list[float], part: dict[str, Any], change: Callable[[float], float]) -> bool:
    tol = part.get("tol", 0.015)
    right = [change(v) for v in decoded(part["values"])]
    return all(abs(f - v) <= tol * abs(v) for f, v in zip(found, right, strict=True))


def changes(part: dict[str, Any]) -> list[tuple[str, Callable[[float], float]]]:
    """(what is wrong, what it makes of the right number)."""
    table: list[tuple[str, Callable[[float], float]]] = []
    log_2, dims = math.log(2), part.get("dims", 1)
    if part.get("unit") == "bits":
        table.append(("in nats, not bits: divide by log 2", lambda v: v * log_2))
    if part.get("unit") == "nats":
        table.append(("in bits, not nats: multiply by log 2", lambda v: v / log_2))
    if dims > 1:
        table.append((f"for all {dims} dimensions together", lambda v: v * dims))
        table.append((f"in nats, and for all {dims} together", lambda v: v * dims * log_2))
    table.append(("with the other sign", lambda v: -v))
    if "at" in part:
        table.append(("its logarithm", lambda v: math.log(abs(v) + 1e-300)))
    elif "unit" not in part:
        table.append(("in per cent", lambda v: 100 * v))
    return table
