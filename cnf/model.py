"""What every model of p(y|x) can do."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnf import inputs, noise, saving
from cnf.distribution import ConditionalDistribution
from cnf.errors import DataError
from cnf.inputs import check_draws
from cnf.layers.actnorm import ActNorm
from cnf.nets import Network
from cnf.noise import Generator

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
        config: the `Config` of the run that trained it; None of a model of your own.

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

    def given(self, x: Tensor) -> ConditionalDistribution:
        """p(y|x) as a `torch.distributions.Distribution`, with `log_prob(y)` and `sample(shape)`.
        x is a batch, or one x without a batch. Raises DataError if it is not finite or does not
        fit."""
        return ConditionalDistribution(self, x)

    def mean(self, x: Tensor, n: int = 32, generator: Generator = None) -> Tensor:
        """E[y|x], (B, C, ...): the model's own if it `has_mean`, else the mean of n samples at
        temperature 1."""
        return sum(self.samples(x, n, 1.0, generator), torch.zeros(())) / n

    def importance_log_prob(
        self, y: Tensor, x: Tensor, draws: int, generator: Generator = None
    ) -> Tensor:
        """log (1/M) sum_m p(v_m|x) / q(v_m|y, x), (B,), nats; for an exact model log p(y|x).
        The weights have mean P(y|x), :eq:`eq-binary-weight`; in expectation the log of their mean
        rises with M and stays below log P(y|x), :eq:`eq-binary-importance`. Raises DataError if
        draws < 1."""
        if draws < 1:
            raise DataError(f"draws = {draws}: draw 1 or more")
        y, h = self.tensor(y, "y"), self.condition(self.tensor(x, "x"))
        if self.exact:
            return self.log_prob_given(y, h, generator)
        terms = torch.stack([self.log_prob_given(y, h, generator) for _ in range(draws)])
        return terms.logsumexp(0) - math.log(draws)

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
        return inputs.tensor(t, name, device, self.dtype)

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
        saving.write(Path(path), self.serialized(metadata, half))

    def serialized(self, metadata: dict[str, str] | None = None, half: bool = False) -> bytes:
        """What `save` writes."""
        inside = dict(self.metadata if metadata is None else metadata)
        if self.kind is not None:
            inside["kind"] = self.kind
        if self.arguments is not None:
            inside["arguments"] = json.dumps(self.arguments)
        return saving.serialized(self.state_dict(), inside, half)

    def check_input(self, x: Tensor) -> None:
        """Raise DataError if x is no batch or not finite (in training mode: on the CPU only), if it
        holds 0 to 1 where the features read grey levels (not in training mode), if its channels or
        its size do not fit, or if the weights are of 16 bits."""
        features = getattr(self, "features", None)
        inputs.check_batch(x)
        inputs.check_channels(x, getattr(features, "reads", None) or x.shape[1])
        inputs.check_precision(x, self.dtype)
        inputs.check_values(x, self, getattr(features, "grey_levels", False))
        inputs.check_size(x, self.multiple, self.factor)
