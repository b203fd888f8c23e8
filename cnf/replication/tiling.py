"""Pictures larger than memory: how far a pixel of a sample sees, what a pass takes, how to cut.

A tile that sees `margin` pixels around its core, and the part of the picture's noise that lies
there (`noise.Window`), gives the core what one pass over the picture gives.
"""

import itertools
import math
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnf import noise
from cnf.baselines import Factorised
from cnf.errors import ConfigError
from cnf.features import Features
from cnf.flow import ConditionalModel, Layer, with_levels
from cnf.layers import Dequantization, Residual, Squeeze, Squeezed, Subbands
from cnf.nets import CouplingNet

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

    Raises ConfigError for a model with instance normalization: there is no such distance.
    """
    if sees_everything(model):
        raise ConfigError("instance normalization sees the whole picture: there is no margin")
    fade = FADE if model.factor > 1 else 0  # of the upsampled input, which h[0] carries
    deep = features_reach(model.features)
    if isinstance(model, Factorised):
        reach = max(deep, fade) + radius(model.head)
    else:
        reach = flow_reach(with_levels(model.layers), 0, deep, fade)
    step = grid(model)
    return -(-reach // step) * step


def sees_everything(model: ConditionalModel) -> bool:
    """Whether a network normalises over the whole picture: then every pixel depends on all."""
    return any(isinstance(part, nn.InstanceNorm2d) for part in model.modules())


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
    found = []

    def note(conv: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        position = side // inputs[0].shape[-1]
        found.append((position, position * radius(conv)))

    hooks = [conv.register_forward_hook(note) for conv in convs]
    small = side // features.factor
    features(convs[0].weight.new_zeros(1, 3, small, small))
    for hook in hooks:
        hook.remove()
    positions, reaches = zip(*found, strict=True)
    return sum(reaches) + max(positions) - min(positions)


# -- how to cut ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiles:
    """A picture of `size` (H, W) pixels of y, cut into cores of `height` x `width`, each drawn with
    `margin` pixels around it where there is picture. All are multiples of the model's grid."""

    size: tuple[int, int]
    height: int
    width: int
    margin: int

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """(rows, columns) of every tile, margin included, and those of its core."""
        for (tall, high), (wide, broad) in itertools.product(*self.sides()):
            yield (tall, wide), (high, broad)

    def sides(self) -> list[list[tuple[slice, slice]]]:
        """For each axis the (tile, core) pairs."""
        return [
            [
                (
                    slice(max(0, start - self.margin), min(side, start + core + self.margin)),
                    slice(start, min(side, start + core)),
                )
                for start in range(0, side, core)
            ]
            for side, core in zip(self.size, (self.height, self.width), strict=True)
        ]

    @property
    def pixels(self) -> int:
        """Drawn in all, margins included."""
        rows, columns = ([tile.stop - tile.start for tile, _ in pairs] for pairs in self.sides())
        return sum(rows) * sum(columns)

    def __str__(self) -> str:
        rows, columns = map(len, self.sides())
        return f"{rows}x{columns} tiles of {self.height}x{self.width}, margin {self.margin}"


def plan(model: ConditionalModel, size: tuple[int, int], memory: float) -> Tiles | None:
    """How to cut a picture of `size` (H, W) pixels of y, on the grid, so that a pass stays below
    `memory` bytes: with the least to draw. None: it fits as it is.

    Raises ConfigError if not even the smallest tile fits, or if the model cannot be cut.
    """
    (height, width), step = size, grid(model)
    needs = Footprint.of(model)
    if needs.bytes(size, size) <= memory:
        return None
    if sees_everything(model):
        raise ConfigError(
            f"--memory {memory / 1e9:g}: a sample of {height}x{width} takes "
            f"{needs.bytes(size, size) / 1e9:.2g} GB, and this model cannot be cut into tiles: its "
            "instance normalization takes statistics over the whole picture; allow that much, or "
            "use a smaller picture"
        )
    reach = margin(model)
    found = []
    for rows in range(1, height // step + 1):
        core = -(-height // (rows * step)) * step
        tall = min(height, core + 2 * reach)
        widths = range(step, width + 1, step)
        fit = bisect_right(widths, memory, key=lambda w, tall=tall: needs.bytes((tall, w), size))
        most = width if fit == len(widths) else step * fit - 2 * reach
        if most >= step:
            columns = -(-width // most)
            found.append(Tiles(size, core, -(-width // (columns * step)) * step, reach))
    if not found:
        least = tuple(min(side, step + 2 * reach) for side in size)
        raise ConfigError(
            f"--memory {memory / 1e9:g}: the smallest tile of a sample of {height}x{width} is "
            f"{least[0]}x{least[1]}, {reach} pixels around its core, and takes "
            f"{needs.bytes(least, size) / 1e9:.2g} GB: allow that, or use a smaller picture"
        )
    return min(found, key=lambda tiles: tiles.pixels)


# -- what a pass takes -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Footprint:
    """Bytes of a pass: `pixel` for each pixel of y drawn at once, `kept` for each of the whole
    picture (x, y, and the field of noise in float64), `square` for height^2 + width^2 (the
    resampling matrices of super-resolution)."""

    pixel: float
    kept: float
    square: float

    @classmethod
    def of(cls, model: ConditionalModel) -> "Footprint":
        """Measured in a pass over a small picture; the larger, the less it takes a pixel."""
        device = next(model.parameters()).device
        side = grid(model) * -(-128 // grid(model))
        x = torch.zeros(1, 3, *2 * [side // model.factor], device=device)
        for peak in (Peak(), Peak()):  # the first fills the caches
            with torch.no_grad(), peak:
                y = model.sample(x, 1, 1.0, noise.keyed(0, [0]))[0]
        channels = y.shape[1]
        square = 48.0 if model.factor > 1 else 0.0  # six float64 matrices of (side, side)
        return cls(peak.most / side**2, 20.0 * channels + 12, square)

    def bytes(self, tile: tuple[int, int], size: tuple[int, int]) -> float:
        """At the peak, for a tile (h, w) of a picture of `size`, margin included."""
        (height, width), whole = tile, size[0] * size[1]
        drawn = self.pixel * height * width + self.square * (height**2 + width**2)
        return drawn + self.kept * whole


class Peak(TorchDispatchMode):
    """Counts the bytes of all tensors that were made under it and live, `most` at the peak.

    While a convolution runs, its input and output count twice: oneDNN reorders them.
    """

    def __init__(self):
        super().__init__()
        self.live = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if id(storage) not in self.known:
                self.known.add(id(storage))
                self.live += storage.nbytes()
                weakref.finalize(storage, self._freed, id(storage), storage.nbytes())
        more = 0
        if func is torch.ops.aten.convolution.default:
            more = sum(t.numel() * t.element_size() for t in (args[0], out))
        self.most = max(self.most, self.live + more)
        return out

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size
