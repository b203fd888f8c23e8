"""Laws of Coupling: what passes, what the network sees, and what is undone."""

from typing import Any

import torch
from torch import Tensor

from cnf.lessons.laws.common import (
    BIJECTION,
    STATE,
    case_of,
    given,
    returned,
    saturate,
    term,
    with_names,
)
from cnf.testing import Case, Fault, Law, Map, apart, named, placed, tried


def coupling(made: type) -> tuple[Case, dict[str, Law]]:
    case = case_of(lambda: made(1, 2, 2), (3, 1, 5), (2, 1, 5))
    log_det = with_names(BIJECTION["log_det"], term, of_a_coupling)
    undone = with_names(BIJECTION["inverse"], returned, unbounded)
    return case, BIJECTION | {"log_det": log_det, "inverse": undone} | OF_A_COUPLING | STATE


def of_a_coupling(case: Case) -> dict[str, Tensor]:
    layer, y, h = given(case)
    log_s = case.map.jacobian(y, h).diagonal(dim1=1, dim2=2).abs().log()
    return {
        "it is the sum of what the network gives, before m tanh(. / m)": 1.5
        * (log_s / 1.5).atanh().sum(1),
        "the scale is 1 + log s there, not exp(log s)": log_s.expm1().sum(1),
    }


def unbounded(case: Case) -> dict[str, Tensor]:
    """What back gives if it takes raw for log s = 1.5 tanh(raw / 1.5)."""
    _, y, h = given(case)
    s = case.map.jacobian(y, h).diagonal(dim1=1, dim2=2)
    raw = 1.5 * (s.abs().log() / 1.5).atanh()
    return {"log s is bounded in forward alone, not in back": s * y.flatten(1) * (-raw).exp()}


def passing(layer: Any, y: Tensor, h: Tensor) -> list[int]:
    """The channels of y that are channels of z, too."""
    z = layer(y, h)[0]
    channels = range(y.shape[1])
    return [k for k in channels if any(apart(z[:, i], y[:, k]) < 1e-12 for i in channels)]


def passes(case: Case) -> None:
    """num_a channels pass, num_b are changed."""
    found = len(passing(*given(case)))
    if found != 1:
        words = {
            3: "nothing is changed",
            2: "num_a are to pass, num_b to be changed",
            0: "z_a is to be y_a, as it is",
        }
        raise Fault(f"of num_a + num_b = 1 + 2 channels {found} pass, not 1", words[found])


def sees(case: Case) -> None:
    """What is changed depends on what passes."""
    layer, y, h = given(case)
    (a,) = passing(layer, y, h)
    other = y.clone()
    other[:, a] += 1
    kept = [k for k in range(3) if k != a]
    before, after = (layer(t, h)[0] for t in (y, other))
    same = [i for i in range(3) if apart(after[:, i], before[:, i]) < 1e-12]
    if len(same) >= len(kept):
        raise Fault("z_b does not depend on y_a", "the network does not see y_a")


def without_h(case: Case) -> None:
    """num_h = 0: h has no channels."""
    made = type(given(case)[0])
    y, h = torch.randn(5, 3, 2, 2), torch.randn(5, 0, 2, 2)
    error = tried(lambda case: made(1, 2, 0).double()(y, h), case)
    if error is not None:
        words = "h may have no channels: torch.cat([y_a, h], 1) is y_a then"
        raise Fault(f"with num_h = 0: {placed(error)}", words)


def bounded(case: Case) -> None:
    """A network that gives 1000 makes nothing infinite in float32."""
    layer, (y, h) = case.new(torch.float32).layer, (t.float() for t in case.given)
    saturate(layer, 1000.0)
    if not layer(y, h)[0].isfinite().all():
        words = "log s is not bounded: exp of 89 is too large. m tanh(raw / m) is"
        raise Fault("z is not finite where the network gives 1000", words)


def triangular(case: Case) -> None:
    """What scales and shifts a number does not depend on any number that is changed."""
    layer, y, h = given(case)
    changed = [k for k in range(3) if k not in passing(layer, y, h)]
    if len(changed) != 2:
        return  # another law says so
    z = layer(y, h)[0].detach()
    names = [k for k in range(3) if not any(apart(z[:, k], y[:, i]) < 1e-12 for i in range(3))]
    back = Map(layer, lambda layer, z, h: (layer.back(z, h, 1.0), None))
    ways = [
        (case.map, y, changed, "the network sees y_b, which it changes: give it y_a and h alone"),
        (back, z, names, "in back the network does not see z_a alone: which half does it get?"),
    ]
    for made, start, moving, words in ways:
        other = start.clone()
        other[:, moving] += 1
        slopes, shifted = (
            made.jacobian(t, h).view(-1, 15, 3, 5)[:, :, moving] for t in (start, other)
        )
        several = (slopes.flatten(2).abs() > 1e-9).sum(2).max() > 1
        if several or apart(shifted, slopes) > 1e-9:
            raise Fault("dz_b / dy_b is no diagonal that y_a and h decide", words)


OF_A_COUPLING = named(passes, triangular, sees, without_h, bounded)
