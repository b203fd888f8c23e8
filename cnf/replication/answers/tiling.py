"""Pictures larger than memory: on which input a pixel of a sample depends, and how to cut.

A tile has a `margin` of pixels around its core, and the picture's noise at its place
(`noise.Window`). Its core is then the same as in one pass over the whole picture.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from cnf import noise
from cnf.errors import ConfigError
from cnf.features import Features
from cnf.flow import ConditionalFlow, Layer, with_levels
from cnf.layers import Dequantization, Residual, Squeeze, Subbands
from cnf.layers.squeeze import Squeezed
from cnf.model import ConditionalModel
from cnf.nets import CausalNet, CouplingNet
from cnf.replication.answers.progress import watched
from cnf.replication.scored.model import extend
from cnf.replication.tasks.task import find_task

# An answer of more than WHOLE pixels is drawn in tiles of TILE pixels a side. The released models
# need at most 0.9 kB for each pixel of a pass.
WHOLE, TILE = 4_000_000, 1536

# The bands of `Subbands` and the kernels of `consistent_double` reach over the whole picture, but
# fall by a factor of 3 a pixel: beyond 32 pixels of y they are below 3e-8, the rounding of float32.
FADE = 32

# -- how far a pixel sees --------------------------------------------------------------------------


def margin(model: ConditionalModel) -> int:
    """The distance up to which a pixel of a sample depends on noise and x, in pixels of y, rounded
    up to the grid on which tiles lie.

    It adds up the 3x3 convolutions on the longest path. A convolution at a level where positions
    are f x f pixels adds f, :eq:`eq-features-reach`, and every coupling has two such convolutions,
    :eq:`eq-norms-reach`. Distances are counted from the edge of a position: a step to a finer level
    adds the difference in size, a step to a coarser level adds nothing.

    Raises ConfigError for a model with instance normalization and for an autoregressive one, in
    which every pixel depends on the whole picture.
    """
    has_no_margin = any(isinstance(part, nn.InstanceNorm2d | CausalNet) for part in model.modules())
    features = getattr(model, "features", None)
    if has_no_margin or not isinstance(features, Features):  # a table of counts has none
        raise ConfigError(
            "this model cannot draw in tiles, as every pixel depends on the whole picture: use "
            "--tile 0, which draws in one pass, or a smaller picture"
        )
    fade = FADE if model.factor > 1 else 0  # of the upsampled input, which h[0] carries
    deep = features_reach(features)
    if isinstance(model, ConditionalFlow):
        reach = flow_reach(with_levels(model.layers), 0, deep, fade)
    else:
        reach = max(deep, fade) + radius(model.get_submodule("head"))
    step = grid(model)
    return -(-reach // step) * step


def grid(model: ConditionalModel) -> int:
    """The number of pixels of y at whose multiples tiles start and end."""
    return math.lcm(model.multiple, model.factor)


def radius(*modules: nn.Module | None) -> int:
    """The number of positions to each side on which an output of these convolutions, applied one
    after the other, depends."""
    total = 0
    for module in modules:
        for part in module.modules() if module is not None else ():
            if isinstance(part, nn.Conv2d):
                total += (part.kernel_size[0] - 1) // 2
    return total


def flow_reach(layers: Iterable[tuple[Layer, int]], reach: int, deep: int, fade: int) -> int:
    """The reach of y, given layers with their levels, the reach of z, and that of the features:
    `deep` from their convolutions, `fade` from the upsampled input."""
    for layer, level in reversed(list(layers)):
        position, h = 2**level, max(deep, fade) if level == 0 else deep
        net = getattr(layer, "net", None)
        if isinstance(layer, Dequantization):
            continue  # a floor or a threshold
        if isinstance(layer, Squeeze):
            reach += position + (FADE if isinstance(layer, Subbands) else 0)
        elif isinstance(layer, Squeezed):
            inner = cast(list[Layer], [*layer.layers])  # a ModuleList forgets what is in it
            inside = [(part, level + 1) for part in inner]
            reach = flow_reach(inside, reach, deep, fade) + position
        elif isinstance(layer, Residual):
            reach = max(reach, h)
        elif isinstance(net, CouplingNet) and net.middle is not None:
            through_h = h + position * radius(net.from_h, net.middle, net.last)
            through_y = reach + position * radius(net.from_y, net.middle, net.last)
            reach = max(through_h, through_y if net.from_y is not None else reach)
        elif radius(layer):
            reach = max(reach, h) + position * radius(layer)
    return reach


@torch.no_grad()
def features_reach(features: Features) -> int:
    """An upper bound of the reach of every map of h = g(x), as if all convolutions were on one
    path, and this path ended at the finest level after the coarsest."""
    convs = [m for m in features.modules() if isinstance(m, nn.Conv2d)]
    if not convs:
        return 0
    side = 2 * math.lcm(features.multiple, features.factor, 4)
    positions, reaches = [], []

    def note(conv: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        positions.append(side // inputs[0].shape[-1])
        reaches.append(positions[-1] * radius(conv))

    hooks = [conv.register_forward_hook(note) for conv in convs]
    small = side // features.factor
    features(convs[0].weight.new_zeros(1, 3, small, small))
    for hook in hooks:
        hook.remove()
    return sum(reaches) + max(positions) - min(positions)


# -- how to cut ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiles:
    """A picture of `size` (H, W) pixels of y, cut into cores of `side` x `side`. Each core is drawn
    with up to `margin` pixels of the picture around it. All are multiples of the model's grid."""

    size: tuple[int, int]
    side: int
    margin: int

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """(rows, columns) of every tile, margin included, and those of its core."""
        height, width = self.size
        for top in range(0, height, self.side):
            for left in range(0, width, self.side):
                tile = self._around(top, height), self._around(left, width)
                core = (
                    slice(top, min(height, top + self.side)),
                    slice(left, min(width, left + self.side)),
                )
                yield tile, core

    def _around(self, start: int, length: int) -> slice:
        """A core from `start` on with its margin, inside of `length` pixels."""
        return slice(max(0, start - self.margin), min(length, start + self.side + self.margin))

    def __str__(self) -> str:
        rows, columns = (-(-side // self.side) for side in self.size)
        return f"{rows}x{columns} tiles of {self.side} pixels a side, margin {self.margin}"


def plan(model: ConditionalModel, size: tuple[int, int], side: int | None = None) -> Tiles | None:
    """How to cut a picture of `size` (H, W) pixels of y, on the grid; None: draw it in one pass.

    Args:
        side: of the cores, in pixels of y, rounded up to the grid; 0: never cut. By default a
            picture of more than WHOLE pixels is cut at TILE.

    Raises ConfigError if the model cannot be cut, see `margin`, or `side` is below its margin.
    """
    if side is None:
        side = TILE if math.prod(size) > WHOLE else 0
    if side == 0 or max(size) <= side:
        return None
    least = margin(model)
    if side < least:
        raise ConfigError(
            f"--tile {side}: each tile needs {least} pixels around it, so give {least} or more"
        )
    return Tiles(size, -(-side // grid(model)) * grid(model), least)


def fitted(model: ConditionalModel, x: Tensor) -> Tensor:
    """x extended to the right and bottom to a size that the model takes, see `extend`."""
    step = grid(model) // model.factor
    bottom, right = (-side % step for side in x.shape[-2:])
    return extend(x, bottom, right, pads(model))


def pads(model: ConditionalModel) -> bool:
    """Whether pictures are padded with zeros: the task of the model's run says so; for a model of
    no run, if y is as large as x."""
    return model.factor == 1 if model.config is None else find_task(model.config.task).pads


def in_tiles(
    model: ConditionalModel,
    x: Tensor,
    apply: Callable[[Tensor, noise.Generator], Tensor],
    make_noise: Callable[[], Sequence[torch.Generator]],
    tiles: Tiles | None = None,
) -> Tensor:
    """The result (C, factor H, factor W) of `apply` on a picture of any size, in one pass or tile
    by tile. Both agree up to rounding and up to what `FADE` leaves of the resampling kernels.

    Args:
        x: (1,3,H,W); extended to the right and bottom by `extend` where the model needs it.
        apply: maps x (1,3,h,w) and noise to y.
        make_noise: makes the noise of the picture, anew for each call.
    """
    height, width = (model.factor * side for side in x.shape[-2:])
    device, factor = next(model.parameters()).device, model.factor
    x = fitted(model, x)
    if tiles is None:
        return apply(x.to(device), make_noise())[0, :, :height, :width].cpu()
    output = torch.empty(0)  # the first tile says how many channels it has
    cut = list(tiles)
    for tile, core in watched(cut, "tiles", len(cut)):
        rows, columns = (slice(s.start // factor, s.stop // factor) for s in tile)
        shape = tuple(s.stop - s.start for s in tile)
        window = noise.Window(make_noise(), tiles.size, shape, *(s.start for s in tile))
        y = apply(x[..., rows, columns].to(device), window)[0].cpu()
        output = output if len(output) else y.new_empty(len(y), *tiles.size)
        pairs = zip(tile, core, strict=True)
        core_in_tile = (slice(c.start - t.start, c.stop - t.start) for t, c in pairs)
        output[:, *core] = y[:, *core_in_tile]
    return output[:, :height, :width]
