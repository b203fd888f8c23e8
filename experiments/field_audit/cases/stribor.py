import sys
from types import ModuleType

import torch  # noqa: F401

# torchtyping, which stribor needs for annotations alone, does not import beside this PyTorch
fake = ModuleType("torchtyping")
fake.TensorType = type("TensorType", (), {"__class_getitem__": classmethod(lambda c, _: c)})
fake.patch_typeguard = lambda: None
sys.modules["torchtyping"] = fake

import stribor  # noqa: E402

from experiments.field_audit.audit import Cases, bijection  # noqa: E402

LIBRARY = "stribor"


def layer(make, context=None, **options):
    def named(c):
        return {} if c is None else {"latent": c}

    def forward(layer, x, c):
        z, log_det = layer.forward_and_log_det_jacobian(x, **named(c))
        return z, log_det[:, 0]

    def inverse(layer, z, c):
        x, log_det = layer.inverse_and_log_det_jacobian(z, **named(c))
        return x, log_det[:, 0]

    return bijection(make, (4,), context, forward=forward, inverse=inverse, **options)


def mlp(i, o):
    return stribor.net.MLP(i, [8], o)


UNIT = {"domain": "unit"}
CASES: Cases = {
    "Affine": layer(lambda: stribor.Affine(4)),
    "Affine latent": layer(lambda: stribor.Affine(4, latent_net=mlp(2, 8)), (2,)),
    "AffineLU": layer(lambda: stribor.AffineLU(4)),
    "MatrixExponential": layer(lambda: stribor.MatrixExponential(4)),
    "ELU": layer(lambda: stribor.ELU()),
    "LeakyReLU": layer(lambda: stribor.LeakyReLU()),
    "Sigmoid": layer(lambda: stribor.Sigmoid()),
    "Logit": layer(lambda: stribor.Logit(), **UNIT),
    "Flip": layer(lambda: stribor.Flip()),
    "Permute": layer(lambda: stribor.Permute(4)),
    "Cumsum": layer(lambda: stribor.Cumsum(-1)),
    "Diff": layer(lambda: stribor.Diff(-1)),
}
for kind in ("quadratic", "cubic"):
    CASES[f"Spline {kind}"] = layer(
        lambda kind=kind: stribor.Spline(4, 8, spline_type=kind), **UNIT
    )
    CASES[f"Spline {kind} bounds"] = layer(
        lambda kind=kind: stribor.Spline(4, 8, lower=-2, upper=2, spline_type=kind)
    )
for mask in ("ordered_left_half", "ordered_right_half", "parity_even", "parity_odd"):
    CASES[f"Coupling {mask}"] = layer(
        lambda mask=mask: stribor.Coupling(stribor.Affine(4, latent_net=mlp(4, 8)), mask=mask)
    )
CASES["Coupling latent"] = layer(
    lambda: stribor.Coupling(stribor.Affine(4, latent_net=mlp(6, 8)), mask="parity_even"), (2,)
)
