"""What every model of p(y|x) can do, flow or factorised."""

import math

import torch
from torch import Tensor, nn

from cnf.errors import DataError
from cnf.noise import Generator


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
