"""Two pixels of four grey levels, where every probability is known, and flows that learn them.

The pairs come from `GaussianField`: a correlated Gaussian picture around one of two inputs x, cut
at whole numbers. Its deviation given x is half a grey level, which is hard for uniform noise.
"""

import math

import numpy as np
import torch
from torch import nn

from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    ConditionalAffine,
    Conv1x1,
    GaussianPrior,
    VariationalDequantization,
)
from cnf.layers.variational import with_target
from cnf.replication.data.known import GaussianField

LEVELS = 4
FINE = 40  # midpoints on the side of a cell

field = GaussianField(
    shape=(2, 1, 1), levels=LEVELS, correlation=0.8, deviation=0.5, gain=0.4, num_inputs=2
)
inputs, truth = field.inputs.double(), torch.from_numpy(field.table)  # (2, 16)
every_y = torch.from_numpy(field.values).double().reshape(16, 2, 1, 1)


class Net(nn.Module):
    """(y_a, h) -> parameters of a layer, for pictures of 1x1 pixels."""

    def __init__(self, inputs, outputs, width=24):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))

    def forward(self, y_a, h):
        t = h if y_a is None else torch.cat([y_a, h], 1)
        return self.body(t.flatten(1))[:, :, None, None]


def learned(couplings=False):
    """q of two pixels, which are two channels of a 1x1 picture."""
    layers = [ConditionalAffine(2, Net(2 + 2, 4))]
    if couplings:
        layers += [AffineCoupling(2, Net(1 + 4, 2)), Conv1x1(2)]
    return VariationalDequantization(layers, LEVELS)


@torch.no_grad()
def log_q_at(layer, v, y, h):
    """log q(v|y, x) at given v, through the inverse, (B,)."""
    w = torch.logit(layer.bins * v - y)
    squash = nn.functional.logsigmoid(w) + nn.functional.logsigmoid(-w)
    total = y[0].numel() * math.log(layer.bins) - squash.flatten(1).sum(1)
    eps = w
    for bijection in reversed(layer.layers):
        eps, log_det = bijection.inverse(eps, with_target(y, h, layer.bins))
        total = total + log_det
    return total - 0.5 * (eps.square() + math.log(2 * math.pi)).flatten(1).sum(1)


def toy_flow(noise):
    torch.manual_seed(0)
    steps = [
        layer
        for _ in range(3)
        for layer in (ActNorm(2), Conv1x1(2), AffineCoupling(2, Net(1 + 2, 2)))
    ]
    return ConditionalFlow([noise, *steps, GaussianPrior(2, Net(2, 4))], RawFeatures(2))


def train(flow, steps=400, batch=256, parameters=None):
    """Minimise the bound on fresh pairs; bits per entry of every step."""
    g, bits = torch.Generator().manual_seed(0), []
    parameters = list(parameters or flow.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        y, x = field.sample(batch, g)
        loss, _ = flow.loss(y.double(), x.double(), g)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        bits.append(loss.item() / math.log(2))
    flow.eval()
    return np.array(bits)


def plane(low, high, cells):
    """Midpoints of `cells` grey levels a side, (n n, 2, 1, 1), and the area of one square."""
    line = low + (high - low) * (torch.arange(cells * FINE) + 0.5) / (cells * FINE)
    area = ((high - low) / (cells * FINE)) ** 2
    return torch.cartesian_prod(line, line).reshape(-1, 2, 1, 1), area


@torch.no_grad()
def density(flow, x, v):
    """p(v|x) at one x (1, 2, 1, 1): the layers behind the noise, (number of v,)."""
    bare = ConditionalFlow(flow.layers[1:], flow.features).eval()
    return bare.log_prob(v, x.expand(len(v), -1, -1, -1)).exp()


def by_grid(flow, x, margin=0):
    """(P of the 16 pictures, mass out of all cells); `margin` in grey levels."""
    v, area = plane(-margin / LEVELS, 1 + margin / LEVELS, LEVELS + 2 * margin)
    part = density(flow, x, v) * area
    inside = ((v >= 0) & (v < 1)).flatten(1).all(1)
    code = (LEVELS * v.flatten(1)).floor().long() @ torch.tensor([LEVELS, 1])
    P = torch.zeros(16).index_add(0, code[inside], part[inside])
    return P, part[~inside].sum()


@torch.no_grad()
def log_weights(flow, draws, seed=0):
    """log p(v|x) - log q(v|y, x) of all y and x, (draws, 2, 16), nats."""
    y, x = (
        every_y.repeat(draws * 2, 1, 1, 1),
        inputs.repeat_interleave(16, 0).repeat(draws, 1, 1, 1),
    )
    g = torch.Generator().manual_seed(seed)
    return flow.log_prob(y, x, g).reshape(draws, 2, 16)


def bits(log_P):
    """Bits per entry of (2, 16) log-probabilities, under the truth."""
    return -(truth * log_P).sum(1).mean().item() / (2 * math.log(2))
