"""Three binary pixels, where every probability is known, and a flow that learns them.

The pairs come from `ThresholdedField`: a correlated Gaussian v around one of four inputs x, cut at
1/2. The pixels are channels of a 1x1 picture, so that couplings and the 1x1 convolution mix them.
"""

import math

import numpy as np
import torch
from scipy import stats
from torch import nn
from two_pixels import Net

from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    BinaryDequantization,
    ConditionalAffine,
    Conv1x1,
    GaussianPrior,
)
from cnf.replication.data.known import ThresholdedField

field = ThresholdedField(shape=(3, 1, 1), correlation=0.9, gain=0.7, num_inputs=4, seed=0)
inputs, truth = field.inputs.double(), torch.from_numpy(field.table)
labels = torch.from_numpy(field.values).double().reshape(8, 3, 1, 1)
names = ["".join(map(str, y)) for y in field.values]


def w_of(d):
    """Softplus undone: log(e^d - 1), without overflow."""
    return d + np.log(-np.expm1(-d))


def q_of(base, m=0.0, s=1.0):
    """(distribution function, log-density) of the distance d to the threshold; `base`: the noise
    as a SciPy distribution."""

    def cdf(d):
        return base.cdf((w_of(d) - m) / s)

    def log_q(d):  # log sigmoid(w) = log(1 - e^-d)
        log_pi = base.logpdf((w_of(d) - m) / s)
        return log_pi - np.log(s) - np.log(-np.expm1(-d))

    return cdf, log_q


BASES = {"logistic": stats.logistic, "gaussian": stats.norm}


def toy_flow(dequantization=BinaryDequantization, noise="logistic"):
    torch.manual_seed(0)
    q = dequantization([ConditionalAffine(3, Net(3 + 3, 6))], noise=noise)
    steps = [
        layer
        for _ in range(3)
        for layer in (ActNorm(3), Conv1x1(3), AffineCoupling(3, Net(2 + 3, 2)))
    ]
    return ConditionalFlow([q, *steps, GaussianPrior(3, Net(3, 6))], RawFeatures(3))


def train(flow, steps=1000, batch=256):
    """Minimise the bound on fresh batches; its history in bits per pixel."""
    g, bits = torch.Generator().manual_seed(0), []
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        y, x = field.sample(batch, g)
        loss, _ = flow.loss(y, x.double(), g)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bits.append(loss.item() / math.log(2))
    flow.eval()
    return np.array(bits)


@torch.no_grad()
def log_weights(flow, x, draws, seed=0):
    """log W of all label vectors at one x (1, 3, 1, 1): (draws, 8), nats."""
    y = labels.repeat(draws, 1, 1, 1)
    g = torch.Generator().manual_seed(seed)
    return flow.log_prob(y, x.expand(len(y), -1, -1, -1), g).reshape(draws, 8)


@torch.no_grad()
def by_grid(density, x, half=56, last=3.9):
    """P(y|x), (8,), of a density p(v|x): midpoints on (2 half)^3 cells, v = 1/2 + sinh(t)."""
    t = last * (torch.arange(2 * half) + 0.5 - half) / half  # up to 24 wide
    v = torch.cartesian_prod(*[0.5 + torch.sinh(t)] * 3).reshape(-1, 3, 1, 1)
    dv = torch.cartesian_prod(*[torch.cosh(t) * last / half] * 3).prod(1)
    parts = v.split(50_000)
    log_p = [density.log_prob(part, x.expand_as(part)) for part in parts]
    mass = torch.cat(log_p).exp() * dv
    return mass.reshape(2, half, 2, half, 2, half).sum((1, 3, 5)).flatten()


def codes(y):
    """Label vectors (B, 3) as numbers: 000 is 0, ..., 111 is 7."""
    return (y @ torch.tensor([4.0, 2.0, 1.0])).long()


def importance_bound(log_W, M):
    """B_M of every label vector: mean over groups of M draws, (8,)."""
    groups = log_W.reshape(-1, M, 8)
    return (groups.logsumexp(1) - math.log(M)).mean(0)


def bits(log_P, which=0):
    """Mean over y ~ P(y|x) of -log_P (8,) nats, in bits per pixel: D = 3."""
    return (-(truth[which] * log_P).sum() / (3 * math.log(2))).item()
