"""nflows; `of` makes the same cases for its forks."""

import importlib

import torch

from experiments.field_audit.audit import Cases, bijection, density, flow

LIBRARY = "nflows"
REAL = {"codomain": "real"}
UNIT = {"domain": "unit", "codomain": "unit"}


def of(package: str) -> Cases:
    t = importlib.import_module(f"{package}.transforms")
    nets = importlib.import_module(f"{package}.nn.nets")
    mask, tails = torch.tensor([1, -1, 1, -1]), {"tails": "linear", "tail_bound": 2.0}
    cases: Cases = {}

    def net(context):
        return lambda i, o: nets.ResidualNet(i, o, 8, context_features=context, num_blocks=1)

    def conv(i, o):
        return nets.ConvResidualNet(i, o, 8, num_blocks=1)

    for c in (None, 2):
        shape, end = None if c is None else (c,), "" if c is None else " context"
        auto = {
            "MaskedAffineAutoregressive": (t.MaskedAffineAutoregressiveTransform, (4, 16, c), {}),
            "MaskedQuadratic": (
                t.MaskedPiecewiseQuadraticAutoregressiveTransform,
                (4, 16, c),
                tails,
            ),
            "MaskedRationalQuadratic": (
                t.MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
                (4, 16, c),
                tails,
            ),
            "AffineCoupling": (t.AffineCouplingTransform, (mask, net(c)), {}),
            "AdditiveCoupling": (t.AdditiveCouplingTransform, (mask, net(c)), {}),
        }
        for name, (kind, given, options) in auto.items():
            cases[name + end] = bijection(
                lambda kind=kind, given=given, options=options: kind(*given, **options),
                (4,),
                shape,
                **REAL,
            )
        cases["MaskedLinear" + end] = bijection(
            lambda c=c: t.MaskedPiecewiseLinearAutoregressiveTransform(8, 4, 16, c),
            (4,),
            shape,
            **UNIT,
        )
        for name in ("Linear", "Quadratic", "Cubic", "RationalQuadratic"):
            kind = getattr(t, f"Piecewise{name}CouplingTransform")
            cases[f"{name}Coupling{end}"] = bijection(
                lambda kind=kind, c=c: kind(mask, net(c), num_bins=8), (4,), shape, **UNIT
            )
            cases[f"{name}Coupling tails{end}"] = bijection(
                lambda kind=kind, c=c: kind(mask, net(c), num_bins=8, **tails), (4,), shape, **REAL
            )
    for name in ("Linear", "Quadratic", "Cubic", "RationalQuadratic"):
        kind = getattr(t, f"Piecewise{name}CDF")
        cases[f"{name}CDF"] = bijection(lambda kind=kind: kind((4,)), (4,), **UNIT)
    for cached in (False, True):
        end = " cached" if cached else ""
        linear = {
            "NaiveLinear": lambda k: t.NaiveLinear(4, using_cache=k),
            "LULinear": lambda k: t.LULinear(4, using_cache=k, identity_init=False),
            "QRLinear": lambda k: t.QRLinear(4, 3, using_cache=k),
            "SVDLinear": lambda k: t.SVDLinear(4, 4, using_cache=k),
        }
        for name, make in linear.items():
            cases[name + end] = bijection(lambda make=make, k=cached: make(k), (4,), **REAL)
        cases["OneByOneConvolution" + end] = bijection(
            lambda k=cached: t.OneByOneConvolution(3, using_cache=k), (3, 4, 5), **REAL
        )
    more = {
        "HouseholderSequence": (lambda: t.HouseholderSequence(4, 3), (4,), REAL),
        "RandomPermutation": (lambda: t.RandomPermutation(6), (6,), REAL),
        "ReversePermutation": (lambda: t.ReversePermutation(4), (4,), REAL),
        "SqueezeTransform": (lambda: t.SqueezeTransform(2), (3, 4, 6), {}),
        "SqueezeTransform of 3": (lambda: t.SqueezeTransform(3), (2, 6, 3), {}),
        "ActNorm": (lambda: t.ActNorm(4), (4,), REAL),
        "ActNorm image": (lambda: t.ActNorm(3), (3, 4, 5), REAL),
        "BatchNorm": (lambda: t.BatchNorm(4), (4,), REAL),
        "Tanh": (t.Tanh, (4,), {"codomain": "symmetric"}),
        "LogTanh": (t.LogTanh, (4,), REAL),
        "LeakyReLU": (t.LeakyReLU, (4,), REAL),
        "Sigmoid": (t.Sigmoid, (4,), {"codomain": "unit"}),
        "Sigmoid learned": (lambda: t.Sigmoid(learn_temperature=True), (4,), {"codomain": "unit"}),
        "Logit": (t.Logit, (4,), {"domain": "unit"}),
        "PointwiseAffine": (
            lambda: t.PointwiseAffineTransform(torch.ones(4), torch.arange(1.0, 5)),
            (4,),
            REAL,
        ),
        "CompositeCDF": (
            lambda: t.CompositeCDFTransform(t.Sigmoid(), t.PiecewiseRationalQuadraticCDF((4,))),
            (4,),
            REAL,
        ),
        "AffineCoupling image": (
            lambda: t.AffineCouplingTransform(torch.tensor([1, -1, 1]), conv),
            (3, 4, 6),
            REAL,
        ),
        "InverseTransform": (
            lambda: t.InverseTransform(t.MaskedAffineAutoregressiveTransform(4, 16)),
            (4,),
            REAL,
        ),
    }
    for name, (make, shape, options) in more.items():
        cases[name] = bijection(make, shape, **options)
    cases["GatedLinearUnit"] = bijection(lambda: t.GatedLinearUnit(), (4,), (4,))
    return cases


def densities(package: str) -> Cases:
    t = importlib.import_module(f"{package}.transforms")
    d = importlib.import_module(f"{package}.distributions")
    flows = importlib.import_module(f"{package}.flows")
    cases: Cases = {}

    def autoregressive(c):
        steps = [t.MaskedAffineAutoregressiveTransform(2, 8, c), t.ReversePermutation(2)]
        steps.append(t.MaskedAffineAutoregressiveTransform(2, 8, c))
        return flows.Flow(t.CompositeTransform(steps), d.StandardNormal([2]))

    cases["Flow"] = flow(lambda: autoregressive(None), (2,))
    cases["Flow context"] = flow(lambda: autoregressive(3), (2,), (3,))
    cases["DiagonalNormal"] = flow(lambda: d.DiagonalNormal([2]), (2,))
    cases["ConditionalDiagonalNormal"] = flow(
        lambda: d.ConditionalDiagonalNormal([2], torch.nn.Linear(3, 4)), (2,), (3,)
    )
    cases["MADEMoG"] = flow(lambda: d.MADEMoG(2, 8, None, num_mixture_components=3), (2,))
    cases["MADEMoG context"] = flow(
        lambda: d.MADEMoG(2, 8, 3, num_mixture_components=3), (2,), (3,)
    )

    def in_batches():
        made = d.ConditionalDiagonalNormal([2])
        return check_batches(made)

    def check_batches(made):
        return density(
            made.log_prob,
            (2,),
            (4,),
            lambda n, c: made.sample(n, c, batch_size=n // 2),
            lambda n, c: made.sample_and_log_prob(n, c),
        )()

    cases["sample in batches"] = in_batches
    return cases


CASES = of("nflows") | densities("nflows")
