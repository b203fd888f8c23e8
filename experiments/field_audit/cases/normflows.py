from functools import partial
from types import SimpleNamespace

import normflows as nf
import torch
from normflows import distributions, flows, nets
from normflows.utils import preprocessing as transform

from cnf.testing import check_bits
from experiments.field_audit.audit import Cases, bijection, density, flow

LIBRARY = "normflows"
REAL = {"codomain": "real"}


def mlp(i, o):
    return nets.MLP([i, 8, o])


def circle(rows, generator):
    """Two coordinates on a circle of half-length 3, two that may lie outside of it."""
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return torch.cat([2.9 * x[:, :2].tanh(), 3 * x[:, 2:]], 1).float().double()


CASES: Cases = {
    "AffineConstFlow": bijection(lambda: flows.AffineConstFlow((4,)), (4,), **REAL),
    "AffineConstFlow image": bijection(lambda: flows.AffineConstFlow((3, 1, 1)), (3, 4, 5), **REAL),
    "CCAffineConst": bijection(lambda: flows.CCAffineConst((4,), 5), (4,), (5,), **REAL),
    "AffineCouplingBlock odd": bijection(
        lambda: flows.AffineCouplingBlock(mlp(3, 4)), (5,), **REAL
    ),
    "AffineCouplingBlock additive": bijection(
        lambda: flows.AffineCouplingBlock(mlp(2, 2), scale=False), (4,), **REAL
    ),
    "MaskedAffineFlow": bijection(
        lambda: flows.MaskedAffineFlow(torch.tensor([1.0, 0, 1, 0]), mlp(4, 4), mlp(4, 4)),
        (4,),
        **REAL,
    ),
    "Permute": bijection(lambda: flows.Permute(6), (6,), **REAL),
    "Permute swap": bijection(lambda: flows.Permute(5, "swap"), (5,), **REAL),
    "InvertibleAffine": bijection(lambda: flows.InvertibleAffine(4), (4,), **REAL),
    "InvertibleAffine plain": bijection(
        lambda: flows.InvertibleAffine(4, use_lu=False), (4,), **REAL
    ),
    "Invertible1x1Conv": bijection(lambda: flows.Invertible1x1Conv(3), (3, 4, 5), **REAL),
    "Invertible1x1Conv lu": bijection(
        lambda: flows.Invertible1x1Conv(3, use_lu=True), (3, 4, 5), **REAL
    ),
    "LULinearPermute": bijection(lambda: flows.LULinearPermute(4), (4,), **REAL),
    "Planar": bijection(lambda: flows.Planar((4,)), (4,)),
    "Planar leaky": bijection(lambda: flows.Planar((4,), act="leaky_relu"), (4,)),
    "Radial": bijection(lambda: flows.Radial((4,)), (4,)),
    "ActNorm": bijection(lambda: flows.ActNorm((4,)), (4,), **REAL),
    "ActNorm image": bijection(lambda: flows.ActNorm((3, 1, 1)), (3, 4, 5), **REAL),
    "BatchNorm": bijection(lambda: flows.BatchNorm(), (4,)),
    "PeriodicShift": bijection(lambda: flows.PeriodicShift([0, 1], 3.0, 0.7), (4,), domain=circle),
    "Logit": bijection(lambda: nf.transforms.Logit(), (4,), domain="unit"),
    "Shift": bijection(lambda: nf.transforms.Shift(), (4,)),
}
for how in ("exp", "sigmoid", "sigmoid_inv"):
    for split in ("channel", "channel_inv", "checkerboard", "checkerboard_inv"):
        CASES[f"AffineCouplingBlock {how} {split}"] = bijection(
            lambda how=how, split=split: flows.AffineCouplingBlock(
                mlp(2, 4), scale_map=how, split_mode=split
            ),
            (4,),
            **REAL,
        )
for split in ("channel", "checkerboard"):
    CASES[f"GlowBlock {split}"] = bijection(
        lambda split=split: flows.GlowBlock(4, 8, split_mode=split, init_zeros=False),
        (4, 4, 6),
        **REAL,
    )
for c in (None, 2):
    context, end = (None, "") if c is None else ((2,), " context")
    CASES[f"MaskedAffineAutoregressive{end}"] = bijection(
        lambda c=c: flows.MaskedAffineAutoregressive(4, 16, c), (4,), context, **REAL
    )
    CASES[f"CoupledRationalQuadraticSpline{end}"] = bijection(
        lambda c=c: flows.CoupledRationalQuadraticSpline(4, 1, 8, c), (4,), context, **REAL
    )
    CASES[f"AutoregressiveRationalQuadraticSpline{end}"] = bijection(
        lambda c=c: flows.AutoregressiveRationalQuadraticSpline(4, 1, 8, c), (4,), context, **REAL
    )
    CASES[f"CircularCoupledRationalQuadraticSpline{end}"] = bijection(
        lambda c=c: flows.CircularCoupledRationalQuadraticSpline(4, 1, 8, [0, 1], c),
        (4,),
        context,
        domain=circle,
    )
    CASES[f"CircularAutoregressiveRationalQuadraticSpline{end}"] = bijection(
        lambda c=c: flows.CircularAutoregressiveRationalQuadraticSpline(4, 1, 8, [0, 1], c),
        (4,),
        context,
        domain=circle,
    )


def drawn(make, **options):
    """A base distribution of normflows: `sample(n)`, and forward(n) with the log_prob."""

    def check():
        torch.set_default_dtype(torch.float64)
        try:
            torch.manual_seed(0)
            made = make()
            with torch.no_grad():
                for p in made.parameters():
                    p.add_(0.3 * torch.randn_like(p))
            return density(made.log_prob, (2,), None, made.sample, made.forward, **options)()
        finally:
            torch.set_default_dtype(torch.float32)

    return check


CASES |= {
    "DiagGaussian": drawn(lambda: distributions.DiagGaussian(2)),
    "UniformGaussian": drawn(lambda: distributions.UniformGaussian(2, [1])),
    "GaussianMixture": drawn(lambda: distributions.GaussianMixture(3, 2)),
    "GaussianPCA": drawn(lambda: distributions.GaussianPCA(2, 1, 0.5)),
    "NormalizingFlow": flow(
        lambda: nf.NormalizingFlow(
            distributions.DiagGaussian(2),
            [flows.MaskedAffineAutoregressive(2, 8), flows.LULinearPermute(2)],
        ),
        (2,),
    ),
}


def to_logits(y):
    """As normflows prepares pictures for `bitsPerDim`: noise, then the logit."""
    noisy = transform.Jitter()(transform.Scale()(y / 255))
    return transform.Logit(0.05)(noisy)


def bits(log_p, v):
    return nf.utils.bitsPerDim(SimpleNamespace(log_prob=lambda v: log_p), v, trans_param=[0.05])


CASES |= {"bitsPerDim": partial(check_bits, bits, to_logits, (3, 2, 4))}
