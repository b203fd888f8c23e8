import FrEIA.framework as framework
import FrEIA.modules as modules
import torch
from torch import nn

from experiments.field_audit.audit import Cases, bijection

LIBRARY = "FrEIA"


def mlp(given, out):
    return nn.Sequential(nn.Linear(given, 8), nn.Tanh(), nn.Linear(8, out))


def conv(given, out):
    return nn.Sequential(
        nn.Conv2d(given, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, out, 3, padding=1)
    )


def layer(name, shape=(4,), context=None, **options):
    """Options of the module beside those of the check."""
    check = {k: options.pop(k) for k in ("domain", "codomain", "known", "scale") if k in options}

    def make():
        kind = getattr(modules, name)
        return kind([shape], **options) if context is None else kind([shape], [context], **options)

    return bijection(make, shape, context, **check)


CASES: Cases = {}
for name in ("NICE", "RNVP", "GLOW", "GIN"):
    kind = f"{name}CouplingBlock"
    CASES[kind] = layer(kind, subnet_constructor=mlp)
    CASES[f"{kind} odd"] = layer(kind, (5,), subnet_constructor=mlp)
    CASES[f"{kind} context"] = layer(kind, context=(2,), subnet_constructor=mlp)
    CASES[f"{kind} image"] = layer(kind, (3, 4, 5), (2, 4, 5), subnet_constructor=conv)
CASES["AffineCouplingOneSided"] = layer("AffineCouplingOneSided", subnet_constructor=mlp)
CASES["ConditionalAffineTransform"] = layer(
    "ConditionalAffineTransform", context=(2,), subnet_constructor=mlp
)
for options in (
    {},
    {"permute_soft": True},
    {"learned_householder_permutation": 2},
    {"gin_block": True},
):
    CASES[f"AllInOneBlock {options}"] = layer("AllInOneBlock", subnet_constructor=mlp, **options)
    CASES[f"AllInOneBlock image {options}"] = layer(
        "AllInOneBlock", (3, 4, 5), subnet_constructor=conv, **options
    )
CASES["AllInOneBlock context"] = layer("AllInOneBlock", context=(2,), subnet_constructor=mlp)
for name in ("ActNorm", "InvAutoAct", "InvAutoActTwoSided", "LearnedElementwiseScaling"):
    CASES[name] = layer(name)
CASES["LearnedElementwiseScaling image"] = layer("LearnedElementwiseScaling", (3, 4, 5))
CASES["ActNorm image"] = layer("ActNorm", (3, 4, 5))
CASES["PermuteRandom"] = layer("PermuteRandom", (6,))
CASES["PermuteRandom image"] = layer("PermuteRandom", (6, 2, 3))
CASES["HouseholderPerm"] = layer("HouseholderPerm", n_reflections=3)
CASES["HouseholderPerm context"] = layer("HouseholderPerm", context=(8,), n_reflections=2)
CASES["OrthogonalTransform"] = layer("OrthogonalTransform", scale=0.0)
matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
CASES["FixedLinearTransform"] = layer("FixedLinearTransform", M=matrix)
CASES["Fixed1x1Conv"] = layer("Fixed1x1Conv", (4, 2, 3), M=matrix)
CASES["InvertibleSigmoid"] = layer("InvertibleSigmoid", codomain="unit")
CASES["InvertibleSigmoid image"] = layer("InvertibleSigmoid", (2, 3, 4), codomain="unit")
for name in ("HaarDownsampling", "IRevNetDownsampling"):
    CASES[name] = layer(name, (2, 4, 6))
for name in ("HaarUpsampling", "IRevNetUpsampling"):
    CASES[name] = layer(name, (8, 2, 3))
CASES["HaarDownsampling rebalanced"] = layer("HaarDownsampling", (2, 4, 6), rebalance=2.0)
CASES["Flatten"] = layer("Flatten", (2, 2, 3))


def sequence():
    net = framework.SequenceINN(4)
    for _ in range(2):
        net.append(modules.AllInOneBlock, subnet_constructor=mlp)
    return net


CASES["SequenceINN"] = bijection(sequence, (4,))
