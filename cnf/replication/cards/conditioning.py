"""Which layers of a flow answer to x: a network may have learned not to, or be dead."""

import torch
from torch import Tensor

from cnf import noise
from cnf.flow import ConditionalFlow, with_levels
from cnf.layers import Dequantization, Prior
from cnf.replication.data import load
from cnf.replication.presentation import presentation_of
from cnf.replication.tasks.task import find_task

SIDE = 64  # pixels of y a side, at the top left of two pictures of the embedded set


@torch.no_grad()
def indifferent_layers(flow: ConditionalFlow, y: Tensor, x: Tensor, other: Tensor) -> list[int]:
    """The places of the conditional layers of a flow that do the same to y given x and given
    `other`: their output and their term are equal in every bit.

    Shapes: y (1, C, H, W) and x, `other` of its size, in grey levels.
    """
    h, other_h = flow.condition(x), flow.condition(other)
    places, state = [], y.to(flow.dtype)
    for place, (layer, level) in enumerate(with_levels(flow.layers)):
        answers = [apply(layer, state, maps[level]) for maps in (h, other_h)]
        if is_conditional(layer) and all(map(same, *answers)):
            places.append(place)
        if answers[0][0] is not None:
            state = answers[0][0]
    return places


def apply(layer: torch.nn.Module, state: Tensor, h: Tensor) -> tuple[Tensor | None, Tensor]:
    """What a layer makes of its input, and its term; noise is the same each time."""
    if isinstance(layer, Dequantization):
        return layer(state, h, noise.keyed(0, [0]))
    return layer(state, h)


def same(a: Tensor | None, b: Tensor | None) -> bool:
    return torch.equal(a, b) if a is not None and b is not None else a is b


def is_conditional(layer: torch.nn.Module) -> bool:
    """Whether a network of the layer is given features of x."""
    return any(getattr(part, "h_channels", 0) for part in layer.modules())


def sentence(flow: ConditionalFlow) -> str:
    """Which conditional layers do not depend on x, in words, tried with two embedded pictures; ""
    if all do."""
    task = find_task(flow.config.task)
    images = load(presentation_of(task.name).embedded, "test")
    (y, x), (_, other) = (task.batch(images, [place], flow.config.data) for place in (0, 1))
    side = min(SIDE, *y.shape[-2:]) // flow.multiple * flow.multiple
    y, x, other = (
        t[..., : side // factor, : side // factor]
        for t, factor in ((y, 1), (x, flow.factor), (other, flow.factor))
    )
    places = indifferent_layers(flow, y, x, other)
    return " and ".join(name(flow, place) for place in places)


def name(flow: ConditionalFlow, place: int) -> str:
    """A layer in words."""
    if place == len(flow.layers) - 1:
        return "the last prior"
    kind = "the split prior" if isinstance(flow.layers[place], Prior) else "the layer"
    return f"{kind} `layers[{place}]`"
