"""The laws of continuous flows, for anyone's: dx/dt = v(t, x) carries a base density to data.

Their likelihood is an integral along a path, log p(x) = log base(z) - int div v dt, which a solver,
an estimate of the divergence and a convention of time approximate. Each can be wrong without an
error. Give the velocity, and what your library makes of it:

    >>> from cnf.testing_ode import check_ode
    >>> print(check_ode(velocity, (2,), log_prob=flow.log_prob))
    velocity of (2,): 1 of 7 laws fails
      log_prob: log_prob is -1.419, not 0.2854: off by 1.7e+00
        likely: one Euler step is taken

The right number is found here: by Runge-Kutta steps of order four, doubled until they agree, and
the trace of the whole Jacobian. So keep the shape small, and the velocity in float64.

This file needs `cnf.testing` beside it, and torch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cnf.testing import (
    SAME,
    Case,
    Fault,
    Report,
    Skip,
    _context,
    _inputs,
    _rows,
    agree,
    apart,
    constant_off,
    flat,
    given,
    judge,
    likely,
    middle,
    named,
)

DRAWS = 400  # of an estimate that is random: its mean is then known to a twentieth of its spread
CONVERGED = 1e-8  # relative to 1 + the right number, between the right number in n and in 2n steps
MOST_STEPS = 2048

Velocity = Callable[..., Tensor]


def check_ode(
    velocity: Velocity,
    shape: Sequence[int],
    context: Sequence[int] | None = None,
    *,
    log_prob: Callable | None = None,
    to_base: Callable | None = None,
    to_data: Callable | None = None,
    divergence: Callable | None = None,
    in_steps: Callable | None = None,
    order: int | None = None,
    base: Callable[[Tensor], Tensor] | None = None,
    times: tuple[float, float] = (0.0, 1.0),
    tol: float = 1e-3,
    known: Sequence[str] = (),
) -> "OdeReport":
    """The laws of a continuous flow, in float64. What is not given is not judged.

    Args:
        velocity: of (t, x), or of (t, x, c): dx/dt (B, *shape); t is a number.
        shape, context: of one x, and of one row of context, without the batch.
        log_prob: of x, or of (x, c): (B,) in nats. It may be random, as Hutchinson's estimate is:
            then its mean over 400 calls is judged, and its standard deviation is told.
        to_base, to_data: of x (and c), the end of its path at the base, and at the data.
        divergence: of (t, x) or (t, x, c): (B,), exact or an unbiased estimate.
        in_steps: of (x, n), or of (x, n, c): log_prob by n steps of your solver. Needs `order`.
        order: of the solver, 1 for Euler, 2 for the midpoint rule, 4 for Runge-Kutta.
        base: log density of the base, (B, *shape) -> (B,) nats; standard normal by default.
        times: of the base, and of the data: (0, 1) in most of flow matching, (1, 0) in others.
        tol: of log_prob and ends of paths, relative to 1 + the right number: what a solver may
            leave.
        known: names of laws whose failure is a documented limit.

    Raises ValueError for in_steps without order, or equal times.
    """
    if (in_steps is None) != (order is None):
        raise ValueError("in_steps and order go together: give both, or neither")
    if times[0] == times[1]:
        raise ValueError(f"times = {times}: the base and the data need different times")
    middle = 0.6 * times[0] + 0.4 * times[1]

    def forward(v: Velocity, x: Tensor, c: Any) -> tuple[Tensor, None]:
        return at(v, middle, x, c), None

    case = OdeCase(lambda: velocity, shape, context, forward=forward, tol=tol)
    case.default = torch.float64
    case.velocity, case.base, case.times = velocity, base or standard_normal, times
    case.log_prob, case.to_base, case.to_data = log_prob, to_base, to_data
    case.divergence, case.in_steps, case.order = divergence, in_steps, order
    report = judge(case, ODE, known)
    return OdeReport(report.what, report.results, case.measured)


@dataclass
class OdeReport(Report):
    """A report, and what was measured on the way."""

    measured: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"  measured: {name} {value:.3g}" for name, value in self.measured.items()]
        return "\n".join([super().__str__(), *lines])


def standard_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I), (B,) nats."""
    return -0.5 * (flat(z).square() + math.log(2 * math.pi)).sum(1)


# -- the right numbers -----------------------------------------------------------------------------


def at(velocity: Velocity, t: float, x: Tensor, c: Tensor | None) -> Tensor:
    """v(t, x), or v(t, x, c)."""
    return velocity(t, x) if c is None else velocity(t, x, c)


def trace(velocity: Velocity, t: float, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """v(t, x), and the trace of its Jacobian in x, (B,), of rows that do not see each other."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = at(velocity, t, x, c)
        total = x.new_zeros(len(x))
        for i, column in enumerate(flat(v).unbind(1)):
            if column.requires_grad:  # a velocity that does not depend on x has no divergence
                found = torch.autograd.grad(column.sum(), x, retain_graph=True, allow_unused=True)
                total = total + (0 if found[0] is None else flat(found[0])[:, i])
    return v.detach(), total.detach()


def euler(rate: Callable, t: float, h: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """One step of order one: the changes of x, and of the integral of the divergence."""
    v, d = rate(t, x)
    return h * v, h * d


def midpoint(rate: Callable, t: float, h: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """One step of order two."""
    v, _ = rate(t, x)
    v, d = rate(t + h / 2, x + h / 2 * v)
    return h * v, h * d


def runge_kutta(rate: Callable, t: float, h: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """One step of order four, of the classical method."""
    v1, d1 = rate(t, x)
    v2, d2 = rate(t + h / 2, x + h / 2 * v1)
    v3, d3 = rate(t + h / 2, x + h / 2 * v2)
    v4, d4 = rate(t + h, x + h * v3)
    return h / 6 * (v1 + 2 * v2 + 2 * v3 + v4), h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)


def along(
    case: "OdeCase", x: Tensor, c: Any, steps: int, step: Callable = runge_kutta, back: bool = True
) -> tuple[Tensor, Tensor]:
    """The end of the path from x at the data to the base (or, not `back`, of one from the base to
    the data), and the integral of the divergence along it, in the direction of the path."""
    start, end = reversed(case.times) if back else case.times
    h, total = (end - start) / steps, x.new_zeros(len(x))
    for n in range(steps):
        dx, dd = step(lambda t, y: trace(case.velocity, t, y, c), start + n * h, h, x)
        x, total = x + dx, total + dd
    return x, total


def converged(case: "OdeCase", x: Tensor, c: Any, back: bool = True) -> tuple[Tensor, Tensor]:
    """The same, in so many steps that twice as many change nothing. Raises Skip if none do."""
    steps, before = 16, along(case, x, c, 16, back=back)
    while steps < MOST_STEPS:
        steps *= 2
        after = along(case, x, c, steps, back=back)
        if apart(after, before) < CONVERGED:
            return after
        before = after
    raise Skip(f"{steps} Runge-Kutta steps leave {apart(after, along(case, x, c, steps)):.0e}")


@dataclass
class OdeCase(Case):
    """What is under test: a velocity, and what somebody's solver makes of it."""

    velocity: Any = None
    base: Any = None
    times: tuple[float, float] = (0.0, 1.0)
    log_prob: Any = None
    to_base: Any = None
    to_data: Any = None
    divergence: Any = None
    in_steps: Any = None
    order: int | None = None
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def x_c(self) -> tuple[Tensor, Tensor | None]:
        return self.given[0], self.given[1] if len(self.given) > 1 else None

    @cached_property
    def right(self) -> tuple[Tensor, Tensor, Tensor]:
        """z, the integral of the divergence from the base to the data, and log p(x)."""
        x, c = self.x_c
        z, total = converged(self, x, c)
        return z, -total, self.base(z) + total

    def wrong(self) -> dict[str, Tensor]:
        """{what is wrong: the log_prob that this would give}."""
        (x, c), (z, d, p) = self.x_c, self.right
        other, total = along(self, x, c, 64, back=False)  # from the time of the base
        dims = flat(x).shape[1]
        table = {
            "the sign of the divergence is wrong": self.base(z) + d,
            "the divergence is left out": self.base(z),
            "the base density is taken at x, not at the end of its path": self.base(x) - d,
            "only the divergence is returned, without the base density": -d,
            "time runs the other way": self.base(other) + total,
            "time runs the other way, and so does the sign": self.base(other) - total,
            "the divergence is averaged over the entries, not summed": self.base(z) - d / dims,
            "the base density is averaged over the entries": self.base(z) / dims - d,
            "the whole is divided by the number of entries": p / dims,
            "it is in bits, not in nats": p / math.log(2),
            "its sign is wrong: a loss": -p,
            "it is averaged over the batch": p.mean().expand(len(p)),
            "d/2 log 2 pi is missing": p + dims / 2 * math.log(2 * math.pi),
        }
        for name, step in {"Euler": euler, "midpoint": midpoint}.items():
            for n in (1, 2, 5, 8, 10, 16, 20, 32, 50):
                end, total = along(self, x, c, n, step)
                words = f"one {name} step is taken" if n == 1 else f"{n} {name} steps are taken"
                table[words] = self.base(end) + total
        return table | constant_off(self.found, p)

    @cached_property
    def found(self) -> Tensor:
        """log_prob as it is given, or its mean over many calls if it is random."""
        return self.estimates[0]

    @cached_property
    def estimates(self) -> tuple[Tensor, Tensor]:
        """Mean of log_prob over calls (B,), and its standard error; 0 if it is not random."""
        return repeatedly(lambda: given(self.log_prob, *self.x_c))


def repeatedly(call: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean of what a call returns, and its standard error: 0 if two calls return the same."""
    first, second = (call().detach().double() for _ in range(2))
    if first.shape != second.shape or apart(first, second) < SAME:
        return first, torch.zeros_like(first)
    draws = torch.stack([first, second, *(call().detach().double() for _ in range(DRAWS - 2))])
    return draws.mean(0), draws.std(0) / DRAWS**0.5


# -- the laws --------------------------------------------------------------------------------------


def needs(what: Any, name: str) -> Any:
    if what is None:
        raise Skip(f"no {name} given")
    return what


def _velocity(case: OdeCase) -> None:
    """The velocity has the shape of x, at the times of base and data and between them."""
    x, c = case.x_c
    for share in (0.0, 0.4, 1.0):
        t = (1 - share) * case.times[0] + share * case.times[1]
        v = at(case.velocity, t, x, c)
        if v.shape != x.shape:
            raise Fault(f"at t = {t:g} it has shape {tuple(v.shape)}, x has {tuple(x.shape)}")
        if not v.isfinite().all():
            raise Fault(f"at t = {t:g} it is not finite", "a division by the time, or by 1 - t")


def _repeats(case: OdeCase) -> None:
    """The same time and place have the same velocity."""
    x, c = case.x_c
    t = 0.5 * sum(case.times)
    one, other = (at(case.velocity, t, x, c) for _ in range(2))
    agree("velocity", other, one, 0, "dropout, or batch norm in training")


def _divergence(case: OdeCase) -> None:
    """The divergence is the trace of the Jacobian, or on average over its probes."""
    function, (x, c) = needs(case.divergence, "divergence"), case.x_c
    t, dims = 0.3 * case.times[0] + 0.7 * case.times[1], flat(x).shape[1]
    mean, error = repeatedly(lambda: at(function, t, x, c))
    _, right = trace(case.velocity, t, x, c)
    if error.any():
        case.measured["standard deviation of a divergence"] = error.max().item() * DRAWS**0.5
    table = {
        "its sign is wrong": -right,
        "it is averaged over the entries": right / dims,
        "it is summed over the batch": right.sum().expand(len(right)),
        "it is averaged over the batch": right.mean().expand(len(right)),
        "it is left out: 0 is returned": 0 * right,
    }
    limit = 5 * error + 1e-6 * (1 + right.abs())  # five standard errors: once in two million
    tol = limit.max().item()
    words = likely(mean, right, table, tol)
    if not words and not error.any() and dims > 1:
        words = "one probe is kept: an estimate, as if it were exact"
    agree("divergence", mean, right, limit, words)


def _log_prob(case: OdeCase) -> None:
    """log_prob is that of the base at the end of the path, less the integral of the divergence."""
    needs(case.log_prob, "log_prob")
    (mean, error), (_, _, right) = case.estimates, case.right
    if mean.shape == right.shape:
        case.measured["largest error of log_prob, nats"] = (mean - right).abs().max().item()
    if error.any():
        case.measured["standard deviation of log_prob, nats"] = error.max().item() * DRAWS**0.5
    limit = 5 * error + case.tol * (1 + right.abs())

    def why() -> str:
        return likely(mean, right, case.wrong(), max(1e-4, 5 * error.max().item()))

    agree("log_prob", mean, right, limit, why)


def _to_base(case: OdeCase) -> None:
    """A point of the data ends where its path meets the base."""
    function, (x, c) = needs(case.to_base, "to_base"), case.x_c
    ends(case, function, x, c, case.right[0], back=True)


def _to_data(case: OdeCase) -> None:
    """A point of the base ends where its path meets the data."""
    function, (z, c) = needs(case.to_data, "to_data"), case.x_c
    ends(case, function, z, c, converged(case, z, c, back=False)[0], back=False)


def ends(
    case: OdeCase, function: Callable, start: Tensor, c: Any, right: Tensor, back: bool
) -> None:
    """Compare the end of a path with where `function` says that it ends."""
    found = given(function, start, c).detach().double()

    def why() -> str:
        other = along(case, start, c, 64, back=not back)[0]
        table = {"time runs the other way": other, "nothing moves": start}
        for n in (1, 2, 5, 10, 20, 50, 100):
            words = "one Euler step is taken" if n == 1 else f"{n} Euler steps are taken"
            table[words] = along(case, start, c, n, euler, back)[0]
        return likely(found, right, table, 1e-4)

    agree("the end of a path", found, right, case.tol * (1 + right.abs()), why)


def _back(case: OdeCase) -> None:
    """There and back again is where one was."""
    there, (x, c) = needs(case.to_base, "to_base"), case.x_c
    back = needs(case.to_data, "to_data")
    found = given(back, given(there, x, c), c).detach().double()
    agree("x, there and back,", found, x, 2 * case.tol * (1 + x.abs()))


def _order(case: OdeCase) -> None:
    """Twice the steps leave an error smaller by 2 to the power of the solver's order."""
    function, (x, c), right = needs(case.in_steps, "in_steps"), case.x_c, case.right[2]
    assert case.order is not None  # `check_ode` asked for it
    rest = [] if c is None else [c]
    errors = {}
    for n in (4, 8, 16, 32, 64):
        errors[n] = (function(x, n, *rest).detach().double() - right).abs().mean().item()
    clear = [n for n in errors if errors.get(2 * n, 0) > 100 * CONVERGED]  # of the right number
    if not clear:
        raise Skip("its errors are smaller than those of the right number")
    n = clear[-1]
    case.measured["order of the solver"] = found = math.log2(errors[n] / errors[2 * n])
    if found < case.order - 0.5:
        words = ""
        if found < 0.5:
            words = "the number of steps is ignored, or the time of a stage"
        elif found < 1.5:
            words = "a step of order one: Euler, or stages at the wrong time"
        raise Fault(f"from {n} to {2 * n} steps it has order {found:.1f}, not {case.order}", words)


def _mass(case: OdeCase) -> None:
    """The density integrates to one (in one and two dimensions)."""
    function, (x, c) = needs(case.log_prob, "log_prob"), case.x_c
    dims = flat(x).shape[1]
    if dims > 2:
        raise Skip("only one or two dimensions are summed")
    if case.estimates[1].any():
        raise Skip("log_prob is random")
    context = None if c is None else c[:1]
    drawn = drawn_by(case, 1000, context)
    fine, coarse = (mass(case, function, context, drawn, n) for n in GRID[dims])
    error = abs(fine - coarse)
    if error > 0.02:
        raise Skip(f"the sum {fine:.3g} has an error of {error:.1g}")
    total = torch.tensor(fine)
    agree("its integral", total, torch.ones_like(total), total.new_tensor(2e-3 + 3 * error))


GRID = {1: (1200, 900), 2: (72, 60)}  # points a side: each needs a solution of its own


def mass(case: OdeCase, log_prob: Callable, c: Any, drawn: Tensor, n: int) -> float:
    """The sum of a density over a grid that is finest in the middle of what is drawn."""
    dims = drawn.shape[1]
    ends = torch.linspace(-5, 5, 2 * n + 1, dtype=torch.float64).sinh() / 4
    lines = [m + s * ends for m, s in zip(*middle(drawn), strict=True)]
    points = torch.cartesian_prod(*[t[1::2] for t in lines]).view(-1, *case.shape)
    widths = torch.cartesian_prod(*[t[2::2] - t[:-2:2] for t in lines]).view(-1, dims)
    context = None if c is None else c.expand(len(points), *c.shape[1:])
    found = given(log_prob, points, context).detach().double()
    return (found.exp() * widths.prod(1)).sum().item()


def drawn_by(case: OdeCase, n: int, c: Any) -> Tensor:
    """n points (n, D) where the density is likely to be: ends of paths from a normal base."""
    z = torch.randn(n, *case.shape, dtype=torch.float64)
    context = None if c is None else c.expand(n, *c.shape[1:])
    if case.to_data is not None:
        return flat(given(case.to_data, z, context).detach().double())
    return flat(along(case, z, context, 32, back=False)[0])


ODE = named(_velocity, _inputs, _rows, _context, _repeats, _divergence, _log_prob) | named(
    _to_base, _to_data, _back, _order, _mass
)
