"""The laws of normalizing flows, for anyone's layers, densities and dequantizations.

A log-determinant that is wrong raises no error: training goes on, and every likelihood is wrong.
Here every law is measured on the layer itself, and a failure is compared with what well-known
mistakes would give, so that the report names the mistake where the numbers agree with one:

    >>> from cnf.testing import check_bijection
    >>> print(check_bijection(lambda: MyScaling(3), (3,)))
    MyScaling of (3,): 1 of 11 laws fails
      log_det: log_det is 0.4656, autograd's -0.4656
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
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Domain = str | Callable[[int, torch.Generator], Tensor]

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
    laws = BIJECTION if tails else {k: v for k, v in BIJECTION.items() if k != "tails"}
    return judge(case, laws, known)


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
    case = Case(make, shape, context, domain, forward=forward, scale=scale)
    return judge(case, COMMON, known)


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

    def forward(_: Any, x: Tensor, c: Any) -> tuple[Tensor, Tensor]:
        return flat(x)[:, :0], given(log_prob, x, c)

    case = Density(lambda: log_prob, shape, context, domain, forward=forward)
    case.draws = sample and (lambda n, c: given(sample, n, c))
    case.both = sample_and_log_prob and (lambda n, c: given(sample_and_log_prob, n, c))
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
        whole = flow if hasattr(flow, "log_prob") else None
        found = flow(c).log_prob(x) if whole is None else given(whole.log_prob, x, c)
        return flat(x)[:, :0], found

    case = Density(make, shape, context, domain, forward=forward, tol=tol, scale=scale)
    case.draws = lambda n, c: drawn(case.map.layer, n, c, False)
    case.both = lambda n, c: drawn(case.map.layer, n, c, True)
    if unknown := set(known) - set(COMMON | DENSITY | PART):
        raise ValueError(f"known = {unknown.pop()!r}: choose from {', '.join(COMMON | DENSITY)}")
    report = judge(case, COMMON | DENSITY, [law for law in known if law in COMMON | DENSITY])
    inside = parts(case) if len(report.results) > 1 else []
    for path, kind, inner in inside:
        for r in judge(inner, PART, [law for law in known if law in PART]).results:
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

    def alone(layer: Any, v: Tensor, c: Any) -> Any:
        return layer.inverse(v)

    ways = forward or (lambda layer, y, c: given(layer, y, c)), inverse or alone
    case = Dequantization(make, shape, context, whole, None, *ways, scale=scale)
    case.levels, case.draws = levels, draws
    return judge(case, DEQUANTIZATION, known)


# -- reports ---------------------------------------------------------------------------------------


@dataclass
class Fault:
    """What a law found: the numbers, the mistake that would give them, and where."""

    message: str
    likely: str = ""
    x: Tensor | None = None  # the smallest input that was found
    show: str = ""  # lines that print both numbers, given layer, x and c


class Skip(Exception):
    """Raised by a law that cannot be judged here, with the reason."""


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
        return next(r for r in self.results if r.law == law)

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


def judge(case: "Case", laws: dict[str, Callable], known: Sequence[str]) -> Report:
    """Every law of a case; an error in the first ends it: all others would say so again."""
    if unknown := [name for name in known if name not in laws]:
        raise ValueError(f"known = {unknown[0]!r}: choose from {', '.join(laws)}")
    report = Report("")
    for name, law in laws.items():
        try:
            with seeded(0, case.ambient or torch.get_default_dtype()):
                fault, status = law(case), "failed"
        except Skip as reason:
            report.results.append(Result(name, "skipped", str(reason)))
            continue
        except Exception as error:
            said = str(error).strip().splitlines() or [""]
            frames = traceback.extract_tb(error.__traceback__)
            last = next(f for f in reversed(frames) if f"{os.sep}torch{os.sep}" not in f.filename)
            where = f" ({os.path.basename(last.filename)}:{last.lineno})"
            where = "" if last.filename == __file__ else where
            fault, status = Fault(f"{type(error).__name__}: {said[0]}{where}"), "error"
        if fault is None:
            report.results.append(Result(name, "passed"))
            continue
        found = Result(name, "known" if name in known else status, fault.message, fault.likely)
        if fault.x is not None:
            found.smallest = written(fault.x)
            found.snippet = case.snippet(fault.x, fault.show) if fault.show else ""
        report.results.append(found)
        if status == "error" and len(report.results) == 1:
            break
    report.what = case.name()
    return report


# -- how a layer is made and called ----------------------------------------------------------------


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
                fan_in = p[0].numel() if p.dim() > 1 else 1
                noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
                p.add_(scale * fan_in**-0.5 * noise.to(p.dtype))


class Map:
    """A layer as `forward(x, c)` and `inverse(z, c)`, each (output, log_det (B,) or None), and
    `slogdet(x, c)`, autograd's. c is the context, or None."""

    def __init__(self, layer: Any, forward: Callable | None, inverse: Callable | None):
        self.layer = layer
        self.bare, self.bare_inverse = protocol(layer, forward, inverse)

    def raw(self, x: Tensor, c: Any = None) -> tuple[Tensor, Any]:
        """What the layer returns of copies, so that a change in place breaks one law only."""
        return self.bare(x.clone(), None if c is None else c.clone())

    def forward(self, x: Tensor, c: Any = None) -> tuple[Tensor, Any]:
        z, log_det = self.raw(x, c)
        return z, per_row(log_det, x)

    def inverse(self, z: Tensor, c: Any = None) -> tuple[Tensor, Any]:
        if self.bare_inverse is None:
            raise Skip("no inverse")
        try:
            found = self.bare_inverse(z.clone(), None if c is None else c.clone())
        except Exception as error:
            kind, said = type(error).__name__, str(error)
            if kind in ("NotImplementedError", "InverseNotAvailable") or "intermediates" in said:
                raise Skip("no inverse") from error  # pyro's words for one that only remembers
            raise
        x, log_det = found if isinstance(found, tuple) else (found, None)
        return x, per_row(log_det, z)

    def jacobian(self, x: Tensor, c: Any = None) -> Tensor:
        """dz/dx of every row, (B, D, D), of rows that do not see each other (the law `rows`)."""
        x = x.detach().requires_grad_()
        z = flat(self.raw(x, c)[0])
        rows, size = z.shape
        if not z.requires_grad:
            return z.new_zeros(rows, size, flat(x).shape[1])
        every = torch.eye(size, dtype=z.dtype)[:, None].expand(size, rows, size)
        slopes = torch.autograd.grad
        try:
            found = slopes(z, x, every, retain_graph=True, is_grads_batched=True)[0]
        except RuntimeError:  # not every operation can be vectorised
            found = torch.stack([slopes(z, x, one, retain_graph=True)[0] for one in every])
        return found.reshape(size, rows, -1).transpose(0, 1)

    def slogdet(self, x: Tensor, c: Any = None) -> Tensor:
        """log|det dz/dx| of every row, (B,)."""
        return torch.linalg.slogdet(self.jacobian(x, c)).logabsdet

    def differences(self, x: Tensor, c: Any = None, h: float = 1e-5) -> Tensor:
        """The same by central differences, for what autograd cannot see."""
        steps = h * torch.eye(x[0].numel(), dtype=x.dtype).view(-1, *x.shape[1:])
        columns = [(self.raw(x + s, c)[0] - self.raw(x - s, c)[0]).flatten(1) for s in steps]
        return torch.linalg.slogdet(torch.stack(columns, 2).detach() / (2 * h)).logabsdet


def protocol(layer: Any, forward: Callable | None, inverse: Callable | None) -> tuple:
    """(forward, inverse or None) of (x, c), each (output, log_det as the layer gives it)."""
    if forward is not None:
        back = None if inverse is None else lambda z, c: inverse(layer, z, c)
        return (lambda x, c: forward(layer, x, c)), back
    call = layer.forward if isinstance(layer, nn.Module) else layer.__call__
    if "rev" in inspect.signature(call).parameters:
        return (lambda x, c: lists(layer, x, c, False)), (lambda z, c: lists(layer, z, c, True))
    made: Callable
    if hasattr(layer, "call_and_ladj") or hasattr(layer, "log_abs_det_jacobian"):

        def made(c: Any) -> Any:
            return layer

    elif hasattr(layer, "condition"):  # pyro's, given a context
        made = layer.condition
    elif not hasattr(layer, "inverse") and hasattr(type(layer), "inv"):  # zuko's
        made = layer
    else:
        back = getattr(layer, "inverse", None)
        back = back and (lambda z, c: given(layer.inverse, z, c))
        return (lambda x, c: given(layer, x, c)), back
    return (lambda x, c: transformed(made(c), x)), (lambda z, c: transformed(made(c).inv, z))


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
    if transform.domain.event_dim == 0 and log_det.shape == x.shape[1:]:
        log_det = log_det.expand(x.shape)  # the same for every row: it broadcasts
    if log_det.dim() > 1 and log_det.shape == x.shape[: x.dim() - transform.domain.event_dim]:
        log_det = log_det.flatten(1).sum(1)
    return z, log_det


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
    return t.flatten(1).sum(1) if t.dim() > 1 else t


def pick(t: Any, index: Any) -> Any:
    return None if t is None else t[index]


def repeated(t: Any, n: int) -> Any:
    """n copies of one row (1, ...)."""
    return None if t is None else t.expand(n, *t.shape[1:])


def cast(pair: tuple[Tensor, Any], dtype: torch.dtype) -> tuple[Tensor, Any]:
    x, c = pair
    return x.to(dtype), None if c is None else c.to(dtype)


def prepared(
    make: Callable[[], Any],
    shape: Sequence[int],
    context: Sequence[int] | None = None,
    domain: Domain = "real",
    forward: Callable | None = None,
    inverse: Callable | None = None,
    scale: float = 0.5,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Map:
    """The layer as the laws see it: made, started by one batch, moved at random, for evaluation."""
    with seeded(seed, dtype):
        layer = make()
        if isinstance(layer, nn.Module):
            layer.to(dtype).train()
            x = draw(domain, 16, shape, 100 + seed).to(dtype)
            c = None if context is None else draw("real", 16, context, 200 + seed).to(dtype)
            Map(layer, forward, inverse).raw(x, c)
            randomise(layer, seed, scale)
            layer.eval()
    return Map(layer, forward, inverse)


@dataclass
class Case:
    """A layer under test, and what it is given, in float64."""

    make: Callable[[], Any]
    shape: Sequence[int]
    context: Sequence[int] | None = None
    domain: Domain = "real"
    codomain: Domain | None = None
    forward: Callable | None = None
    inverse: Callable | None = None
    tol: float = 1e-5
    scale: float = 0.5
    ambient: ClassVar[torch.dtype | None] = None  # default type in a law; None: the caller's

    def __post_init__(self) -> None:
        self.shape = tuple(self.shape)
        self.context = None if self.context is None else tuple(self.context)

    def build(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> Map:
        how = self.shape, self.context, self.domain, self.forward, self.inverse, self.scale
        return prepared(self.make, *how, dtype=dtype, seed=seed)

    def inputs(self, seed: int, rows: int = ROWS) -> tuple[Tensor, Any]:
        c = None if self.context is None else draw("real", rows, self.context, 500 + seed)
        return draw(self.domain, rows, self.shape, seed), c

    @cached_property
    def map(self) -> Map:
        return self.build()

    @cached_property
    def given(self) -> tuple[Tensor, Any]:
        return self.inputs(1)

    def back(self, layer: Map, z: Tensor, c: Any) -> Tensor | None:
        """What the inverse gives; None if there is none, or if it raises: its own law says so."""
        try:
            return layer.inverse(z, c)[0]
        except Exception:
            return None

    def name(self) -> str:
        layer = vars(self)["map"].layer if "map" in vars(self) else self.make
        kind = layer.__name__ if inspect.isroutine(layer) else type(layer).__name__
        return f"{kind} of {self.shape}" + (f" given {self.context}" if self.context else "")

    def snippet(self, x: Tensor, show: str) -> str:
        options = [f"{self.shape}"]
        for name in ("context", "domain", "forward", "inverse", "scale"):
            value, usual = getattr(self, name), getattr(Case, name)
            if value != usual:
                options.append(f"{name}={name if callable(value) else repr(value)}")
        c = (
            "None"
            if self.context is None
            else f"torch.tensor({self.given[1][:1].tolist()}).double()"
        )
        return (
            f"import torch\nfrom {__name__} import prepared\n"
            f"layer = prepared(make, {', '.join(options)})\n"
            f"x, c = torch.{written(x)}.double(), {c}\n{show}"
        )


# -- numbers, and what mistakes make of them -------------------------------------------------------


def written(t: Tensor) -> str:
    """As torch would make it: zeros(1, 4) or tensor([[0.5, 0.0]])."""
    return f"tensor({t.tolist()})" if t.any() else f"zeros{tuple(t.shape)}"


def apart(a: Tensor, b: Tensor) -> float:
    """The largest |a - b| / (1 + |b|); infinite if they cannot be compared, or one is nan."""
    if a.shape != b.shape:
        return math.inf
    if a.numel() == 0:
        return 0.0
    difference = (a - b).abs() / (1 + b.abs())
    return difference.where(a != b, 0.0).nan_to_num(math.inf).max().item()


def smallest(wrong: Callable[[Tensor, Any], bool], x: Tensor, c: Any) -> Tensor:
    """One row, with few digits and many zeros, that still is wrong, also a little beside it."""
    c = pick(c, [0])

    def fails(t: Tensor) -> bool:
        try:
            return wrong(t, c) and wrong(t + 1e-3, c)
        except Exception:
            return False

    if fails(torch.zeros_like(x[:1])):
        return torch.zeros_like(x[:1])
    best = next((x[i : i + 1] for i in range(len(x)) if fails(x[i : i + 1])), x[:1])
    rounded = ((best * 10**digits).round() / 10**digits for digits in (0, 1, 2))
    best = next((t for t in rounded if fails(t)), best)
    for k in range(min(best[0].numel(), 32)):
        other = best.clone()
        other.view(-1)[k] = 0
        best = other if fails(other) else best
    return best


def likely(
    found: Tensor, true: Tensor, elsewhere: Tensor, jacobian: Tensor, x: Tensor, z: Tensor
) -> str:
    """The mistake of the catalogue that gives `found`, where `true` is right, in every row."""
    for words, value in mistakes(true, elsewhere, jacobian, x, z):
        if value.isfinite().all() and apart(value, true) > 1e-4 and apart(found, value) < 1e-6:
            return words
    constant = (found - true).mean()
    if apart(found, true + constant) < 1e-9 and true.std() > 1e-3:
        return f"it is off by the constant {constant.item():+.6g} nats"
    return ""


def mistakes(
    true: Tensor, elsewhere: Tensor, jacobian: Tensor, x: Tensor, z: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """The catalogue: (what is wrong, the log-determinants (B,) that this would give)."""
    shape = x.shape[1:]
    yield "its sign is wrong", -true
    yield "it is left out: 0 is returned", 0 * true
    yield "it is taken at the output, not at the input", elsewhere
    yield "it is taken at the output, not at the input, and its sign is wrong", -elsewhere
    yield "it is summed over the batch as well", true.sum().expand(len(true))
    yield "it is averaged over the batch", true.mean().expand(len(true))
    yield "the determinant is returned, not its logarithm", true.exp()
    yield "the logarithm has base 2: bits, not nats", true / math.log(2)
    yield "the logarithm has base 10", true / math.log(10)
    sizes = {f"the number of entries, {x[0].numel()},": x[0].numel()}
    if len(shape) == 3:
        channels, height, width = shape
        sizes |= {f"H W = {height * width}": height * width, f"C = {channels}": channels}
        sizes |= {f"H = {height}": height, f"W = {width}": width}
    for name, size in sizes.items():
        yield f"a factor {name} is missing", true / size
        yield f"the factor {name} is counted twice", true * size
    yield "it is half of what it should be: a square root too many", true / 2
    yield "it is twice what it should be: sigma squared in place of sigma", true * 2
    for place, steps in (("last", last_steps(z)), ("first", first_steps(x))):
        for name, slope in steps.items():
            term = slope.flatten(1).sum(1)
            yield f"the Jacobian of the {place} step, a {name}, is missing", true - term
            yield f"the Jacobian of the {place} step, a {name}, has the wrong sign", true - 2 * term
    diagonal = jacobian.diagonal(dim1=1, dim2=2).abs()
    logs, changed = diagonal.log(), diagonal != 1
    yield "only the diagonal of the Jacobian is counted", logs.sum(1)
    for axis in range(1, x.dim()):
        first = logs.view(x.shape).select(axis, 0).reshape(len(x), -1).sum(1)
        yield f"of axis {axis} only the first entry is counted, not all {x.shape[axis]}", first
    raws = {
        "the logarithm of the scale is missing": diagonal,
        "log s is taken to be the input of the softplus that makes s": diagonal.expm1().log(),
        "log s is taken to be the input of the sigmoid that makes s": diagonal.logit(),
        "log s is taken to be the input of the sigmoid(raw + 2) that makes s": diagonal.logit() - 2,
        "log s is taken before the tanh that bounds it": logs.atanh(),
    }
    for words, raw in raws.items():
        yield words, raw.where(changed, 0.0).sum(1)


def last_steps(z: Tensor) -> dict[str, Tensor]:
    """Log of the slope, entry by entry, of functions whose output is z; nan if it cannot be."""
    return {
        "sigmoid": z.log() + (1 - z).log(),
        "tanh": (1 - z * z).log(),
        "softplus": (-(-z).expm1()).log(),
        "exponential": z.log(),
        "logit": -F.logsigmoid(z) - F.logsigmoid(-z),
    }


def first_steps(x: Tensor) -> dict[str, Tensor]:
    """The same of functions whose input is x."""
    return {
        "sigmoid": F.logsigmoid(x) + F.logsigmoid(-x),
        "tanh": 2 * (math.log(2) - x - F.softplus(-2 * x)),
        "softplus": F.logsigmoid(x),
        "exponential": x,
        "logit": -x.log() - (1 - x).log(),
    }


# -- laws of everything that returns (output, term) ------------------------------------------------


def _shapes(case: Case) -> Fault | None:
    """The output has the rows of x; log_det is one number a row, or one for all."""
    x, c = case.given
    z, log_det = case.map.raw(x, c)
    per_row(log_det, x)
    if len(z) != len(x):
        return Fault(f"of {len(x)} rows {len(z)} come out")
    if not torch.is_tensor(log_det) or log_det.shape in ((ROWS,), (1,), ()):
        return None
    fault = Fault(f"log_det of {ROWS} rows has shape {tuple(log_det.shape)}, not ({ROWS},)")
    if log_det.dim() > 1 and len(log_det) == ROWS and z.numel() == x.numel():
        if apart(log_det.flatten(1).sum(1), case.map.slogdet(x, c)) < 1e-6:
            fault.likely = "it is not summed over all dimensions but the first"
    return fault


def _types(case: Case) -> Fault | None:
    """float64 and float32 stay what they are; log_det is no less precise."""
    for dtype in (torch.float64, torch.float32):
        x, c = cast(case.given, dtype)
        z, log_det = (case.map if dtype == torch.float64 else case.build(dtype)).raw(x, c)
        if z.dtype != dtype:
            return Fault(f"x is {dtype}, the output {z.dtype}")
        if torch.is_tensor(log_det) and log_det.any() and log_det.dtype.itemsize < dtype.itemsize:
            return Fault(f"x is {dtype}, log_det {log_det.dtype}")
    return None


def _inputs(case: Case) -> Fault | None:
    """What the caller gave is as it was."""
    (x, c), (kept_x, kept_c) = case.inputs(1), case.given
    words, z = "an operation in place", case.map.bare(x, c)[0].detach().clone()
    for name, t, kept in (("x", x, kept_x), ("context", c, kept_c)):
        if t is not None and not torch.equal(t, kept):
            return Fault(f"forward changes the {name} that it is given", words)
    kept_z = z.clone()
    if case.back(case.map, z, c) is not None:
        case.map.bare_inverse(z, c)
    if not torch.equal(z.nan_to_num(), kept_z.nan_to_num()):
        return Fault("the inverse changes the z that it is given", words)
    return None


def _rows(case: Case) -> Fault | None:
    """The other rows of a batch, and their number, change nothing."""
    (x, c), (other_x, other_c) = case.given, case.inputs(2)
    before = case.map.forward(x, c)
    other_x[0] = x[0]
    if other_c is not None:
        other_c[0] = pick(c, 0)
    alone = x[:1], pick(c, slice(1))
    for when, new in {"the others change": (other_x, other_c), "it is alone": alone}.items():
        for name, now, old in zip(
            ("output", "log_det"), case.map.forward(*new), before, strict=True
        ):
            if old is not None and now is not None and apart(now[0], old[0]) > SAME:
                moved = apart(now[0], old[0])
                return Fault(f"{name} of a row changes by {moved:.1e} (relative) when {when}")
    return None


def _context(case: Case) -> Fault | None:
    """The context of a row changes that row and no other."""
    x, c = case.given
    if c is None:
        raise Skip("no context given")
    before, new = case.map.forward(x, c), case.inputs(2)[1]
    moves = torch.zeros(ROWS, ROWS, dtype=torch.bool)
    for i in range(ROWS):
        changed = c.clone()
        changed[i] = pick(new, i)
        for now, old in zip(case.map.forward(x, changed), before, strict=True):
            for j in range(ROWS):
                if now is not None and old is not None:
                    moves[i, j] |= apart(now[j], old[j]) > SAME
    if not moves.any():
        return Fault("neither output nor log_det depends on the context", "the context is ignored")
    for i, moved in enumerate(moves):
        if others := [j for j in moved.nonzero().flatten().tolist() if j != i]:
            return Fault(f"the context of row {i} moves rows {others}")
    return None


def unlike(a: nn.Module, b: nn.Module) -> str:
    """Names of what two modules remember differently, outside of what is saved."""

    def attributes(module: nn.Module) -> dict[str, str]:
        return {
            f"{name}.{key}".strip("."): repr(value)
            for name, part in module.named_modules()
            for key, value in vars(part).items()
            if key[0] != "_" and isinstance(value, bool | int | float | Tensor | list)
        }

    one, other = attributes(a), attributes(b)
    names = [name for name in one if name in other and one[name] != other[name]]
    return f"{', '.join(names)}: not a buffer, so not saved" if names else ""


def _start(case: Case) -> Fault | None:
    """Weights that the first batch sets are kept, at the second batch and after loading."""

    def changed(layer: nn.Module, seed: int) -> list[str]:
        x, c = case.inputs(seed, rows=16)
        before = {name: p.detach().clone() for name, p in layer.named_parameters()}
        with torch.no_grad():
            Map(layer, case.forward, case.inverse).raw(x, c)
        return [name for name, p in layer.named_parameters() if not torch.equal(p, before[name])]

    def fresh(seed: int) -> Any:
        with seeded(seed, torch.float64):
            layer = case.make()
        if not isinstance(layer, nn.Module):
            raise Skip("not a module")
        return layer.to(torch.float64).train()

    layer, other = fresh(0), fresh(1)
    names = changed(layer, 3)
    if not names:
        raise Skip("no weight is set by data")
    if again := [name for name in changed(layer, 4) if name in names]:
        return Fault(f"the second batch sets {', '.join(again)} again")
    words = unlike(layer, other)
    other.load_state_dict(layer.state_dict())
    if again := changed(other, 5):
        return Fault(f"the first batch after loading sets {', '.join(again)} again", words)
    return None


def with_state(case: Case, used: bool) -> tuple[float, str]:
    """(by how much another layer differs that has loaded the weights, what it remembers)."""
    if not isinstance(case.map.layer, nn.Module):
        raise Skip("not a module")
    other, (x, c) = case.build(seed=1), case.given
    words, expected = unlike(case.map.layer, other.layer), case.map.forward(x, c)
    with torch.no_grad():
        if used:
            other.forward(x, c)
            case.back(other, expected[0], c)
        other.layer.load_state_dict(case.map.layer.state_dict())
        now = [*other.forward(x, c), case.back(other, expected[0], c)]
    pairs = zip(now, [*expected, case.back(case.map, expected[0], c)], strict=True)
    return max(apart(a, b) for a, b in pairs if a is not None and b is not None), words


def _state(case: Case) -> Fault | None:
    """A new layer that loads the weights gives the same numbers."""
    off, words = with_state(case, used=False)
    if off > SAME:
        return Fault(f"a new layer with the saved weights is off by {off:.1e}", words)
    kept = [name for name, buffer in case.map.layer.named_buffers() if buffer.grad_fn is not None]
    if kept:
        return Fault(f"{', '.join(kept)} keep the graph of a batch: memory grows", "no detach()")
    return None


def _loaded(case: Case) -> Fault | None:
    """Weights that are loaded into a layer that was used take effect."""
    off, _ = with_state(case, used=True)
    if off <= SAME:
        return None
    if with_state(case, used=False)[0] > SAME:
        raise Skip("a new layer does not take them either")
    return Fault(
        f"a layer that was used before its weights were loaded is off by {off:.1e}",
        "something computed from the old weights is kept",
    )


def _float32(case: Case) -> Fault | None:
    """float32 is as near to float64 as the rounding of its input explains."""
    single = case.build(torch.float32)
    if not isinstance(single.layer, nn.Module):
        raise Skip("not a module")
    other = case.build(torch.float32).layer  # the same, but for what no seed decides
    other.load_state_dict(single.layer.state_dict())
    twin = Map(other.to(torch.float64), case.forward, case.inverse)
    x, c = case.given

    def off(name: str, low: Callable, high: Callable, t: Tensor) -> Fault | None:
        signs = (-1.0) ** torch.arange(t.numel(), dtype=t.dtype).view(t.shape)
        near = t if torch.equal(t, t.round()) else t * (1 + 2.0**-23 * signs)
        results = low(*cast((t, c), torch.float32)), high(t, c), high(near, c)
        for word, got, exact, beside in zip(("output", "log_det"), *results, strict=True):
            if got is None:
                continue
            explained, error = (beside - exact).abs(), (got.double() - exact).abs()
            size = t[0].numel() if word == "log_det" else 1
            if not (error <= 1e-5 * size * (1 + exact.abs()) + 100 * explained).all():
                worst, ours = error.nan_to_num(math.inf).max(), explained.max()
                return Fault(
                    f"in float32 the {word} of {name} is off by {worst.item():.1e}; the rounding "
                    f"of its input explains {ours.item():.1e}"
                )
        return None

    fault, z = off("forward", single.forward, twin.forward, x), twin.forward(x, c)[0].detach()
    if fault is None and case.back(twin, z, c) is not None:
        fault = off("the inverse", single.inverse, twin.inverse, z.float().double())
    return fault


# -- laws of bijections ----------------------------------------------------------------------------


def _inverse(case: Case) -> Fault | None:
    """inverse(forward(x)) is x, to within what rounding z explains."""
    (x, c), layer = case.given, case.map
    z = layer.forward(x, c)[0]
    back = layer.inverse(z, c)[0]
    off = apart(back, x)
    if off <= case.tol:
        return None
    gain = torch.linalg.pinv(layer.jacobian(x, c)).abs().sum(2).max()
    if off <= 1e3 * 2.0**-52 * gain * (1 + z.abs().max()):
        return None
    words = ""
    if back.shape == x.shape:
        if apart(back.flatten(1).sort().values, x.flatten(1).sort().values) < 1e-6:
            words = "an order that is not undone: the right numbers at wrong places"
        elif apart(back, layer.forward(z, c)[0]) < 1e-6:
            words = "the inverse does the same as forward"

    def wrong(x: Tensor, c: Any) -> bool:
        return apart(layer.inverse(layer.forward(x, c)[0], c)[0], x) > case.tol

    return Fault(
        f"inverse(forward(x)) differs from x by {off:.1e} (relative)",
        words,
        smallest(wrong, x, c),
        "print(x, layer.inverse(layer.forward(x, c)[0], c)[0])",
    )


def _forward(case: Case) -> Fault | None:
    """forward(inverse(z)) is z; z of the stated codomain, or what forward gives of other x."""
    (x, c), layer = case.inputs(3), case.map
    z = layer.forward(x, c)[0].detach()
    if case.codomain is not None:
        z = draw(case.codomain, ROWS, z.shape[1:], 4)
    x = layer.inverse(z, c)[0].detach()
    off = apart(layer.forward(x, c)[0], z)
    if off <= case.tol or off <= 1e3 * 2.0**-52 * layer.jacobian(x, c).abs().sum(2).max():
        return None
    return Fault(f"forward(inverse(z)) differs from z by {off:.1e} (relative)")


def at_output(layer: Map, z: Tensor, c: Any) -> Tensor:
    """log|det dz/dx| with z for x; nan where the layer cannot take it."""
    try:
        return layer.slogdet(z.detach(), c)
    except Exception:
        return torch.full((len(z),), math.nan, dtype=z.dtype)


def _log_det(case: Case) -> Fault | None:
    """log_det is log|det dz/dx| of the Jacobian that autograd finds."""
    return compare(case, lambda x, c: (x, case.map.forward(x, c)[1]), 1)


def _inverse_log_det(case: Case) -> Fault | None:
    """log_det of the inverse is minus log|det dz/dx|, at the x that it returns."""
    return compare(case, lambda x, c: case.map.inverse(case.map.forward(x, c)[0].detach(), c), -1)


def compare(case: Case, way: Callable, sign: int) -> Fault | None:
    """What a way gives at the x that it returns, with `sign` times autograd's log|det dz/dx|."""
    (given, c), layer = case.given, case.map
    x, found = way(given, c)
    if found is None:
        raise Skip("no log_det")
    x, found = x.detach(), found.detach()
    jacobian = layer.jacobian(x, c)
    if jacobian.shape[1] != jacobian.shape[2]:
        raise Skip(f"the Jacobian is {jacobian.shape[1]} x {jacobian.shape[2]}")
    true = sign * torch.linalg.slogdet(jacobian).logabsdet
    if apart(found, true) <= case.tol:
        return None
    if apart(sign * found, layer.differences(x, c)) < 1e-4:
        raise Skip("autograd does not see all of z, but log_det is that of finite differences")

    def wrong(x: Tensor, c: Any) -> bool:
        x, found = way(x, c)
        return apart(found, sign * layer.slogdet(x.detach(), c)) > case.tol

    i = ((found - true).abs() / (1 + true.abs())).nan_to_num(math.inf).argmax()
    numbers = f"{found[i]:.4g}, autograd's {true[i]:.4g}"
    z, small = layer.forward(given, c)[0].detach(), smallest(wrong, given, c)
    elsewhere = sign * at_output(layer, z, c)
    if sign > 0:
        words = likely(found, true, elsewhere, jacobian, x, z)
        show = "print(layer.forward(x, c)[1], layer.slogdet(x, c))"
        return Fault(f"log_det is {numbers}", words, small, show)
    words = likely(found, true, elsewhere, torch.linalg.pinv(jacobian), z, x)
    words = words.replace("the output, not at the input", "its input z, not at the x it returns")
    show = "x, found = layer.inverse(layer.forward(x, c)[0].detach(), c)\n"
    show += "print(found, -layer.slogdet(x.detach(), c))"
    return Fault(f"log_det of the inverse is {numbers}", words, small, show)


def _sizes(case: Case) -> Fault | None:
    """What takes images of another size keeps the laws there: H W is that of the image given."""
    if len(case.shape) != 3:
        raise Skip("no image")
    channels, height, width = case.shape
    layer, other = case.map, replace(case, shape=(channels, height + 1, width + 2))
    if case.context is not None and case.context[1:] == case.shape[1:]:
        other.context = case.context[0], height + 1, width + 2
    vars(other)["map"] = layer
    parts = layer.layer.modules() if isinstance(layer.layer, nn.Module) else []
    said = [v for part in parts for v in vars(part).values() if isinstance(v, tuple | list)]
    try:
        z = layer.forward(*other.given)[0]
        fits = z.numel() == other.given[0].numel()
        if case.back(layer, layer.forward(*case.given)[0], case.given[1]) is not None:
            layer.inverse(z, other.given[1])
    except Exception as error:
        raise Skip("made for one size") from error
    if not fits or any(f"{height}, {width}" in repr(v) for v in said):
        raise Skip("made for one size")
    for law in (_inverse, _log_det):
        try:
            fault = law(other)
            if fault is not None and law(case) is None:
                return Fault(f"at {height + 1} x {width + 2}: {fault.message}", fault.likely)
        except Skip:
            continue
    return None


def _tails(case: Case) -> Fault | None:
    """Far out everything is finite and z comes back; whether x does, rounding decides."""
    c = case.given[1]
    for spread in (0, 10, 100):
        x = draw(case.domain, ROWS, case.shape, 6, spread)
        z, log_det = case.map.forward(x, c)
        back = case.map.inverse(z, c)[0]
        for name, t in (("z", z), ("log_det", log_det), ("inverse(z)", back)):
            if t is not None and not t.isfinite().all():
                return Fault(f"{name} is not finite at {spread} times the usual x", x=x[:1])
        off, far = apart(case.map.forward(back, c)[0], z), f"at {spread} times the usual x"
        if off > case.tol:
            return Fault(f"forward(inverse(z)) differs from z by {off:.1e} {far}", x=x[:1])
        if spread == 10 and log_det is not None and z.numel() == x.numel():
            true = case.map.slogdet(x, c)
            if apart(log_det, true) > 1e-3:
                return Fault(
                    f"log_det is {log_det[0]:.4g}, autograd's {true[0]:.4g}, {far}", x=x[:1]
                )
    return None


# -- laws of densities and flows -------------------------------------------------------------------


@dataclass
class Density(Case):
    """A density under test; context is given a row at a time."""

    draws: Callable | None = None
    both: Callable | None = None
    ambient = torch.float64  # samplers draw numbers of the default type

    def contexts(self) -> list[Tensor | None]:
        c = self.given[1]
        return [None] if c is None else [c[:1], c[1:2]]

    def log_p(self, x: Tensor, c: Any) -> Tensor:
        """(N,) of x (N, *shape), all given the one c."""
        with torch.no_grad():
            found = [self.map.forward(t, repeated(c, len(t)))[1] for t in x.split(20_000)]
        return torch.cat(found).double()

    def log_det(self, x: Tensor, c: Any) -> Tensor:
        """Sum of the log-determinants (N,) of the bijections inside, all given the one c."""
        if not isinstance(self.map.layer, nn.Module):
            return torch.zeros(len(x)).double()
        found = calls(self.map.layer, lambda: self.map.forward(x, repeated(c, len(x))))
        return sum((t.log_det for t in found if t.depth == 0), torch.zeros(len(x)).double())

    def drawn(self, n: int, c: Any, both: bool = False) -> list[Tensor]:
        """[samples (n, B, *shape)], and their own log_prob (n, B) if asked for both."""
        function = self.both if both else self.draws
        if function is None:
            raise Skip("no sampling given")
        try:
            with torch.no_grad():
                out = function(n, c)
        except NotImplementedError as error:
            raise Skip("no sampling") from error
        arranged = []
        for t, end in zip(out if isinstance(out, tuple) else [out], (self.shape, ()), strict=False):
            places = {(n, *end): 0, (n, 1, *end): 1}
            if c is not None and len(c) > 1:
                places = {(n, len(c), *end): 1, (len(c), n, *end): 2}
            elif c is not None:
                places[(1, n, *end)] = 2
            if tuple(t.shape) not in places:
                rows = "" if c is None else f" of {len(c)} contexts"
                raise ValueError(f"{n} samples{rows} have shape {tuple(t.shape)}")
            how = places[tuple(t.shape)]
            if how != 1:
                t = t.unsqueeze(1) if how == 0 else t.transpose(0, 1)
            arranged.append(t.detach().double())
        return arranged

    def mass(self, c: Any) -> tuple[Tensor, Tensor, Tensor, float]:
        """(points (N, *shape), the mass that each stands for, log_p there, error of the sum)."""
        dims = math.prod(self.shape)
        centre, spread = torch.zeros(dims).double(), torch.ones(dims).double()
        if callable(self.domain):
            raise Skip("the domain is a function")
        if self.draws is not None:
            try:
                x = flat(self.drawn(4000, c)[0])
            except Exception:  # the law of samples says so
                x = torch.randn(4000, dims, dtype=torch.float64)
            centre, spread = middle(x)
        if dims > 2:
            if self.draws is None or self.domain != "real":
                raise Skip("without samples of real numbers only one or two dimensions are summed")
            return self.weighted(x, c)
        sums = []
        for n in (1000, 1300, 2000) if dims == 1 else (150, 190, 300):
            axes, widths = [], []
            for k in range(dims):
                t = torch.linspace(-7, 7, 2 * n + 1, dtype=torch.float64)
                y = (
                    centre[k] + spread[k] * t.sinh()
                    if self.domain == "real"
                    else MAPS[self.domain](2 * t)
                )
                axes.append(y[1::2])
                widths.append(y[2::2] - y[:-1:2])
            points = torch.cartesian_prod(*axes).view(-1, *self.shape)
            volume = torch.cartesian_prod(*widths).view(-1, dims).prod(1)
            log_p = self.log_p(points, c)
            mass = log_p.exp() * volume
            sums.append(mass.sum().item())
        return points, mass, log_p, max(sums) - min(sums)

    @cached_property
    def masses(self) -> list[tuple]:
        return [(c, *self.mass(c)) for c in self.contexts()]

    def weighted(self, x: Tensor, c: Any) -> tuple[Tensor, Tensor, Tensor, float]:
        """Importance sampling from a Student's t of the samples' mean and covariance."""
        n, dims, degrees = 20_000, x.shape[1], 4.0
        factor = torch.linalg.cholesky(x.T.cov() + 1e-9 * torch.eye(dims).double())
        normal = torch.randn(n, dims, dtype=torch.float64)
        chi = torch.distributions.Chi2(torch.tensor(degrees).double()).sample((n,))
        u = normal * (degrees / chi).sqrt()[:, None]
        log_q = (
            math.lgamma((degrees + dims) / 2)
            - math.lgamma(degrees / 2)
            - dims / 2 * math.log(degrees * math.pi)
            - factor.diagonal().log().sum()
            - (degrees + dims) / 2 * (u.square().sum(1) / degrees).log1p()
        )
        points = (x.mean(0) + u @ factor.T).view(-1, *self.shape)
        log_p = self.log_p(points, c)
        weights = (log_p - log_q).exp()
        return points, weights / n, log_p, 2 * weights.std().item() / n**0.5


def _integral(case: Density) -> Fault | None:
    """The density integrates to one."""
    for _, points, mass, _, error in case.masses:
        total = mass.sum().item()
        if abs(total - 1) <= 1e-3 + 3 * error:
            continue
        if error > 0.2 * abs(total):
            raise Skip(f"the sum {total:.3g} has an error of {error:.1g}")
        return Fault(f"it integrates to {total:.5g}", likely_integral(points, mass, total, error))
    return None


def likely_integral(points: Tensor, mass: Tensor, total: float, error: float) -> str:
    x, p = flat(points), mass / mass.sum()
    mean = p @ x
    dims, sigma = x.shape[1], (p @ (x - mean).square()).sqrt()
    power = {"is missing": 0.5, "has the wrong sign": 1, "is counted twice": -0.5}
    values = {f"d/2 log 2 pi {k}": (2 * math.pi) ** (v * dims) for k, v in power.items()}
    values["log sigma is missing"] = sigma.prod().item()
    values["log sigma has the wrong sign"] = sigma.prod().item() ** 2
    values["log sigma is counted for one dimension, not for each"] = sigma[1:].prod().item()
    values |= {f"D log {n} is missing": float(n) ** dims for n in (2, 256)}
    for words, value in values.items():
        if abs(value - 1) > 0.02 and abs(total / value - 1) < 0.005 + error / max(total, 1e-9):
            return words
    return ""


def middle(x: Tensor) -> tuple[Tensor, Tensor]:
    """(median, about a standard deviation) of every column, which no outlier moves far."""
    centre = x.median(0).values
    return centre, 1.5 * (x - centre).abs().median(0).values.clamp(min=1e-12)


def features(t: Tensor, log_p: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """What is averaged over samples and over the density: bounded functions, and log_p."""
    u = ((flat(t) - centre) / width).tanh()
    pairs = [u[:, i] * u[:, j] for i in range(u.shape[1]) for j in range(i + 1)]
    return torch.stack([*u.T, *pairs, log_p.clamp(min=-1e4)], 1)


def _samples(case: Density) -> Fault | None:
    """Samples follow the density: means of bounded functions and of log_prob agree."""
    n = 4000
    if case.draws is None:
        raise Skip("no sampling given")
    for c, points, mass, log_p, _ in case.masses:
        x = case.drawn(n, c)[0][:, 0]
        if (log_p.isnan() | (log_p == math.inf)).any():
            raise Skip("log_prob is not finite everywhere")
        p = mass / mass.sum()
        if p.square().sum() > 0.01:
            raise Skip("too few points carry the mass")
        place = middle(flat(x))
        own, there = features(x, case.log_p(x, c), *place), features(points, log_p, *place)
        mean = (p[:, None] * there.where(p[:, None] > 0, 0.0)).sum(0)
        error = own.var(0) / n + (p.square()[:, None] * (there - mean).square()).nan_to_num().sum(0)
        off = (own.mean(0) - mean).abs() / (error.sqrt() + 2e-3)
        if not (off < 6).all():
            moved = off.nan_to_num(math.inf).max().item()
            sigma = (p @ (flat(points) - p @ flat(points)).square()).sqrt()
            message = f"means over samples are off by {moved:.0f} standard errors"
            return Fault(message, likely_spread(flat(x), p @ flat(points), sigma))
    return None


def likely_spread(x: Tensor, mean: Tensor, sigma: Tensor) -> str:
    std, near = x.std(0), 5 / len(x) ** 0.5
    for words, value in {
        "samples lack sigma": torch.ones_like(sigma),
        "samples have sigma squared for sigma": sigma.square(),
        "samples have the root of sigma for sigma": sigma.sqrt(),
        "samples have 1 / sigma for sigma": 1 / sigma,
    }.items():
        if (std / value - 1).abs().max() < near and (value / sigma - 1).abs().max() > 2 * near:
            return words
    if (std / sigma - 1).abs().max() < near and (x.mean(0).abs() < near * std).all():
        return "samples lack the mean"
    return ""


def _own_log_prob(case: Density) -> Fault | None:
    """What comes with a sample is the log_prob of that sample."""
    c = case.given[1]
    x, own = case.drawn(101, c, both=True)
    right = torch.stack([case.log_p(x[:, i], pick(c, [i])) for i in range(x.shape[1])], 1)
    off = apart(own, right)
    if off < 1e-4:
        return None
    i, words = ((own - right).abs() / (1 + right.abs())).argmax(), ""
    inside = torch.stack([case.log_det(x[:, i], pick(c, [i])) for i in range(x.shape[1])], 1)
    constant = (own - right).mean()
    if apart(own.flatten().sort().values, right.flatten().sort().values) < 1e-4:
        words = "the right numbers in another order"
    elif apart(own, -right) < 1e-4:
        words = "its sign is wrong"
    elif inside.any() and apart(own, right - 2 * inside) < 1e-4:
        words = "the log-determinant is added where it is to be subtracted"
    elif apart(own, right + constant) < 1e-4:
        words = f"it is off by the constant {constant.item():+.6g} nats"
    a, b = own.flatten()[i].item(), right.flatten()[i].item()
    said = f"a sample's own log_prob is {a:.4g}, log_prob of it {b:.4g}"
    return Fault(said, words)


def _pairing(case: Density) -> Fault | None:
    """n samples for each context are those of that context."""
    c, n = case.given[1], 1001
    if c is None:
        raise Skip("no context given")
    together = case.drawn(n, c)[0].reshape(n, len(c), -1)
    alone = torch.cat([case.drawn(n, c[i : i + 1])[0].reshape(n, 1, -1) for i in range(len(c))], 1)

    def far(i: int, j: int) -> float:
        a, b = together[:, i], alone[:, j]
        error = ((a.var(0) + b.var(0)) / n).sqrt() + 1e-9
        return ((a.mean(0) - b.mean(0)).abs() / error).max().item()

    for i in range(len(c)):
        if far(i, i) > 6:
            others = [j for j in range(len(c)) if j != i and far(i, j) < 4]
            words = f"they are samples of context {others[0]}" if others else ""
            if not words and together[:, i].std(0).max() > 1.2 * alone[:, i].std(0).max():
                words = "samples of several contexts are mixed: n and B are joined in another order"
            off = f"by {far(i, i):.0f} standard errors"
            return Fault(
                f"samples drawn together for context {i} are off in their means {off}", words
            )
    return None


def drawn(flow: Any, n: int, c: Any, both: bool) -> Any:
    """n samples of a flow, or (samples, their log_prob) if asked for both."""
    if not hasattr(flow, "log_prob"):  # zuko's, which makes a distribution
        made = flow(c)
        if both and not hasattr(made, "rsample_and_log_prob"):
            raise Skip("samples come without their log_prob")
        return made.rsample_and_log_prob((n,)) if both else made.sample((n,))
    names = list(inspect.signature(flow.sample).parameters)
    if both and hasattr(flow, "sample_and_log_prob"):
        return given(flow.sample_and_log_prob, n, c)
    if both and "return_log_prob" in names:
        return flow.sample((n,), context=c, return_log_prob=True)
    if names[0] == "sample_shape":
        found = flow.sample((n,)) if c is None else flow.sample((n,), context=c)
    else:
        found = flow.sample(c, n) if "n" in names[1:] else given(flow.sample, n, c)
    if both and not isinstance(found, tuple):
        raise Skip("samples come without their log_prob")
    return found


@dataclass
class Call:
    """One call of a bijection inside a flow."""

    path: str
    module: nn.Module
    method: str  # forward or inverse
    x: Tensor
    c: Any
    log_det: Tensor
    depth: int  # how many bijections it was called by


def calls(flow: Any, call: Callable[[], Any]) -> list[Call]:
    """Every bijection inside that runs during a call: a module with an inverse, which returns
    (as many numbers as it was given, one number a row)."""
    found: list[Call] = []
    depth = 0

    def listen(name: str, module: nn.Module, method: str) -> None:
        original = getattr(module, method)

        def heard(*arguments: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            out = original(*arguments, **named)
            depth -= 1
            if isinstance(out, tuple) and len(out) == 2 and all(torch.is_tensor(t) for t in out):
                x, *others = [t for t in (*arguments, *named.values()) if torch.is_tensor(t)]
                if out[0].numel() == x.numel() and out[1].shape in ((len(x),), ()):
                    c = next((t.detach() for t in others if len(t) == len(x)), None)
                    term = out[1].detach().expand(len(x))
                    found.append(Call(name, module, method, x.detach(), c, term, depth))
            return out

        vars(module)[method] = heard

    inner = [(n, m) for n, m in flow.named_modules() if n and hasattr(m, "inverse")]
    for name, module in inner:
        for method in ("forward", "inverse"):
            listen(name, module, method)
    try:
        call()
    finally:
        for _, module in inner:
            del vars(module)["forward"], vars(module)["inverse"]
    return found


@dataclass
class Part(Case):
    """A bijection inside a flow, on what the flow gives it."""

    def inputs(self, seed: int, rows: int = ROWS) -> tuple[Tensor, Any]:
        x, c = self.given
        return x.roll(1, 0), None if c is None else c.roll(1, 0)


def parts(case: Density) -> Iterator[tuple[str, str, Part]]:
    """(path, class, part) of every bijection inside, from the innermost on; not what is random."""
    flow, (x, c) = case.map.layer, case.given
    transform: Any = None if hasattr(flow, "log_prob") else getattr(flow(c), "transform", None)
    for k in range(len(getattr(transform, "transforms", []))):  # zuko's, made for each context

        def forward(_: Any, x: Tensor, c: Any, k: int = k) -> tuple:
            return transformed(flow(c).transform.transforms[k], x)

        def inverse(_: Any, z: Tensor, c: Any, k: int = k) -> tuple:
            return transformed(flow(c).transform.transforms[k].inv, z)

        kind = type(transform.transforms[k]).__name__
        yield f"transforms.{k}", kind, part(case, Map(None, forward, inverse), x, c)
        x = forward(None, x, c)[0].detach()
    x, c = case.given
    found: dict[str, Call] = {}
    for call in calls(flow, lambda: case.map.forward(x, c)) if isinstance(flow, nn.Module) else []:
        found.setdefault(call.path, call)
    for path, call in sorted(found.items(), key=lambda item: -item[0].count(".")):
        ways = (call.method, "inverse" if call.method == "forward" else "forward")
        there, back = (lambda m, x, c, way=way: given(getattr(m, way), x, c) for way in ways)
        map = Map(call.module, there, back)
        if apart(map.forward(call.x, call.c)[0], map.forward(call.x, call.c)[0]) == 0:
            yield path, type(call.module).__name__, part(case, map, call.x, call.c)


def part(case: Case, map: Map, x: Tensor, c: Any) -> Part:
    made = Part(case.make, tuple(x.shape[1:]), c if c is None else tuple(c.shape[1:]), tol=case.tol)
    vars(made).update(map=map, given=(x, c))
    return made


def _stated_context(case: Part) -> Fault | None:
    """A layer that was made for a context (an attribute of its modules says so) reads it."""
    layer = case.map.layer
    modules = layer.modules() if isinstance(layer, nn.Module) else []
    said = [v for m in modules for k, v in vars(m).items() if k.startswith(("context", "cond"))]
    if case.given[1] is None or not any(said) or not any(True for _ in layer.parameters()):
        raise Skip("not made for a context")
    return _context(case)


# -- laws of dequantizations -----------------------------------------------------------------------


@dataclass
class Dequantization(Case):
    """A dequantization under test. Its draws follow the global generator."""

    levels: int = 2
    draws: int = 2**20

    def noisy(self, y: Tensor, c: Any) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            v, term = self.map.forward(y, c)
        return v, y.new_zeros(len(y)) if term is None else term

    def same(self, n: int) -> tuple[Tensor, Any]:
        """n copies of one y and its context."""
        y, c = self.given
        return repeated(y[:1], n), repeated(pick(c, [0]), n)


def _levels(case: Dequantization) -> Fault | None:
    """The inverse gives y for every draw, in float32 for very many."""
    size = math.prod(case.shape)
    for dtype, n in ((torch.float64, 1000), (torch.float32, max(case.draws // size, 1))):
        layer = case.map if dtype == torch.float64 else case.build(dtype)
        y, c = cast(case.inputs(7, rows=n), dtype)
        with torch.no_grad():
            back = layer.inverse(layer.forward(y, c)[0], c)[0]
        wrong = back != y
        if wrong.any():
            up = (back - y)[wrong].eq(1).all() and (y[wrong] > 0).any()
            words = "y + u is rounded to y + 1: v has to stay below the next level" if up else ""
            count = f"{int(wrong.sum())} of {y.numel()} numbers, in {dtype},"
            at = wrong.nonzero()[0].tolist()
            first = f"the first {y[tuple(at)].item():g}, read as {back[tuple(at)].item():g}"
            return Fault(f"{count} are read back wrongly, {first}", words)
    return None


def _noise(case: Dequantization) -> Fault | None:
    """No two entries of one level share their noise, in a row or between rows."""
    y, c = case.same(8)
    v = case.noisy(y * 0, c)[0]
    if len(v.unique()) == v.numel():
        return None
    shared = "rows of a batch" if len(v.unique(dim=0)) < len(v) else "entries of a row"
    return Fault(f"{v.numel()} entries have {len(v.unique())} different v", f"{shared} share noise")


def _volume(case: Dequantization) -> Fault | None:
    """The mean of 1[v in a box] / q(v) is the volume of the box: what every bound rests on."""
    y, c = case.same(20_000)
    first = case.noisy(y, c)[0].flatten(1)
    low, high = first.quantile(0.1, 0), first.quantile(0.9, 0)
    v, term = case.noisy(y, c)
    inside = ((v.flatten(1) >= low) & (v.flatten(1) <= high)).all(1)
    weight = torch.where(inside, (term - (high - low).log().sum()).exp(), 0.0)
    found, error = weight.mean().item(), weight.std().item() / len(weight) ** 0.5
    if error > 0.1 * found or found == 0:
        raise Skip("too few draws fall into a box")
    if abs(found - 1) <= 5 * error + 1e-6:
        return None
    size = math.prod(case.shape)
    for words, value in {
        f"D log {case.levels} is missing or has the wrong sign": float(case.levels) ** size,
        f"D log {case.levels} is counted though v is not divided by it": case.levels**-size,
        f"D log {case.levels} has the wrong sign": float(case.levels) ** (2 * size),
    }.items():
        if abs(found / value - 1) <= 5 * error / found + 1e-6:
            return Fault(f"1/q averages to {found:.4g} times the volume of a box", words)
    return Fault(f"1/q averages to {found:.4g} +- {error:.1g} times the volume of a box")


# -- which laws hold of what -----------------------------------------------------------------------


def named(*laws: Callable) -> dict[str, Callable]:
    return {law.__name__.removeprefix("_"): law for law in laws}


COMMON = named(_shapes, _types, _inputs, _rows, _context, _start, _state, _loaded, _float32)
BIJECTION = COMMON | named(_inverse, _forward, _log_det, _inverse_log_det, _sizes, _tails)
SUMS = named(_integral, _samples, _own_log_prob, _pairing)
DENSITY = named(_shapes, _inputs, _rows, _context) | SUMS
PART = named(_inverse, _log_det, _inverse_log_det) | {"context": _stated_context}
DEQUANTIZATION = named(_shapes, _inputs, _levels, _noise, _volume)
