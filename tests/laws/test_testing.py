"""`cnf.testing` under its own mutants: what each law alone finds, what is named, what passes."""

import json
import math

import pytest
import torch
import torch.distributions as dist
from torch import nn
from torch.distributions import transforms

from cnf import testing
from cnf.testing import (
    check_bijection,
    check_bits,
    check_density,
    check_dequantization,
    check_flow,
    check_layer,
)


def without(laws, law):
    return {name: check for name, check in laws.items() if name != law}


class Scaling(nn.Module):
    """z = (y s + t) without a mistake; log s and t, one a channel, may be moved by a context."""

    def __init__(self, size=3, context=0):
        super().__init__()
        self.log_s, self.t = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))
        self.net = nn.Linear(context, 2 * size) if context else None

    def params(self, x, c=None):
        moved = 0 if self.net is None else self.net(c)
        log_s, t = (torch.cat([self.log_s, self.t]) + moved).expand(len(x), -1).chunk(2, 1)
        return [p.reshape(*p.shape, *[1] * (x.dim() - 2)).expand_as(x) for p in (log_s, t)]

    def forward(self, x, c=None):
        log_s, t = self.params(x, c)
        return x * log_s.exp() + t, log_s.flatten(1).sum(1)

    def inverse(self, z, c=None):
        log_s, t = self.params(z, c)
        return (z - t) * (-log_s).exp(), -log_s.flatten(1).sum(1)


class Unsummed(Scaling):
    def forward(self, x, c=None):
        return super().forward(x)[0], self.params(x)[0]


class Casts(Scaling):
    def forward(self, x, c=None):
        z, log_det = super().forward(x)
        return z.double(), log_det


class InPlace(Scaling):
    def forward(self, x, c=None):
        log_s, t = self.params(x)
        return x.mul_(log_s.exp()).add_(t), log_s.sum(1)


class CountsRows(Scaling):
    def forward(self, x, c=None):
        z, log_det = super().forward(x)
        return z + len(x), log_det

    def inverse(self, z, c=None):
        return super().inverse(z - len(z))


class IgnoresContext(Scaling):
    def params(self, x, c=None):
        return super().params(x, c * 0)


class StartsAfterLoading(Scaling):
    """Whether it has started is a plain attribute."""

    def __init__(self):
        super().__init__()
        self.started = False

    def forward(self, x, c=None):
        if self.training and not self.started:
            self.t.data, self.started = -x.mean(0), True
        return super().forward(x)


class StartsAlways(StartsAfterLoading):
    def forward(self, x, c=None):
        self.started = False
        return super().forward(x)


class ForgetsItsOrder(Scaling):
    """A random permutation that is not a buffer."""

    def __init__(self):
        super().__init__(6)
        self.order = torch.randperm(6)

    def forward(self, x, c=None):
        return super().forward(x[:, self.order])

    def inverse(self, z, c=None):
        x, log_det = super().inverse(z)
        return x[:, self.order.argsort()], log_det


class KeepsTheGraph(Scaling):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x, c=None):
        z, log_det = super().forward(x)
        if self.training:
            self.mean = z.mean(0)
        return z, log_det


class KeepsOldWeights(Scaling):
    kept = None

    def params(self, x, c=None):
        if self.kept is None and not self.training:
            self.kept = self.log_s.exp().log()
        log_s, t = super().params(x)
        return (log_s if self.training else self.kept.expand_as(x)), t


class Cancels(Scaling):
    def forward(self, x, c=None):
        z, log_det = super().forward(x)
        return (z + 1e6) - 1e6, log_det


class Folds(nn.Module):
    def forward(self, x):
        return x.abs(), 0 * x[:, 0]

    def inverse(self, z):
        return z, 0 * z[:, 0]


class ClipsItsInverse(nn.Module):
    def forward(self, x):
        return x.exp(), x.sum(1)

    def inverse(self, z):
        x = z.clamp(min=1e-3).log()
        return x, -x.sum(1)


class ForgetsTheSign(Scaling):
    def inverse(self, z, c=None):
        x, log_det = super().inverse(z)
        return x, -log_det


class Image(Scaling):
    """Of channels; `count` positions are counted in the log-determinant."""

    def __init__(self, count=None):
        super().__init__()
        self.count = count

    def forward(self, x, c=None):
        z, log_det = super().forward(x)
        return z, log_det if self.count is None else self.log_s.sum().expand(len(x)) * self.count

    def inverse(self, z, c=None):
        return super().inverse(z)[0], None


class Overflows(nn.Module):
    def forward(self, x):
        return (9 * x).sinh() / 9, (9 * x).cosh().log().sum(1)

    def inverse(self, z):
        x = (9 * z).asinh() / 9
        return x, -(9 * x).cosh().log().sum(1)


class SingleInside(nn.Module):
    """A coupling whose network works in float32 whatever x is."""

    def log_s(self, x):
        return x[:, :1].float().sin().to(x)

    def forward(self, x):
        log_s = self.log_s(x)
        return torch.cat([x[:, :1], x[:, 1:] * log_s.exp()], 1), 2 * log_s[:, 0]

    def inverse(self, z):
        log_s = self.log_s(z)
        return torch.cat([z[:, :1], z[:, 1:] / log_s.exp()], 1), -2 * log_s[:, 0]


class SingleBack(Scaling):
    def inverse(self, z, c=None):
        x, log_det = super().inverse(z)
        return x.float().to(x), log_det


def wrong_term(change):
    """The elementwise map that is curved, with `change(log of the slope (B, D), x)` for log_det."""

    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.ones(4))

        def forward(self, x):
            slope = 1 + self.a.exp() * (x / 2).cosh()
            return x + self.a.exp() * (x / 2).sinh() * 2, change(slope.log(), x)

    return Wrong


def test_a_layer_without_a_log_determinant_is_told_what_to_return():
    class Alone(nn.Module):
        def forward(self, x):
            return 2 * x

    said = str(check_layer(Alone, (3,)))
    assert "forward gives one Tensor, not (z, log_det): return both" in said
    assert "1 of 1 laws fails" in said  # others would say the same in worse words


# {law: [(layer, shape, context, options, words that name the mistake)]}
PLANTED = {
    "shapes": [(Unsummed, (3,), None, {}, "not summed over all dimensions but the first")],
    "types": [(Casts, (3,), None, {}, "")],
    "inputs": [(InPlace, (3,), None, {}, "in place")],
    "rows": [(CountsRows, (3,), None, {}, "")],
    "context": [(lambda: IgnoresContext(3, 2), (3,), (2,), {}, "context is ignored")],
    "start": [
        (StartsAfterLoading, (3,), None, {}, "started: not a buffer"),
        (StartsAlways, (3,), None, {}, ""),
    ],
    "state": [
        (ForgetsItsOrder, (6,), None, {}, "order: not a buffer"),
        (KeepsTheGraph, (3,), None, {}, "no detach()"),
    ],
    "loaded": [(KeepsOldWeights, (3,), None, {}, "from the old weights is kept")],
    "float32": [(Cancels, (3,), None, {}, "")],
    "inverse": [(Folds, (3,), None, {}, "the inverse does the same as forward")],
    "forward": [(ClipsItsInverse, (3,), None, {"codomain": "real"}, "")],
    "log_det": [
        (lambda: Image(1), (3, 4, 5), None, {}, "a factor H W = 20 is missing"),
    ],
    "inverse_log_det": [(ForgetsTheSign, (3,), None, {}, "its sign is wrong")],
    "sizes": [(lambda: Image(20), (3, 4, 5), None, {}, "")],
    "precision": [
        (SingleInside, (3,), None, {}, "computed in float32"),
        (SingleBack, (3,), None, {}, "computed in float32"),
    ],
    "tails": [(Overflows, (3,), None, {"tails": True}, "")],
}
EVERY = [
    pytest.param(law, *row, id=f"{law}-{i}")
    for law in PLANTED
    for i, row in enumerate(PLANTED[law])
]


@pytest.mark.parametrize("law, make, shape, context, options, words", EVERY)
def test_a_mistake_is_found_by_its_law_and_by_no_other(
    law, make, shape, context, options, words, monkeypatch
):
    report = check_bijection(make, shape, context, **options)
    assert [r.law for r in report.failures] == [law], report
    assert words in report[law].likely and bool(words) == bool(report[law].likely)
    with pytest.raises(AssertionError, match=f"{law}: "):
        report.assert_ok()
    check_bijection(make, shape, context, known=[law], **options).assert_ok()
    monkeypatch.setattr(testing, "BIJECTION", without(testing.BIJECTION, law))
    check_bijection(make, shape, context, **options).assert_ok()


def test_every_law_of_bijections_has_a_planted_mistake():
    assert set(PLANTED) == set(testing.BIJECTION)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s, x: -s.sum(1), "its sign is wrong"),
        (lambda s, x: 0 * s.sum(1), "left out"),
        (lambda s, x: s.sum(1).exp(), "the determinant is returned"),
        (lambda s, x: s.sum().expand(len(x)), "summed over the batch"),
        (lambda s, x: s.sum(1).mean().expand(len(x)), "averaged over the batch"),
        (lambda s, x: s.mean(1), "the number of entries, 4, is missing"),
        (lambda s, x: s.sum(1) * 2, "sigma squared in place of sigma"),
        (lambda s, x: s.sum(1) / 2, "a square root too many"),
        (lambda s, x: s.sum(1) / math.log(2), "bits, not nats"),
        (lambda s, x: s[:, 0], "of axis 1 only the first entry is counted, not all 4"),
        (lambda s, x: s.exp().sum(1), "the logarithm of the scale is missing"),
        (lambda s, x: s.exp().expm1().log().sum(1), "the softplus that makes s"),
        (lambda s, x: s.sum(1) + 4 * math.log(256), "the constant +22.1807 nats"),
        (lambda s, x: s.sum(1) - nn.functional.logsigmoid(x).sum(1), "the first step, a softplus"),
        (lambda s, x: s.sum(1) + x.sin().sum(1), ""),
        (lambda s, x: 1.01 * s.sum(1), "1.01 times what it should be"),
    ],
)
def test_a_wrong_log_determinant_is_named_by_its_numbers_or_not_at_all(change, words):
    report = check_bijection(wrong_term(change), (4,), known=["rows"])
    assert [r.law for r in report.failures] == ["log_det"]
    assert words in report["log_det"].likely and bool(words) == bool(report["log_det"].likely)


@pytest.mark.parametrize(
    "ends, words",
    [
        ((torch.sigmoid, "unit"), "the last step, a sigmoid, is missing"),
        ((torch.tanh, "symmetric"), "the last step, a tanh, is missing"),
        ((nn.functional.softplus, "positive"), "the last step, a softplus, is missing"),
        ((torch.exp, "positive"), "the last step, a exponential, is missing"),
    ],
)
def test_a_last_step_without_its_jacobian_is_named(ends, words):
    class Ends(Scaling):
        def forward(self, x, c=None):
            z, log_det = super().forward(x)
            return ends[0](z), log_det

    found = check_layer_of(Ends)
    assert words in found["log_det"].likely


def check_layer_of(make):
    return check_bijection(make, (3,), known=["inverse", "forward", "inverse_log_det"])


def test_a_log_determinant_taken_at_the_wrong_point_is_named():
    class Late(nn.Module):
        def forward(self, x):
            return x.sinh(), x.sinh().cosh().log().sum(1)

        def inverse(self, z):
            return z.asinh(), -z.cosh().log().sum(1)

    report = check_bijection(Late, (3,))
    assert report["log_det"].likely == "it is taken at the output, not at the input"
    assert "at its input z, not at the x it returns" in report["inverse_log_det"].likely


def test_a_failure_shows_a_small_input_and_lines_that_run(capsys):
    class Wrong(nn.Module):
        """Wrong where the second number is far from 0."""

        def forward(self, x):
            return x * 2, 3 * math.log(2) + nn.functional.relu(x[:, 1].abs() - 0.5)

    report = check_bijection(Wrong, (3,), known=["forward"])
    with pytest.raises(KeyError, match="no law 'log_dt': .*log_det"):
        report["log_dt"]
    found = report["log_det"]
    assert found.smallest == "tensor([[0.0, -1.0, 0.0]])"
    exec(found.snippet, {"make": Wrong})
    assert capsys.readouterr().out == (
        "tensor([2.5794]) tensor([2.0794])\n".replace("])", "], dtype=torch.float64)")
    )
    assert found.snippet.splitlines()[2] in str(report) and found.smallest in str(report)
    assert json.loads(report.to_json())["results"][-1]["law"] == "precision"


def test_an_inverse_that_leaves_an_order_is_named():
    class Flips(nn.Module):
        def forward(self, x):
            return x.flip(1), 0.0

        def inverse(self, z):
            return z, 0.0

    assert "an order that is not undone" in check_bijection(Flips, (3,))["inverse"].likely


def test_what_cannot_be_called_is_said_once_with_its_place():
    class Fails(Scaling):
        def forward(self, x, c=None):
            raise ValueError("no such thing")

    report = check_bijection(Fails, (3,))
    assert len(report.results) == 1 and report.failures[0].status == "error"
    assert "ValueError: no such thing (test_testing.py:" in str(report)


def test_nothing_of_the_caller_is_changed():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    check_bijection(Scaling, (3,)).assert_ok()
    assert torch.equal(torch.rand(2), expected) and torch.get_default_dtype() == torch.float32


# -- what is right passes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, options",
    [
        (transforms.SigmoidTransform, {"codomain": "unit"}),
        (transforms.TanhTransform, {"codomain": "symmetric"}),
        (transforms.ExpTransform, {"codomain": "positive"}),
        (transforms.SoftplusTransform, {"codomain": "positive"}),
        (lambda: transforms.PowerTransform(torch.tensor(3.0)), {"domain": "positive"}),
        (lambda: transforms.AffineTransform(torch.ones(4), torch.arange(1.0, 5), 1), {}),
        (lambda: transforms.SigmoidTransform().inv, {"domain": "unit"}),
        (
            lambda: transforms.ComposeTransform(
                [transforms.TanhTransform(), transforms.AffineTransform(1.0, 2.0)]
            ),
            {},
        ),
    ],
)
def test_transforms_of_torch_pass(make, options):
    check_bijection(make, (4,), **options).assert_ok()


@pytest.mark.parametrize("shape, context", [((3,), (2,)), ((3, 4, 5), None), ((3,), None)])
def test_a_right_layer_passes_and_says_what_it_was(shape, context):
    report = check_bijection(lambda: Scaling(3, context and 2), shape, context, tails=True)
    report.assert_ok()
    assert str(report).startswith(f"Scaling of {shape}")
    check_layer(lambda: Scaling(3, context and 2), shape, context).assert_ok()


def test_layers_of_other_forms_pass():
    class Lists(Scaling):
        def forward(self, x, c=None, rev=False):
            out, log_det = (self.inverse if rev else super().forward)(x[0], c and c[0])
            return [out], log_det

    check_bijection(Lists, (3,)).assert_ok()
    check_bijection(
        lambda: 2.0,
        (3,),
        forward=lambda layer, x, c: (layer * x, 3 * math.log(layer)),
        inverse=lambda layer, z, c: (z / layer, None),
    ).assert_ok()


# -- densities and flows ---------------------------------------------------------------------------

NORMAL = dist.MultivariateNormal(
    torch.tensor([1.0, -2.0]).double(), torch.tensor([[4.0, 1], [1, 2]]).double()
)
LOW, HIGH = torch.tensor([0.5, 3.0]).double(), torch.tensor([0.5, 3.0]).double()


def density(law):
    return {"log_prob": law.log_prob, "sample": lambda n: law.sample((n,))}


@pytest.mark.parametrize(
    "law, shape, domain",
    [
        (dist.Normal(3.0, 0.01), (), "real"),
        (dist.StudentT(3.0), (), "real"),
        (dist.Laplace(0.0, 5.0), (), "real"),
        (dist.Beta(2.0, 5.0), (), "unit"),
        (dist.Gamma(2.0, 5.0), (), "positive"),
        (NORMAL, (2,), "real"),
        (dist.Independent(dist.Normal(torch.arange(5.0), torch.arange(1.0, 6)), 1), (5,), "real"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, dist.Distribution) else "",
)
def test_densities_of_torch_pass(law, shape, domain):
    report = check_density(shape=shape, domain=domain, **density(law))
    report.assert_ok()
    assert report["integral"].status == report["samples"].status == "passed"


def log_normal(x, mean=0.0, sigma=LOW, constant=0.5, logs=1.0):
    u = (x - mean) / sigma
    return -(0.5 * u.square() + logs * sigma.log() + constant * math.log(2 * math.pi)).sum(-1)


def normal(n, mean=0.0, sigma=LOW):
    return mean + sigma * torch.randn(n, 2).double()


@pytest.mark.parametrize(
    "wrong, law, words",
    [
        ({"log_prob": lambda x: log_normal(x, constant=0)}, "integral", "2 pi is missing"),
        (
            {"log_prob": lambda x: log_normal(x, constant=-0.5)},
            "integral",
            "2 pi has the wrong sign",
        ),
        ({"log_prob": lambda x: log_normal(x, logs=0)}, "integral", "log sigma is missing"),
        (
            {"log_prob": lambda x: log_normal(x, logs=-1)},
            "integral",
            "log sigma has the wrong sign",
        ),
        ({"log_prob": lambda x: log_normal(x) + 0.1}, "integral", ""),
        ({"sample": lambda n: normal(n, sigma=1)}, "samples", "samples lack sigma"),
        ({"sample": lambda n: normal(n, sigma=LOW**2)}, "samples", "sigma squared for sigma"),
        ({"sample": lambda n: normal(n, mean=0.1)}, "samples", ""),
    ],
)
def test_a_wrong_density_is_found_by_its_law_and_named(wrong, law, words, monkeypatch):
    right = {"log_prob": log_normal, "sample": normal}
    report = check_density(shape=(2,), **(right | wrong))
    assert [r.law for r in report.failures] == [law], report
    assert words in report[law].likely and bool(words) == bool(report[law].likely)
    monkeypatch.setattr(testing, "DENSITY", without(testing.DENSITY, law))
    check_density(shape=(2,), **(right | wrong)).assert_ok()


def changes_its_input(x, c=None):
    log_p = log_normal(x)
    x += 1
    return log_p


@pytest.mark.parametrize(
    "log_prob, context, law",
    [
        (
            lambda x, c=None: log_normal(x)[:, None] if len(x) == 5 else log_normal(x),
            None,
            "shapes",
        ),
        (changes_its_input, None, "inputs"),
        (lambda x, c=None: log_normal(x) + 1e-3 * (len(x) == 1), None, "rows"),
        (lambda x, c: log_normal(x), (2,), "context"),
    ],
)
def test_a_density_that_is_no_function_of_its_row_is_found(log_prob, context, law, monkeypatch):
    report = check_density(log_prob, (2,), context)
    assert [r.law for r in report.failures] == [law], report
    monkeypatch.setattr(testing, "DENSITY", without(testing.DENSITY, law))
    check_density(log_prob, (2,), context).assert_ok()


@pytest.mark.parametrize(
    "change", [lambda p: -p, lambda p: p.flip(0), lambda p: p + 1, lambda p: p * p]
)
def test_a_wrong_log_prob_of_its_own_is_found_and_named(change, monkeypatch):
    def both(n):
        x = normal(n)
        return x, change(log_normal(x))

    report = check_density(log_normal, (2,), None, normal, both)
    assert [r.law for r in report.failures] == ["own_log_prob"]
    p = torch.tensor([1.0, 2.0])
    words = {-1: "its sign is wrong", 2: "another order", 1: "", 4: ""}[int(change(p)[0])]
    constant = int(change(p)[0]) == 2 and change(p)[1] == 3
    assert ("the constant +1 nats" if constant else words) in report["own_log_prob"].likely
    monkeypatch.setattr(testing, "DENSITY", without(testing.DENSITY, "own_log_prob"))
    check_density(log_normal, (2,), None, normal, both).assert_ok()


class Flow(nn.Module):
    """Two scalings of a normal, given a context; `sample` as in nflows."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def log_prob(self, x, c):
        total = 0
        for layer in self.layers:
            x, log_det = layer(x, c)
            total = total + log_det
        return dist.Normal(0.0, 1.0).log_prob(x).sum(1) + total

    def sample_and_log_prob(self, n, c, sign=-1):
        c = c.repeat_interleave(n, 0)
        x = torch.randn(len(c), 2)
        log_p = dist.Normal(0.0, 1.0).log_prob(x).sum(1)
        for layer in reversed(self.layers):
            x, log_det = layer.inverse(x, c)
            log_p = log_p + sign * log_det
        return x.view(-1, n, 2), log_p.view(-1, n)

    def sample(self, n, c):
        return self.sample_and_log_prob(n, c)[0]


def two(kind=Scaling):
    return [Scaling(2, 3), kind(2, 3)]


class AddsTheLogDet(Flow):
    def sample_and_log_prob(self, n, c):
        return super().sample_and_log_prob(n, c, sign=1)


class MixesContexts(Flow):
    def sample(self, n, c):
        return super().sample(n, c).transpose(0, 1).reshape(len(c), n, 2)


class SwapsContexts(Flow):
    def sample(self, n, c):
        return super().sample(n, c.roll(1, 0))


class Blind(IgnoresContext):
    def __init__(self, size, context):
        super().__init__(size, context)
        self.context = context


@pytest.mark.parametrize(
    "make, law, words",
    [
        (lambda: AddsTheLogDet(two()), "own_log_prob", "added where it is to be subtracted"),
        (lambda: MixesContexts(two()), "pairing", "mixed: n and B are joined in another order"),
        (lambda: SwapsContexts(two()), "pairing", "they are samples of context 4"),
        (lambda: Flow(two(Blind)), "layers.1 Blind: context", "the context is ignored"),
    ],
)
def test_a_wrong_flow_is_found_by_its_law_and_named(make, law, words, monkeypatch):
    report = check_flow(make, (2,), (3,))
    assert [r.law for r in report.failures] == [law], report
    assert words in report[law].likely
    table = "PART" if ":" in law else "DENSITY"
    monkeypatch.setattr(testing, table, without(getattr(testing, table), law.split(": ")[-1]))
    check_flow(make, (2,), (3,)).assert_ok()


class Off(Scaling):
    """Off by given numbers, of which those of another layer can be the opposite."""

    def __init__(self, z=0, x=0, log_det=0, inverse_log_det=0):
        super().__init__(2, 3)
        self.off = z, x, log_det, inverse_log_det

    def forward(self, x, c=None):
        z, log_det = super().forward(x, c)
        return z, log_det + self.off[2]

    def inverse(self, z, c=None):
        x, log_det = super().inverse(z + self.off[0], c)
        return x + self.off[1], log_det + self.off[3]


@pytest.mark.parametrize(
    "law, one, other",
    [
        ("inverse", {"z": 1}, {"x": -1}),
        ("log_det", {"log_det": 1}, {"log_det": -1}),
        ("inverse_log_det", {"inverse_log_det": 1}, {"inverse_log_det": -1}),
    ],
)
def test_mistakes_of_layers_that_cancel_in_the_flow_are_found(law, one, other):
    report = check_flow(lambda: Flow([Off(**one), Off(**other)]), (2,), (3,))
    found = [f"layers.{i} Off: {law}" for i in (0, 1)]
    assert [r.law for r in report.failures] == found, report


def test_a_right_flow_passes_with_each_of_its_layers():
    report = check_flow(lambda: Flow(two()), (2,), (3,))
    report.assert_ok()
    inside = {r.law for r in report.results if r.status == "passed" and ":" in r.law}
    assert {f"layers.{i} Scaling: log_det" for i in (0, 1)} <= inside


# -- dequantizations -------------------------------------------------------------------------------


class Uniform(nn.Module):
    def noise(self, y):
        return torch.rand_like(y) * (1 - 2.0**-10)

    def forward(self, y, c=None):
        scale = 1 / (1 - 2.0**-10)
        return (y + self.noise(y)) / 256, -y.new_full(
            (len(y),), y[0].numel() * math.log(256 * scale)
        )

    def inverse(self, v, c=None):
        return (256 * v).floor()


class RoundsUp(Uniform):
    def forward(self, y, c=None):
        v = y + torch.rand_like(y)
        return v / 256, -y.new_full((len(y),), y[0].numel() * math.log(256))


class SharesNoise(Uniform):
    def noise(self, y):
        return super().noise(y)[:1].expand_as(y) if len(y) < 10 else super().noise(y)


class ForgetsLevels(Uniform):
    def forward(self, y, c=None):
        v, term = super().forward(y)
        return v, term + y[0].numel() * math.log(256)


class Unshaped(Uniform):
    def forward(self, y, c=None):
        v, term = super().forward(y)
        return v, term[:, None] if len(y) == 5 else term


class ChangesItsInput(Uniform):
    def forward(self, y, c=None):
        out = super().forward(y)
        y += 1
        return out


@pytest.mark.parametrize(
    "make, law, words",
    [
        (Unshaped, "shapes", ""),
        (ChangesItsInput, "inputs", "in place"),
        (RoundsUp, "levels", "rounded to y + 1"),
        (SharesNoise, "noise", "rows of a batch share noise"),
        (ForgetsLevels, "volume", "D log 256"),
    ],
)
def test_a_wrong_dequantization_is_found_by_its_law_and_named(make, law, words, monkeypatch):
    check_dequantization(Uniform, (2,), 256).assert_ok()
    report = check_dequantization(make, (2,), 256, draws=2**21)
    assert [r.law for r in report.failures] == [law], report
    assert words in report[law].likely
    monkeypatch.setattr(testing, "DEQUANTIZATION", without(testing.DEQUANTIZATION, law))
    check_dequantization(make, (2,), 256).assert_ok()


# -- bits per dimension ----------------------------------------------------------------------------


def prepared(y):
    return (y + torch.rand_like(y)) / 256


def bits(log_p, v):
    return 8 - log_p / (v[0].numel() * math.log(2))


@pytest.mark.parametrize(
    "wrong, law, words",
    [
        (lambda log_p, v: bits(log_p, v[:, 0]), "divided", "by the 8 pixels, not by D = 24"),
        (lambda log_p, v: 8 + (bits(log_p, v) - 8) * math.log(2), "divided", "in nats, not in"),
        (lambda log_p, v: (bits(log_p, v) - 8).sum() + 8, "divided", "summed, not averaged"),
        (lambda log_p, v: bits(log_p, v) - 8, "added", "nothing is added for `prepare`"),
        (lambda log_p, v: bits(log_p, v) - 8 + 8 / 24, "added", "once, not for each entry"),
    ],
)
def test_wrong_bits_are_found_by_their_law_and_named(wrong, law, words, monkeypatch):
    for right in (bits, lambda log_p, v: bits(log_p, v).mean()):
        check_bits(right, prepared, (3, 2, 4)).assert_ok()
    report = check_bits(wrong, prepared, (3, 2, 4))
    assert [r.law for r in report.failures] == [law], report
    assert words in report[law].likely
    monkeypatch.setattr(testing, "BITS", without(testing.BITS, law))
    check_bits(wrong, prepared, (3, 2, 4)).assert_ok()


@pytest.mark.parametrize(
    "wrong, law, words",
    [
        (lambda y: 2 * prepared(y) - 1, "added", "an interval of length 2"),
        (lambda y: prepared(y) * 256 / 255, "added", "levels of 1 / 255"),
        (lambda y: y + torch.rand_like(y), "added", "v is not divided by 256"),
        (lambda y: torch.logit(0.05 + 0.9 * prepared(y)), "added", "does more than divide"),
        (lambda y: y / 256, "cells", "there is no noise"),
        (lambda y: (y + torch.rand_like(y) / 256) / 256, "cells", "divided by 256 once too often"),
    ],
)
def test_bits_of_what_is_prepared_otherwise_are_found_and_named(wrong, law, words, monkeypatch):
    report = check_bits(bits, wrong, (3, 2, 4))
    assert [r.law for r in report.failures] == [law], report
    assert words in report[law].likely
    monkeypatch.setattr(testing, "BITS", without(testing.BITS, law))
    check_bits(bits, wrong, (3, 2, 4)).assert_ok()


def planted(*tests):
    """The laws that the mistakes of some tests break."""
    laws = set()
    for test in tests:
        (mark,) = test.pytestmark
        at = mark.args[0].split(", ").index("law")
        laws |= {row[at].rpartition(": ")[2] for row in mark.args[1]}
    return laws


def test_every_other_law_has_a_planted_mistake():
    of_density = planted(
        test_a_density_that_is_no_function_of_its_row_is_found,
        test_a_wrong_density_is_found_by_its_law_and_named,
        test_a_wrong_flow_is_found_by_its_law_and_named,
    )
    assert of_density == set(testing.DENSITY)  # own_log_prob and pairing: of a flow
    of_layers = planted(test_mistakes_of_layers_that_cancel_in_the_flow_are_found)
    assert of_layers | {"context"} == set(testing.PART)  # context: Blind
    of_noise = planted(test_a_wrong_dequantization_is_found_by_its_law_and_named)
    assert of_noise == set(testing.DEQUANTIZATION)
    of_bits = planted(
        test_wrong_bits_are_found_by_their_law_and_named,
        test_bits_of_what_is_prepared_otherwise_are_found_and_named,
    )
    assert of_bits == set(testing.BITS)
