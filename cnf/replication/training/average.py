"""The exponential moving average of a model's weights."""

import torch
from torch import nn


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Weights and running statistics are averaged, flags and counters copied."""
    averaged, current = ([*one.parameters(), *one.buffers()] for one in (average, model))
    pairs = list(zip(averaged, current, strict=True))
    moving = [pair for pair in pairs if pair[1].is_floating_point()]
    torch._foreach_lerp_(*map(list, zip(*moving, strict=True)), 1 - decay)
    for mean, value in pairs:
        if not value.is_floating_point():
            mean.copy_(value)
