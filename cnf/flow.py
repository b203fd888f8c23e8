"""What every model of p(y|x) can do, and `ConditionalFlow`: the fold over layers."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from cnf import noise
from cnf.errors import CnfError, DataError, UnwritableError
from cnf.features import channels_of
from cnf.files import replaced
from cnf.fused import FusedSteps, fuse
from cnf.layers.actnorm import ActNorm
from cnf.layers.base import (
    Bijection,
    Dequantization,
    Prior,
    check_all,
    check_finite,
    check_pairs,
    constant,
)
from cnf.layers.checkerboard import CheckerboardCoupling
from cnf.layers.residual import Residual
from cnf.layers.squeeze import Squeeze
from cnf.nets import Network, repeated
from cnf.noise import Generator

Layer = Bijection | Prior | Dequantization
MAX_ENTRIES_A_PASS = 1_500_000  # entries of y that `samples` makes in one pass: under 1.5 GB


class ConditionalModel(nn.Module):
    """p(y|x). A kind of model says what it makes of x alone (`condition`), and given that, how it
    scores y (`log_prob_given`) and samples v (`sample_given`); everything else follows.

    Attributes:
        exact: False if `log_prob` is one draw of what is a lower bound on log P(y|x) in the mean.
        has_mean: whether `mean` is the model's own E[y|x], exactly; else it is that of samples.
        multiple: the sizes of y must be multiples of this.
        factor: the size of y over the size of x.
        features: the network that makes h of x, of models that have one.
        kind, arguments: how `cnf.weights` builds it again; None of a model of your own.
        metadata: what its file says beside, of a model that was loaded.
        config: what whoever trained it keeps with it; nothing here reads it.

    Shapes: y (B, C, H, W), x (B, C_x, H / factor, W / factor), or vectors y (B, D), x (B, D_x);
        terms (B,) in nats. Both may be NumPy arrays; what comes back are tensors.
    """

    exact: bool
    has_mean = False
    multiple: int = 1
    factor: int = 1
    features: nn.Module
    kind: str | None = None
    arguments: dict[str, Any] | None = None
    config: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.metadata: dict[str, str] = {}

    # -- what a kind of model says -----------------------------------------------------------------

    def condition(self, x: Tensor) -> list[Tensor]:
        """What depends on x alone: maps of B samples. Raises DataError if x is not finite, or its
        size does not fit."""
        raise NotImplementedError

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        """log p(y|x), (B,), nats, given h = `condition(x)`. Raises DataError if y is not in its
        range."""
        raise NotImplementedError

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """n draws of v, before it is rounded to y, for each of the B samples of h, (n, B, C, ...).
        Raises DataError if temperature < 0."""
        raise NotImplementedError

    def labels(self, v: Tensor) -> Tensor:
        """y of v, of the same shape."""
        raise NotImplementedError

    # -- what follows ------------------------------------------------------------------------------

    def log_prob(self, y: Tensor, x: Tensor, generator: Generator = None) -> Tensor:
        """log p(y|x), (B,), nats. Raises DataError if x is not finite, y not in its range, or the
        sizes do not fit."""
        y, x = self.tensor(y, "y"), self.tensor(x, "x")
        return self.log_prob_given(y, self.condition(x), generator)

    @torch.no_grad()
    def sample(
        self, x: Tensor, n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """n draws of y for each x, (n, B, C, ...), without a graph for gradients.

        temperature: of the noise, >= 0; 1 samples the model. Raises DataError if it is not, if
        n < 1, if x is not finite, or if its channels or size do not fit."""
        h = self.condition(self.tensor(x, "x"))
        return self.labels(self.sample_given(h, n, temperature, generator))

    @torch.no_grad()
    def samples(
        self, x: Tensor, n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Iterator[Tensor]:
        """The samples one after the other, each (B, C, ...): few in memory at once."""
        check_draws(temperature, n)
        h, batch, start, size = self.condition(self.tensor(x, "x")), len(x), 0, 1
        generator = noise.repeated(generator, n, batch)
        while start < n:
            size = min(size, n - start)
            part = noise.part(generator, start * batch, (start + size) * batch)
            v = self.sample_given(h, size, temperature, part)
            yield from self.labels(v)
            start, size = start + size, max(1, MAX_ENTRIES_A_PASS // v[0].numel())

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        """E[y|x], (B, C, ...): the model's own if it `has_mean`, else the mean of n samples at
        temperature 1."""
        return sum(self.samples(x, n, 1.0, generator), torch.zeros(())) / n

    def importance_log_prob(
        self, y: Tensor, x: Tensor, num_samples: int, generator: Generator = None
    ) -> Tensor:
        """log (1/M) sum_m p(v_m|x) / q(v_m|y, x), (B,), nats; for an exact model log p(y|x).
        The weights have mean P(y|x), :eq:`eq-binary-weight`; in expectation the log of their mean
        rises with M and stays below log P(y|x), :eq:`eq-binary-importance`. Raises DataError if
        num_samples < 1."""
        if num_samples < 1:
            raise DataError(f"num_samples = {num_samples}: draw 1 or more")
        y, h = self.tensor(y, "y"), self.condition(self.tensor(x, "x"))
        if self.exact:
            return self.log_prob_given(y, h, generator)
        terms = torch.stack([self.log_prob_given(y, h, generator) for _ in range(num_samples)])
        return terms.logsumexp(0) - math.log(num_samples)

    def bits_per_dim(self, y: Tensor, x: Tensor, generator: Generator = None) -> Tensor:
        """-log p(y|x) / (D log 2), (B,), D the number of entries of one y, :eq:`eq-why-bpd`.
        Unless `exact`, an upper bound in the mean over the noise."""
        y = self.tensor(y, "y")
        return -self.log_prob(y, x, generator) / (y[0].numel() * math.log(2))

    def loss(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What training minimises: mean -log p(y|x) / D in nats, :eq:`eq-given-loss`, and values to
        log."""
        y = self.tensor(y, "y")
        return -self.log_prob(y, x, generator).mean() / y[0].numel(), {}

    def forward(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss`, under the name by which PyTorch's wrappers for several processes call it. Raises
        ValueError there if activation norms have not started: each process would start its own."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            if self.training and not self.has_started():
                raise ValueError(
                    "activation norms have not started: call log_prob on one batch, the same in "
                    "every process, before the model is wrapped"
                )
        return self.loss(y, x, generator)

    def has_started(self) -> bool:
        """Whether every activation norm has seen its first batch."""
        return all(part.is_initialised for part in self.modules() if isinstance(part, ActNorm))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The feature maps of x: in the type of the weights, but for those of the package's own
        networks, which may compute in bfloat16."""
        x = self.tensor(x, "x").to(self.dtype)
        self.check_input(x)
        h = self.features(x)
        h = [h] if isinstance(h, Tensor) else list(h)
        return h if isinstance(self.features, Network) else [t.to(self.dtype) for t in h]

    def tensor(self, t: Tensor | np.ndarray, name: str) -> Tensor:
        """A NumPy array as a tensor beside the weights; a tensor as it is; whole numbers, and True
        and False, in the type of the weights. Raises DataError, with `name`, if it is neither, not
        where the weights are, sparse or complex."""
        device = next((p.device for p in self.parameters()), None)
        if isinstance(t, np.ndarray):
            t = torch.as_tensor(np.ascontiguousarray(t), device=device)
        if not isinstance(t, Tensor):
            raise DataError(f"{name} is a {type(t).__name__}: give a tensor, or a NumPy array")
        if device is not None and t.device != device:
            remedy = f"give {name}.to('{device}')"
            if "meta" in (t.device.type, device.type):
                remedy = "make it anew, meta tensors hold no values"
            raise DataError(f"{name} is on {t.device}, but the model is on {device}: {remedy}")
        if t.layout != torch.strided:
            raise DataError(f"{name} is sparse: give {name}.to_dense()")
        if t.is_complex():
            raise DataError(f"{name} is complex: give real numbers")
        return t if t.is_floating_point() else t.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; PyTorch's default for a model that has none."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def save(
        self, path: Path | str, metadata: dict[str, str] | None = None, half: bool = False
    ) -> None:
        """Write the weights as safetensors, atomically, with what `cnf.load` needs to build the
        model again: its kind and arguments.

        Args:
            metadata: what the file says beside; by default what `self.metadata` holds.
            half: store floating-point weights as float16; what is loaded then is those rounded
                weights.

        Raises UnwritableError if there is no such folder, no permission or no room, CnfError for a
            weight that is too large for float16.
        """
        path = Path(path)
        content = self.serialized(metadata, half)
        try:  # not save_file, which writes with mode 600
            with replaced(path) as part:
                part.write_bytes(content)
        except OSError as error:
            raise UnwritableError(
                f"{path} cannot be written ({error.strerror or error}): give another path"
            ) from None

    def serialized(self, metadata: dict[str, str] | None = None, half: bool = False) -> bytes:
        """What `save` writes."""
        # copies: safetensors refuses a weight that has two names
        tensors = {
            k: t.detach().to("cpu", copy=True).contiguous() for k, t in self.state_dict().items()
        }
        if half:
            halved = {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}
            for k, t in tensors.items():
                if not torch.equal(halved[k].isfinite(), t.isfinite()):
                    raise CnfError(f"{k} holds values too large for float16: save with half=False")
            tensors = halved
        inside = dict(self.metadata if metadata is None else metadata)
        if self.kind is not None:
            inside["kind"] = self.kind
        if self.arguments is not None:
            inside["arguments"] = json.dumps(self.arguments)
        return safetensors.torch.save(tensors, metadata=inside or None)

    def check_input(self, x: Tensor) -> None:
        """Raise DataError if x is no batch or not finite (in training mode: on the CPU only), if it
        holds 0 to 1 where the features read grey levels (not in training mode), if its channels or
        its size do not fit, or if the weights are of 16 bits."""
        if x.dim() not in (2, 4):
            raise DataError(
                f"x is {tuple(x.shape)}: give a batch (B, C, H, W) of pictures or (B, D) of "
                "vectors, of one by x[None]"
            )
        features = getattr(self, "features", None)
        reads = getattr(features, "reads", None) or x.shape[1]
        if x.shape[0] == 0:
            raise DataError("x holds no picture or vector: give one or more")
        if x.shape[1] != reads:
            remedy = f"give {reads}"
            if x.dim() == 2:
                remedy = f"give (B, {reads})"
            elif x.shape[1] == 1:
                remedy = f"give a grey picture as x.expand(-1, {reads}, -1, -1)"
            elif (x.shape[1], reads) in ((2, 1), (4, 3)):
                remedy = f"give x[:, :{reads}], without alpha"
            elif x.shape[-1] == reads:
                remedy = "give x.permute(0, 3, 1, 2), its channels first"
            raise DataError(f"x has {x.shape[1]} channels, but the model reads {reads}: {remedy}")
        if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
            raise DataError(
                "autocast is on, which would round z, too: leave it, and run the networks alone in "
                "16 bits by cnf.nets.set_precision(model, 'bf16')"
            )
        if self.dtype in (torch.float16, torch.bfloat16):
            raise DataError(
                f"the weights are {str(self.dtype).removeprefix('torch.')}, too coarse for "
                "log-determinants: call model.float(), and run the networks alone in 16 bits by "
                "cnf.nets.set_precision(model, 'bf16')"
            )
        if x.device.type == "meta" and not self.training:
            raise DataError("x is on meta, and meta tensors hold no values: make it anew")
        check_finite(self, x, "x")
        if not self.training and getattr(features, "grey_levels", False):
            is_scaled = (x >= 0).all() & (x <= 1).all() & (x != x.floor()).any()
            check_all(~is_scaled, lambda: "x lies in 0..1, but levels are 0 to 255: give 255 * x")
        if x.dim() == 2 and self.multiple > 1:
            raise DataError(
                f"x is {tuple(x.shape)}, vectors, but this model works on pictures (B, C, H, W) "
                f"whose sizes are multiples of {self.multiple}: build one without squeezes"
            )
        step = self.multiple // math.gcd(self.multiple, self.factor)
        if any(size % step for size in x.shape[2:]):
            height, width = x.shape[2:]
            larger = "x".join(str(-(-size // step) * step) for size in (height, width))
            raise DataError(
                f"x is {height}x{width}, but its sizes must be multiples of {step}: crop it, or "
                f"pad it to {larger} and crop y"
            )


def check_draws(temperature: float, n: int = 1) -> None:
    if n < 1 or n != int(n):
        raise DataError(f"n = {n}: draw 1 sample or more, a whole number")
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
            many = self._readable(part, h[level])
            many = repeated(many, n) if n > 1 else many
            if isinstance(part, Prior):
                v = part.sample(v, many, temperature, generator)
            elif isinstance(part, Bijection):
                v = part.inverse(v, many)[0]
        return v.unflatten(0, (n, -1))

    def log_prob_given(self, y: Tensor, h: list[Tensor], generator: Generator = None) -> Tensor:
        y = self.tensor(y, "y")
        if y.shape[0] == 0:
            raise DataError("y holds no picture or vector: give one or more")
        if y.dim() != h[0].dim() or y.shape[2:] != h[0].shape[2:]:
            size = f"(H, W) = {tuple(h[0].shape[2:])}: give (B, C, H, W) of it"
            wanted = size if h[0].dim() == 4 else "vectors: give (B, D)"
            raise DataError(f"y is {tuple(y.shape)}, but x asks for {wanted}")
        if self.channels not in (None, y.shape[1]):
            raise DataError(
                f"y is {tuple(y.shape)}, of {y.shape[1]} channels, but the model is of y of "
                f"{self.channels}: give {(len(y), self.channels, *y.shape[2:])}"
            )
        check_pairs(y, h[0])
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
        return self.labels(self._decode(latents, h))

    def _decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        """Latents to v."""
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
        error = (v - self._decode(latents, h)).abs()
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
