"""How the laws of `cnf.testing` see a class of my_flow.py, and laws of several classes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cnf.testing import BIJECTION as WHOLE
from cnf.testing import (
    COMMON,
    PART,
    Case,
    Fault,
    Law,
    Skip,
    agree,
    apart,
    likely,
    named,
    randomise,
    seeded,
    tried,
)

IMAGE = (3, 4, 7)  # C, H, W: no two of their products or quotients are alike, and none is 2
FIRST = named(COMMON["shapes"], COMMON["inputs"], COMMON["rows"])
STATE = named(*[COMMON[law] for law in ("context", "start", "state", "loaded")])


def case_of(
    make: Callable[[], nn.Module], shape: tuple[int, ...], context: tuple[int, ...] | None = None
) -> Case:
    """layer(y, h) and layer.back(z, h, 1.0), h None without a context."""

    def forward(layer: Any, y: Tensor, h: Any) -> tuple[Tensor, Tensor]:
        found = layer(y, h)
        if torch.is_tensor(found):
            raise Fault("layer(y, h) gives one tensor, not two", "it ends with: return z, term")
        return found

    def back(layer: Any, z: Tensor, h: Any) -> Tensor:
        found = layer.back(z, h, 1.0)
        if not torch.is_tensor(found):
            words = "back returns y alone, without a term"
            raise Fault(f"back gives a {type(found).__name__}, not a tensor", words)
        return found

    return Case(make, shape, context, "real", None, forward, back, default=torch.float64)


def given(case: Case) -> tuple[Any, Tensor, Any]:
    """(layer, y, h) of a case."""
    y, *h = case.given
    return case.map.layer, y, h[0] if h else None


def moved(make: Callable[[], Any]) -> Any:
    """A new module in float64, with weights moved at random."""
    module = make().double()
    randomise(module)
    return module


def saturate(module: nn.Module, value: float) -> None:
    """The last bias of a module: what its network then gives is about this value."""
    biases = [p for name, p in module.named_parameters() if name.endswith("bias")]
    if not biases:
        raise Skip("no bias")
    biases[-1].data.fill_(value)


def with_names(law: Law, found: Callable[[Case], Tensor], table: Callable[[Case], dict]) -> Law:
    """A law that compares what was `found` with more mistakes than those of cnf.testing."""

    def more(case: Case) -> None:
        fault = tried(law, case)
        if isinstance(fault, Fault) and not (fault.why() if callable(fault.why) else fault.why):
            numbers = found(case)
            fault.why = likely(numbers, torch.full_like(numbers, torch.nan), table(case))
        if fault is not None:
            raise fault

    more.__name__ = law.__name__
    return more


def term(case: Case) -> Tensor:
    layer, y, h = given(case)
    return layer(y, h)[1].expand(len(y))


def returned(case: Case) -> Tensor:
    """What back makes of z, (B, D)."""
    layer, y, h = given(case)
    return layer.back(layer(y, h)[0], h, 1.0).flatten(1)


def of_an_inverse(case: Case) -> dict[str, Tensor]:
    """What wrong inverses of z = J y + t give. Of scales s, J has the diagonal s; of a matrix, t is
    0."""
    layer, y, h = given(case)
    z, slopes = layer(y, h)[0].flatten(1), case.map.jacobian(y, h)
    s = slopes.diagonal(dim1=1, dim2=2)
    t = z - s * y.flatten(1)
    turned = slopes.transpose(1, 2)
    return {
        "it multiplies by the scale again: (z - t) s": (z - t) * s,
        "it divides first: z / s - t": z / s - t,
        "it adds the shift: (z + t) / s": (z + t) / s,
        "the scale is not undone": z - t,
        "back exchanges log s and t": (z - s.abs().log()) * (-t).exp(),
        "the shift is not undone": z / s,
        "it subtracts the shift first, and forward adds it first": (z - t / s) / s,
        "W is transposed, not inverted": (turned @ z[..., None])[..., 0],
        "W is inverted and transposed": torch.linalg.solve(turned, z),
    }


def inverse(case: Case) -> None:
    """Back undoes the layer, with the same h."""
    layer, y, h = given(case)
    fault = tried(with_names(PART["inverse"], returned, of_an_inverse), case)
    if isinstance(fault, Fault) and not fault.why:
        z = layer(y, h)[0]
        if h is not None and apart(layer.back(z, h + 1, 1.0), layer.back(z, h, 1.0)) == 0:
            fault.why = "back ignores h"
        for k in range(1, z.shape[1]):
            if apart(layer.back(z.roll(k, 1), h, 1.0), y) < 1e-9:
                fault.why = "forward joins the channels in another order than back cuts them"
    if fault is not None:
        raise fault


def right_term(case: Case) -> Tensor:
    """log|det dz/dy| by autograd, (B,)."""
    y, *h = case.given
    return case.map.slogdet(y, *h)


def temperature(case: Case) -> None:
    """Only a prior looks at tau."""
    layer, y, h = given(case)
    z = layer(y, h)[0].detach()
    first, again = (layer.back(z, h, 1.0) for _ in range(2))
    agree("back, called again,", again, first, why="each call makes a new network, or new noise")
    agree("back with tau = 0.5", layer.back(z, h, 0.5), first, why="tau is for priors alone")


CUT = ".item(), .detach(), .data or no_grad cut it off"


def trains(case: Case) -> None:
    """Gradients reach the weights, and y and h, through all that is returned."""
    layer, y, h = given(case)
    whole = torch.equal(y, y.round())  # labels: nothing is differentiated by them
    inputs = [t for t in (None if whole else y, h) if t is not None and t.numel()]
    weights = [p for p in layer.parameters() if p.numel()]
    for name, k in {"the term": 1, "what is passed on": 0}.items():

        def outcome(layer: Any, y: Tensor, h: Any, k: int = k) -> Tensor:
            with seeded(3, torch.float64):
                t = torch.as_tensor(layer(y, h)[k])
                return (t * torch.randn(t.shape)).sum() if t.numel() else t.sum()

        for what, points in {"the weights": weights, "y and h": inputs}.items():
            if points:
                slope, seen = slopes_along(layer, outcome, points, y, h)
                agree(f"the slope of {name} along {what}, by autograd,", seen, slope, 1e-4, CUT)


def slopes_along(
    layer: Any, outcome: Callable, points: list[Tensor], y: Tensor, h: Any
) -> tuple[Tensor, Tensor]:
    """The derivative of outcome(layer, y, h) along a direction of `points`, weights or inputs, by
    differences and by autograd; both (1,)."""
    with seeded(4, torch.float64):
        directions = [torch.randn(p.shape) for p in points]
    ends, step, start = [], 1e-7, [p.detach().clone() for p in points]
    for sign in (1, -1, 0):  # 0: as it was
        for p, d, old in zip(points, directions, start, strict=True):
            p.data.copy_(old + sign * step * d)
        with torch.no_grad():
            ends.append(outcome(layer, y, h))
    slope = (ends[0] - ends[1]) / (2 * step)
    asked = [p.requires_grad for p in points]
    for p in points:
        p.requires_grad_()
    found = outcome(layer, y, h)
    seen = torch.zeros(())
    if found.requires_grad:
        parts = torch.autograd.grad(found, points, allow_unused=True)
        pairs = zip(parts, directions, strict=True)
        seen = sum(((g * d).sum() for g, d in pairs if g is not None), seen)
    for p, needed in zip(points, asked, strict=True):
        p.requires_grad_(needed)
    return slope.reshape(1), seen.reshape(1)


def repeats(draw: Callable[[], Tensor]) -> str:
    """Why two draws are the same; nothing if they differ. A seed that is set inside leaves torch's
    generator as it was after the first."""
    found: list[Tensor] = []
    states: list[Tensor] = []
    for seed in (5, 6, 6):
        with torch.random.fork_rng(devices=[]):
            if len(found) < 2:
                torch.manual_seed(seed)
            with torch.no_grad():
                found.append(draw())
            states.append(torch.get_rng_state())
    if apart(found[0], found[1]) > 0:
        return ""
    if torch.equal(states[0], states[1]):
        return "a seed is set inside: every call draws the same numbers"
    return "the noise is drawn once and kept, or its generator is made anew with one seed"


def anew(case: Case) -> None:
    """Noise is drawn anew in every call."""
    layer, y, h = given(case)
    if words := repeats(lambda: layer(y, h)[0]):
        still = len(layer(torch.zeros(8, *y.shape[1:]), h)[0].unique()) == 1
        words = "no noise is added" if still else words
        raise Fault("two calls with one y give the same v", words)


ORDER = inverse, PART["log_det"], WHOLE["precision"], temperature, trains
BIJECTION = FIRST | named(*ORDER)
