"""p(y|x) as `torch.distributions` has its densities."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from cnf.nets import repeated
from cnf.noise import Generator


class ConditionalDistribution(Distribution):
    """p(y|x) of a model for one x or a batch; what depends on x alone is computed once.

    Args:
        model: any `ConditionalModel`. Unless it is `exact`, `log_prob` is one draw of a bound.
        x: a batch, (B, D_x) or (B, C_x, H, W): the batch shape is (B,). Or one, without B: it is
            (). The event shape is that of one y.

    As there, `sample(shape)` is of shape + batch shape + event shape, and `log_prob(y)` takes every
    y whose shape ends so, or broadcasts to such; it returns nats, without the event shape. There is
    no `rsample`.
    Raises: DataError as the model does; ValueError for a y of another shape, or with a NaN.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, model: Any, x: Tensor, validate_args: bool | None = None):
        x = model.tensor(x, "x")
        is_one = x.dim() in (1, 3)
        self.model, self.h = model, model.condition(x[None] if is_one else x)
        if channels := getattr(model, "channels", None):
            size = [model.factor * side for side in x.shape[1 if is_one else 2 :]]
            event = torch.Size([channels, *size])
        else:  # a model of layers that may change the number of channels: a draw has the shape
            with torch.no_grad():
                event = model.sample_given(self.h, generator=torch.Generator())[0, 0].shape
        super().__init__(torch.Size() if is_one else x.shape[:1], event, validate_args)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def log_prob(self, value: Tensor, generator: Generator = None) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        drawn = value.shape[: value.dim() - len(self.event_shape)]
        shape = torch.broadcast_shapes(drawn, self.batch_shape)
        y = value.expand(*shape, *self.event_shape).reshape(-1, *self.event_shape)
        h = [repeated(t, len(y) // len(t)) for t in self.h]
        return self.model.log_prob_given(y, h, generator).reshape(shape)

    @torch.no_grad()
    def sample(self, sample_shape: Any = (), generator: Generator = None) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        n = torch.Size(sample_shape).numel()
        v = self.model.sample_given(self.h, n, generator=generator)
        return self.model.labels(v).reshape(shape)
