"""`ConditionalFlow`: the fold over layers."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from cnf import inputs, noise
from cnf.features import channels_of
from cnf.fused import FusedSteps, fuse
from cnf.inputs import check_draws
from cnf.layers.base import Bijection, Dequantization, Prior, check_finite, constant
from cnf.layers.checkerboard import CheckerboardCoupling
from cnf.layers.residual import Residual
from cnf.layers.squeeze import Squeeze
from cnf.model import ConditionalModel
from cnf.nets import Network, repeated
from cnf.noise import Generator

Layer = Bijection | Prior | Dequantization


class ConditionalFlow(ConditionalModel):
    """A list of layers from y to z; log p(y|x) is the sum of their terms, :eq:`eq-one-idea`: the
    log-determinants of the bijections, :eq:`eq-given-change`, :eq:`eq-coupling-stack`, the
    log-densities of the priors, :eq:`eq-given-terms`, and -log q of the dequantization. x enters by
    the couplings, the splits and the last prior, :eq:`eq-conditional-sum`. For every x the density
    of v integrates to one, :eq:`eq-given-normalised`.

    Args:
        layers: in the order from y to z; a `Dequantization`, if any, comes first, and the one
            `Prior` that keeps nothing last.
        features: h = features(x), one map a level, or a tensor for a flow of one level; each layer
            is handed the map of its level, which rises at every `Squeeze`. Any module: `multiple`
            and `factor` are 1 if it does not have them.

    Attributes:
        fast: run the steps of a level together, see `FusedSteps`; False: layer by layer, the
            readable definition. The same numbers, to rounding.
        recompute: in training, keep no activation of the steps and rebuild them through the inverse
            in backward: little memory for a third more time. Only where `fast`.

    Raises: ValueError if the layers are in another order, or the features have too few levels.
    """

    fast = True
    recompute = False

    def __init__(self, layers: Iterable[Layer], features: nn.Module):
        super().__init__()
        layers = list(layers)
        check_order(layers)
        self.layers = nn.ModuleList(layers)
        self.features = features
        self.exact = all(layer.exact for layer in layers)
        self.num_squeezes = sum(isinstance(layer, Squeeze) for layer in layers)
        if hasattr(features, "channels"):
            self.check_maps(len(channels_of(features)))
        # a part of a picture must keep its colours, so it starts at an even position
        boards = [k for layer, k in with_levels(layers) if isinstance(layer, CheckerboardCoupling)]
        colours = 2 ** (max(boards) + 1) if boards else 1
        self.multiple = math.lcm(2**self.num_squeezes, getattr(features, "multiple", 1), colours)
        self.factor = getattr(features, "factor", 1)
        self.channels = channels_of_y(layers)

    def labels(self, v: Tensor) -> Tensor:
        """y of v: the cell of the dequantization in which it lies."""
        first = self.layers[0]
        return first.inverse(v) if isinstance(first, Dequantization) else v

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """v, (n, B, C, ...), before the dequantization takes its cell. What depends on h alone is
        computed once for the n, :eq:`eq-features-once`."""
        check_draws(temperature, n)
        generator, v = noise.repeated(generator, n, h[0].shape[0]), cast(Any, None)
        for part, level in reversed(self._parts()):
            if isinstance(part, FusedSteps):
                v = part.inverse(v, h[level])
                continue
            maps = self._readable(part, h[level])
            maps = repeated(maps, n) if n > 1 else maps
            if isinstance(part, Prior):
                v = part.sample(v, maps, temperature, generator)
            elif isinstance(part, Bijection):
                v = part.inverse(v, maps)[0]
        return v.unflatten(0, (n, -1))

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        y = self.tensor(y, "y")
        inputs.check_y(y, h[0], self.channels)
        return self.encode(y, h, generator)[1]

    # -- the two directions ------------------------------------------------------------------------

    def condition(self, x: Tensor) -> list[Tensor]:
        """h = g(x): one feature map a level, :eq:`eq-features-list`."""
        h = self.maps(x)
        self.check_maps(len(h))
        return h

    def check_maps(self, num_maps: int) -> None:
        """Raise ValueError unless the features have a map for every level."""
        if num_maps <= self.num_squeezes:
            raise ValueError(
                f"the features have {num_maps} map(s), but the layers squeeze {self.num_squeezes} "
                f"time(s): give {self.num_squeezes + 1} maps, the first at the resolution of y, "
                "each further one half as large"
            )

    def encode(
        self, y: Tensor, h: list[Tensor], generator: Generator = None
    ) -> tuple[list[Tensor], Tensor]:
        """y to its latents, one a prior, in the order in which they leave, together as many numbers
        as y has, :eq:`eq-multiscale-sizes`; and log p(y|x), (B,), :eq:`eq-multiscale-sum`."""
        latents, total = [], constant(h[0], 0.0).to(self.dtype)
        for part, given, term in self._forward(self._parts(), y, h, generator):
            if isinstance(part, Prior):
                latents.append(part.latent(given))
            total = total + term
        return latents, total

    def terms(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> list[tuple[Layer, Tensor]]:
        """Every layer with its term, (B,), nats; they sum to `log_prob` under the same noise,
        :eq:`eq-first-terms`."""
        h = self.condition(x)
        walk = self._forward(with_levels(self.layers), y, h, generator)
        return [(layer, term) for layer, _, term in walk]

    def _forward(
        self, parts: Iterable[tuple[Any, int]], y: Tensor, h: list[Tensor], generator: Generator
    ) -> Iterator[tuple[Any, Tensor, Tensor]]:
        """(part, its input, its term) from y to z. Raises DataError if y is not finite."""
        y = self.tensor(y, "y").to(self.dtype)
        check_finite(self, y, "y")
        for part, level in parts:
            if isinstance(part, FusedSteps):
                out, term = part(y, h[level], self.recompute)
            else:
                drawn = (generator,) if isinstance(part, Dequantization) else ()
                out, term = part(y, self._readable(part, h[level]), *drawn)
            yield part, y, term
            y = out

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        """Latents to y: undoes `encode`, exactly for discrete y."""
        return self.labels(self.decode_v(latents, h))

    def decode_v(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        """Latents to v, (B, C, ...), before the dequantization takes its cell."""
        latents, v = list(latents), cast(Any, None)
        for part, level in reversed(self._parts()):
            if isinstance(part, Prior):
                v = part.restore(v, latents.pop())
            elif isinstance(part, FusedSteps):
                v = part.inverse(v, h[level])
            elif isinstance(part, Bijection):
                v = part.inverse(v, self._readable(part, h[level]))[0]
        return v

    @torch.no_grad()
    def reconstruction_error(self, y: Tensor, x: Tensor, generator: Generator = None) -> float:
        """The worst |v - f^-1(f(v))| of a batch, in units of v; inf if anything is not finite.

        What rounding leaves of invertibility: the error that `recompute` hands to its gradients.
        """
        h, latents, v = self.condition(x), [], cast(Any, None)
        for part, given, _ in self._forward(self._parts(), y, h, generator):
            if v is None and not isinstance(part, Dequantization):
                v = given
            if isinstance(part, Prior):
                latents.append(part.latent(given))
        error = (v - self.decode_v(latents, h)).abs()
        return error.max().item() if error.isfinite().all() else math.inf

    def _readable(self, part: Layer, h: Tensor) -> Tensor:
        """h, which the features may have made in bfloat16, in the type of the weights if the layer
        holds no `Network`, which alone would cast it."""
        if h.dtype == self.dtype or any(isinstance(m, Network) for m in part.modules()):
            return h
        return h.to(self.dtype)

    def _parts(self) -> list[tuple[Any, int]]:
        """The layers, with the steps fused where those may run together."""
        # activation norms start one after the other
        together = self.fast and (not self.training or self.has_started())
        return with_levels(fuse(self.layers) if together else self.layers)


def with_levels(parts: Iterable[nn.Module | FusedSteps]) -> list[tuple[Any, int]]:
    """Each part with the level at which it works; it rises at every `Squeeze`."""
    pairs, level = [], 0
    for part in parts:
        pairs.append((part, level))
        level += isinstance(part, Squeeze)
    return pairs


def channels_of_y(layers: Iterable[Layer]) -> int | None:
    """The number of channels that y must have, as the first layer says that is of one number; None
    if there is none, or if a layer before it may change the number."""
    folded = 1
    for layer in layers:
        if isinstance(layer, Dequantization | Residual):
            continue
        if isinstance(layer, Squeeze):
            folded *= 4
        else:
            return None if layer.channels is None else layer.channels // folded
    return None


def check_order(layers: Sequence[nn.Module]) -> None:
    """Raise ValueError unless dequantization, bijections and priors stand where they belong."""
    for place, layer in enumerate(layers):
        name = f"layers[{place}] is a {type(layer).__name__}"
        if not isinstance(layer, Layer):
            raise ValueError(f"{name}: give bijections, priors and a dequantization of cnf.layers")
        if isinstance(layer, Dequantization) and place:
            raise ValueError(f"{name}: a dequantization comes first, and there is only one")
        if isinstance(layer, Prior) and not layer.keeps and place < len(layers) - 1:
            raise ValueError(f"{name}, which keeps nothing of y for the layers after it: end there")
    if not layers or not isinstance(layers[-1], Prior) or layers[-1].keeps:
        last = type(layers[-1]).__name__ if layers else "missing"
        raise ValueError(
            f"the last layer is {last}: end with a prior that keeps nothing, such as GaussianPrior"
        )
