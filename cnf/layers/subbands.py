import torch
from torch import Tensor

from cnf.layers.base import constant
from cnf.layers.squeeze import Squeeze
from cnf.resample import along, half_matrix, trigonometric


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
        for dim in (-2, -1):
            y = along(y, dim, bands, after=2, step=2)
        parts = y.unflatten(-2, (2, -1)).unflatten(-1, (2, -1))
        low, detail_w, detail_h, both = (parts[..., a, :, b, :] for a in (0, 1) for b in (0, 1))
        return torch.cat([detail_w, detail_h, both, low], dim=1), constant(y, 0.0)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        detail_w, detail_h, both, low = z.chunk(4, dim=1)
        top, bottom = torch.cat([low, detail_w], dim=-1), torch.cat([detail_h, both], dim=-1)
        y = torch.cat([top, bottom], dim=-2)
        for dim in (-2, -1):
            y = along(y, dim, lambda size, device: bands(size, device).T, before=2)
        return y, constant(z, 0.0)


def bands(size: int, device: torch.device | None = None) -> Tensor:
    """The orthogonal (size, size) matrix (L; N), float64. N starts from neighbours' differences.

    D D^T is diagonal in the basis of the DCT-II, and what D does not see of the differences in that
    of the DST-II: there the root of an inverse divides every row by its length."""
    halve = half_matrix(size, device)
    low = _orthonormal(halve, trigonometric(size // 2, device))
    pixel = torch.arange(size, device=device)
    first = 2 * torch.arange(size // 2, device=device)[:, None]
    differences = (pixel == first).to(low.dtype) - (pixel == first + 1).to(low.dtype)
    unseen = differences - differences @ low.T @ low
    return torch.cat([low, _orthonormal(unseen, trigonometric(size // 2, device, sine=True))])


def _orthonormal(rows: Tensor, basis: Tensor) -> Tensor:
    """(R R^T)^{-1/2} R of rows R for which R R^T is diagonal in `basis`."""
    rows = basis @ rows
    return basis.T @ (rows / rows.square().sum(1, keepdim=True).sqrt())
