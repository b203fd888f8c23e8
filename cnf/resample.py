r"""Cubic resampling by 2 as MATLAB's `imresize` does it.

Halving is antialiased: the cubic kernel (a = -1/2) is stretched by 2, so output i is a weighted sum
of the eight inputs 2i-3 .. 2i+4; edges are mirrored with the edge pixel repeated ("symmetric").
All weights are multiples of 1/256 and everything is computed in float64, where the results for
8-bit pictures are exact: x never depends on the machine, the number of threads or the batch.

Each map is a matrix for each axis. A long axis is multiplied in blocks, `along`: no map reaches
far, and matrices of its whole length would take as much time as the networks of a flow.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from cnf.errors import DataError

Device = torch.device | None
LEAST = 4  # pixels a side, so that mirroring an edge by three pixels stays inside the picture
# Pixels of x: an axis of more than WHOLE is multiplied in blocks of BLOCK, each with REACH more on
# either side. What lies further away has weights below 1e-14.
WHOLE, BLOCK, REACH = 512, 64, 32


def imresize_half(y: Tensor) -> Tensor:
    """Halve the two last dimensions, antialiased.

    Each axis by :eq:`eq-halves-half`. y (...,H,W), any dtype -> (...,H/2,W/2) in y's dtype if it is
    floating, else float32. The values are neither clipped nor rounded. Raises DataError for odd
    sides or sides below 4 pixels.
    """
    height, width = y.shape[-2:]
    if height % 2 or width % 2 or min(height, width) < LEAST:
        raise DataError(
            f"cannot halve a picture of {height}x{width} (HxW): sides must be even and at least "
            f"{LEAST} pixels: crop it to even sides, or leave it out"
        )
    return _resample(y, half_matrix)


def imresize_double(x: Tensor) -> Tensor:
    """Double the two last dimensions: x (...,H,W) -> (...,2H,2W), dtype as in `imresize_half`.

    Raises DataError for sides below 2 pixels.
    """
    height, width = x.shape[-2:]
    if min(height, width) < LEAST // 2:
        raise DataError(f"cannot double a picture of {height}x{width} (HxW): sides must be >= 2")
    return _resample(x, _double_matrix)


def consistent_double(x: Tensor) -> Tensor:
    """The picture nearest to the cubic double of x that halves back to x exactly.

    u = B x + P (x - D B x), :eq:`eq-halves-double`, with B the cubic doubling, D the antialiased
    halving and P its pseudo-inverse D^T (D D^T)^-1: what x does not determine is left as B has it.
    x (B,C,H,W) -> (B,C,2H,2W).
    """
    doubled = imresize_double(x)
    missing = x - imresize_half(doubled)
    return doubled + _resample(missing, half_inverse)


def low_resolution(y: Tensor, round_x: bool) -> Tensor:
    """The input x of super-resolution: y (B,3,H,W) grey levels -> x (B,3,H/2,W/2) float.

    With `round_x`, clipped to 0..255 and rounded (halves up, as MATLAB rounds positive values):
    what an 8-bit picture file holds. Otherwise floats that overshoot 0..255 at sharp edges.
    """
    x = imresize_half(y)
    return x.clamp(0, 255).add(0.5).floor() if round_x else x


def _resample(image: Tensor, make: Callable[[int, Device], Tensor]) -> Tensor:
    out = image.dtype if image.dtype.is_floating_point else torch.float32
    image = image.to(torch.float64)
    return along(along(image, -2, make), -1, make).to(out)


def along(
    t: Tensor,
    dim: int,
    make: Callable[[int, Device], Tensor],
    before: int = 1,
    after: int = 1,
    step: int = 1,
) -> Tensor:
    """make(n) t, (..., M, ...), along one axis of n positions; in blocks if it is long.

    Args:
        dim: -2 or -1.
        make: the matrix (M, n) of a map that is the same at every pixel of x, mirrors the edges,
            and falls by a factor of 3 a pixel of x.
        before, after: so many bands, each a picture of its own, follow each other in n, and in M.
        step: positions of a band, in n, to a pixel of x.
    """

    def product(matrix: Tensor, part: Tensor) -> Tensor:
        matrix = matrix.to(t.dtype)
        return matrix @ part if dim == -2 else part @ matrix.T

    size = t.shape[dim] // before
    if not isinstance(size, int) or size <= step * WHOLE:  # where a graph is traced, a symbol
        return product(make(t.shape[dim], t.device), t)
    block, reach, cores = step * BLOCK, step * REACH, list[Tensor]()
    length = block + 2 * reach
    matrix = make(before * length, t.device)
    for start in range(0, size, block):
        stop, first = min(start + block, size), min(max(0, start - reach), size - length)
        part = t.unflatten(dim, (before, -1)).narrow(dim, first, length).flatten(dim - 1, dim)
        out = product(matrix, part).unflatten(dim, (after, -1))
        begin, end = ((n - first) * out.shape[dim] // length for n in (start, stop))
        cores.append(out.narrow(dim, begin, end - begin))
    return torch.cat(cores, dim).flatten(dim - 1, dim)


def half_matrix(size: int, device: Device = None) -> Tensor:
    """(size/2, size): output i lies at input position 2i + 1/2; the kernel is stretched by 2."""
    i = torch.arange(size // 2, dtype=torch.float64, device=device)
    return _around(2 * i + 0.5, size, 2)


def _double_matrix(size: int, device: Device = None) -> Tensor:
    """(2 size, size): output i lies at input position i/2 - 1/4."""
    i = torch.arange(2 * size, dtype=torch.float64, device=device)
    return _around(i / 2 - 0.25, size, 1)


def half_inverse(size: int, device: Device = None) -> Tensor:
    """(2 size, size): the pseudo-inverse D^T (D D^T)^-1 of D = `half_matrix(2 size)`.

    D D^T is diagonal in the basis of the DCT-II: there its inverse divides every row of D by its
    squared length."""
    basis = trigonometric(size, device)
    rows = basis @ half_matrix(2 * size, device)
    return (rows / rows.square().sum(1, keepdim=True)).T @ basis


def trigonometric(size: int, device: Device = None, sine: bool = False) -> Tensor:
    """(size, size): the rows of the orthonormal DCT-II, or DST-II."""
    j = torch.arange(size, dtype=torch.float64, device=device)
    angle = (j[:, None] + sine) * (2 * j + 1) * (math.pi / (2 * size))
    rows = torch.sin(angle) if sine else torch.cos(angle)
    return rows / rows.square().sum(1, keepdim=True).sqrt()


def _around(centre: Tensor, size: int, stretch: int) -> Tensor:
    """Weights of the stretched kernel around every centre, (outputs, size): of each pixel, and of
    its two images in the mirrors at the edges."""
    j = torch.arange(size, dtype=torch.float64, device=centre.device)
    images = torch.stack([j, -1 - j, 2 * size - 1 - j])
    return _cubic((images[:, None] - centre[:, None]) / stretch).sum(0) / stretch


def _cubic(t: Tensor) -> Tensor:
    """Keys' cubic convolution kernel, a = -1/2, :eq:`eq-halves-keys`."""
    t = t.abs()
    near, far = (1.5 * t - 2.5) * t * t + 1, ((2.5 - 0.5 * t) * t - 4) * t + 2
    return torch.where(t <= 1, near, torch.where(t <= 2, far, 0.0))
