"""glasflow: ready-made flows on a copy of nflows."""

import glasflow
from glasflow.flows import autoregressive

from experiments.field_audit.audit import Cases, bijection, flow

LIBRARY = "glasflow"
CASES: Cases = {}
KINDS = {
    "RealNVP": (glasflow.RealNVP, {}),
    "RealNVP lu": (glasflow.RealNVP, {"linear_transform": "lu"}),
    "RealNVP svd": (glasflow.RealNVP, {"linear_transform": "svd"}),
    "CouplingNSF": (glasflow.CouplingNSF, {}),
    "MaskedAffine": (autoregressive.MaskedAffineAutoregressiveFlow, {}),
    "MaskedRationalQuadratic": (
        autoregressive.MaskedPiecewiseRationalQuadraticAutoregressiveFlow,
        {},
    ),
}
for name, (kind, options) in KINDS.items():
    for given in (0, 2):
        made = options | {"n_inputs": 4, "n_transforms": 2, "n_neurons": 8}
        made |= {"n_conditional_inputs": given} if given else {}
        CASES[f"{name}{' context' * bool(given)}"] = bijection(
            lambda kind=kind, made=made: kind(**made),
            (4,),
            (given,) if given else None,
            domain="unit" if "Rational" in name else "real",  # it has no tails unless asked
            forward=lambda layer, x, c: layer.forward(x, conditional=c),
            inverse=lambda layer, z, c: layer.inverse(z, conditional=c),
        )
CASES["RealNVP flow"] = flow(
    lambda: glasflow.RealNVP(n_inputs=2, n_transforms=2, n_neurons=8), (2,)
)
