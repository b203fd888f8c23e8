"""Laws of Flow.log_prob: what its layers are given and what becomes of their terms."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf.lessons.laws.calls import drawing, listening, scored
from cnf.lessons.laws.common import CUT, slopes_along
from cnf.lessons.laws.linear import positions
from cnf.testing import Case, Fault, agree, apart, factor_off, likely, named, seeded


def log_prob(case: Case) -> None:
    """log_prob is one number for every drawing."""
    shape = tuple(scored(case)[0].shape)
    if shape != (4,):
        raise Fault(f"log_prob of 4 drawings has shape {shape}, not (4,)")


def layers(case: Case) -> None:
    """Every layer is a part of the flow, is called once, and is a layer of its own."""
    flow, _, _ = drawing(case)
    calls = scored(case)[1]
    if not calls:
        words = "they are in a list: nn.ModuleList makes their weights those of the flow"
        raise Fault("no layer is a module of the flow", words)
    for name in ("ActNorm", "Conv1x1", "Coupling"):
        of_kind = [call.layer for call in calls if call.name == name]
        if len(of_kind) != len({id(layer) for layer in of_kind}):
            words = "steps share weights: make a new layer for every step"
            raise Fault(f"one {name} is called several times", words)
        if len(of_kind) < 4:
            words = "there are two levels: a squeeze, steps and a prior at each"
            raise Fault(f"with steps = 2 it has {len(of_kind)} {name}, not 2 at each level", words)
    if calls[0].name != "BinaryDequantization":
        words = "labels have no density: noise comes first"
        raise Fault(f"the first layer is {calls[0].name}, not BinaryDequantization", words)
    unused = {id(m) for m in flow.modules() if hasattr(m, "back")} - {id(c.layer) for c in calls}
    if unused - {id(flow)}:
        raise Fault(f"{len(unused - {id(flow)})} of its layers are never called by log_prob")


def leaves(case: Case) -> None:
    """All 256 numbers leave, each once."""
    calls = scored(case)[1]
    total = sum(call.left for call in calls)
    if total != 256:
        words = "the last prior is to keep none: num_a = 0" if 0 < total < 256 else ""
        words = words or ("there is no prior" if total == 0 else "")
        raise Fault(f"{total} numbers are scored by priors, not 256", words)


def follows(case: Case) -> None:
    """Every layer is given what the one before passes on, the first one y."""
    _, y, _ = drawing(case)
    at = y
    for call in scored(case)[1]:
        found = call.arguments[0]
        if apart(found, at) > 1e-12 and not folds(at, found):
            words = "view and reshape alone do not fold blocks: a Squeeze does"
            same = found.numel() == at.numel() and apart(found.flatten(), at.flatten()) == 0
            message = f"{call.name} is not given what the layer before it passes on"
            raise Fault(message, words if same else "")
        at = call.found[0]


def folds(y: Tensor, z: Tensor) -> bool:
    """Is z a squeeze of y, which a flow may do without a layer?"""
    if y.shape[2] % 2 or y.shape[3] % 2:
        return False
    return apart(positions(z), positions(F.pixel_unshuffle(y, 2))) < 1e-12


def arguments(case: Case) -> None:
    """steps and num_h are what the constructor is given."""
    found = []
    for k in (1, 3):
        flow, (y, x) = type(drawing(case)[0])(steps=k, num_h=k).double(), drawing(case)[1:]
        with listening(flow, "forward") as calls:
            flow.log_prob(y, x)
        h = [call.arguments[1] for call in calls if call.name == "Coupling"]
        if not h or h[0] is None:
            return  # other laws say so
        found.append((len(h), h[0].shape[1]))
    for name, one, other in zip(("steps", "num_h"), *found, strict=True):
        if one == other:
            what = f"{one} Coupling" if name == "steps" else f"an h of {one} channels"
            words = f"a number is written into the class in place of {name}"
            raise Fault(f"with {name} = 1 and with {name} = 3 it has {what}", words)


def terms(case: Case) -> None:
    """log_prob is the sum of the terms of all layers."""
    log_p, calls = scored(case)
    parts = [(call.name, call.found[1].expand(4)) for call in calls]
    right = sum((term for _, term in parts), torch.zeros(4))
    table = {}
    for name in {name for name, _ in parts}:
        own = sum(term for other, term in parts if other == name)
        table[f"the terms of {name} are left out"] = right - own
        table[f"the terms of {name} are subtracted"] = right - 2 * own
        table[f"the terms of {name} are counted twice"] = right + own
    priors = [call.found[1] for call in calls if call.left]
    bijections = right - sum(priors) - parts[0][1]
    table |= {
        "only the last term is returned": parts[-1][1],
        "the last term is left out": right - parts[-1][1],
        "the first prior's term is left out": right - priors[0],
        "the log-determinants are left out": right - bijections,
        "the log-determinants are subtracted": right - 2 * bijections,
        "all terms but the first are subtracted": 2 * parts[0][1] - right,
        "its sign is wrong: log p, not the loss": -right,
        "it is averaged over the pixels, not summed": right / 256,
        "it is averaged over the layers": right / len(parts),
    }
    table |= factor_off(log_p.detach(), right.detach())
    agree("log_prob", log_p, right, 1e-9, lambda: likely(log_p, right, table, 1e-9))


def finite(case: Case) -> None:
    """Every layer gives finite numbers."""
    log_p, calls = scored(case)
    for call in calls:
        for what, t in (("output", call.found[0]), ("term", torch.as_tensor(call.found[1]))):
            if not t.isfinite().all():
                words = f"check {call.name} first: what it is given is finite"
                raise Fault(f"the {what} of {call.name} is not finite", words)
    if not log_p.isfinite().all():
        raise Fault("log_prob is not finite", "all terms are finite: what else is added to them?")


def reads_x(case: Case) -> None:
    """Every coupling and prior is given features of x, of its own drawing."""
    flow, y, x = drawing(case)
    with listening(flow, "forward") as calls:
        flow.log_prob(y, x)
        flow.log_prob(y, torch.cat([1 - x[:1], x[1:]]))
    half = len(calls) // 2
    for one, other in zip(calls[:half], calls[half:], strict=True):
        if one.name in ("Coupling", "Prior"):
            h, changed = one.arguments[1], other.arguments[1]
            if h is None or apart(h[:1], changed[:1]) < 1e-12:
                raise Fault(f"the h of a {one.name} is the same for every x", "x is ignored")
            if apart(h[1:], changed[1:]) > 1e-9:
                raise Fault(f"the x of one drawing moves the h of another, of a {one.name}")


def gradients(case: Case) -> None:
    """Every weight gets a gradient."""
    flow, y, x = drawing(case)
    log_p = flow.log_prob(y, x)
    if not log_p.requires_grad:
        raise Fault("log_prob has no gradient", "no_grad is for sample alone")
    flow.zero_grad()
    log_p.sum().backward()
    lost = {name: p for name, p in flow.named_parameters() if p.grad is None}

    def outcome(flow: Any, y: Tensor, x: Tensor) -> Tensor:
        with seeded(3, torch.float64):
            return flow.log_prob(y, x).sum()

    if lost:
        used = slopes_along(flow, outcome, list(lost.values()), y, x)[0].abs() > 1e-9
        name = next(iter(lost))
        words = f"they are used, but {CUT}" if used else "they are unused"
        raise Fault(f"no gradient reaches {name} ({len(lost)} weights in all)", words)
    in_layers = {
        id(p)
        for m in flow.modules()
        if m is not flow and hasattr(m, "back")
        for p in m.parameters()
    }
    for where, inside in (("layers", True), ("features", False)):
        weights = [p for p in flow.parameters() if (id(p) in in_layers) == inside]
        if weights:
            slope, seen = slopes_along(flow, outcome, weights, y, x)
            agree(
                f"the slope of log_prob along weights of {where}, by autograd,",
                seen,
                slope,
                1e-3,
                CUT,
            )


FORTH = named(log_prob, layers, arguments, leaves, follows, finite, terms, reads_x, gradients)
