"""Transforms and distributions of PyTorch itself."""

import torch
from torch import distributions
from torch.distributions import transforms

from experiments.field_audit.audit import Cases, bijection, density

LIBRARY = "torch"
UNIT = {"codomain": "unit"}


def simplex(rows, generator):
    return torch.randn(rows, 4, generator=generator, dtype=torch.float64).softmax(1)


CASES: Cases = {
    "ExpTransform": bijection(transforms.ExpTransform, (4,), codomain="positive"),
    "SigmoidTransform": bijection(transforms.SigmoidTransform, (4,), **UNIT),
    "TanhTransform": bijection(transforms.TanhTransform, (4,), codomain="symmetric"),
    "SoftplusTransform": bijection(transforms.SoftplusTransform, (4,), codomain="positive"),
    "PowerTransform": bijection(
        lambda: transforms.PowerTransform(torch.tensor(3.0)), (4,), domain="positive"
    ),
    "AffineTransform": bijection(
        lambda: transforms.AffineTransform(torch.ones(4), -torch.arange(1.0, 5), 1), (4,)
    ),
    "ComposeTransform": bijection(
        lambda: transforms.ComposeTransform(
            [transforms.SigmoidTransform(), transforms.AffineTransform(-1.0, 2.0)]
        ),
        (4,),
    ),
    "IndependentTransform": bijection(
        lambda: transforms.IndependentTransform(transforms.TanhTransform(), 1), (4,)
    ),
    "ReshapeTransform": bijection(lambda: transforms.ReshapeTransform((2, 3), (6,)), (2, 3)),
    "CumulativeDistributionTransform": bijection(
        lambda: transforms.CumulativeDistributionTransform(distributions.Normal(0.0, 1.0)),
        (4,),
        **UNIT,
    ),
    "StickBreakingTransform": bijection(transforms.StickBreakingTransform, (3,)),
}
torch.set_default_dtype(torch.float64)
LAWS = {
    "Normal": (distributions.Normal(1.0, 2.0), (), "real"),
    "Laplace": (distributions.Laplace(1.0, 2.0), (), "real"),
    "Cauchy": (distributions.Cauchy(1.0, 2.0), (), "real"),
    "StudentT": (distributions.StudentT(3.0, 1.0, 2.0), (), "real"),
    "Gumbel": (distributions.Gumbel(1.0, 2.0), (), "real"),
    "Beta": (distributions.Beta(2.0, 3.0), (), "unit"),
    "Kumaraswamy": (distributions.Kumaraswamy(2.0, 3.0), (), "unit"),
    "Gamma": (distributions.Gamma(2.0, 3.0), (), "positive"),
    "LogNormal": (distributions.LogNormal(0.0, 0.5), (), "positive"),
    "Weibull": (distributions.Weibull(2.0, 3.0), (), "positive"),
    "HalfCauchy": (distributions.HalfCauchy(2.0), (), "positive"),
    "MultivariateNormal": (
        distributions.MultivariateNormal(torch.ones(2), torch.tensor([[2.0, 0.5], [0.5, 1]])),
        (2,),
        "real",
    ),
    "LowRankMultivariateNormal": (
        distributions.LowRankMultivariateNormal(torch.ones(3), torch.ones(3, 1), torch.ones(3)),
        (3,),
        "real",
    ),
    "MixtureSameFamily": (
        distributions.MixtureSameFamily(
            distributions.Categorical(torch.ones(3)),
            distributions.Normal(torch.tensor([-1.0, 0, 3]), torch.tensor([0.3, 1, 2])),
        ),
        (),
        "real",
    ),
}
for name, (law, shape, domain) in LAWS.items():
    CASES[name] = density(
        law.log_prob, shape, None, lambda n, law=law: law.sample((n,)), domain=domain
    )
torch.set_default_dtype(torch.float32)
