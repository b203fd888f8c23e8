"""The exponential moving average of a model's weights."""

import torch
from torch import nn


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Weights and running statistics are averaged, flags and counters copied."""
    averaged = [*average.parameters(), *average.buffers()]
    current = [*model.parameters(), *model.buffers()]
    means, values = [], []
    for mean, value in zip(averaged, current, strict=True):
        if value.is_floating_point():
            means.append(mean)
            values.append(value)
        else:
            mean.copy_(value)
    torch._foreach_lerp_(means, values, 1 - decay)
