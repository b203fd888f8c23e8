"""The three contracts. A layer returns its output and its term of log p(y|x): (B,), in nats.

========================  ==========================  =============================================
kind                      forward                     going back
========================  ==========================  =============================================
Bijection                 (y, h) -> (z, log_det)      inverse(z, h) -> (y, -log_det)
Prior                     (y, h) -> (kept, log_p)     sample(kept, h, ...) or restore(kept, latent)
Dequantization            (y, h, generator)           inverse(v) -> y, deterministic
                          -> (v, -log_q)
========================  ==========================  =============================================

``y`` is (B, C, ...): vectors (B, D), or pictures (B, C, H, W); a layer that needs the positions of
pictures says (B, C, H, W). ``h`` holds the features of this level, (B, C_h, ...) with the same
sizes, or is None. Every layer accepts h and ignores it if it has no use for it. ``exact`` says
whether the term is exact or makes log p(y|x) a lower bound.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.errors import DataError
from cnf.noise import Generator

Scale = Literal["bounded", "softplus", "additive"]


class Bijection(nn.Module):
    """An invertible map z = f(y; h) for every fixed h; log|det dz/dy| is added to log p(z),
    :eq:`eq-change-nd`. Laws: inverse undoes forward; log_det is autograd's, and that of the inverse
    is the same number negated, :eq:`eq-change-sign`. `channels`: of y; None if it is not of one
    number of channels."""

    exact = True
    channels: int | None = None

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Prior(nn.Module):
    """Scores a part of y and keeps the rest. Laws: log_p is that of `torch.distributions`;
    ``restore(kept, latent(y))`` is y exactly. `keeps`: whether there is a rest; a flow ends with
    the one prior that keeps nothing."""

    exact = True
    keeps = False
    channels: int | None = None  # of y, as of a bijection
    num_kept = 0  # the first so many channels

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        raise NotImplementedError

    def latent(self, y: Tensor) -> Tensor:
        """The part of y that leaves the flow here; all of it, unless the prior keeps a rest."""
        return y[:, self.num_kept :] if self.keeps else y

    def restore(self, kept: Any, latent: Tensor) -> Tensor:
        return latent if kept is None else torch.cat([kept, latent], dim=1)

    def sample(
        self, kept: Any, h: Tensor | None, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Draw z = mu + temperature * sigma * eps and restore y from it."""
        raise NotImplementedError


class Dequantization(nn.Module):
    """Discrete y to continuous v in the cell of y. Laws: ``inverse(forward(y)) == y`` for every
    draw; q(v|y, x) integrates to 1 on the cell."""

    exact = False

    def forward(
        self, y: Tensor, h: Tensor | None = None, generator: Generator = None
    ) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def inverse(self, v: Tensor) -> Tensor:
        raise NotImplementedError


def sum_except_batch(t: Tensor) -> Tensor:
    """(B, ...) -> (B,)."""
    return t.flatten(1).sum(1)


def constant(y: Tensor, value: Tensor | float) -> Tensor:
    """The term (B,) of a layer whose log-determinant is the same for every sample."""
    return torch.as_tensor(value, dtype=y.dtype, device=y.device).expand(y.shape[0])


def per_entry(y: Tensor, nats: float) -> Tensor:
    """The term (B,) of a layer that adds so many nats for every entry of y."""
    return constant(y, y[0].numel() * torch.tensor(nats, dtype=torch.float64))


def per_channel(parameter: Tensor, y: Tensor) -> Tensor:
    """One number a channel, in the shape that fits to y (B, C, ...): (C, 1, ...)."""
    return parameter.reshape([-1] + [1] * (y.dim() - 2))


def num_positions(y: Tensor) -> int:
    """H W of pictures (B, C, H, W), 1 of vectors (B, D)."""
    return math.prod(y.shape[2:])


def mix_channels(y: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """W y + b at every position of y (B, C, ...), W (C_out, C): a 1x1 convolution, which is a
    matrix product where y is a vector."""
    sides = y.dim() - 2
    product: Any = [F.linear, F.conv1d, F.conv2d, F.conv3d][sides]
    return product(y, weight.reshape(list(weight.shape) + [1] * sides), bias)


def log_scale(raw: Tensor, kind: Scale, bound: float) -> Tensor:
    """Log of a positive scale from a free parameter.

    "bounded": bound * tanh(raw / bound), in (-bound, bound): keeps the inverse finite in float32.
    "softplus": log softplus(raw), as in the first author's released code; unbounded below.
    """
    if kind == "bounded":
        return bound * torch.tanh(raw / bound)
    if kind != "softplus":
        raise ValueError(
            f"scale = {kind!r}: choose bounded or softplus, for a coupling also additive"
        )
    # far below 0 softplus(raw) underflows, and log softplus(raw) = raw - e^raw / 2 + ...
    return torch.where(raw < -15, raw, F.softplus(raw.clamp(min=-15)).log())


def gaussian_log_prob(z: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """log N(z; mu, sigma^2), summed over all but the batch: (B,), nats, :eq:`eq-given-normal`"""
    eps = (z - mu) * (-log_sigma).exp()
    return -sum_except_batch(0.5 * eps.square() + log_sigma + 0.5 * math.log(2 * math.pi))


def run(layers: Iterable[nn.Module], y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
    """Pass y through bijections of one level: (output, sum of log_det), :eq:`eq-change-chain`."""
    total = constant(y, 0.0)
    for layer in layers:
        y, log_det = layer(y, h)
        total = total + log_det
    return y, total


def halves(out: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The two parameters that a network returned for each of `channels`, each (B, channels, ...).

    Raises ValueError if it returned another number."""
    check_outputs(out, 2 * channels)
    first, second = out.chunk(2, dim=1)
    return first, second


def scale_and_shift(out: Tensor, channels: int, kind: Scale, bound: float) -> tuple[Tensor, Tensor]:
    """(log s, t), each (B, channels, ...), of what a network returned; "additive": log s = 0."""
    if kind == "additive":
        check_outputs(out, channels)
        return torch.zeros_like(out), out
    raw, t = halves(out, channels)
    return log_scale(raw, kind, bound), t


def check_outputs(out: Tensor, channels: int) -> None:
    """Raise ValueError if a network returned another number of channels: fewer would broadcast."""
    if out.shape[1] != channels:
        raise ValueError(f"the network returns {out.shape[1]} channels where {channels} are needed")


def checks_values(module: nn.Module, t: Tensor) -> bool:
    """Whether the values of t are checked: in a training step on an accelerator they are not, since
    the host would wait for them."""
    return not module.training or t.device.type == "cpu"


def check_finite(module: nn.Module, t: Tensor, name: str) -> None:
    """Raise DataError, naming the first wrong value, unless t is finite and `checks_values`."""
    if checks_values(module, t):
        finite = t.isfinite()
        check_all(finite, lambda: f"{name} holds {t[~finite][0].item()}: give finite values")


def check_all(right: Tensor, message: Callable[[], str]) -> None:
    """Raise DataError unless `right` is true everywhere. It is torch's own check: a graph that was
    traced makes it when it runs, and raises RuntimeError."""
    everywhere: Any = right.all().item()
    if everywhere is False:
        raise DataError(message())
    if everywhere is not True:  # where a graph is traced, a symbol
        torch._check_with(DataError, everywhere, message)


def check_channels(y: Tensor, channels: int, what: str) -> None:
    """Raise ValueError if y has another number of channels: one would broadcast."""
    if y.shape[1] != channels:
        raise ValueError(f"y has {y.shape[1]} channels, but this {what} is of {channels}")


def check_pairs(y: Tensor, h: Tensor) -> None:
    """Raise DataError unless there is one h, or one for each y."""
    if h.shape[0] != 1 and h.shape[0] != y.shape[0]:
        raise DataError(f"{len(y)} y for {len(h)} x: give one x, or as many")


def check_features(y: Tensor, h: Tensor | None) -> None:
    """Raise ValueError if h is not at the resolution of y."""
    if h is not None and h.shape[2:] != y.shape[2:]:
        raise ValueError(
            f"h is {size_of(h)} but this level works at {size_of(y)}: pass features[level], not "
            "the raw image"
        )


def size_of(t: Tensor) -> str:
    """The sizes of t (B, C, ...) in words: 32x48, or "a vector"."""
    return "x".join(map(str, t.shape[2:])) or "a vector"


def check_picture(y: Tensor, what: str) -> None:
    """Raise ValueError unless y is (B, C, H, W), for what needs positions."""
    if y.dim() != 4:
        raise ValueError(f"y is {tuple(y.shape)}, but {what} needs pictures (B, C, H, W)")
