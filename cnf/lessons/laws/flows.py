"""Laws of Flow: those of log_prob, and of sample, which goes back through the same layers."""

from functools import partial
from typing import Any

import torch

from cnf.lessons.laws.calls import drawing, listening, scored
from cnf.lessons.laws.common import repeats
from cnf.lessons.laws.log_probs import FORTH
from cnf.testing import Case, Fault, Law, agree, apart, named, tried


def flow(made: type) -> tuple[Case, dict[str, Law]]:
    return Case(lambda: made(steps=2, num_h=2), (1, 16, 16), default=torch.float64), FLOW


def order(case: Case) -> None:
    """sample calls `back` of every layer, the last one first."""
    flow, _, x = drawing(case)
    forth = [call.layer for call in scored(case)[1]]
    with listening(flow, "back") as calls:
        error = tried(lambda case: flow.sample(x), case)
    back = [call.layer for call in calls]
    if back[:1] == forth[:1]:
        raise Fault(
            "sample begins with the first layer, not with the last", "reversed() is missing"
        )
    if error is not None:
        raise error
    for layer in forth:
        if layer not in back:
            raise Fault(f"sample does not call back of {type(layer).__name__}", "it is left out")
    if back != forth[::-1]:
        raise Fault("sample calls the layers in another order than the reverse of log_prob's")


def labels(case: Case) -> None:
    """A sample is labels, (B, 1, 16, 16)."""
    flow, _, x = drawing(case)
    drawn = flow.sample(x)
    if drawn.shape != (4, 1, 16, 16):
        raise Fault(f"samples of 4 x have shape {tuple(drawn.shape)}, not (4, 1, 16, 16)")
    if not ((drawn == 0) | (drawn == 1)).all():
        raise Fault("a sample holds other numbers than 0 and 1", "v is returned, not the labels")


def same_features(case: Case) -> None:
    """On the way back every layer is given the h that it had."""
    flow, _, x = drawing(case)
    forth = {id(call.layer): call.arguments[1] for call in scored(case)[1]}
    with listening(flow, "back") as calls:
        flow.sample(x)
    for call in calls:
        if call.name not in ("Coupling", "Prior"):
            continue
        if apart(call.arguments[1], forth[id(call.layer)]) > 1e-9:
            words = "sample makes the features otherwise than log_prob, or hands on those of y"
            raise Fault(f"back of a {call.name} is given another h than its forward", words)


def temperature(case: Case) -> None:
    """tau reaches every prior, and is 1 unless it is given."""
    flow, _, x = drawing(case)
    for words, tau, right in (("tau = 0.3", (0.3,), 0.3), ("no tau", (), 1.0)):
        with listening(flow, "back") as calls:
            flow.sample(x, *tau)
        for call in calls:
            if call.name == "Prior" and call.arguments[2] != right:
                found = f"with {words} back of a prior is given tau = {call.arguments[2]}"
                words = "tau is not handed on" if right == 0.3 else "tau = 1.0 is the default"
                raise Fault(found, words)


def returns(case: Case) -> None:
    """Where priors give back what they scored, the sample is the drawing."""
    flow, y, x = drawing(case)
    with listening(flow, "forward") as calls:
        flow.log_prob(y, x)
    kept = {id(call.layer): call.arguments[0] for call in calls if call.left}
    with listening(flow, "back", lambda layer: kept.get(id(layer))):
        found = flow.sample(x)
    agree("a drawing that is encoded and decoded", found, y, 0)


def differ(case: Case) -> None:
    """Two samples of one x differ."""
    flow, _, x = drawing(case)
    with listening(flow, "back") as calls:
        words = repeats(lambda: flow.sample(x, 3.0))
    if not words:
        return
    for call in calls:
        layer: Any = call.layer
        if call.name == "Prior" and (inside := repeats(partial(layer.back, *call.arguments))):
            raise Fault("two samples of one x are the same", f"in back of Prior: {inside}")
    raise Fault("two samples of one x are the same", f"in sample: {words}")


FLOW = FORTH | named(order, labels, same_features, temperature, returns, differ)
