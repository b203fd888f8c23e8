"""The laws of flows, for anyone's layers, densities, dequantizations and bits per dimension.

A log-determinant that is wrong raises no error: training goes on, and every likelihood is wrong.
Here every law is measured on the layer itself, and a failure is compared with what well-known
mistakes would give, so that the report names the mistake where the numbers agree with one:

    >>> from cnf.testing import check_bijection
    >>> print(check_bijection(lambda: MyScaling(3), (3,)))
    MyScaling of (3,): 1 of 12 laws fails
      log_det: log_det is 0.4656, not -0.4656: off by 9.3e-01
        likely: its sign is wrong
        smallest input: zeros(1, 3)

Give a function that makes the layer, not a layer: weights at their start hide mistakes (a coupling
that starts as the identity passes anything), and the laws of state need new layers. For images,
give a shape that is not square. Layers of these libraries are understood as they are:

    check_bijection(lambda: nflows.transforms.LULinear(4), (4,))
    check_bijection(lambda: normflows.flows.Planar((4,)), (4,))
    check_bijection(lambda: zuko.transforms.SoftclipTransform(), (4,))
    check_bijection(lambda: pyro.distributions.transforms.Planar(4), (4,))
    check_bijection(lambda: FrEIA.modules.ActNorm([(4,)]), (4,))

and so is any other layer: `forward=lambda layer, x, c: (z, log_det)`, `inverse=` alike.
A table of layers becomes a test of each:

    @pytest.mark.parametrize("make", [lambda: Mine(4), lambda: Mine(4, flip=True)])
    def test_laws(make):
        check_bijection(make, (4,), context=(2,)).assert_ok()

This file needs nothing but torch: it may be copied.
"""

import inspect
import json
import math
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import StudentT

Domain = str | Callable[[int, torch.Generator], Tensor]
Law = Callable[[Any], None]  # of a Case, or of what adds to it

ROWS = 5  # of a batch: unlike most sizes of a layer, so that a factor tells where it comes from
SAME = 1e-10  # relative, between numbers that differ by the order of sums in float64
MAPS: dict[str, Callable[[Tensor], Tensor]] = {  # from real numbers to a domain, increasing
    "real": lambda t: t,
    "unit": torch.sigmoid,
    "symmetric": torch.tanh,
    "positive": torch.exp,
}


# -- what one calls --------------------------------------------------------------------------------


def check_bijection(
    make: Callable[[], Any],
    shape: Sequence[int],
    context: Sequence[int] | None = None,
    domain: Domain = "real",
    *,
    codomain: Domain | None = None,
    forward: Callable | None = None,
    inverse: Callable | None = None,
    tails: bool = False,
    tol: float = 1e-5,
    scale: float = 0.5,
    known: Sequence[str] = (),
) -> "Report":
    """The laws of a bijection x -> (z, log_det), in float64 and with weights moved at random.

    Args:
        make: makes a new layer; a module, or a transform of torch.distributions.
        shape: of one x, without the batch: (D,) or (C, H, W).
        context: of one row of context, if the layer takes any.
        domain: where x lives: "real", "unit" (0, 1), "symmetric" (-1, 1), "positive", or a function
            of (rows, generator).
        codomain: where any z may be drawn; without it, z are what forward gives.
        forward, inverse: `forward(layer, x, c)` and `inverse(layer, z, c)`, each (output, log_det)
            or (output, None), for a layer of another form; c is None without context.
        tails: also try x far out. Judged by the error of z: there x is lost to rounding.
        tol: of inverses and log-determinants, relative to 1 + the right number.
        scale: of the noise that is added to the weights, times 1 / sqrt(fan-in).
        known: names of laws whose failure is a documented limit, such as "inverse" of a bisection.
    """
    case = Case(make, shape, context, domain, codomain, forward, inverse, tol, scale)
    return judge(case, {k: v for k, v in BIJECTION.items() if tails or k != "tails"}, known)


def check_layer(
    make: Callable[[], Any],
    shape: Sequence[int],
    context: Sequence[int] | None = None,
    domain: Domain = "real",
    *,
    forward: Callable | None = None,
    scale: float = 0.5,
    known: Sequence[str] = (),
) -> "Report":
    """The laws of everything that returns (output, one number a row), invertible or not: a prior, a
    density, a network with a term. Arguments as for `check_bijection`."""
    return judge(Case(make, shape, context, domain, forward=forward, scale=scale), COMMON, known)


def check_density(
    log_prob: Callable,
    shape: Sequence[int],
    context: Sequence[int] | None = None,
    sample: Callable | None = None,
    sample_and_log_prob: Callable | None = None,
    *,
    domain: Domain = "real",
    known: Sequence[str] = (),
) -> "Report":
    """A density integrates to one and its samples follow it: on a grid in one and two dimensions,
    by importance sampling from a wide fit of its samples above.

    Args:
        log_prob: of x (B, *shape), or of (x, c); (B,) in nats.
        sample: of n, or of (n, c): (n, *shape); with c (n, B, *shape) or (B, n, *shape).
        sample_and_log_prob: of the same, (samples, their own log_prob).
    """

    def forward(log_prob: Callable, x: Tensor, c: Any) -> tuple[Tensor, Tensor]:
        return flat(x)[:, :0], given(log_prob, x, c)

    case = Case(lambda: log_prob, shape, context, domain, forward=forward, default=torch.float64)
    case.sample = sample and partial(given, sample)
    case.both = sample_and_log_prob and partial(given, sample_and_log_prob)
    return judge(case, DENSITY, known)


def check_flow(
    make: Callable[[], Any],
    shape: Sequence[int],
    context: Sequence[int] | None = None,
    *,
    domain: Domain = "real",
    tol: float = 1e-5,
    scale: float = 0.5,
    known: Sequence[str] = (),
) -> "Report":
    """A whole flow: its log_prob as a layer and as a density, its samples and which context each
    belongs to, and every bijection inside, on what it is really given.

    A flow is what has log_prob(x) or log_prob(x, c) and sample as in nflows (n, c), torchflows
    ((n,), context=c) or cnf (c, n); or what makes a distribution, as in zuko: flow(c).
    """

    def forward(flow: Any, x: Tensor, c: Any) -> tuple[Tensor, Tensor]:
        whole = hasattr(flow, "log_prob")
        return flat(x)[:, :0], given(flow.log_prob, x, c) if whole else flow(c).log_prob(x)

    case = Case(make, shape, context, domain, None, forward, None, tol, scale, torch.float64)
    case.sample = lambda n, c: samples_of(case.map.layer, n, c, False)
    case.both = lambda n, c: samples_of(case.map.layer, n, c, True)
    refuse_unknown(known, COMMON | DENSITY | PART)
    laws = COMMON | DENSITY
    report = judge(case, laws, [law for law in known if law in laws])
    for path, kind, inner, laws in bijections_inside(case) if len(report.results) > 1 else []:
        for r in judge(inner, laws, [law for law in known if law in laws]).results:
            below = [f for f in report.failures if f.law.startswith(f"{path}.")]
            if r.status != "skipped" and not any(f.law.endswith(f": {r.law}") for f in below):
                report.results.append(replace(r, law=f"{path} {kind}: {r.law}"))
    return report


def check_dequantization(
    make: Callable[[], Any],
    shape: Sequence[int],
    levels: int,
    context: Sequence[int] | None = None,
    *,
    forward: Callable | None = None,
    inverse: Callable | None = None,
    draws: int = 2**20,
    scale: float = 0.5,
    known: Sequence[str] = (),
) -> "Report":
    """Noise that makes whole numbers y of 0 to levels - 1 continuous: (v, -log q(v|y)), which the
    inverse undoes for every draw. Keep the shape small: the volume of a box of all entries is
    measured. `draws`: how many numbers are read back in float32."""

    def whole(rows: int, generator: torch.Generator) -> Tensor:
        return torch.randint(levels, (rows, *shape), generator=generator)

    ways = forward or given, inverse or (lambda layer, v, c: layer.inverse(v))
    case = Case(make, shape, context, whole, None, *ways, scale=scale)
    case.levels, case.draws = levels, draws
    return judge(case, DEQUANTIZATION, known)


def check_bits(
    bits: Callable,
    prepare: Callable,
    shape: Sequence[int],
    levels: int = 256,
    *,
    known: Sequence[str] = (),
) -> "Report":
    """Bits per dimension of whole numbers y of 0 to levels - 1 are -log2 p(y) / D: what a program
    divided, added and averaged.

    Args:
        bits: of (log_p, v), where log_p (B,) is in nats what any density gives to v; (B,) or their
            mean.
        prepare: of y (B, *shape), in floats: v, what the density is given, noise included.
        levels: how many values an entry of y can have.
    """

    def whole(rows: int, generator: torch.Generator) -> Tensor:
        return torch.randint(levels - 1, (rows, *shape), generator=generator)

    case = Case(lambda: prepare, shape, None, whole, forward=lambda f, y, c: (f(y), None))
    case.bits, case.levels = bits, levels
    return judge(case, BITS, known)


# -- reports ---------------------------------------------------------------------------------------


class Skip(Exception):
    """Raised by a law that cannot be judged here, with the reason."""


class Fault(Exception):
    """Raised by a law that fails: the numbers; the mistake that would give them; and, where single
    inputs can be tried, a line that prints both numbers of `layer` and what it is `given`."""

    def __init__(self, message: str, why: str | Callable[[], str] = "", show: str = ""):
        super().__init__(message)
        self.why, self.show = why, show


@dataclass
class Result:
    """One law: its status is passed, failed, error, known or skipped."""

    law: str
    status: str
    message: str = ""
    likely: str = ""
    smallest: str = ""
    snippet: str = ""


@dataclass
class Report:
    """What was found, law by law. `print` it, or `assert_ok()` in a test."""

    what: str
    results: list[Result] = field(default_factory=list)

    @property
    def failures(self) -> list[Result]:
        return [r for r in self.results if r.status in ("failed", "error")]

    def __getitem__(self, law: str) -> Result:
        found = {r.law: r for r in self.results}
        if law not in found:
            raise KeyError(f"no law '{law}': {', '.join(found)}")
        return found[law]

    def assert_ok(self) -> None:
        """Raise AssertionError, with the whole report, if any law fails."""
        if self.failures:
            raise AssertionError(str(self))

    def to_json(self) -> str:
        return json.dumps({"ok": not self.failures} | asdict(self), indent=1)

    def __str__(self) -> str:
        failures, judged = self.failures, [r for r in self.results if r.status != "skipped"]
        verb = "fails" if len(failures) == 1 else "fail"
        count = f"{len(failures)} of {len(judged)} laws {verb}"
        lines = [f"{self.what}: {count if failures else f'all {len(judged)} laws hold'}"]
        for r in failures:
            lines.append(f"  {r.law}: {r.message}")
            lines += [f"    likely: {r.likely}"] if r.likely else []
            lines += [f"    smallest input: {r.smallest}"] if r.smallest else []
        for status in ("known", "skipped"):
            found = [f"{r.law} ({r.message})" for r in self.results if r.status == status]
            lines += [f"  {status}: {', '.join(found)}"] if found else []
        for r in [r for r in failures if r.snippet][:1]:
            lines += ["  to reproduce, where `make` is yours:"]
            lines += [f"    {line}" for line in r.snippet.splitlines()]
        return "\n".join(lines)


def judge(case: "Case", laws: dict[str, Law], known: Sequence[str]) -> Report:
    """Every law of a case; an error in the first ends it: all others would say so again."""
    refuse_unknown(known, laws)
    report = Report("")
    for name, law in laws.items():
        result = Result(name, "passed")
        report.results.append(result)
        with seeded(0, case.default or torch.get_default_dtype()):
            outcome = tried(law, case)
            small = smallest(case, law) if getattr(outcome, "show", "") else []
            why = getattr(outcome, "why", "")
            result.likely = why() if callable(why) else why
        if isinstance(outcome, Skip):
            result.status, result.message = "skipped", str(outcome)
        elif isinstance(outcome, Fault):
            result.status, result.message = "failed", str(outcome)
            if small:
                result.smallest, result.snippet = written(small[0]), case.snippet(small, outcome)
        elif outcome is not None:
            result.status, result.message = "error", placed(outcome)
        if outcome is not None and result.status == "error" and len(report.results) == 1:
            break
    for result in report.failures:
        result.status = "known" if result.law in known else result.status
    report.what = case.name()
    return report


def refuse_unknown(known: Sequence[str], laws: dict[str, Law]) -> None:
    if unknown := [name for name in known if name not in laws]:
        raise ValueError(f"known = {unknown[0]!r}: choose from {', '.join(laws)}")


def tried(law: Law, case: "Case") -> Exception | None:
    """What a law raises: a Fault, a Skip, an error of the layer, or nothing. A layer that exits
    does not end the check."""
    try:
        law(case)
    except SystemExit as raised:
        return RuntimeError(f"it exits ({raised.code})").with_traceback(raised.__traceback__)
    except Exception as raised:
        return raised
    return None


def placed(error: BaseException) -> str:
    """Kind and first line of an error, and the place outside of torch that raised it."""
    said = str(error).strip().splitlines() or [""]
    frames = traceback.extract_tb(error.__traceback__)
    last = next(f for f in reversed(frames) if f"{os.sep}torch{os.sep}" not in f.filename)
    file, line = last.filename, last.lineno
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    where = f" ({os.path.basename(file)}:{line})"
    return f"{type(error).__name__}: {said[0]}{'' if last.filename == __file__ else where}"


def smallest(case: "Case", law: Law) -> list[Tensor]:
    """One row, with few digits and many zeros, where the law still fails, also a little beside it;
    empty if no single row fails."""
    x, *c = case.given
    c = [t[:1] for t in c]

    def fails(t: Tensor) -> bool:
        return all(isinstance(tried(law, case.at(u, *c)), Fault) for u in (t, t + 1e-3))

    best = next((t for t in (torch.zeros_like(x[:1]), *x.split(1)) if fails(t)), None)
    if best is None:
        return []
    rounded = ((best * 10**digits).round() / 10**digits for digits in (0, 1, 2))
    best = next((t for t in rounded if fails(t)), best)
    for k in best.flatten().nonzero().flatten()[:32]:
        other = best.clone()
        other.view(-1)[k] = 0
        best = other if fails(other) else best
    return [best + 0.0, *c]


def written(t: Tensor) -> str:
    """As torch would make it: zeros(1, 4) or tensor([[0.5, 0.0]])."""
    return f"tensor({t.tolist()})" if t.any() else f"zeros{tuple(t.shape)}"


# -- how a layer is called -------------------------------------------------------------------------


def given(function: Callable, x: Any, c: Any) -> Any:
    return function(x) if c is None else function(x, c)


def lists(layer: Callable, t: Tensor, c: Any, rev: bool) -> tuple:
    out, log_det = layer([t], rev=rev) if c is None else layer([t], c=[c], rev=rev)
    return out[0] if isinstance(out, list | tuple) else out, log_det


def transformed(transform: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Of a transform of torch.distributions, whose log_det has a number for every event."""
    if hasattr(transform, "call_and_ladj"):
        z, log_det = transform.call_and_ladj(x)
    else:
        z = transform(x)
        log_det = transform.log_abs_det_jacobian(x, z)
    events = x.shape[: x.dim() - transform.domain.event_dim]
    if log_det.shape == events[1:]:  # the same for every row: it broadcasts
        log_det = log_det.expand(events)
    return z, flat(log_det).sum(1) if log_det.shape == events else log_det


def transforms(made: Callable) -> tuple[Callable, Callable]:
    """The ways of a layer of which `made(layer, c)` is a transform."""
    return (
        lambda layer, x, c: transformed(made(layer, c), x),
        lambda layer, z, c: transformed(made(layer, c).inv, z),
    )


def no_inverse(layer: Any, z: Tensor, c: Any) -> tuple:
    raise Skip("no inverse")


def takes_rev(layer: Any) -> bool:
    call = layer.forward if isinstance(layer, nn.Module) else layer.__call__
    return "rev" in inspect.signature(call).parameters


def has(name: str) -> Callable[[Any], bool]:
    return lambda layer: hasattr(layer, name)


# (whose layers, what tells them, forward and inverse of (layer, x, c)): the first that fits
ADAPTERS: list[tuple[str, Callable, tuple[Callable, Callable]]] = [
    ("FrEIA", takes_rev, (partial(lists, rev=False), partial(lists, rev=True))),
    ("torch, pyro", has("log_abs_det_jacobian"), transforms(lambda layer, c: layer)),
    ("zuko", has("call_and_ladj"), transforms(lambda layer, c: layer)),
    ("pyro, of a context", has("condition"), transforms(lambda layer, c: layer.condition(c))),
    ("nflows, normflows", has("inverse"), (given, lambda m, z, c: given(m.inverse, z, c))),
    ("zuko, of a context", has("inv"), transforms(lambda layer, c: layer(c))),
    ("any other", lambda layer: True, (given, no_inverse)),
]


class Map:
    """A layer as `forward(x, c)` and `inverse(z, c)`, each (output, log_det (B,) or None), and
    `slogdet(x, c)`, autograd's. c is the context, or None."""

    def __init__(self, layer: Any, forward: Any = None, inverse: Any = None):
        self.layer = layer
        self.ways: tuple[Callable, Callable] = (forward, inverse or no_inverse)
        if forward is None:
            self.ways = next(ways for _, fits, ways in ADAPTERS if fits(layer))

    def raw(self, x: Tensor, c: Any = None, *, way: int = 0) -> Any:
        """What the layer returns of copies, so that a change in place breaks one law only."""
        return self.ways[way](self.layer, x.clone(), None if c is None else c.clone())

    def forward(self, x: Tensor, c: Any = None) -> tuple[Tensor, Any]:
        z, log_det = self.raw(x, c)
        return z, per_row(log_det, x)

    def inverse(self, z: Tensor, c: Any = None) -> tuple[Tensor, Any]:
        try:
            found = self.raw(z, c, way=1)
        except Exception as error:
            kind, said = type(error).__name__, str(error)
            if kind in ("NotImplementedError", "InverseNotAvailable") or "intermediates" in said:
                raise Skip("no inverse") from error  # pyro's words for one that only remembers
            raise
        x, log_det = found if isinstance(found, tuple) else (found, None)
        return x, per_row(log_det, z)

    def jacobian(self, x: Tensor, c: Any = None) -> Tensor:
        """dz/dx of every row, (B, D, D), of rows that do not see each other (the law `rows`)."""

        def summed(t: Tensor) -> Tensor:
            return flat(self.raw(t, c)[0]).sum(0)

        found = torch.autograd.functional.jacobian(summed, x.detach())
        return found.reshape(len(found), len(x), -1).transpose(0, 1)

    def slogdet(self, x: Tensor, c: Any = None) -> Tensor:
        """log|det dz/dx| of every row, (B,)."""
        return torch.linalg.slogdet(self.jacobian(x, c)).logabsdet

    def differences(self, x: Tensor, c: Any = None, *, h: float = 1e-5) -> Tensor:
        """The same by central differences, for what autograd cannot see."""
        steps = h * torch.eye(x[0].numel(), dtype=x.dtype).view(-1, *x.shape[1:])
        columns = [flat(self.raw(x + s, c)[0] - self.raw(x - s, c)[0]) for s in steps]
        return torch.linalg.slogdet(torch.stack(columns, 2).detach() / (2 * h)).logabsdet


def attempt(function: Callable, *arguments: Any) -> Any:
    """What it returns; (None, None) if it raises: the law of that says so."""
    try:
        return function(*arguments)
    except Exception:
        return None, None


def flat(t: Tensor) -> Tensor:
    """(B, ...) as (B, D); D is 1 for numbers (B,)."""
    return t.reshape(len(t), -1)


def per_row(log_det: Any, x: Tensor) -> Any:
    """log_det as (B,): one number stands for every row. Raises ValueError if it has other rows."""
    if log_det is None:
        return None
    t = log_det if torch.is_tensor(log_det) else torch.as_tensor(log_det, dtype=x.dtype)
    if t.numel() == 1:
        return t.reshape(1).expand(len(x))
    if len(t) != len(x):
        raise ValueError(f"log_det of {len(x)} rows has shape {tuple(t.shape)}")
    return flat(t).sum(1)


# -- how a layer is made, and what it is given -----------------------------------------------------


@contextmanager
def seeded(seed: int, dtype: torch.dtype) -> Iterator[None]:
    """Draws, and the default type of new tensors, inside; both are as before afterwards."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def draw(domain: Domain, rows: int, shape: Sequence[int], seed: int, spread: float = 1) -> Tensor:
    """(rows, *shape) of the domain, in float64: numbers that float32 has too."""
    generator = torch.Generator().manual_seed(seed)
    if callable(domain):
        return domain(rows, generator).double()
    if domain not in MAPS:
        raise ValueError(f"domain = {domain!r}: choose {', '.join(MAPS)} or give a function")
    normal = torch.randn(rows, *shape, generator=generator, dtype=torch.float64)
    return MAPS[domain](spread * normal).float().double()


def randomise(module: nn.Module, seed: int = 0, scale: float = 0.5) -> None:
    """Add noise of standard deviation scale / sqrt(fan-in) to every weight."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad and p.is_floating_point():
                fan_in = p[0].numel() if p.dim() > 1 and p.numel() else 1
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                p.add_(scale * fan_in**-0.5 * noise.to(p.dtype))


@dataclass
class Case:
    """What is under test: how it is made and called, and the inputs, [x] or [x, c], in float64."""

    make: Callable[[], Any]
    shape: Sequence[int]
    context: Sequence[int] | None = None
    domain: Domain = "real"
    codomain: Domain | None = None
    forward: Callable | None = None
    inverse: Callable | None = None
    tol: float = 1e-5
    scale: float = 0.5
    default: torch.dtype | None = None  # type of new tensors within a law; None: the caller's
    sample: Callable | None = None  # of (n, c), for a density
    both: Callable | None = None  # of (n, c): samples and their log_prob
    bits: Any = None  # of (log_p, v)
    levels: int = 256
    draws: int = 2**20  # read back, of a dequantization
    held: bool = False  # are the inputs that are given the only ones?

    def __post_init__(self) -> None:
        self.shape = tuple(self.shape)
        self.context = None if self.context is None else tuple(self.context)

    def new(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> Map:
        """As it is made, ready to be trained."""
        with seeded(seed, dtype):
            layer = self.make()
        if isinstance(layer, nn.Module):
            layer.to(dtype).train()
        return Map(layer, self.forward, self.inverse)

    def build(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> Map:
        """As the laws see it: made, started by one batch, moved at random, for evaluation."""
        made = self.new(dtype, seed)
        if isinstance(made.layer, nn.Module):
            with seeded(seed, dtype):
                made.raw(*[t.to(dtype) for t in self.inputs(100 + seed, 16)])
            randomise(made.layer, seed, self.scale)
            made.layer.eval()
        return made

    def inputs(self, seed: int, rows: int = ROWS, spread: float = 1) -> list[Tensor]:
        if self.held:
            return [t.roll(1, 0) for t in self.given]
        x = draw(self.domain, rows, self.shape, seed, spread)
        return [x] if self.context is None else [x, draw("real", rows, self.context, 500 + seed)]

    @cached_property
    def map(self) -> Map:
        return self.build()

    @cached_property
    def given(self) -> list[Tensor]:
        return self.inputs(1)

    @cached_property
    def masses(self) -> list[tuple]:
        """The density summed, given nothing or each of two contexts."""
        contexts = [[t[i : i + 1] for t in self.given[1:]] for i in range(len(self.given))]
        return [(c, *mass(self, c)) for c in contexts]

    def at(self, *given: Tensor) -> "Case":
        """The same layer on these inputs alone."""
        other = copy(self)
        other.held, other.given = True, list(given)
        return other

    def name(self) -> str:
        layer = vars(self)["map"].layer if "map" in vars(self) else self.make
        kind = layer.__name__ if inspect.isroutine(layer) else type(layer).__name__
        return f"{kind} of {self.shape}" + (f" given {self.context}" if self.context else "")

    def snippet(self, inputs: list[Tensor], fault: Fault) -> str:
        """Lines that reproduce a fault; none for a layer that only its flow can make."""
        if self.held:
            return ""
        options = [f"{self.shape}"]
        for name in ("context", "domain", "forward", "inverse", "scale"):
            value = getattr(self, name)
            if value != getattr(Case, name):
                options.append(f"{name}={name if callable(value) else repr(value)}")
        rows = ", ".join(f"torch.{written(t)}.double()" for t in inputs)
        return (
            f"import torch\nfrom {__name__} import Case\n"
            f"layer = Case(make, {', '.join(options)}).build()\n"
            f"given = [{rows}]\n{fault.show}"
        )


# -- numbers, and what mistakes make of them -------------------------------------------------------


def apart(a: Any, b: Any) -> float:
    """The largest |a - b| / (1 + |b|); infinite if they cannot be compared, or one is nan. Of two
    lists, the largest of what both have."""
    if not torch.is_tensor(a):
        pairs = zip(a, b, strict=True)
        return max([apart(x, y) for x, y in pairs if x is not None and y is not None], default=0.0)
    if a.shape != b.shape:
        return math.inf
    if a.numel() == 0:
        return 0.0
    difference = (a - b).abs() / (1 + b.abs())
    return difference.where(a != b, 0.0).nan_to_num(math.inf).max().item()


def agree(
    what: str,
    found: Any,
    right: Any,
    tol: float | Tensor = SAME,
    why: str | Callable[[], str] = "",
    show: str = "",
) -> None:
    """Raise a Fault if found is not right, to within tol: a number, relative to 1 + |right|, or a
    tensor, absolute. `why` names the mistake; what is None is not compared."""
    if found is None or right is None:
        return
    message = f"{what} has shape {tuple(found.shape)}, not {tuple(right.shape)}"
    if found.shape == right.shape:
        limit = tol if torch.is_tensor(tol) else tol * (1 + right.abs())
        excess = ((found - right).abs() / limit).where(found != right, 0.0).nan_to_num(math.inf)
        if (excess <= 1).all():
            return
        a, b = (t.flatten()[excess.argmax()].item() for t in (found, right))
        message = f"{what} is {a:.4g}, not {b:.4g}: off by {abs(a - b):.1e}"
        if math.isnan(a) or math.isnan(b):
            message = f"{what} is {a:.4g}, and what it is compared with is {b:.4g}"
    raise Fault(message, why, show)


def likely(found: Tensor, right: Tensor, table: dict[str, Any], tol: float = 1e-6) -> str:
    """The first mistake of {what is wrong: what it would give} that gives what was found."""
    for words, value in table.items():
        if value is not None and value.isfinite().all():
            if apart(value, right) > 4 * tol and apart(found, value) < tol:
                return words
    return ""


def constant_off(found: Tensor, right: Tensor) -> dict[str, Tensor]:
    if right.numel() < 2 or right.std() < 1e-3:
        return {}
    off = (found - right).mean()
    return {f"it is off by the constant {off.item():+.6g} nats": right + off}


def factor_off(found: Tensor, right: Tensor) -> dict[str, Tensor]:
    if found.shape != right.shape or right.numel() < 2 or right.std() < 1e-3:
        return {}
    factor = (found * right).sum() / right.square().sum()
    return {f"it is {factor.item():.4g} times what it should be": right * factor}


def pick(t: Any, index: Any) -> Any:
    return None if t is None else t[index]


def reordered(a: Tensor, like: Tensor) -> Tensor | None:
    """The numbers of every row of a, in the order of those of `like`."""
    if a.shape != like.shape:
        return None
    ranks = flat(like).argsort(1).argsort(1)
    return flat(a).sort(1).values.gather(1, ranks).view_as(a)


STEPS: dict[str, tuple[Callable, Callable]] = {  # what a layer may begin or end with, its inverse
    "sigmoid": (torch.sigmoid, torch.logit),
    "tanh": (torch.tanh, torch.atanh),
    "softplus": (F.softplus, lambda t: t.expm1().log()),
    "exponential": (torch.exp, torch.log),
    "logit": (torch.logit, torch.sigmoid),
}


def log_slope(function: Callable, t: Tensor) -> Tensor:
    """Sum of the logarithms of an elementwise function's slope, (B,); nan outside of its domain."""
    t = t.detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(t).sum(), t)
    return flat(slope.log()).sum(1)


def mistakes(
    true: Tensor, elsewhere: Any, point: str, slopes: Tensor, x: Tensor, z: Tensor
) -> dict[str, Tensor]:
    """{what is wrong: the log-determinants (B,) that this would give} of a map from x to z with
    the Jacobian `slopes`, if `true` is right, and `elsewhere` is that at another `point`."""
    table = {
        "its sign is wrong": -true,
        "it is left out: 0 is returned": 0 * true,
        f"it is taken at {point}": elsewhere,
        f"it is taken at {point}, and its sign is wrong": None if elsewhere is None else -elsewhere,
        "it is summed over the batch as well": true.sum().expand(len(true)),
        "it is averaged over the batch": true.mean().expand(len(true)),
        "the determinant is returned, not its logarithm": true.exp(),
        "the logarithm has base 2: bits, not nats": true / math.log(2),
        "the logarithm has base 10": true / math.log(10),
    }
    sizes = {f"the number of entries, {x[0].numel()},": x[0].numel()}
    if x.dim() == 4:
        c, h, w = x.shape[1:]
        sizes |= {f"H W = {h * w}": h * w, f"C = {c}": c, f"H = {h}": h, f"W = {w}": w}
        products = {"H H": h * h, "W W": w * w, "C H": c * h, "C W": c * w, "C": c}
        for name, product in products.items() if h != w else ():
            table[f"the factor is {name} = {product}, not H W = {h * w}"] = true * product / (h * w)
    for name, size in sizes.items():
        table[f"a factor {name} is missing"] = true / size
        table[f"the factor {name} is counted twice"] = true * size
    table["it is half of what it should be: a square root too many"] = true / 2
    table["it is twice what it should be: sigma squared in place of sigma"] = true * 2
    for step, (function, back) in STEPS.items():
        for end, term in {"last": -log_slope(back, z), "first": log_slope(function, x)}.items():
            table[f"the Jacobian of the {end} step, a {step}, is missing"] = true - term
            table[f"the Jacobian of the {end} step, a {step}, has the wrong sign"] = true - 2 * term
    diagonal = slopes.diagonal(dim1=1, dim2=2).abs()
    logs = diagonal.log()
    table["only the diagonal of the Jacobian is counted"] = logs.sum(1)
    for axis, size in enumerate(x.shape[1:], 1):
        first = flat(logs.view(x.shape).select(axis, 0)).sum(1)
        table[f"of axis {axis} only the first entry is counted, not all {size}"] = first
    for words, raw in {
        "the logarithm of the scale is missing": diagonal,
        "log s is taken to be the input of the softplus that makes s": diagonal.expm1().log(),
        "log s is taken to be the input of the sigmoid that makes s": diagonal.logit(),
        "log s is taken to be the input of the sigmoid(raw + 2) that makes s": diagonal.logit() - 2,
        "log s is taken before the tanh that bounds it": logs.atanh(),
    }.items():
        table[words] = raw.where(diagonal != 1, 0.0).sum(1)
    return table


# -- laws of everything that returns (output, term) ------------------------------------------------


def _shapes(case: Case) -> None:
    """The output has the rows of x; log_det is one number a row, or one for all."""
    both = case.map.raw(*case.given)
    if not isinstance(both, tuple | list) or len(both) != 2:
        words = "return both, z and the log-determinant of each row, in nats"
        raise ValueError(f"forward gives one {type(both).__name__}, not (z, log_det): {words}")
    z, log_det = both
    found = per_row(log_det, case.given[0])
    if len(z) != ROWS:
        raise Fault(f"of {ROWS} rows {len(z)} come out")
    if torch.is_tensor(log_det) and log_det.shape not in ((ROWS,), (1,), ()):
        square = z.numel() == case.given[0].numel()
        summed = square and apart(found, case.map.slogdet(*case.given)) < 1e-6
        words = "it is not summed over all dimensions but the first" if summed else ""
        raise Fault(f"log_det of {ROWS} rows has shape {tuple(log_det.shape)}", words)


def _types(case: Case) -> None:
    """float64 and float32 stay what they are; log_det is no less precise."""
    for dtype in (torch.float64, torch.float32):
        layer = case.map if dtype == torch.float64 else case.build(dtype)
        z, log_det = layer.raw(*[t.to(dtype) for t in case.given])
        if z.dtype != dtype:
            raise Fault(f"x is {dtype}, the output {z.dtype}")
        if torch.is_tensor(log_det) and log_det.any() and log_det.dtype.itemsize < dtype.itemsize:
            raise Fault(f"x is {dtype}, log_det {log_det.dtype}")


def quotients(function: Callable, inputs: list[Tensor], step: float) -> list[Tensor | None]:
    """Central differences of all that a function returns, if every input grows by its own size."""
    with torch.no_grad():
        ends = [attempt(function, *[t * (1 + sign * step) for t in inputs]) for sign in (1, -1)]
    return [None if a is None else (a - b) / (2 * step) for a, b in zip(*ends, strict=True)]


def _precision(case: Case) -> None:
    """float64 is computed in float64: what a step of 1e-8 changes is seen."""
    if callable(case.domain):
        raise Skip("the domain is a function")
    inputs, small, words = case.inputs(8), 1e-8, "a part of it is computed in float32"
    values = case.map.forward(*inputs)
    pairs = [quotients(case.map.forward, inputs, step) for step in (small, 1e-5)]
    for name, value, found, right in zip(("output", "log_det"), values, *pairs, strict=True):
        if value is not None and found is not None and right is not None:
            size = 1 + value.detach().abs()
            limit = 0.05 * (size + right.abs()) + 1e4 * 2.0**-52 * size / small
            rounding = ((found - right).abs() * small < 1e-6 * size).all()
            agree(f"the slope of {name}", found, right, limit, words if rounding else "")
    z = values[0].detach() * (1 + math.pi * small)  # numbers that float32 has not
    x = attempt(case.map.inverse, z, *inputs[1:])[0]
    if x is not None and torch.equal(x, x.float().to(x)) and x.any():
        raise Fault("the inverse returns numbers of float32", words)


def _inputs(case: Case) -> None:
    """What the caller gave is as it was."""
    (forward, inverse), layer = case.map.ways, case.map.layer
    x, c = [*case.inputs(1), None][:2]
    z = forward(layer, x, c)[0].detach().clone()
    before = z.clone().nan_to_num()
    attempt(inverse, layer, z, c)
    kept = [*case.given, None][:2]
    for name, now, old in zip("xcz", (x, c, z.nan_to_num()), (*kept, before), strict=True):
        agree(f"{name} that is given", now, old, 0, "an operation in place")


def _rows(case: Case) -> None:
    """The other rows of a batch, and their number, change nothing."""
    before = case.map.forward(*case.given)
    pairs = zip(case.given, case.inputs(2), strict=True)
    mixed = [torch.cat([old[:1], new[1:]]) for old, new in pairs]
    alone = [t[:1] for t in case.given]
    for when, inputs in {"the others change": mixed, "it is alone": alone}.items():
        after = case.map.forward(*inputs)
        for name, now, old in zip(("output", "log_det"), after, before, strict=True):
            agree(f"{name} of a row when {when}", pick(now, slice(1)), pick(old, slice(1)))


def _context(case: Case) -> None:
    """The context of a row changes that row and no other."""
    if len(case.given) == 1:
        raise Skip("no context given")
    (x, c), (_, new), moved = case.given, case.inputs(2), []
    before = case.map.forward(x, c)
    for i in range(len(x)):
        changed = c.clone()
        changed[i] = new[i]
        after = case.map.forward(x, changed)
        for j in range(len(x)):
            if apart([pick(t, j) for t in after], [pick(t, j) for t in before]) > SAME:
                moved.append((i, j))
    if not moved:
        raise Fault("neither output nor log_det depends on the context", "the context is ignored")
    for i, j in moved:
        if i != j:
            raise Fault(f"the context of row {i} moves row {j}")


def module_of(made: Map) -> nn.Module:
    if not isinstance(made.layer, nn.Module):
        raise Skip("not a module")
    return made.layer


def unsaved(a: nn.Module, b: nn.Module) -> str:
    """Names of what two modules remember differently, outside of what is saved."""

    def attributes(module: nn.Module) -> dict[str, str]:
        return {
            f"{path}.{name}".strip("."): repr(value)
            for path, part in module.named_modules()
            for name, value in vars(part).items()
            if name[0] != "_" and isinstance(value, bool | int | float | Tensor | list)
        }

    one, other = attributes(a), attributes(b)
    names = [name for name in one if name in other and one[name] != other[name]]
    return f"{', '.join(names)}: not a buffer, so not saved" if names else ""


def _start(case: Case) -> None:
    """Weights that the first batch sets are kept, at the second batch and after loading."""
    made, other = case.new(seed=0), case.new(seed=1)
    layer, loaded = module_of(made), module_of(other)

    def set_by(made: Map, seed: int) -> list[str]:
        before = {name: p.detach().clone() for name, p in made.layer.named_parameters()}
        with torch.no_grad():
            made.raw(*case.inputs(seed, rows=16))
        return [name for name, p in made.layer.named_parameters() if (p != before[name]).any()]

    names = set_by(made, 3)
    if not names:
        raise Skip("no weight is set by data")
    if again := [name for name in set_by(made, 4) if name in names]:
        raise Fault(f"the second batch sets {', '.join(again)} again")
    words = unsaved(layer, loaded)
    loaded.load_state_dict(layer.state_dict())
    if again := set_by(other, 5):
        raise Fault(f"the first batch after loading sets {', '.join(again)} again", words)


def reloaded(case: Case, used: bool = False) -> None:
    """Another layer gives the same numbers once it has loaded the weights."""
    other, (x, *c) = case.build(seed=1), case.given
    layer, loaded = module_of(case.map), module_of(other)
    words, z = unsaved(layer, loaded), case.map.forward(x, *c)[0]

    def outputs(made: Map) -> list:
        with torch.no_grad():
            return [*made.forward(x, *c), *attempt(made.inverse, z, *c)]

    if used:
        outputs(other)
        words = "something computed from the old weights is kept"
    loaded.load_state_dict(layer.state_dict())
    names = "output", "log_det", "inverse", "log_det of the inverse"
    for name, now, old in zip(names, outputs(other), outputs(case.map), strict=True):
        kind = "used" if used else "new"
        agree(f"{name} of a {kind} layer that has loaded the weights", now, old, why=words)


def _state(case: Case) -> None:
    """A new layer that loads the weights gives the same numbers."""
    reloaded(case)
    kept = [name for name, buffer in case.map.layer.named_buffers() if buffer.grad_fn is not None]
    if kept:
        raise Fault(f"{', '.join(kept)} keep the graph of a batch: memory grows", "no detach()")


def _loaded(case: Case) -> None:
    """Weights that are loaded into a layer that was used take effect."""
    if isinstance(tried(reloaded, case), Fault):
        raise Skip("a new layer does not take them either")
    reloaded(case, used=True)


def _float32(case: Case) -> None:
    """float32 is as near to float64 as the rounding of its input explains."""
    single, twin = case.build(torch.float32), case.build(torch.float32)
    module_of(twin).load_state_dict(module_of(single).state_dict())  # what no seed decides
    twin.layer.to(torch.float64)
    t, *c = case.given
    for way in ("forward", "inverse"):
        low, high = getattr(single, way), getattr(twin, way)
        exact = attempt(high, t, *c)
        if exact[0] is None:
            return
        signs = (-1.0) ** torch.arange(t.numel(), dtype=t.dtype).view(t.shape)
        near = t if torch.equal(t, t.round()) else t * (1 + 2.0**-23 * signs)
        results = low(*[a.float() for a in (t, *c)]), exact, high(near, *c)
        for name, got, right, beside in zip(("output", "log_det"), *results, strict=True):
            if got is not None:
                size = t[0].numel() if name == "log_det" else 1
                limit = 1e-5 * size * (1 + right.abs()) + 100 * (beside - right).abs()
                agree(f"in float32 {name} of {way}", got.double(), right, limit)
        t = exact[0].detach().float().double()


# -- laws of bijections ----------------------------------------------------------------------------


def round_trip(case: Case, start: Tensor, c: list[Tensor], back: bool, show: str = "") -> None:
    """One way undoes the other, to within what rounding explains: forward(inverse(start)) is start
    if `back`, inverse(forward(start)) if not."""
    layer = case.map
    first, second = (layer.inverse, layer.forward) if back else (layer.forward, layer.inverse)
    between = first(start, *c)[0].detach()
    end = second(between, *c)[0].detach()
    if apart(end, start) <= case.tol:
        return
    jacobian = layer.jacobian(between if back else start, *c)
    gain = (jacobian if back else torch.linalg.pinv(jacobian)).abs().sum(2).max().item()
    rounding = 1e3 * 2.0**-52 * gain * (1 + between.abs().max().item())

    def why() -> str:
        table = {
            "an order that is not undone: right numbers, wrong places": reordered(start, end),
            "the inverse does the same as forward": attempt(first, between, *c)[0],
        }
        return likely(end, start, table)

    what = "forward(inverse(z))" if back else "inverse(forward(x))"
    agree(what, end, start, max(case.tol, rounding), why, show)


def _inverse(case: Case) -> None:
    """inverse(forward(x)) is x, to within what rounding z explains."""
    x, *c = case.given
    show = "print(given[0], layer.inverse(layer.forward(*given)[0], *given[1:])[0])"
    round_trip(case, x, c, False, show)


def _forward(case: Case) -> None:
    """forward(inverse(z)) is z; z of the stated codomain, or what forward gives of other x."""
    x, *c = case.inputs(3)
    z = case.map.forward(x, *c)[0].detach()
    if case.codomain is not None:
        z = draw(case.codomain, ROWS, z.shape[1:], 4)
    round_trip(case, z, c, True)


def right_log_det(case: Case, back: bool) -> None:
    """What comes with z is log|det dz/dx| of the Jacobian that autograd finds at x; what comes
    `back` with x is its negative."""
    layer, (x, *c) = case.map, case.given
    z, found = layer.forward(x, *c)
    if back:
        x, found = layer.inverse(z.detach(), *c)
    if found is None:
        raise Skip("no log_det")
    x, z, found, sign = x.detach(), z.detach(), found.detach(), -1 if back else 1
    jacobian = layer.jacobian(x, *c)
    if jacobian.shape[1] != jacobian.shape[2]:
        raise Skip(f"the Jacobian is {jacobian.shape[1]} x {jacobian.shape[2]}")
    true = sign * torch.linalg.slogdet(jacobian).logabsdet
    if apart(found, true) > case.tol and apart(sign * found, layer.differences(x, *c)) < 1e-4:
        raise Skip("autograd does not see all of z, but log_det is that of finite differences")

    def why() -> str:
        point, change = "the output, not at the input", (jacobian, x, z)
        if back:
            point = "its input z, not at the x it returns"
            change = torch.linalg.pinv(jacobian), z, x
        elsewhere = attempt(lambda: [sign * layer.slogdet(z, *c)])[0]
        table = mistakes(true, elsewhere, point, *change)
        table |= constant_off(found, true) | factor_off(found, true)
        return likely(found, true, table)

    show = "print(layer.forward(*given)[1], layer.slogdet(*given))"
    if back:
        show = "x, found = layer.inverse(layer.forward(*given)[0].detach(), *given[1:])\n"
        show += "print(found, -layer.slogdet(x, *given[1:]))"
    name = "log_det of the inverse" if back else "log_det"
    agree(name, found, true, case.tol, why, show)


def _log_det(case: Case) -> None:
    """log_det is log|det dz/dx| of the Jacobian that autograd finds."""
    right_log_det(case, back=False)


def _inverse_log_det(case: Case) -> None:
    """log_det of the inverse is minus log|det dz/dx|, at the x that it returns."""
    right_log_det(case, back=True)


def _sizes(case: Case) -> None:
    """What takes images of another size keeps the laws there: H W is that of the image given."""
    if len(case.shape) != 3:
        raise Skip("no image")
    channels, height, width = case.shape
    parts = case.map.layer.modules() if isinstance(case.map.layer, nn.Module) else []
    said = [repr(v) for m in parts for v in vars(m).values() if isinstance(v, tuple | list)]
    other = copy(case)
    other.shape = channels, height + 1, width + 2
    if case.context is not None and case.context[1:] == case.shape[1:]:
        other.context = case.context[0], height + 1, width + 2
    other.given = other.inputs(1)
    z = attempt(case.map.forward, *other.given)[0]
    fits = z is not None and z.numel() == other.given[0].numel()
    if not fits or any(f"{height}, {width}" in words for words in said):
        raise Skip("made for one size")
    for law in (_inverse, _log_det):
        outcome = tried(law, other)
        if isinstance(outcome, Fault) and tried(law, case) is None:
            raise Fault(f"at {height + 1} x {width + 2}: {outcome}", outcome.why)
        if outcome is not None and not isinstance(outcome, Fault | Skip):
            raise Skip("made for one size")


def _tails(case: Case) -> None:
    """Far out everything is finite and z comes back; whether x does, rounding decides."""
    for spread in (0, 10, 100):
        x, c = case.inputs(6, spread=spread)[0], case.given[1:]
        z, log_det = case.map.forward(x, *c)
        back = case.map.inverse(z, *c)[0]
        far = f"at {spread} times the usual x"
        for name, t in (("z", z), ("log_det", log_det), ("inverse(z)", back)):
            if t is not None and not t.isfinite().all():
                raise Fault(f"{name} is not finite {far}")
        agree(f"forward(inverse(z)) {far}", case.map.forward(back, *c)[0], z, case.tol)
        if spread == 10 and log_det is not None and z.numel() == x.numel():
            agree(f"log_det {far}", log_det, case.map.slogdet(x, *c), 1e-3)


# -- laws of densities -----------------------------------------------------------------------------


def repeated(rows: list[Tensor], n: int) -> list[Tensor]:
    """n copies of one row (1, ...) each."""
    return [t.expand(n, *t.shape[1:]) for t in rows]


def log_p(case: Case, x: Tensor, c: list[Tensor]) -> Tensor:
    """(N,) of x (N, *shape), all given the one c."""
    with torch.no_grad():
        found = [case.map.forward(t, *repeated(c, len(t)))[1] for t in x.split(20_000)]
    return torch.cat(found).double()


def drawn(case: Case, n: int, c: list[Tensor], both: bool = False) -> list[Tensor]:
    """[samples (n, B, *shape)], and their own log_prob (n, B) if asked for both."""
    function = case.both if both else case.sample
    if function is None:
        raise Skip("no sampling given")
    try:
        with torch.no_grad():
            out = function(n, c[0] if c else None)
    except NotImplementedError as error:
        raise Skip("no sampling") from error
    found, rows = [], len(c[0]) if c else 1
    for t, end in zip(out if isinstance(out, tuple) else [out], (case.shape, ()), strict=False):
        lead = tuple(t.shape[: t.dim() - len(end)])
        if lead == (rows, n):
            t = t.transpose(0, 1)
        elif lead != (n, rows) and (lead, rows) != ((n,), 1):
            raise ValueError(f"{n} samples of {rows} contexts have shape {tuple(t.shape)}")
        found.append(t.detach().double().reshape(n, rows, *end))
    return found


def middle(x: Tensor) -> tuple[Tensor, Tensor]:
    """(median, about a standard deviation) of every column, which no outlier moves far."""
    centre = x.median(0).values
    return centre, 1.5 * (x - centre).abs().median(0).values.clamp(min=1e-12)


def mass(case: Case, c: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, float]:
    """(points (N, *shape), the mass that each stands for, log_p there, error of the sum)."""
    dims = math.prod(case.shape)
    if callable(case.domain):
        raise Skip("the domain is a function")
    if dims > 2 and (case.sample is None or case.domain != "real"):
        raise Skip("without samples of real numbers only one or two dimensions are summed")
    try:
        x = flat(drawn(case, 4000, c)[0])
    except Exception:  # there are none, or the law of samples says so
        x = torch.randn(4000, dims, dtype=torch.float64)
    if dims > 2:  # importance sampling from Student's t, of the samples' mean and covariance
        n, law = 20_000, StudentT(torch.tensor(4.0).double())
        factor = torch.linalg.cholesky(x.T.cov() + 1e-9 * torch.eye(dims).double())
        u = law.sample((n, dims))
        points = (x.mean(0) + u @ factor.T).view(-1, *case.shape)
        found = log_p(case, points, c)
        weights = (found - law.log_prob(u).sum(1) + factor.diagonal().log().sum()).exp()
        return points, weights / n, found, 2 * weights.std().item() / n**0.5
    sums = []
    for n in (1000, 1300, 2000) if dims == 1 else (150, 190, 300):
        t = torch.linspace(-7, 7, 2 * n + 1, dtype=torch.float64)
        lines = [MAPS[case.domain](2 * t)] * dims
        if case.domain == "real":
            lines = [m + s * t.sinh() for m, s in zip(*middle(x), strict=True)]
        points = torch.cartesian_prod(*[y[1::2] for y in lines]).view(-1, *case.shape)
        widths = torch.cartesian_prod(*[y[2::2] - y[:-1:2] for y in lines]).view(-1, dims)
        found = log_p(case, points, c)
        weights = found.exp() * widths.prod(1)
        sums.append(weights.sum().item())
    return points, weights, found, max(sums) - min(sums)


def _integral(case: Case) -> None:
    """The density integrates to one."""
    for _, points, weights, _, error in case.masses:
        total = weights.sum()
        if abs(total - 1) > 1e-3 + 3 * error and error > 0.2 * total:
            raise Skip(f"the sum {total:.3g} has an error of {error:.1g}")
        x, p = flat(points), weights / total
        logs = (p @ (x - p @ x).square()).sqrt().log()
        half = logs.new_tensor(0.5 * math.log(2 * math.pi) * len(logs))
        table = {
            "d/2 log 2 pi is missing": half,
            "d/2 log 2 pi has the wrong sign": 2 * half,
            "d/2 log 2 pi is counted twice": -half,
            "log sigma is missing": logs.sum(),
            "log sigma has the wrong sign": 2 * logs.sum(),
            "log sigma is counted for one dimension, not for each": logs[1:].sum(),
            "D log 2 is missing": len(logs) * logs.new_tensor(2).log(),
            "D log 256 is missing": len(logs) * logs.new_tensor(256).log(),
        }
        words = likely(total.log(), 0 * total, table, 0.005 + error / total.item())
        limit = total.new_tensor(1e-3 + 3 * error)
        agree("its integral", total, torch.ones_like(total), limit, words)


def features(t: Tensor, log_p: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """What is averaged over samples and over the density: bounded functions, and log_p."""
    u = ((flat(t) - centre) / width).tanh()
    pairs = [u[:, i] * u[:, j] for i in range(u.shape[1]) for j in range(i + 1)]
    return torch.stack([*u.T, *pairs, log_p.clamp(min=-1e4)], 1)


def moments(mean: Tensor, log_s: Tensor) -> Tensor:
    """Mean over sigma, and log sigma, of every column: their errors are alike."""
    return torch.cat([mean / log_s.exp(), log_s])


def _samples(case: Case) -> None:
    """Samples follow the density: means of bounded functions and of log_prob agree."""
    if case.sample is None:
        raise Skip("no sampling given")
    for c, points, weights, found, _ in case.masses:
        x, p = drawn(case, 4000, c)[0][:, 0], weights / weights.sum()
        if (found.isnan() | (found == math.inf)).any():
            raise Skip("log_prob is not finite everywhere")
        if p.square().sum() > 0.01:
            raise Skip("too few points carry the mass")
        own = features(x, log_p(case, x, c), *middle(flat(x)))
        there = features(points, found, *middle(flat(x)))
        mean = (p[:, None] * there.where(p[:, None] > 0, 0.0)).sum(0)
        spread = (p.square()[:, None] * (there - mean).square()).nan_to_num().sum(0)
        limit = 6 * ((own.var(0) / len(x) + spread).sqrt() + 2e-3)
        mu = p @ flat(points)
        log_s = (p @ (flat(points) - mu).square()).sqrt().log()
        table = {
            "samples lack sigma": moments(mu, 0 * log_s),
            "samples have sigma squared for sigma": moments(mu, 2 * log_s),
            "samples have the root of sigma for sigma": moments(mu, log_s / 2),
            "samples have 1 / sigma for sigma": moments(mu, -log_s),
            "samples lack the mean": moments(0 * mu, log_s),
        }
        seen = moments(flat(x).mean(0), flat(x).std(0).log())
        words = likely(seen, moments(mu, log_s), table, 5 / len(x) ** 0.5)
        agree("a mean over samples", own.mean(0), mean, limit, words)


def _own_log_prob(case: Case) -> None:
    """What comes with a sample is the log_prob of that sample."""
    _, *c = case.given
    x, own = drawn(case, 101, c, both=True)
    alone = [[t[i : i + 1] for t in c] for i in range(x.shape[1])]
    right = torch.stack([log_p(case, x[:, i], one) for i, one in enumerate(alone)], 1)

    def why() -> str:
        added = right.clone()
        for i, one in enumerate(alone):
            for *_, log_det, depth in calls(case, [x[:, i], *repeated(one, len(x))]):
                added[:, i] -= 2 * log_det if depth == 0 else 0
        table = {
            "its sign is wrong": -right,
            "the right numbers in another order": pick(reordered(right[None], own[None]), 0),
            "the log-determinant is added where it is to be subtracted": added,
        }
        return likely(own, right, table | constant_off(own, right), 1e-4)

    agree("a sample's own log_prob", own, right, 1e-4, why)


def _pairing(case: Case) -> None:
    """n samples for each context are those of that context."""
    _, *c = case.given
    if not c:
        raise Skip("no context given")
    n, rows = 1001, len(c[0])
    together = drawn(case, n, c)[0].reshape(n, rows, -1)
    alone = torch.cat([drawn(case, n, [one])[0].reshape(n, 1, -1) for one in c[0].split(1)], 1)

    def error(a: Tensor, b: Tensor) -> Tensor:
        return ((a.var(0) + b.var(0)) / n).sqrt() + 1e-9

    def why() -> str:
        for k in range(1, rows):
            other = alone.roll(k, 1)
            off = (together.mean(0) - other.mean(0)).abs() / error(together, other)
            if (off < 4).all():
                return f"they are samples of context {-k % rows}, for context 0"
        if (together.std(0) > 1.2 * alone.std(0)).any():
            return "samples of several contexts are mixed: n and B are joined in another order"
        return ""

    limit = 6 * error(together, alone)
    agree("mean of samples drawn with others", together.mean(0), alone.mean(0), limit, why)


# -- flows, and the bijections inside --------------------------------------------------------------


def samples_of(flow: Any, n: int, c: Any, both: bool) -> Any:
    """n samples of a flow, or (samples, their log_prob) if asked for both."""
    if not hasattr(flow, "log_prob"):  # zuko's, which makes a distribution
        made = flow(c)
        if both and not hasattr(made, "rsample_and_log_prob"):
            raise Skip("samples come without their log_prob")
        return made.rsample_and_log_prob((n,)) if both else made.sample((n,))
    if both and hasattr(flow, "sample_and_log_prob"):
        return given(flow.sample_and_log_prob, n, c)
    names = list(inspect.signature(flow.sample).parameters)
    if both and "return_log_prob" in names:
        return flow.sample((n,), context=c, return_log_prob=True)
    if names[0] == "sample_shape":
        found = flow.sample((n,)) if c is None else flow.sample((n,), context=c)
    else:
        found = flow.sample(c, n) if "n" in names[1:] else given(flow.sample, n, c)
    if both and not isinstance(found, tuple):
        raise Skip("samples come without their log_prob")
    return found


def calls(case: Case, inputs: list[Tensor]) -> list[tuple]:
    """(path, module, method, its inputs, log_det, by how many others it is called) of every call
    of a bijection inside by log_prob: of a module with an inverse, which returns (as many numbers
    as it was given, one number a row)."""
    flow, found, depth = case.map.layer, [], 0
    every = flow.named_modules() if isinstance(flow, nn.Module) else []
    inner = [(path, module) for path, module in every if path and hasattr(module, "inverse")]

    def listen(path: str, module: nn.Module, method: str) -> None:
        original = getattr(module, method)

        def heard(*arguments: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            out = original(*arguments, **named)
            depth -= 1
            if isinstance(out, tuple) and len(out) == 2 and all(torch.is_tensor(t) for t in out):
                x, *others = [t for t in (*arguments, *named.values()) if torch.is_tensor(t)]
                if out[0].numel() == x.numel() and out[1].shape in ((len(x),), ()):
                    context = [t for t in others if len(t) == len(x)][:1]
                    seen = [t.detach() for t in (x, *context)]
                    log_det = out[1].detach().expand(len(x))
                    found.append((path, module, method, seen, log_det, depth))
            return out

        vars(module)[method] = heard

    for path, module in inner:
        for method in ("forward", "inverse"):
            listen(path, module, method)
    try:
        case.map.forward(*inputs)
    finally:
        for _, module in inner:
            del vars(module)["forward"], vars(module)["inverse"]
    return found


def bijections_inside(case: Case) -> Iterator[tuple[str, str, Case, dict[str, Law]]]:
    """(path, class, case, its laws) of every bijection that log_prob calls, from the innermost on;
    not what is random."""

    def part(layer: Map, inputs: list[Tensor]) -> Case:
        made = Case(case.make, inputs[0].shape[1:], tol=case.tol, held=True)
        made.map, made.given = layer, inputs
        return made

    flow, (x, *c) = case.map.layer, case.given
    whole = None if hasattr(flow, "log_prob") else flow(*c)
    for k, step in enumerate(getattr(getattr(whole, "transform", None), "transforms", [])):
        layer = Map(k, *transforms(lambda k, c: flow(c).transform.transforms[k]))  # zuko's
        yield f"transforms.{k}", type(step).__name__, part(layer, [x, *c]), PART
        x = layer.forward(x, *c)[0].detach()
    found: dict[str, list] = {}
    for path, *call in calls(case, case.given):
        found.setdefault(path, call)
    for path, call in sorted(found.items(), key=lambda item: -item[0].count(".")):
        module, method, inputs = call[:3]
        names = ("forward", "inverse") if method == "forward" else ("inverse", "forward")
        ways = [lambda m, x, c, name=name: given(getattr(m, name), x, c) for name in names]
        layer, laws = Map(module, *ways), dict(PART)
        said = [
            v for m in module.modules() for k, v in vars(m).items() if k[:4] in ("cont", "cond")
        ]
        if not any(said) or not any(True for _ in module.parameters()):
            laws.pop("context", None)  # it does not say that it reads one
        if apart(layer.forward(*inputs)[0], layer.forward(*inputs)[0]) == 0:
            yield path, type(module).__name__, part(layer, inputs), laws


# -- laws of dequantizations -----------------------------------------------------------------------


def _levels(case: Case) -> None:
    """The inverse gives y for every draw, in float32 for very many."""
    many = max(case.draws // math.prod(case.shape), 1)
    for dtype, n in ((torch.float64, 1000), (torch.float32, many)):
        layer = case.map if dtype == torch.float64 else case.build(dtype)
        y, *c = [t.to(dtype) for t in case.inputs(7, rows=n)]
        with torch.no_grad():
            back = layer.inverse(layer.forward(y, *c)[0], *c)[0]
        up = (back - y)[back != y].eq(1).all() and (y[back != y] > 0).any()
        words = "y + u is rounded to y + 1: v has to stay below the next level" if up else ""
        agree(f"y that is read back, in {dtype},", back, y, 0, words)


def noisy(case: Case, n: int, times: float = 1) -> tuple[Tensor, Tensor]:
    """(v (n, D), -log q (n,)) of n draws for one y, times a number."""
    y, *c = repeated([t[:1] for t in case.given], n)
    with torch.no_grad():
        v, term = case.map.forward(times * y, *c)
    return flat(v), y.new_zeros(n) if term is None else term


def _noise(case: Case) -> None:
    """No two entries of one level share their noise, in a row or between rows."""
    v = noisy(case, 8, times=0)[0]
    if len(v.unique()) < v.numel():
        shared = "rows of a batch" if len(v.unique(dim=0)) < len(v) else "entries of a row"
        found = f"{v.numel()} entries have {len(v.unique())} different v"
        raise Fault(found, f"{shared} share noise")


def _volume(case: Case) -> None:
    """The mean of 1[v in a box] / q(v) is the volume of the box: what every bound rests on."""
    first, (v, term) = noisy(case, 20_000)[0], noisy(case, 20_000)
    low, high = first.quantile(0.1, 0), first.quantile(0.9, 0)
    inside = ((v >= low) & (v <= high)).all(1)
    weight = torch.where(inside, (term - (high - low).log().sum()).exp(), 0.0)
    found, error = weight.mean(), weight.std().item() / len(weight) ** 0.5
    if error > 0.1 * found or found == 0:
        raise Skip("too few draws fall into a box")
    levels = found.new_tensor(case.levels).log() * v.shape[1]
    table = {
        f"D log {case.levels} is missing or has the wrong sign": levels,
        f"D log {case.levels} is counted though v is not divided by it": -levels,
        f"D log {case.levels} has the wrong sign": 2 * levels,
    }
    words = likely(found.log(), 0 * found, table, 5 * error / found.item() + 1e-6)
    limit = found.new_tensor(5 * error + 1e-6)
    agree("mean of 1/q, in volumes of the box,", found, torch.ones_like(found), limit, words)


# -- laws of bits per dimension --------------------------------------------------------------------


def bits_of(case: Case, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """(what is said, what is right), each (B,) or a mean, if a density gives log_p to v."""
    y = case.given[0]
    with seeded(0, torch.float64):
        v = case.map.forward(y)[0].detach()
    with seeded(0, torch.float64):  # the same noise
        log_p_of_y = log_p + case.map.slogdet(y)
    found = torch.as_tensor(case.bits(log_p, v)).double()
    right = 0 - log_p_of_y / (y[0].numel() * math.log(2))
    return found, right if found.dim() else right.mean()


def _divided(case: Case) -> None:
    """A nat less adds 1 / (D log 2) bits, D the number of entries of y."""
    nats = -torch.arange(1.0, ROWS + 1, dtype=torch.float64)
    (some, right), (none, right_of_none) = bits_of(case, nats), bits_of(case, 0 * nats)
    found, right = some - none, right - right_of_none
    size, channels = math.prod(case.shape), case.shape[0] if len(case.shape) == 3 else 1
    factors = {
        f"not by D = {size}": size,
        f"by the {size // channels} pixels, not by D = {size}": channels,
        "by D for each row and then by the rows": 1 / ROWS,
        "by D, but the rows are summed, not averaged": ROWS,
    }
    table = {"its sign is wrong": -right, "it is in nats, not in bits": right * math.log(2)}
    for words, factor in factors.items():
        table[f"it is divided {words}"] = right * factor
        table[f"it is in nats and divided {words}"] = right * factor * math.log(2)
    agree("what 1 to 5 nats less add", found, right, 1e-6, likely(found, right, table))


def _added(case: Case) -> None:
    """To the bits of v the logarithm of how `prepare` stretches y is added, for each entry."""
    nats = torch.zeros(ROWS, dtype=torch.float64)
    found, right = bits_of(case, nats)
    levels, D = math.log2(case.levels), math.prod(case.shape)
    table = {
        "nothing is added for `prepare`": 0 * right,
        f"log2 {case.levels} = {levels:.4g} is missing": right - levels,
        f"log2 {case.levels} is added, though v is not divided by {case.levels}": right + levels,
        f"log2 {case.levels} is added in nats": right + levels * (math.log(2) - 1),
        f"log2 {case.levels} is added once, not for each entry": right + levels * (1 / D - 1),
        f"v has levels of 1 / {case.levels - 1}, not 1 / {case.levels}": right
        + math.log2(case.levels / (case.levels - 1)),
        "v fills an interval of length 2, not 1: one bit less is to be added": right + 1,
        f"log2 {case.levels} is added, and `prepare` does more than divide": 0 * right + levels,
    }
    agree("bits of a density of 1", found, right, 1e-6, likely(found, right, table))


def _cells(case: Case) -> None:
    """The noise of a level fills its cell: v of y ends where v of y + 1 begins."""
    y = case.given[0][:1].expand(4000, *case.shape)
    with torch.no_grad():
        v, above = (flat(case.map.forward(t)[0]) for t in (y, y + 1))
    low, high, end = v.min(0).values, v.max(0).values, above.min(0).values
    found, whole = (high - low) / (end - low), torch.ones_like(low)
    table = {
        "there is no noise, and without it no limit to the likelihood": 0 * whole,
        f"the noise is divided by {case.levels} once too often": whole / case.levels,
        "noise of half a level": whole / 2,
    }
    words = likely(found, whole, table, 3e-3)
    agree("of the cell of a level, the share that its noise fills", found, whole, whole / 50, words)


# -- which laws hold of what -----------------------------------------------------------------------


def named(*laws: Law) -> dict[str, Law]:
    return {law.__name__.removeprefix("_"): law for law in laws}


COMMON = named(_shapes, _types, _inputs, _rows, _context, _start, _state, _loaded, _float32)
PART = named(_inverse, _log_det, _inverse_log_det, _context)
BIJECTION = COMMON | named(
    _inverse, _forward, _log_det, _inverse_log_det, _sizes, _precision, _tails
)
DENSITY = named(_shapes, _inputs, _rows, _context, _integral, _samples, _own_log_prob, _pairing)
DEQUANTIZATION = named(_shapes, _inputs, _levels, _noise, _volume)
BITS = named(_divided, _added, _cells)
