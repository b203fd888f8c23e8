"""Factorised models, with exact likelihoods: every entry of y is independent given x."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnf import noise
from cnf.errors import DataError
from cnf.features import Spec, build_features, channels_of
from cnf.inputs import check_draws
from cnf.layers.base import check_pairs, log_scale, sum_except_batch
from cnf.layers.uniform import check_levels
from cnf.model import ConditionalModel
from cnf.nets import ZeroConv
from cnf.noise import Generator
from cnf.weights import kind

LEVELS = 256
HALF_WIDTH = 1 / 512  # half a grey level, on the scale of v


class Entrywise(ConditionalModel):
    """A model whose exact log P(y|x) is a sum over the entries of y, each alone or given those
    before it, :eq:`eq-controls-chain`. Raises DataError for y that are not in its range."""

    exact = True

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P of every entry of y given h = `condition(x)`, nats, (B, C, H, W)."""
        raise NotImplementedError

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        return sum_except_batch(self.entries(y, h))


class Factorised(Entrywise):
    """A feature network and one 3x3 convolution that gives every entry its own distribution; the
    probability of y is their product, :eq:`eq-fact-product`.

    Args:
        features: any module; h[0], at the resolution of y, is what is read.
        out_channels: of the convolution.
    """

    has_mean = True

    def __init__(self, features: nn.Module, out_channels: int):
        super().__init__()
        self.features = features
        self.multiple = getattr(features, "multiple", 1)
        self.factor = getattr(features, "factor", 1)
        self.head = ZeroConv(channels_of(features)[0], out_channels)

    def params(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(h[0], output of the head), both at y's resolution."""
        first = self.maps(x)[0].to(self.dtype)
        return first, self.head(first)


def target(model: ConditionalModel, y: Tensor, levels: int, like: Tensor) -> Tensor:
    """y in the type of `like`. Raises DataError if it is of another shape, which would broadcast,
    or holds anything but 0 .. levels - 1 (in training mode: on the CPU only)."""
    y = model.tensor(y, "y").to(like.dtype)
    check_levels(model, y, levels)
    check_pairs(y, like)
    if y.shape[1:] != like.shape[1:]:
        raise DataError(f"y is {tuple(y.shape[1:])} but x gives {tuple(like.shape[1:])} (C, H, W)")
    return y


def logistic_draws(
    mu: Tensor, scale: Tensor | float, n: int, temperature: float, generator: Generator
) -> Tensor:
    """n logistic draws of every entry, mu + temperature scale eps, (n, B, C, H, W); above 0 with
    probability sigmoid(mu / (temperature scale)), :eq:`eq-fact-draw`."""
    check_draws(temperature, n)
    batch = mu.shape[0]
    generator = noise.repeated(generator, n, batch)
    eps = noise.logistic((n * batch, *mu.shape[1:]), generator, mu)
    return mu + temperature * scale * eps.unflatten(0, (n, batch))


class DiscretisedLogistic(Factorised):
    r"""P(k) = sigmoid((k/256 + w - mu)/s) - sigmoid((k/256 - w - mu)/s), w = 1/512, open end bins:
    :eq:`eq-bits-logistic`.

    With this half-width the 256 probabilities sum to 1; the released code integrates over twice the
    cell, so that they sum to about 2, :eq:`eq-bits-two`. `mean` is a sum of probabilities to lie
    above a level, :eq:`eq-fact-mean`.

    Args:
        features: h[0] carries the upsampled input in its first 3 channels: mu starts there.
        cells: 1; with 2, w = 1/256 as in the released code, and what it gives is no likelihood.
    """

    def __init__(self, features: nn.Module, cells: int = 1):
        super().__init__(features, 6)
        self.half_width = cells * HALF_WIDTH

    def condition(self, x: Tensor) -> list[Tensor]:
        """[mu, log s], each (B, 3, H, W), on the scale of k/256."""
        h, out = self.params(x)
        mu, raw = out.chunk(2, dim=1)
        return [h[:, :3] - HALF_WIDTH + mu, log_scale(raw, "bounded", 6.0) - 4.0]

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        mu, log_s = h
        return discretised_logistic(target(self, y, LEVELS, like=mu), mu, log_s, self.half_width)

    @torch.no_grad()
    def mean(self, x: Tensor, n: int = 1, generator: Generator = None) -> Tensor:
        """E[y|x], (B, 3, H, W), exactly; n and generator are not used."""
        mu, log_s = self.condition(x)
        thresholds = (torch.arange(LEVELS - 1, device=mu.device).to(mu.dtype) + 0.5) / LEVELS
        at_once = 1024 if mu.device.type == "cpu" else 2**18  # what the cache of a core holds
        parts = zip(mu.flatten().split(at_once), log_s.flatten().split(at_once), strict=True)
        means = []
        for part, log_scales in parts:  # E[y] = sum_k P(y > k)
            distances = part - thresholds[:, None]
            means.append(distances.mul_((-log_scales).exp()).sigmoid_().sum(0))
        return torch.cat(means).view(mu.shape)

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        mu, log_s = h
        return logistic_draws(mu, log_s.exp(), n, temperature, generator)

    def labels(self, v: Tensor) -> Tensor:
        return (LEVELS * v).round().clamp(0, LEVELS - 1)


def discretised_logistic(
    y: Tensor, mu: Tensor, log_s: Tensor, half_width: float = HALF_WIDTH
) -> Tensor:
    """log P(y) of every entry, in nats; y in {0..255}, mu and s on the scale of y/256.

    sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b-a)): no cancellation anywhere,
    :eq:`eq-fact-difference`. However far off, the slope in mu stays below 1/s: :eq:`eq-fact-pull`.
    """
    inverse = (-log_s).exp()
    a = (y / LEVELS + half_width - mu) * inverse
    b = (y / LEVELS - half_width - mu) * inverse
    inside = F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-2 * half_width * inverse))
    ends = torch.where(y == 0, F.logsigmoid(a), F.logsigmoid(-b))
    return torch.where((y == 0) | (y == LEVELS - 1), ends, inside)


class Bernoulli(Factorised):
    """P(y = 1) = q = sigmoid(a), a from the network: plain cross-entropy as a likelihood,
    :eq:`eq-fact-bernoulli`."""

    def __init__(self, features: nn.Module):
        super().__init__(features, 1)

    def condition(self, x: Tensor) -> list[Tensor]:
        return [self.logit(x)]

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        (logit,) = h
        return F.logsigmoid((2 * target(self, y, 2, like=logit) - 1) * logit)

    def logit(self, x: Tensor) -> Tensor:
        """logit of q, (B, 1, H, W)."""
        return self.params(x)[1]

    def p(self, x: Tensor) -> Tensor:
        """p = sigmoid(a), (B, 1, H, W): what the network's output says as it stands. It is the
        model's probability q only where there are no weights; thresholded at 1/2 it is a mask."""
        return torch.sigmoid(self.params(x)[1])

    @torch.no_grad()
    def mean(self, x: Tensor, n: int = 1, generator: Generator = None) -> Tensor:
        """P(y = 1|x), (B, 1, H, W), exactly; n and generator are not used."""
        return torch.sigmoid(self.logit(x))

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Independent draws; the logit is divided by the temperature (0: the most likely label)."""
        (logit,) = h
        return logistic_draws(logit, 1.0, n, temperature, generator)

    def labels(self, v: Tensor) -> Tensor:
        return (v > 0).to(v.dtype)


class WeightedBernoulli(Bernoulli):
    """The paper's weighted likelihood, :eq:`eq-fact-weighted`: a Bernoulli model of probability
    q = p^beta / (p^beta + (1-p)^(1-beta)), p = sigmoid(a).

    logit q = (1-beta) softplus(a) - beta softplus(-a), :eq:`eq-fact-q`: the same family as
    `Bernoulli`, with other gradients, :eq:`eq-fact-gradient`. Likelihoods,
    samples and `mean` are in q; p > 1/2 where q > 1 / (1 + 2^(2 beta - 1)), :eq:`eq-fact-half`.

    Args:
        beta: in (0, 1); near 1 it weighs vessel pixels more.
    """

    def __init__(self, features: nn.Module, beta: float):
        super().__init__(features)
        self.beta = check_beta(beta)

    def logit(self, x: Tensor) -> Tensor:
        return weighted_logit(self.params(x)[1], self.beta)


def check_beta(beta: float) -> float:
    if not 0 < beta < 1:
        raise ValueError(f"beta = {beta}: choose a value between 0 and 1")
    return beta


def weighted_logit(a: Tensor, beta: float) -> Tensor:
    """logit q from the logit a of p, :eq:`eq-fact-q`; it rises with a, :eq:`eq-fact-slope`."""
    return (1 - beta) * F.softplus(a) - beta * F.softplus(-a)


# -- by name -----------------------------------------------------------------------------------


@kind("logistic")
def logistic(features: Spec, cells: Literal[1, 2] = 1) -> DiscretisedLogistic:
    return DiscretisedLogistic(at_full(features), cells)


@kind("bernoulli")
def bernoulli(features: Spec) -> Bernoulli:
    return Bernoulli(at_full(features))


@kind("weighted")
def weighted(features: Spec, beta: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> WeightedBernoulli:
    return WeightedBernoulli(at_full(features), beta)


def at_full(spec: Spec) -> nn.Module:
    """A feature network read at y's resolution, the upsampled input first where there is one."""
    return build_features(spec, levels=0, full=True, carry=True)
