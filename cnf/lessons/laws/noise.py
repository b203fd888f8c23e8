"""Laws of UniformDequantization and BinaryDequantization."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf.lessons.laws.common import FIRST, anew, case_of, given, temperature
from cnf.testing import Case, Fault, Law, agree, apart, flat, likely, named, tried

D = 6  # entries of a picture of 2x1x3


def dequantized(made: type, levels: int, *arguments: int) -> Case:
    case = case_of(lambda: made(*arguments), (2, 1, 3))
    case.domain = lambda rows, g: torch.randint(levels, (rows, 2, 1, 3), generator=g).double()
    return case


def comes_back(case: Case) -> None:
    """back gives y for every draw, in float64 and in float32."""
    for dtype in (torch.float64, torch.float32):
        layer = case.map.layer if dtype == torch.float64 else case.build(dtype).layer
        y = case.inputs(7, rows=700)[0].to(dtype)
        found = layer.back(layer(y, None)[0], None, 1.0)
        up = (found - y)[found != y].eq(1).all() and (found != y).any()
        words = "y + u, rounded, is y + 1: noise is below 1, and back rounds down" if up else ""
        if up and (found != y).double().mean() > 0.3:
            words = "back rounds up, or to the nearest: it is to round down, floor()"
        if not torch.equal(found, found.round()):
            words = "back gives no whole numbers: round v levels down, floor()"
        agree(f"y that comes back, in {dtype},", found, y, 0, words)


def own_noise(case: Case) -> None:
    """No two entries of one level share their noise, in a row or between rows."""
    layer, y, h = given(case)
    v = layer(torch.zeros(8, *y.shape[1:]), h)[0]
    if len(v.unique()) < v.numel():
        shared = "rows of a batch" if len(v.unique(dim=0)) < len(v) else "entries of a row"
        found = f"{v.numel()} entries have {len(v.unique())} different v"
        raise Fault(found, f"{shared} share noise")


def volume(case: Case) -> None:
    """The mean of 1[v in a box] / q(v) is the volume of the box: what every bound rests on."""
    layer, y, h = given(case)
    with torch.no_grad():
        first, (v, term) = (layer(y[:1].expand(20_000, -1, -1, -1), h) for _ in range(2))
    low, high = (flat(first[0]).quantile(q, 0) for q in (0.1, 0.9))
    inside = ((flat(v) >= low) & (flat(v) <= high)).all(1)
    weight = torch.where(inside, (term - (high - low).log().sum()).exp(), 0.0)
    error = weight.std() / len(weight) ** 0.5
    right = torch.ones(())
    agree("mean of 1/q, in volumes of the box,", weight.mean(), right, 5 * error + 1e-6)


def uniform(made: type) -> tuple[Case, dict[str, Law]]:
    laws = {name: FIRST[name] for name in ("shapes", "inputs")}
    parts = named(within, uniform_term, anew, own_noise, fills, comes_back)
    return dequantized(made, 4, 4), laws | parts | named(other_levels, temperature)


def within(case: Case) -> None:
    """v lies in [0, 1)."""
    layer, y, h = given(case)
    v = layer(y, h)[0]
    if v.min() < 0 or v.max() > 1:
        words = "v is (y + u) / levels" if v.max() > 1 else ""
        raise Fault(f"v goes from {v.min():.3g} to {v.max():.3g}", words)


def uniform_term(case: Case) -> None:
    """The term is -D log levels: v has the density levels on its cell, in each of D entries."""
    layer, y, h = given(case)
    found = layer(y, h)[1].expand(len(y))
    right = torch.full_like(found, -D * math.log(4))
    table = {
        "its sign is wrong": -right,
        "it is left out: 0 is returned": 0 * right,
        "a factor D is missing": right / D,
        "D is H W: the channels are missing": right / 2,
        "it is in bits, not nats": right / math.log(2),
        "log 256 stands for log levels": 0 * right - D * math.log(256),
        "log (levels - 1) stands for log levels": 0 * right - D * math.log(3),
        "levels stands for log levels": 0 * right - D * 4,
        "it is summed over the batch as well": right * len(y),
        "it is counted for each row of the batch, not for each entry": right / D * len(y),
    }
    agree("the term", found, right, 1e-6, likely(found, right, table))


def fills(case: Case) -> None:
    """The noise is uniform on the cell of y."""
    layer, y, h = given(case)
    rows = y[:1].expand(2000, -1, -1, -1)
    u = 4 * layer(rows, h)[0].double() - rows
    found = torch.stack([u.mean(), u.std() * 12**0.5])
    share, ends = u.flatten().sort().values, u.max() - u.min()
    even = torch.linspace(0, 1, u.numel())
    flat_noise = ((share - u.min()) / ends - even).abs().max() < 0.03
    right = torch.tensor([0.5, 1.0])
    table = {
        "no noise is added": torch.tensor([0.0, 0.0]),
        "the noise is Gaussian: it leaves the cell": torch.tensor([0.0, 12**0.5]),
        "the noise is centred: v is to lie in [y, y + 1) / levels": torch.tensor([0.0, 1.0]),
        "the noise is divided by levels twice": torch.tensor([0.125, 0.25]),
        "the noise is not divided by levels": torch.tensor([2.0, 4.0]),
        "two random numbers are averaged: that is triangular noise, not uniform": torch.tensor(
            [0.5, 0.5**0.5]
        ),
        "the square of a random number is not uniform": torch.tensor([1 / 3, (48 / 45) ** 0.5]),
    }
    words = likely(found, right, table, 0.02)
    if not words and flat_noise and ends < 0.97:
        words = f"the noise fills {ends:.0%} of its cell: u is to go from 0 to 1"
    if not words and not flat_noise:
        words = "the noise is not uniform: torch.rand_like(y) is"
    for name, number, target in zip(("mean", "width"), found, right, strict=True):
        agree(f"the {name} of the noise in its cell", number, target, 0.03, words)
    off = (share - even).abs().max()  # of 12,000 uniform numbers below 0.03 but once in 1e9
    agree("the largest error of the share below u", off, 0 * off, 0.03, words)


def other_levels(case: Case) -> None:
    """levels is what the constructor is given."""
    layer = type(given(case)[0])(2)
    y = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    term = layer(y, None)[1].expand(2)
    right, table = 0 * term - math.log(2), {"4 levels are written": 0 * term - math.log(4)}
    agree("with levels = 2 the term", term, right, 1e-6, likely(term, right, table))
    agree("with levels = 2 y that comes back", layer.back(layer(y, None)[0], None, 1.0), y)


def binary(made: type) -> tuple[Case, dict[str, Law]]:
    laws = {name: FIRST[name] for name in ("shapes", "inputs")}
    parts = named(sides, threshold, anew, own_noise, binary_term)
    return dequantized(made, 2), laws | parts | named(comes_back, spread, temperature)


def sides(case: Case) -> None:
    """v > 1/2 where y = 1, v < 1/2 where y = 0."""
    layer, y, h = given(case)
    for _ in range(20):
        v = layer(y, h)[0]
        if (v == 0.5)[y == 0].all():
            raise Fault("v is 1/2 wherever y is 0", "y stands for the sign: 2 y - 1 is -1 there")
        wrong = (v > 0.5) != (y > 0.5)
        if wrong.any():
            words = "the sides are exchanged: 2 y - 1 is the sign" if wrong.all() else ""
            words = words or (
                "v grows from 0, not from 1/2" if apart((v > 0) * 1.0, y) == 0 else ""
            )
            words = words or "the distance from 1/2 may be negative: softplus(w), not w"
            at = v[wrong][0].item()
            raise Fault(f"v is {at:.3g} where y is {y[wrong][0].item():.0f}", words)


def binary_term(case: Case) -> None:
    """The term is -log q, the density of the noise over the slope of softplus.

    Of any noise, the mean of 1/q over a box is the volume of the box; mistakes have names if the
    noise is logistic."""
    layer, y, h = given(case)
    v, term = layer(y, h)
    distance = (v - 0.5).abs()
    w = distance + torch.log(-torch.expm1(-distance))
    eps = w - 3

    def total(t: Tensor) -> Tensor:
        return t.flatten(1).sum(1)

    up, down, slope = (total(F.logsigmoid(t)) for t in (eps, -eps, w))
    right = slope - up - down
    table = {
        "its sign is wrong: the term is -log q": -right,
        "the slope of softplus, sigmoid(w), is missing": -up - down,
        "the slope of softplus has the wrong sign": -up - down - slope,
        "log sigmoid(eps) is missing": slope - down,
        "log sigmoid(-eps) is missing": slope - up,
        "the density of the noise is missing": slope,
        "the density of the noise has the wrong sign": slope + up + down,
        "the density of the noise is that of w, not of eps": -total(F.logsigmoid(-w)),
        "the slope of softplus is taken at eps, not at w": -down,
        "the density of the noise is a Gaussian's": slope
        + total(eps.square() / 2 + math.log(2 * math.pi) / 2),
        "the slope of softplus is sigmoid(-w) there": total(F.logsigmoid(-w)) - up - down,
        "softplus(w) stands for log sigmoid(w)": total(F.softplus(w)) - up - down,
        "it is averaged over the entries, not summed": right / D,
        "it is averaged over the batch": right.mean().expand(len(right)),
        "it is summed over the batch as well": right.sum().expand(len(right)),
        "it is in bits, not nats": right / math.log(2),
        "it is left out: 0 is returned": 0 * right,
    }
    for k in (2, 3, 0.5):
        up, down = (total(F.logsigmoid(t / k)) for t in (eps, -eps))
        table[f"the noise is multiplied by {k}: its density is divided by {k}"] = slope - up - down
    fault = tried(volume, case)
    if fault is not None:
        agree("the term", term, right, 1e-5, likely(term, right, table, 1e-5))
        raise Fault(str(fault), "the noise is not logistic, and the term is that of logistic noise")


def threshold(case: Case) -> None:
    """back compares with 1/2."""
    layer = given(case)[0]
    v = torch.tensor([-3.0, 0.1, 0.49, 0.51, 0.9, 3.0]).view(1, 2, 1, 3)
    right = torch.tensor([0.0, 0, 0, 1, 1, 1]).view(1, 2, 1, 3)
    found = layer.back(v, None, 1.0)
    if found.dtype == torch.bool:
        raise Fault("back gives True and False", "labels are numbers, 0. and 1.: (v > 0.5).to(v)")
    found = found.double()
    table = {
        "the threshold is 0": (v > 0).double(),
        "the threshold is 1": (v > 1).double(),
        "above the threshold it gives 0": 1 - right,
    }
    agree("back of v beside 1/2", found, right, 0, likely(found, right, table))


def spread(case: Case) -> None:
    """w = 3 + noise: few v come near the threshold."""
    layer, y, h = given(case)
    v = layer(y[:1].expand(500, -1, -1, -1), h)[0]
    middle = (v - 0.5).abs().median().item()
    if not 2 < middle < 4.5:
        words = "the 3 is missing" if middle < 1 else ""
        raise Fault(f"the median distance of v from 1/2 is {middle:.2f}, not 3.05", words)
