"""Find the source of a number that is not finite."""

from torch import Tensor, isfinite

from cnf.flow import ConditionalModel
from cnf.noise import Generator


def first_non_finite(
    model: ConditionalModel, y: Tensor, x: Tensor, generator: Generator = None
) -> str | None:
    """The first module whose output, else whose input's gradient, is not finite on this batch."""
    if not _finite((y, x)):
        return "the batch itself"
    names = {m: f"layer '{n}' ({type(m).__name__})" for n, m in model.named_modules() if n}
    forward: list[str] = []
    backward: list[str] = []

    def before(module, inputs):
        def note(gradient):
            if not _finite(gradient):
                backward.append(f"the gradient through {names[module]}")

        for tensor in _tensors(inputs):
            if tensor.requires_grad:
                tensor.register_hook(note)

    def after(module, inputs, outputs):
        if not _finite(outputs):
            forward.append(names[module])

    hooks = [module.register_forward_pre_hook(before) for module in names]
    hooks += [module.register_forward_hook(after) for module in names]
    try:
        model.zero_grad()
        model.loss(y, x, generator)[0].backward()  # always: other processes may wait for its part
    finally:
        for hook in hooks:
            hook.remove()
    weights = [n for n, p in model.named_parameters() if not _finite(p.grad)]
    model.zero_grad()
    last = [f"the gradient of '{name}'" for name in weights[-1:]]
    return next(iter(forward + backward + last), None)


def _tensors(values: object) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values] if values.is_floating_point() else []
    return [t for v in values for t in _tensors(v)] if isinstance(values, list | tuple) else []


def _finite(values: object) -> bool:
    return all(bool(isfinite(tensor).all()) for tensor in _tensors(values))
