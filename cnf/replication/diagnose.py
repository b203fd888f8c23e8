"""Where a number that is not finite comes from."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cnf.noise import Generator


def first_non_finite(
    model: nn.Module, y: Tensor, x: Tensor, generator: Generator = None
) -> str | None:
    """The first module whose output, else whose input's gradient, is not finite on this batch."""
    if not (torch.isfinite(y).all() and torch.isfinite(x).all()):
        return "the batch itself"
    forward: list[str] = []
    backward: list[str] = []
    hooks = []

    def note(name: str, gradient: Tensor) -> None:
        if not _finite(gradient):
            backward.append(name)

    for name, module in model.named_modules():
        if not name:
            continue

        def before(module, inputs, name=name):
            for tensor in _tensors(inputs):
                if tensor.requires_grad:
                    tensor.register_hook(partial(note, name))

        def after(module, inputs, outputs, name=name):
            if not all(_finite(tensor) for tensor in _tensors(outputs)):
                forward.append(name)

        hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        model.zero_grad()
        loss, _ = model.loss(y, x, generator)
        loss.backward()  # whatever came forward: other processes may wait for this one's part
    finally:
        for hook in hooks:
            hook.remove()
    names = dict(model.named_modules())
    weights = [n for n, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]
    model.zero_grad()
    if forward:
        return f"layer '{forward[0]}' ({type(names[forward[0]]).__name__})"
    if backward:
        return f"the gradient through layer '{backward[0]}' ({type(names[backward[0]]).__name__})"
    return f"the gradient of '{weights[-1]}'" if weights else None


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values] if values.is_floating_point() else []
    return [t for v in values for t in _tensors(v)] if isinstance(values, list | tuple) else []


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
