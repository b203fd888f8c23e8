import torch
from torch import nn
from torch.distributions import Normal
from zuko import distributions, flows, transforms

from experiments.field_audit.audit import Cases, bijection, density, flow, ode

LIBRARY = "zuko"
SEARCHED = ["inverse", "forward", "inverse_log_det", "float32"]  # inverses by bisection


class Plain(nn.Module):
    """A transform of parameters."""

    def __init__(self, make, *shapes):
        super().__init__()
        self.make = make
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(s)) for s in shapes])

    def transform(self):
        made = self.make(*self.weights)
        return made if made.domain.event_dim else transforms.DependentTransform(made, 1)


def plain(make, *shapes, **options):
    return bijection(
        lambda: Plain(make, *shapes),
        (4,),
        forward=lambda layer, x, c: layer.transform().call_and_ladj(x),
        inverse=lambda layer, z, c: layer.transform().inv.call_and_ladj(z),
        **options,
    )


def angle(rows, generator):
    return 3 * torch.rand(rows, 4, generator=generator, dtype=torch.float64).float() - 1.5


t = transforms
CASES: Cases = {
    "SoftclipTransform": plain(lambda: t.SoftclipTransform(5.0)),
    "CircularShiftTransform": plain(lambda: t.CircularShiftTransform(), domain="symmetric"),
    "SinTransform": plain(lambda: t.SinTransform(), domain=angle),
    "SignedPowerTransform": plain(t.SignedPowerTransform, (4,), scale=0.3, tails=True),
    "MonotonicAffineTransform": plain(t.MonotonicAffineTransform, (4,), (4,), tails=True),
    "AdditiveTransform": plain(t.AdditiveTransform, (4,), tails=True),
    "MonotonicRQSTransform": plain(
        t.MonotonicRQSTransform, (4, 8), (4, 8), (4, 7), scale=2.0, tails=True
    ),
    "BernsteinTransform": plain(t.BernsteinTransform, (4, 9), known=SEARCHED),
    "GaussianizationTransform": plain(t.GaussianizationTransform, (4, 8), (4, 8), known=SEARCHED),
    "SOSPolynomialTransform": plain(t.SOSPolynomialTransform, (4, 2, 4), known=SEARCHED),
    "RotationTransform": plain(t.RotationTransform, (4, 4), scale=2.0),
    "LULinearTransform": plain(t.LULinearTransform, (4, 4), scale=2.0),
    "PermutationTransform": plain(lambda: t.PermutationTransform(torch.tensor([2, 0, 3, 1]))),
}
small = {"hidden_features": (8, 8)}
for c in (0, 2):
    context, end = ((c,), " context") if c else (None, "")
    lazy = {
        "MaskedAutoregressive": (flows.MaskedAutoregressiveTransform, {}),
        "MaskedAutoregressive of 2 passes": (flows.MaskedAutoregressiveTransform, {"passes": 2}),
        "MaskedAutoregressive residual": (flows.MaskedAutoregressiveTransform, {"residual": True}),
        "GeneralCoupling": (flows.GeneralCouplingTransform, {}),
    }
    for name, (kind, options) in lazy.items():
        CASES[name + end] = bijection(
            lambda kind=kind, options=options, c=c: kind(4, c, **small, **options), (4,), context
        )
    for kind in (flows.MAF, flows.NSF, flows.NICE, flows.RealNVP):
        CASES[kind.__name__ + end] = flow(
            lambda kind=kind, c=c: kind(2, c, transforms=2, **small), (2,), context
        )
    CASES[f"BPF{end}"] = flow(
        lambda c=c: flows.BPF(2, c, transforms=1, **small), (2,), context, known=SEARCHED[:1]
    )
    CASES[f"GMM{end}"] = flow(lambda c=c: flows.GMM(2, c, components=3), (2,), context)


def law(made, shape=(), domain="real"):
    return density(made.log_prob, shape, None, lambda n: made.sample((n,)), domain=domain)


d = distributions
CASES |= {
    "Truncated": law(d.Truncated(Normal(0.3, 1.2), torch.tensor(1.0), torch.tensor(2.0))),
    "Truncated far out": law(
        d.Truncated(
            Normal(torch.zeros(()).double(), torch.ones(()).double()),
            torch.tensor(6.0).double(),
            torch.tensor(9.0).double(),
        )
    ),
    "GeneralizedNormal": law(d.GeneralizedNormal(torch.tensor(1.5))),
    "DiagNormal": law(d.DiagNormal(torch.ones(2), torch.tensor([0.5, 2.0])), (2,)),
    "BoxUniform": law(d.BoxUniform(-torch.ones(2), torch.ones(2)), (2,)),
    "Maximum": law(d.Maximum(Normal(0.0, 1.0), 3)),
    "Minimum": law(d.Minimum(Normal(0.0, 1.0), 3)),
}


def continuous(exact):
    """Time 0 is that of the data."""

    def make():
        made = flows.CNF(3, 2, hidden_features=(16, 16), exact=exact)
        return {
            "velocity": lambda t, x, c: made.transform(c).f(torch.as_tensor(t, dtype=x.dtype), x),
            "log_prob": lambda x, c: made(c).log_prob(x),
            "to_base": lambda x, c: made.transform(c)(x),
            "to_data": lambda z, c: made.transform(c).inv(z),
        }

    return ode(make, (3,), (2,), times=(1.0, 0.0))


CASES |= {"CNF": continuous(True), "CNF of one probe": continuous(False)}
