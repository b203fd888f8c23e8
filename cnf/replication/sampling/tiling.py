"""Pictures larger than memory: how far a pixel of a sample sees, and how to cut.

A tile that sees `margin` pixels around its core, and the part of the picture's noise that lies
there (`noise.Window`), gives the core what one pass over the picture gives.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cnf import noise
from cnf.errors import ConfigError
from cnf.features import Features
from cnf.flow import ConditionalFlow, ConditionalModel, Layer, with_levels
from cnf.layers import Dequantization, Residual, Squeeze, Squeezed, Subbands
from cnf.nets import CausalNet, CouplingNet
from cnf.replication.evaluation.scored_model import extend
from cnf.replication.tasks import find

# An answer of more pixels is drawn in tiles of so many pixels a side: a pass of the released models
# then takes at most 0.9 kB for each of some 4 million pixels.
WHOLE, TILE = 4_000_000, 1536

# The bands of `Subbands` and the kernels of `consistent_double` reach over the whole picture, but
# fall by a factor of 3 a pixel: beyond 32 pixels of y they are below 3e-8, the rounding of float32.
FADE = 32

# -- how far a pixel sees --------------------------------------------------------------------------


def margin(model: ConditionalModel) -> int:
    """How far around itself a pixel of a sample depends on noise and x, in pixels of y, rounded up
    to the grid on which tiles lie.

    Counts the 3x3 convolutions that stand one behind the other: a convolution at a level where
    positions are f x f pixels adds f, :eq:`eq-features-reach`, and every coupling has two,
    :eq:`eq-norms-reach`. Everything below is a reach beyond the own position: going to a finer
    level adds what the coarse position has more, going to a coarser one adds nothing.

    Raises ConfigError for a model with instance normalization, or an autoregressive one: there is
    no such distance.
    """
    whole = any(isinstance(part, nn.InstanceNorm2d | CausalNet) for part in model.modules())
    if whole or not hasattr(model, "features"):  # a table of counts has none
        raise ConfigError(
            "this model cannot draw in tiles, as every pixel depends on the whole picture: use "
            "--tile 0, which draws in one pass, or a smaller picture"
        )
    fade = FADE if model.factor > 1 else 0  # of the upsampled input, which h[0] carries
    deep = features_reach(model.features)
    if isinstance(model, ConditionalFlow):
        reach = flow_reach(with_levels(model.layers), 0, deep, fade)
    else:
        reach = max(deep, fade) + radius(model.head)
    step = grid(model)
    return -(-reach // step) * step


def grid(model: ConditionalModel) -> int:
    """Tiles start and end at multiples of so many pixels of y."""
    return math.lcm(model.multiple, model.factor)


def radius(*modules: nn.Module | None) -> int:
    """Positions around its own that one sees through these convolutions, one behind the other."""
    convs = (c for m in modules if m is not None for c in m.modules() if isinstance(c, nn.Conv2d))
    return sum((conv.kernel_size[0] - 1) // 2 for conv in convs)


def flow_reach(layers: Iterable[tuple[Layer, int]], reach: int, deep: int, fade: int) -> int:
    """From z to y: layers with their levels, the reach of z and of the features."""
    for layer, level in reversed(list(layers)):
        position, h = 2**level, max(deep, fade) if level == 0 else deep
        net = getattr(layer, "net", None)
        if isinstance(layer, Dequantization):
            continue  # a floor or a threshold
        if isinstance(layer, Squeeze):
            reach += position + (FADE if isinstance(layer, Subbands) else 0)
        elif isinstance(layer, Squeezed):
            inside = ((part, level + 1) for part in layer.layers)
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
    """An upper bound for every map of h = g(x): as if all convolutions that run stood one behind
    the other, and the coarsest position went back to the finest."""
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
    """A picture of `size` (H, W) pixels of y, cut into cores of `side` x `side`, each drawn with
    `margin` pixels around it where there is picture. All are multiples of the model's grid."""

    size: tuple[int, int]
    side: int
    margin: int

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """(rows, columns) of every tile, margin included, and those of its core."""
        for corner in itertools.product(*(range(0, length, self.side) for length in self.size)):
            pairs = list(zip(corner, self.size, strict=True))
            cores = (slice(at, min(length, at + self.side)) for at, length in pairs)
            around = self.side + self.margin
            wide = (slice(max(0, a - self.margin), min(n, a + around)) for a, n in pairs)
            yield tuple(wide), tuple(cores)

    def __str__(self) -> str:
        rows, columns = (-(-side // self.side) for side in self.size)
        return f"{rows}x{columns} tiles of {self.side} pixels a side, margin {self.margin}"


def plan(model: ConditionalModel, size: tuple[int, int], side: int | None = None) -> Tiles | None:
    """How to cut a picture of `size` (H, W) pixels of y, on the grid. None: in one pass.

    Args:
        side: of the cores, in pixels of y, rounded up to the grid; 0: never cut. By default a
            picture of more than WHOLE pixels is cut at TILE.

    Raises ConfigError if the model cannot be cut, see `margin`.
    """
    if side is None:
        side = TILE if math.prod(size) > WHOLE else 0
    if side == 0 or max(size) <= side:
        return None
    return Tiles(size, -(-side // grid(model)) * grid(model), margin(model))


def fitted(model: ConditionalModel, x: Tensor) -> Tensor:
    """x extended to the right and bottom to a size that the model takes, see `extend`."""
    step = grid(model) // model.factor
    bottom, right = (-side % step for side in x.shape[-2:])
    return extend(x, bottom, right, pads(model))


def pads(model: ConditionalModel) -> bool:
    """Whether pictures go on as zeros: as the task of its run says; of no run, if y is as large
    as x."""
    return model.factor == 1 if model.config is None else find(model.config.task).pads


def in_tiles(
    model: ConditionalModel,
    x: Tensor,
    apply: Callable[[Tensor, noise.Generator], Tensor],
    keyed: Callable[[], Sequence[torch.Generator]],
    tiles: Tiles | None = None,
) -> Tensor:
    """`apply`, which maps x (1,3,h,w) and noise to y, on a picture of any size, (C, factor H,
    factor W): in one pass, or tile by tile; `keyed` makes the noise of the picture anew each time.

    Beyond the right and bottom of the picture there is what `extend` puts there. The two ways agree
    up to rounding and up to what `FADE` leaves of the resampling kernels.
    """
    height, width = (model.factor * side for side in x.shape[-2:])
    device, factor = next(model.parameters()).device, model.factor
    x = fitted(model, x)
    if tiles is None:
        return apply(x.to(device), keyed())[0, :, :height, :width].cpu()
    whole = None
    for tile, core in tqdm(list(tiles), "tiles", disable=None, leave=False):
        part = x[..., *(slice(s.start // factor, s.stop // factor) for s in tile)]
        shape = tuple(s.stop - s.start for s in tile)
        window = noise.Window(keyed(), tiles.size, shape, *(s.start for s in tile))
        y = apply(part.to(device), window)[0].cpu()
        whole = y.new_empty(len(y), *tiles.size) if whole is None else whole
        pairs = zip(tile, core, strict=True)
        inside = (slice(c.start - t.start, c.stop - t.start) for t, c in pairs)
        whole[:, *core] = y[:, *inside]
    return whole[:, :height, :width]
