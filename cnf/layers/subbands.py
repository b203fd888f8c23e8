from functools import lru_cache

import torch
from torch import Tensor

from cnf.layers.base import constant
from cnf.layers.squeeze import Squeeze
from cnf.resample import half_matrix, matrix_for


class Subbands(Squeeze):
    r"""Squeeze along the bands of the degradation: what x knows of y, and what it does not.

    Forward:  (B, C, H, W) -> (B, 4C, H/2, W/2), channels in the order
              (details of rows, of columns, of both, low band)
    Inverse:  the transpose
    log|det|: 0, an orthogonal map                                         (ours, not the paper's)

    The rows of L = (D D^T)^{-1/2} D, D the antialiased halving of one axis, are an orthonormal
    basis of what D sees; those of N one of what it does not (:eq:`eq-halves-null`). Applied to both
    axes of y - u, where u halves back to x exactly, the low band holds only the noise of
    dequantization (and of rounding x).

    Raises: ValueError if H or W is odd; both are named.
    """

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.check_size(y)
        rows, columns = (matrix_for(y, bands, size) for size in y.shape[-2:])
        low, detail = (rows @ y @ columns.T).chunk(2, dim=-2)
        (low, detail_w), (detail_h, both) = low.chunk(2, dim=-1), detail.chunk(2, dim=-1)
        return torch.cat([detail_w, detail_h, both, low], dim=1), constant(y, 0.0)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        detail_w, detail_h, both, low = z.chunk(4, dim=1)
        top, bottom = torch.cat([low, detail_w], dim=-1), torch.cat([detail_h, both], dim=-1)
        y = torch.cat([top, bottom], dim=-2)
        rows, columns = (matrix_for(y, bands, size) for size in y.shape[-2:])
        return rows.T @ y @ columns, constant(z, 0.0)


@lru_cache(maxsize=16)
def bands(size: int) -> Tensor:
    """The orthogonal (size, size) matrix (L; N), float64. N starts from neighbours' differences."""
    halve = half_matrix(size)
    low = _inverse_root(halve @ halve.T) @ halve
    differences = torch.eye(size, dtype=halve.dtype).reshape(size // 2, 2, size)
    differences = differences[:, 0] - differences[:, 1]
    unseen = differences - differences @ low.T @ low
    return torch.cat([low, _inverse_root(unseen @ unseen.T) @ unseen])


def _inverse_root(m: Tensor) -> Tensor:
    """m^{-1/2} of a symmetric positive definite matrix."""
    values, vectors = torch.linalg.eigh(m)
    return vectors * values.rsqrt() @ vectors.T
