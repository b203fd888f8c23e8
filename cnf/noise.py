"""Every random draw of the package goes through here, so that a number can be drawn again.

A generator is `None` (the global one), a `torch.Generator`, a sequence that holds one generator a
sample (noise *keyed* by (seed, image index, draw)), a part of a larger draw, of a batch (`Rows`) or
of a picture (`Window`), or draws made elsewhere (`Given`). Keyed noise is drawn on the CPU, each
sample from its own stream, so batch size, device and number of processes never change a number.
All draws are made in float64 and then rounded: float32 and float64 models see the same noise.
"""

import hashlib
import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The samples `start`, `start + 1`, ... of a batch of `total` that `generator` draws: the parts
    of a batch, on one process or on several, see the noise of the whole."""

    generator: torch.Generator
    total: int
    start: int


@dataclass(frozen=True)
class Window:
    """A tile of a picture sees the part of the noise that `generator`, keyed, draws for the whole.

    Args:
        size: (H, W) of the whole y. `tile`: (h, w) of the tile of y. `top`, `left`: its corner.

    A draw of (B, C, h / f, w / f) is made at the level where positions are f x f pixels; f must
    divide all six numbers. Draws come in order, as in the whole pass, and move the generators on:
    make them anew for every tile.
    """

    generator: Sequence[torch.Generator]
    size: tuple[int, int]
    tile: tuple[int, int]
    top: int
    left: int

    def parts(self, height: int, width: int) -> tuple[list[int], tuple[slice, slice]]:
        """For a draw of `height` x `width`: the size of the whole field, and where the tile lies.

        Raises ValueError if the tile does not lie on the grid of that level.
        """
        f = self.tile[0] // height
        numbers = (*self.size, *self.tile, self.top, self.left)
        if self.tile != (f * height, f * width) or any(number % f for number in numbers):
            raise ValueError(
                f"a draw of {height}x{width} for the tile {self.tile} at ({self.top}, {self.left}) "
                f"of {self.size}: cut tiles at multiples of the model's `multiple`"
            )
        top, left = self.top // f, self.left // f
        inside = slice(top, top + height), slice(left, left + width)
        return [side // f for side in self.size], inside


@dataclass(frozen=True)
class Given:
    """Draws that were made elsewhere, in the order in which they are asked for: standard normal,
    uniform or standard logistic, whichever it is."""

    draws: Iterator[Tensor]


Generator = torch.Generator | Sequence[torch.Generator] | Rows | Window | Given | None


def keyed(seed: int, indices: Iterable[int], draw: int = 0) -> list[torch.Generator]:
    """One CPU generator a sample, seeded by a hash of (seed, image index, draw)."""
    return [_seeded(f"{seed}/{int(index)}/{draw}") for index in indices]


def repeated(generator: Generator, n: int, batch: int | None = None) -> Generator:
    """The noise of n samples for each of the B generators of a keyed batch, sample-major, (n B).

    Sample 0 is drawn by the generators themselves, sample i by generators of their own, keyed by
    (state of the first, i): so sample i is the same however many are drawn, together or in parts.
    For a part: repeat for all, pass the slice; n `batch` generators come back as they are.
    """
    if isinstance(generator, Window):
        return replace(generator, generator=cast(Any, repeated(generator.generator, n, batch)))
    if not isinstance(generator, Sequence) or n == 1 or len(generator) == n * (batch or 0):
        return generator
    states = [hashlib.sha256(g.get_state().numpy().tobytes()).hexdigest() for g in generator]
    return [*generator, *(_seeded(f"{state}/{i}") for i in range(1, n) for state in states)]


def part(generator: Generator, start: int, stop: int) -> Generator:
    """The keyed noise of the samples `start` to `stop` of a batch; other noise as it comes."""
    if isinstance(generator, Window):
        return replace(generator, generator=generator.generator[start:stop])
    return generator[start:stop] if isinstance(generator, Sequence) else generator


def _seeded(key: str) -> torch.Generator:
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal(shape: Sequence[int], generator: Generator, like: Tensor) -> Tensor:
    """Standard normal noise of `shape` (B, ...)."""
    return _draw(torch.randn, shape, generator, like)


def uniform(shape: Sequence[int], generator: Generator, like: Tensor) -> Tensor:
    """Uniform noise of `shape` (B, ...), in [0, 1)."""
    u = _draw(torch.rand, shape, generator, like)
    return u.clamp(max=1 - torch.finfo(u.dtype).eps / 2)  # rounding to float32 may reach 1


def logistic(shape: Sequence[int], generator: Generator, like: Tensor) -> Tensor:
    """Standard logistic noise of `shape` (B, ...): log u - log(1 - u)."""

    def sampler(*args, **options) -> Tensor:
        return torch.logit(torch.rand(*args, **options), eps=1e-16)  # rand may return 0

    return _draw(sampler, shape, generator, like)


def _draw(sampler: Callable, shape: Sequence[int], generator: Generator, like: Tensor) -> Tensor:
    noise = _field(sampler, tuple(shape), generator, like.device)
    return noise.to(device=like.device, dtype=like.dtype)


def _field(
    sampler: Callable, shape: tuple[int, ...], generator: Generator, device: torch.device
) -> Tensor:
    """Noise in float64, on the device of the generator; `device` is that of the global one."""
    if isinstance(generator, Rows):
        if generator.start + shape[0] > generator.total:
            raise ValueError(f"the noise of {generator.total} rows ends before {shape[0]} more")
        whole = _field(sampler, (generator.total, *shape[1:]), generator.generator, device)
        return whole[generator.start : generator.start + shape[0]]
    if isinstance(generator, Window):
        size, inside = generator.parts(*shape[-2:])
        return _field(sampler, (*shape[:-2], *size), generator.generator, device)[..., *inside]
    if isinstance(generator, Given):
        return next(generator.draws)
    if generator is None or isinstance(generator, torch.Generator):
        device = device if generator is None else generator.device
        return sampler(shape, generator=generator, dtype=torch.float64, device=device)
    if isinstance(generator, numbers.Integral):
        remedy = f"give torch.Generator().manual_seed({generator})"
        raise ValueError(f"generator = {generator}, a number: {remedy}")
    if len(generator) != shape[0]:
        raise ValueError(
            f"{len(generator)} generators for a batch of {shape[0]}: keyed noise needs one a sample"
        )
    for n, one in enumerate(generator):
        if not isinstance(one, torch.Generator):
            made = type(one).__module__.partition(".")[0] + "." + type(one).__name__
            raise ValueError(
                f"generator {n} of the batch is a {made}: give torch.Generators, such "
                "as cnf.noise.keyed(seed, indices); a NumPy generator draws for itself"
            )
    draws = (
        sampler(shape[1:], generator=g, dtype=torch.float64, device=g.device) for g in generator
    )
    return torch.stack(list(draws))
