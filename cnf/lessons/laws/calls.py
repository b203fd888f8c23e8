"""What the layers of a Flow are given, and what they return."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cnf.lessons.laws.common import moved
from cnf.lessons.world import strokes
from cnf.testing import Case


@dataclass
class Call:
    """One call of a layer: forward(y, h) gives (out, term), back(z, h, tau) gives (out,)."""

    layer: nn.Module
    arguments: tuple
    found: tuple

    @property
    def name(self) -> str:
        return type(self.layer).__name__

    @property
    def left(self) -> int:
        """How many numbers of a drawing leave in this forward call."""
        return self.arguments[0][0].numel() - self.found[0][0].numel()


@contextmanager
def listening(
    flow: nn.Module, method: str, instead: Callable[[nn.Module], Any] = lambda layer: None
) -> Iterator[list[Call]]:
    """The calls of `method` of all layers inside, but for those that another one makes. What
    `instead` gives for a layer, if not None, is returned in place of what the layer returns."""
    calls: list[Call] = []
    layers = [m for m in flow.modules() if m is not flow and hasattr(m, "back")]
    inside = False

    def listen(layer: nn.Module) -> None:
        original = getattr(layer, method)

        def heard(*arguments: Any, **others: Any) -> Any:
            nonlocal inside
            if inside:
                return original(*arguments, **others)
            inside = True
            try:
                out = original(*arguments, **others)
            finally:
                inside = False
            out = out if instead(layer) is None else instead(layer)
            found = out if isinstance(out, tuple) else (out,)
            calls.append(Call(layer, (*arguments, *others.values()), found))
            return out

        vars(layer)[method] = heard

    for layer in layers:
        listen(layer)
    try:
        yield calls
    finally:
        for layer in layers:
            vars(layer).pop(method, None)


def drawing(case: Case) -> tuple[Any, Tensor, Tensor]:
    """(flow, y, x): four drawings, in float64; its norms have started."""
    if "drawing" not in vars(case):
        flow, (y, x) = moved(case.make), (t.double() for t in strokes(8))
        flow.log_prob(y, x)
        vars(case)["drawing"] = flow, y[:4], x[:4]
    return vars(case)["drawing"]


def scored(case: Case) -> tuple[Tensor, list[Call]]:
    """(log_prob of the drawings, the calls of the layers)."""
    flow, y, x = drawing(case)
    with listening(flow, "forward") as calls:
        log_p = flow.log_prob(y, x)
    return log_p, calls
