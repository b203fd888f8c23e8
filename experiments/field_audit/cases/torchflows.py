import importlib

import torch
import torchflows.bijections.finite.autoregressive.architectures as architectures
import torchflows.bijections.finite.autoregressive.layers as layers
import torchflows.bijections.finite.multiscale.base as multiscale
from torchflows.base_distributions.gaussian import DenseGaussian, DiagonalGaussian
from torchflows.bijections.continuous.ffjord import FFJORD
from torchflows.bijections.continuous.otflow import OTFlowBijection
from torchflows.bijections.finite import matrix
from torchflows.bijections.finite.autoregressive.transformers.linear.affine import Affine
from torchflows.bijections.finite.residual.planar import Planar
from torchflows.bijections.finite.residual.radial import Radial
from torchflows.flows import Flow

from experiments.field_audit.audit import Cases, bijection, density, flow, ode

LIBRARY = "torchflows"
CASES: Cases = {}
for name in ("ElementwiseAffine", "ElementwiseScale", "ElementwiseShift", "ActNorm"):
    CASES[name] = bijection(lambda name=name: getattr(layers, name)((4,)), (4,))
for name in (
    "ShiftCoupling",
    "AffineCoupling",
    "RQSCoupling",
    "LRSCoupling",
    "AffineForwardMaskedAutoregressive",
    "AffineInverseMaskedAutoregressive",
    "RQSForwardMaskedAutoregressive",
    "RQSInverseMaskedAutoregressive",
    "LRSForwardMaskedAutoregressive",
    "DeepSigmoidalCoupling",
    "DenseSigmoidalCoupling",
):
    # inverses of the sigmoidal transformers are searched by bisection
    known = ["inverse", "forward", "float32"] if "Sigmoid" in name else ()
    kind = getattr(layers, name)
    CASES[name] = bijection(lambda kind=kind: kind((4,)), (4,), scale=2.0, known=known)
    CASES[f"{name} context"] = bijection(
        lambda kind=kind: kind((4,), context_shape=(2,)), (4,), (2,), known=known
    )
CASES["RQSForwardMaskedAutoregressive steep"] = bijection(
    lambda: layers.RQSForwardMaskedAutoregressive((4,)), (4,), scale=20.0
)
for name in (
    "LUMatrix",
    "QRMatrix",
    "HouseholderProductMatrix",
    "RandomPermutationMatrix",
    "ReversePermutationMatrix",
    "LowerTriangularInvertibleMatrix",
    "UpperTriangularInvertibleMatrix",
):
    CASES[name] = bijection(lambda name=name: getattr(matrix, name)((6,)), (6,))


def turned(layer, x, c):
    """Residual layers map z to x: this direction has a formula."""
    return layer.inverse(x)


for kind in (Planar, Radial):
    CASES[kind.__name__] = bijection(lambda kind=kind: kind((4,)), (4,), forward=turned)
sylvester = importlib.import_module("torchflows.bijections.finite.residual.sylvester")
for name in ("HouseholderSylvester", "IdentitySylvester", "PermutationSylvester"):
    CASES[name] = bijection(
        lambda name=name: getattr(sylvester, name)((4,), m=2), (4,), forward=turned
    )
IMAGE = (4, 4, 6)
for name in (
    "CheckerboardCoupling",
    "NormalizedCheckerboardCoupling",
    "ChannelWiseCoupling",
    "GlowChannelWiseCoupling",
):
    CASES[name] = bijection(
        lambda name=name: getattr(multiscale, name)(IMAGE, transformer_class=Affine), IMAGE
    )
CASES["Squeeze"] = bijection(lambda: multiscale.Squeeze((3, 4, 6)), (3, 4, 6))
CASES["Invertible1x1ConvolutionalCoupling"] = bijection(
    lambda: multiscale.Invertible1x1ConvolutionalCoupling((4, 4, 3)), (4, 4, 3)
)
for name in ("NICE", "RealNVP", "MAF", "IAF", "CouplingRQNSF"):
    kind = getattr(architectures, name)
    CASES[f"Flow {name}"] = flow(lambda kind=kind: Flow(kind((2,))), (2,))
    CASES[f"Flow {name} context"] = flow(
        lambda kind=kind: Flow(kind((2,), context_shape=(3,))), (2,), (3,)
    )


def gaussian(kind, *given):
    def check():
        made = kind(*given)
        return density(made.log_prob, (2,), None, lambda n: made.sample((n,)))()

    return check


CASES["DiagonalGaussian"] = gaussian(
    DiagonalGaussian, torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 2.0]).double()
)
CASES["DenseGaussian"] = gaussian(
    DenseGaussian,
    torch.tensor([1.0, 0.0]).double(),
    torch.tensor([[2.0, 0.7], [0.7, 1.0]]).double(),
)


def continuous(kind, context=None, **options):
    """A continuous flow with the weights of a trained one: at the start some terms cancel. Time
    goes from the base to the data."""

    def make():
        layer = kind((3,), context_shape=context, **options).double().eval()
        with torch.no_grad():
            for p in layer.parameters():
                p.add_(0.6 * torch.randn_like(p))

        def step(t, x):
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                dx, div, *_ = layer.f.step(torch.as_tensor(t, dtype=x.dtype), x)
            return dx, div.reshape(len(x))

        def velocity(t, x, c=None):
            time = torch.as_tensor(t, dtype=x.dtype)
            if kind is OTFlowBijection:
                return 0 - layer.f.time_deriv(time, x)[0]
            return layer.f.forward_model(time, x)

        def log_prob(x, c=None):
            z, log_det = layer.forward(x, context=c)
            return normal(z) + log_det

        return {
            "velocity": velocity,
            "divergence": lambda t, x, c=None: step(t, x)[1],
            "log_prob": log_prob if kind is OTFlowBijection else None,  # else it is random
            "to_base": lambda x, c=None: layer.forward(x, context=c)[0],
            "to_data": lambda z, c=None: layer.inverse(z, context=c)[0],
        }

    return ode(make, (3,), context)


def normal(z):
    return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)


CASES |= {
    "continuous FFJORD": continuous(FFJORD),
    "continuous FFJORD context": continuous(FFJORD, (2,)),
    "continuous OTFlow dopri5": continuous(OTFlowBijection, solver="dopri5"),
}
