"""Every random draw of the package goes through here, so that a number can be drawn again.

A generator is `None` (the global one), a `torch.Generator`, or a sequence that holds one generator
a sample: noise *keyed* by (seed, image index, draw). Keyed noise is drawn on the CPU, each sample
from its own stream, so batch size, device and number of processes never change a number.
All draws are made in float64 and then rounded: float32 and float64 models see the same noise.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Generator = torch.Generator | Sequence[torch.Generator] | None


def keyed(seed: int, indices: Iterable[int], draw: int = 0) -> list[torch.Generator]:
    """One CPU generator a sample, seeded by a hash of (seed, image index, draw)."""

    def seed_of(index: int) -> int:
        digest = hashlib.sha256(f"{seed}/{int(index)}/{draw}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    return [torch.Generator().manual_seed(seed_of(index)) for index in indices]


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
