"""ConditionalFlow: the fold over layers."""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.layers.base import Bijection, Dequantization, Prior, constant
from cnf.layers.squeeze import Squeeze
from cnf.model import ConditionalModel, check_temperature
from cnf.nets import Features
from cnf.noise import Generator

Layer = Bijection | Prior | Dequantization


class ConditionalFlow(ConditionalModel):
    """A list of layers from y to z; log p(y|x) is the sum of their terms (paper; derived in
    the chapter on coupling layers).

    Args:
        layers: in the order from y to z; a `Prior` that keeps nothing comes last.
        features: h = features(x), one map a level; each layer is handed that of its level, which
            rises at every `Squeeze`.
        auxiliary: weight of a per-pixel cross-entropy on h[0] that is added to the training loss,
            in nats per pixel; it never enters a likelihood. 0: none.
    """

    def __init__(self, layers: Iterable[Layer], features: Features, auxiliary: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.features = features
        self.auxiliary = auxiliary
        self.head = nn.Conv2d(features.channels[0], 1, 1) if auxiliary else None
        self.exact = all(layer.exact for layer in self.layers)
        squeezes = sum(isinstance(layer, Squeeze) for layer in self.layers)
        self.multiple = math.lcm(2**squeezes, features.multiple)
        self.factor = features.factor

    def log_prob(self, y: Tensor, x: Tensor, generator: Generator = None) -> Tensor:
        return self.encode(y, self.condition(x), generator)[1]

    def loss(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        h = self.condition(x)
        nats = -self.encode(y, h, generator)[1].mean() / y[0].numel()
        if self.head is None:
            return nats, {}
        logits = self.head(h[0].to(self.dtype))
        cross_entropy = F.binary_cross_entropy_with_logits(logits, y.to(self.dtype))
        logs = {"nats": nats.detach(), "cross_entropy": cross_entropy.detach()}
        return nats + self.auxiliary * cross_entropy, logs

    def sample(
        self, x: Tensor, n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        check_temperature(temperature)
        h = self.condition(x)
        return torch.stack([self._draw(h, temperature, generator) for _ in range(n)])

    def importance_log_prob(
        self, y: Tensor, x: Tensor, num_samples: int, generator: Generator = None
    ) -> Tensor:
        h = self.condition(x)
        terms = torch.stack([self.encode(y, h, generator)[1] for _ in range(num_samples)])
        return terms.logsumexp(0) - math.log(num_samples)

    # -- the two directions ------------------------------------------------------------------------

    def condition(self, x: Tensor) -> list[Tensor]:
        """h = g(x): one feature map a level."""
        self.check_input(x)
        return self.features(x.to(self.dtype))

    def encode(
        self, y: Tensor, h: list[Tensor], generator: Generator = None
    ) -> tuple[list[Tensor], Tensor]:
        """y to its latents, one a prior, in the order in which they leave; and log p(y|x), (B,)."""
        latents, total = [], constant(h[0], 0.0).to(self.dtype)
        for layer, given, term in self._forward(y, h, generator):
            if isinstance(layer, Prior):
                latents.append(layer.latent(given))
            total = total + term
        return latents, total

    def terms(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> list[tuple[Layer, Tensor]]:
        """Every layer with its term, (B,), nats; they sum to `log_prob` under the same noise."""
        walk = self._forward(y, self.condition(x), generator)
        return [(layer, term) for layer, _, term in walk]

    def _forward(
        self, y: Tensor, h: list[Tensor], generator: Generator
    ) -> Iterator[tuple[Layer, Tensor, Tensor]]:
        """(layer, its input, its term) from y to z."""
        y = y.to(self.dtype)
        for layer, level in self._levels():
            noise = (generator,) if isinstance(layer, Dequantization) else ()
            out, term = layer(y, h[level], *noise)
            yield layer, y, term
            y = out

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        """Latents to y: undoes `encode`, exactly for discrete y."""
        latents, y = list(latents), None
        for layer, level in reversed(list(self._levels())):
            if isinstance(layer, Prior):
                y = layer.restore(y, latents.pop())
            else:
                y = self._back(layer, y, h[level])
        return y

    def _draw(self, h: list[Tensor], temperature: float, generator: Generator) -> Tensor:
        y = None
        for layer, level in reversed(list(self._levels())):
            if isinstance(layer, Prior):
                y = layer.sample(y, h[level], temperature, generator)
            else:
                y = self._back(layer, y, h[level])
        return y

    @staticmethod
    def _back(layer: Bijection | Dequantization, y: Tensor, h: Tensor) -> Tensor:
        return layer.inverse(y) if isinstance(layer, Dequantization) else layer.inverse(y, h)[0]

    def _levels(self) -> Iterator[tuple[Layer, int]]:
        level = 0
        for layer in self.layers:
            yield layer, level
            level += isinstance(layer, Squeeze)
