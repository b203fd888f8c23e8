"""What every model of p(y|x) can do, and `ConditionalFlow`: the fold over layers."""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf import noise
from cnf.errors import DataError
from cnf.features import Features
from cnf.fused import Chain, chained
from cnf.layers.base import Bijection, Dequantization, Prior, constant
from cnf.layers.checkerboard import CheckerboardCoupling
from cnf.layers.squeeze import Squeeze
from cnf.noise import Generator

Layer = Bijection | Prior | Dequantization
Part = Layer | Chain


class ConditionalModel(nn.Module):
    """p(y|x). `exact` says whether `log_prob` is exact or a lower bound.

    Attributes:
        exact: False if `log_prob` is a lower bound on log P(y|x), by one draw of noise.
        multiple: the sizes of y must be multiples of this.
        factor: the size of y over the size of x.

    Shapes: y (B, C, H, W), x (B, C_x, H / factor, W / factor); terms (B,) in nats.
    """

    exact: bool
    multiple: int = 1
    factor: int = 1

    def log_prob(self, y: Tensor, x: Tensor, generator: Generator = None) -> Tensor:
        """log p(y|x), (B,), nats. Raises DataError if x is not finite, y not in its range, or the
        sizes do not fit."""
        raise NotImplementedError

    def sample(
        self, x: Tensor, n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """n draws of y for each x, (n, B, C, H, W). Raises ValueError if temperature < 0."""
        raise NotImplementedError

    def importance_log_prob(
        self, y: Tensor, x: Tensor, num_samples: int, generator: Generator = None
    ) -> Tensor:
        """log (1/M) sum_m p(v_m|x) / q(v_m|y, x), (B,), nats; for an exact model log p(y|x).
        The weights have mean P(y|x), :eq:`eq-binary-weight`; in expectation the log of their mean
        rises with M and stays below log P(y|x), :eq:`eq-binary-importance`."""
        return self.log_prob(y, x, generator)

    def bits_per_dim(self, y: Tensor, x: Tensor, generator: Generator = None) -> Tensor:
        """-log p(y|x) / (D log 2), (B,), D the number of entries of one y, :eq:`eq-why-bpd`. An
        upper bound unless `exact`."""
        return -self.log_prob(y, x, generator) / (y[0].numel() * math.log(2))

    def loss(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What training minimises: mean -log p(y|x) / D in nats, :eq:`eq-given-loss`, and values to
        log."""
        return -self.log_prob(y, x, generator).mean() / y[0].numel(), {}

    def forward(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss`, under the name by which PyTorch's wrappers for several processes call it."""
        return self.loss(y, x, generator)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; PyTorch's default for a model that has none."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def check_input(self, x: Tensor) -> None:
        if not torch.isfinite(x).all():
            raise DataError(
                f"x holds {x[~torch.isfinite(x)][0].item()}: pictures must be finite grey levels"
            )
        height, width = (self.factor * size for size in x.shape[-2:])
        if height % self.multiple or width % self.multiple:
            raise DataError(
                f"y of {height}x{width} does not fit: both sizes must be multiples of "
                f"{self.multiple}; crop or pad the picture"
            )


def check_temperature(temperature: float) -> None:
    if not 0 <= temperature < math.inf:
        raise DataError(
            f"temperature = {temperature}: choose a finite value >= 0 (1 samples the model)"
        )


class ConditionalFlow(ConditionalModel):
    """A list of layers from y to z; log p(y|x) is the sum of their terms, :eq:`eq-one-idea`: the
    log-determinants of the bijections, :eq:`eq-given-change`, :eq:`eq-coupling-stack`, the
    log-densities of the priors, :eq:`eq-given-terms`, and -log q of the dequantization. x enters by
    the couplings, the splits and the last prior, :eq:`eq-conditional-sum`. For every x the density
    of v integrates to one, :eq:`eq-given-normalised`.

    Args:
        layers: in the order from y to z; a `Prior` that keeps nothing comes last.
        features: h = features(x), one map a level; each layer is handed that of its level, which
            rises at every `Squeeze`.
        auxiliary: weight of a per-pixel cross-entropy on h[0] that is added to the training loss,
            in nats per pixel, :eq:`eq-vflow-auxiliary`; it never enters a likelihood. 0: none.

    Attributes:
        fast: run the steps of a level together, see `Chain`; False: layer by layer, the readable
            definition. The same numbers, to rounding.
        recompute: in training, keep no activation of the steps and rebuild them through the inverse
            in backward: little memory for a third more time. Only where `fast`.
    """

    fast = True
    recompute = False

    def __init__(self, layers: Iterable[Layer], features: Features, auxiliary: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.features = features
        self.auxiliary = auxiliary
        self.head = nn.Conv2d(features.channels[0], 1, 1) if auxiliary else None
        self.exact = all(layer.exact for layer in self.layers)
        squeezes = sum(isinstance(layer, Squeeze) for layer in self.layers)
        # a part of a picture must keep its colours, so it starts at an even position
        colours = 2 if any(isinstance(layer, CheckerboardCoupling) for layer in self.layers) else 1
        self.multiple = math.lcm(2**squeezes, features.multiple, colours)
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
        v = self.sample_v(self.condition(x), n, temperature, generator)
        return self.labels(v).unflatten(0, (n, -1))

    def labels(self, v: Tensor) -> Tensor:
        """y of v: the cell of the dequantization in which it lies."""
        for layer in self.layers:
            if isinstance(layer, Dequantization):
                v = layer.inverse(v)
        return v

    def sample_v(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """n draws of v for each of the B features, before the dequantization takes its cell,
        (n B, C, H, W), sample-major. What depends on h alone is computed once for the n,
        :eq:`eq-features-once`."""
        check_temperature(temperature)
        generator, v = noise.repeated(generator, n, len(h[0])), None
        for part, level in reversed(self._parts()):
            if isinstance(part, Chain):
                v = part.inverse(v, h[level])
                continue
            many = h[level].repeat(n, 1, 1, 1) if n > 1 else h[level]
            if isinstance(part, Prior):
                v = part.sample(v, many, temperature, generator)
            elif isinstance(part, Bijection):
                v = part.inverse(v, many)[0]
        return v

    def importance_log_prob(
        self, y: Tensor, x: Tensor, num_samples: int, generator: Generator = None
    ) -> Tensor:
        h = self.condition(x)
        terms = torch.stack([self.encode(y, h, generator)[1] for _ in range(num_samples)])
        return terms.logsumexp(0) - math.log(num_samples)

    # -- the two directions ------------------------------------------------------------------------

    def condition(self, x: Tensor) -> list[Tensor]:
        """h = g(x): one feature map a level, :eq:`eq-features-list`."""
        self.check_input(x)
        return self.features(x.to(self.dtype))

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
        walk = self._forward(self._levels(), y, self.condition(x), generator)
        return [(layer, term) for layer, _, term in walk]

    def _forward(
        self, parts: Iterable[tuple[Part, int]], y: Tensor, h: list[Tensor], generator: Generator
    ) -> Iterator[tuple[Part, Tensor, Tensor]]:
        """(part, its input, its term) from y to z."""
        y = y.to(self.dtype)
        for part, level in parts:
            if isinstance(part, Chain):
                out, term = part(y, h[level], self.recompute)
            else:
                drawn = (generator,) if isinstance(part, Dequantization) else ()
                out, term = part(y, h[level], *drawn)
            yield part, y, term
            y = out

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        """Latents to y: undoes `encode`, exactly for discrete y."""
        return self.labels(self._decode(latents, h))

    def _decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        """Latents to v."""
        latents, v = list(latents), None
        for part, level in reversed(self._parts()):
            if isinstance(part, Prior):
                v = part.restore(v, latents.pop())
            elif isinstance(part, Chain):
                v = part.inverse(v, h[level])
            elif isinstance(part, Bijection):
                v = part.inverse(v, h[level])[0]
        return v

    @torch.no_grad()
    def reconstruction_error(self, y: Tensor, x: Tensor, generator: Generator = None) -> float:
        """The worst |v - f^-1(f(v))| of a batch, in units of v; inf if anything is not finite.

        What rounding leaves of invertibility: the error that `recompute` hands to its gradients.
        """
        h, latents, v = self.condition(x), [], None
        for part, given, _ in self._forward(self._parts(), y, h, generator):
            if v is None and not isinstance(part, Dequantization):
                v = given
            if isinstance(part, Prior):
                latents.append(part.latent(given))
        error = (v - self._decode(latents, h)).abs()
        return error.max().item() if error.isfinite().all() else math.inf

    def _levels(self) -> list[tuple[Layer, int]]:
        return with_levels(self.layers)

    def _parts(self) -> list[tuple[Part, int]]:
        """The layers, with chains in the place of steps where those may run together."""
        if not self.fast:
            return self._levels()
        parts = chained(self.layers)
        if self.training and not all(p.is_initialised for p in parts if isinstance(p, Chain)):
            return self._levels()  # activation norms start one after the other
        return with_levels(parts)


def with_levels(parts: Iterable[Part]) -> list[tuple[Part, int]]:
    """Each part with the level at which it works; it rises at every `Squeeze`."""
    found, level = [], 0
    for part in parts:
        found.append((part, level))
        level += isinstance(part, Squeeze)
    return found
