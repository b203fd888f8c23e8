"""Flow matching and diffusion given x, on the feature networks and the dequantization of flows."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf import noise
from cnf.arguments import Count, Positive
from cnf.features import Features, Spec, build_features, channels_of
from cnf.flow import ConditionalFlow, with_levels
from cnf.layers import ActNorm, Residual, Squeeze, Subbands, UniformDequantization
from cnf.layers.affine import ConditionalAffine
from cnf.layers.base import Bijection, constant, mix_channels
from cnf.layers.binary import BinaryDequantization
from cnf.nets import CouplingNet
from cnf.noise import Generator
from cnf.replication import plugs
from cnf.weights import kind

labels, nets, paths = (plugs.module("families", part) for part in ("labels", "nets", "paths"))


@dataclass(frozen=True)
class Shape:
    """Of the network, see `VelocityNet`. `noise`: of labels. `steps`: of the solver, or the number
    of times of the bound."""

    width: Positive = 64
    blocks: Count = 2
    deep: Positive = 64
    deep_blocks: Count = 1
    steps: Positive = 8
    noise: Literal["half-line", "uniform"] = "half-line"


class Opponent(Bijection):
    """Three colours to their mean and two differences in each of `bands`, orthonormal."""

    rows: Tensor

    def __init__(self, bands: int):
        super().__init__()
        rows = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
        rows = rows / rows.square().sum(1, keepdim=True).sqrt()
        self.register_buffer("rows", torch.block_diag(*[rows] * bands), persistent=False)

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return mix_channels(y, self.rows.to(y)), constant(y, 0.0)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return mix_channels(z, self.rows.T.to(z)), constant(z, 0.0)


class ContinuousFlow(ConditionalFlow):
    """Dequantization, bijections, and a `Path` as the last prior, which is trained by regression:
    its loss is no likelihood. The bijections are trained by the likelihood of the simple model."""

    def condition(self, x):
        h = super().condition(x)
        return [h[0], torch.cat([h[1].to(h[0].dtype), F.pixel_unshuffle(h[0], 2)], dim=1)]

    def start(self, y: Tensor, h: list[Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        """v of the path, and the sum of the terms of all layers before it."""
        v, total = self.tensor(y, "y").to(self.dtype), constant(h[0], 0.0).to(self.dtype)
        for place, (layer, level) in enumerate(with_levels(self.layers[:-1])):
            v, term = layer(v, h[level], generator) if place == 0 else layer(v, h[level])
            total = total + term
        return v, total

    def encode(self, y, h, generator=None):
        v, total = self.start(y, h, generator)
        return [v], total + self.layers[-1](v, h[1], generator)[1]

    def loss(self, y, x, generator=None):
        h, path, size = self.condition(x), self.layers[-1], y[0].numel()
        v, total = self.start(y, h, generator)
        known = path.known(h[1])
        nats = -(total + path.known_log_prob(v, known)).mean() / size
        place = torch.arange(len(v), device=v.device)
        u = (place + noise.uniform((len(v),), generator, v)) / len(v)
        error, simple, weight = path.errors(v.detach(), h[1], known, u, generator)
        bound = nats + (weight * (error - simple)).mean() / size
        learned = weight * error if path.bound else error
        return nats + learned.mean() / size, {"nats": bound, "simple": nats / math.log(2)}


def fixed(channels: int, scale: float, shift: float) -> ActNorm:
    """z = scale (y + shift), with nothing to learn."""
    layer = ActNorm(channels).requires_grad_(False)
    layer.log_scale.fill_(math.log(scale))
    layer.bias.fill_(shift)
    layer.initialised.fill_(True)
    return layer


def start_of_labels(channels: int, noise: str) -> list:
    """Labels to v of mean 0 and variance 1, if they are balanced, in squares of 2x2."""
    if noise == "uniform":
        return [UniformDequantization(2), fixed(channels, math.sqrt(12), -0.5), Squeeze()]
    half_line = fixed(channels, labels.SPREAD, labels.FAR / labels.SPREAD)
    unit = fixed(channels, 1 / math.hypot(labels.FAR, labels.SPREAD), -0.5)
    return [BinaryDequantization([half_line], "gaussian"), unit, Squeeze()]


def start_of_pictures(c: int, h: int, bins: int) -> list:
    """Grey levels to the residual in subbands, made white by what h says of each number alone."""
    white = ConditionalAffine(c, CouplingNet(0, h, 2 * c, 64))
    first = [UniformDequantization(bins), Residual(8.0), Subbands(), Opponent(4), ActNorm(c)]
    return [*first, white]


def build(channels: int, bins: int, network: Features, shape: Shape, bound: bool) -> ContinuousFlow:
    c, (full, half) = 4 * channels, channels_of(network)[:2]
    h = 4 * full + half
    net = nets.VelocityNet(c, h, shape.width, shape.blocks, shape.deep, shape.deep_blocks)
    path = paths.Path(c, net, shape.steps, bound)
    if bins == 2 and shape.noise == "half-line":
        path = labels.LabelPath(CouplingNet(0, h, c, 32), c, net, shape.steps, bound)
    first = start_of_labels(channels, shape.noise) if bins == 2 else start_of_pictures(c, h, bins)
    model = ContinuousFlow([*first, path], network)
    model.multiple = math.lcm(model.multiple, 4 if shape.deep_blocks else 2)
    return model


@kind("families/flow-matching")
def flow_matching(
    channels: Positive, bins: Positive, features: Spec, shape: Shape
) -> ContinuousFlow:
    """A continuous flow: its likelihood is the solver's, with one probe for the divergence."""
    return build(channels, bins, build_features(features, 1, carry=bins > 2), shape, False)


@kind("families/diffusion")
def diffusion(channels: Positive, bins: Positive, features: Spec, shape: Shape) -> ContinuousFlow:
    """The same network, trained and scored by its variational bound."""
    return build(channels, bins, build_features(features, 1, carry=bins > 2), shape, True)
