"""How the laws of `cnf.testing` see a class of my_flow.py, and laws of several classes."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

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
    tried,
)

FIRST = named(COMMON["shapes"], COMMON["inputs"], COMMON["rows"])
STATE = named(COMMON["context"], COMMON["start"], COMMON["state"])


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


def trains(case: Case) -> None:
    """The term has a gradient in the weights that change it."""
    layer, y, h = given(case)
    found = torch.as_tensor(layer(y, h)[1])
    if found.requires_grad:
        return
    other = copy.deepcopy(layer)
    randomise(other, 1)
    if apart(torch.as_tensor(other(y, h)[1]), found) > 0:
        raise Fault("the term has no gradient", ".item(), .detach(), .data or no_grad cut it off")


BIJECTION = FIRST | named(inverse, PART["log_det"], temperature, trains)
