"""Every random draw of the package goes through here, so that a number can be drawn again.

A generator is `None` (the global one), a `torch.Generator`, a sequence that holds one generator a
sample (noise *keyed* by (seed, image index, draw)), or a part of a larger draw (`Rows`). Keyed
noise is drawn on the CPU, each sample from its own stream, so batch size, device and number of
processes never change a number.
All draws are made in float64 and then rounded: float32 and float64 models see the same noise.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The samples `start`, `start + 1`, ... of a batch of `total` that `generator` draws: the parts
    of a batch, on one process or on several, see the noise of the whole."""

    generator: torch.Generator
    total: int
    start: int


Generator = torch.Generator | Sequence[torch.Generator] | Rows | None


def keyed(seed: int, indices: Iterable[int], draw: int = 0) -> list[torch.Generator]:
    """One CPU generator a sample, seeded by a hash of (seed, image index, draw)."""
    return [_seeded(f"{seed}/{int(index)}/{draw}") for index in indices]


def repeated(generator: Generator, n: int) -> Generator:
    """The noise of n samples for each of the B generators of a keyed batch, sample-major, (n B).

    Sample 0 is drawn by the generators themselves, sample i by generators of their own, keyed by
    (state of the first, i): so sample i is the same however many are drawn, together or in parts.
    """
    if n == 1 or not isinstance(generator, Sequence):
        return generator
    states = [hashlib.sha256(g.get_state().numpy().tobytes()).hexdigest() for g in generator]
    return [*generator, *(_seeded(f"{state}/{i}") for i in range(1, n) for state in states)]


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
    shape = tuple(shape)
    if isinstance(generator, Rows):
        whole = _draw(sampler, (generator.total, *shape[1:]), generator.generator, like)
        return whole[generator.start : generator.start + shape[0]]
    if generator is None or isinstance(generator, torch.Generator):
        device = like.device if generator is None else generator.device
        noise = sampler(shape, generator=generator, dtype=torch.float64, device=device)
    else:
        if len(generator) != shape[0]:
            raise ValueError(
                f"{len(generator)} generators for a batch of {shape[0]}: "
                "keyed noise needs one a sample"
            )
        draws = (sampler(shape[1:], generator=g, dtype=torch.float64) for g in generator)
        noise = torch.stack(list(draws))
    return noise.to(device=like.device, dtype=like.dtype)
