r"""Data whose conditional likelihood is known: what a model misses can be counted in bits.

A latent picture is Gaussian, v | x ~ N(m(x), S), with neighbouring entries correlated; the target
is v cut into cells. P(y|x) is then the probability of a box (grey levels) or an orthant (binary,
the multivariate probit model of paper section 3), computed by quadrature for up to four entries;
tests compare it with SciPy's estimates. The input x is one of a few fixed fields, so that the
entropy and the best that a model without correlations can reach are finite sums over all y and x,
not estimates.
"""

from functools import cached_property
from itertools import product
from math import log

import numpy as np
import torch
from scipy.special import ndtr, xlogy
from torch import Tensor


class CutGaussian:
    r"""v | x ~ N(gain * x + offset, deviation^2 R), y = the number of `edges` that v exceeds.

    R has entries correlation^d for entries a distance d apart (in rows, columns, channels). The
    inputs x are `num_inputs` standard normal fields with the same R, drawn once from `seed`; each
    is equally likely.

    Shapes: y uint8 (B,C,H,W) in {0..len(edges)}, x float32 (B,C,H,W). Raises ValueError for a
    shape of more than D = C H W = 4 entries (the quadrature grows like 100^D).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        edges: np.ndarray,
        offset: float,
        gain: float,
        deviation: float,
        correlation: float,
        num_inputs: int,
        seed: int,
    ):
        size = int(np.prod(shape))
        if len(shape) != 3 or not 1 <= size <= 4:
            raise ValueError(f"shape {shape} must be (C,H,W) with one to four entries, not {size}")
        if not 0 <= correlation < 1 or deviation <= 0:
            raise ValueError(
                f"correlation = {correlation} must lie in [0, 1), deviation = {deviation} above 0"
            )
        self.shape, self.levels, self.num_inputs = tuple(shape), len(edges) + 1, num_inputs
        self.cuts = np.concatenate([[-np.inf], edges, [np.inf]])
        place = np.stack(np.unravel_index(np.arange(size), shape), 1)
        distance = np.linalg.norm(place[:, None] - place, axis=2)
        self.covariance = deviation**2 * correlation**distance
        self._root = np.linalg.cholesky(self.covariance)
        rng = np.random.default_rng(seed)
        fields = rng.normal(size=(num_inputs, size)) @ self._root.T / deviation
        self.inputs = torch.from_numpy(fields.reshape(-1, *shape)).float()
        self.means = gain * self.inputs.double().reshape(num_inputs, size).numpy() + offset
        self.values = np.array(list(product(range(self.levels), repeat=size)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n pairs: y uint8 and x float32, both (n,C,H,W)."""
        which = torch.randint(self.num_inputs, (n,), generator=generator)
        noise = torch.randn(n, len(self._root), generator=generator, dtype=torch.float64)
        v = torch.from_numpy(self.means)[which] + noise @ torch.from_numpy(self._root).T
        y = torch.bucketize(v, torch.from_numpy(self.cuts[1:-1]), right=False)
        return y.reshape(n, *self.shape).to(torch.uint8), self.inputs[which]

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """Exact log P(y|x) in nats, float64 (B,). Raises ValueError if an x is not in `inputs`."""
        rows = (x.float().flatten(1)[:, None] == self.inputs.flatten(1)).all(2)
        if not rows.any(1).all():
            raise ValueError("x is not one of this field's inputs: take it from .inputs or .sample")
        weights = self.levels ** np.arange(self.values.shape[1])[::-1]
        columns = (y.flatten(1).long() * torch.from_numpy(weights.copy())).sum(1)
        return torch.from_numpy(self.table)[rows.int().argmax(1), columns].log()

    def entropy_bits(self) -> float:
        """Entropy of y given x in bits per entry: no model can score below it."""
        return float(-xlogy(self.table, self.table).sum(1).mean() / (self.values.shape[1] * log(2)))

    def best_factorised_bits(self) -> float:
        """Cross-entropy, in bits per entry, of the best model with independent entries given x.

        That model has the true marginals; the excess over `entropy_bits` is the total correlation.
        """
        marginals = self.marginals
        entropy = -xlogy(marginals, marginals).sum((1, 2)).mean()
        return float(entropy / (self.values.shape[1] * log(2)))

    @cached_property
    def table(self) -> np.ndarray:
        """P(y|x) for every input and every y in the order of `values`: (num_inputs, levels^D)."""
        boxes = [_boxes(self.cuts, mean, self.covariance).ravel() for mean in self.means]
        return np.array(boxes)

    @cached_property
    def marginals(self) -> np.ndarray:
        """P(y_j = k | x), (num_inputs, D, levels)."""
        one_hot = self.values[:, :, None] == np.arange(self.levels)
        return np.einsum("mv,vdk->mdk", self.table, one_hot)


class GaussianField(CutGaussian):
    """Correlated Gaussian pictures cut to grey levels 0..levels-1, the end levels open.

    Neighbours correlate by `correlation`; `deviation` and `gain` are in grey levels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] = (1, 2, 2),
        levels: int = 4,
        correlation: float = 0.8,
        deviation: float = 1.0,
        gain: float = 0.7,
        num_inputs: int = 4,
        seed: int = 0,
    ):
        edges = np.arange(1, levels, dtype=float)
        super().__init__(shape, edges, levels / 2, gain, deviation, correlation, num_inputs, seed)


class ThresholdedField(CutGaussian):
    """Binary pictures: a correlated Gaussian picture above 1/2 or not (paper section 3)."""

    def __init__(
        self,
        shape: tuple[int, int, int] = (1, 2, 2),
        correlation: float = 0.8,
        gain: float = 0.7,
        num_inputs: int = 4,
        seed: int = 0,
    ):
        super().__init__(shape, np.array([0.5]), 0.5, gain, 1.0, correlation, num_inputs, seed)


def _boxes(cuts: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    r"""P(v in each box) of v ~ N(mean, covariance), an array with an axis of cells an entry.

    The chain rule v_1, v_2 | v_1, ... with Gauss-Legendre nodes in every cell of all entries but
    the last, whose conditional cell probabilities are differences of the normal distribution
    function. The integrand is analytic within a cell, so that the error falls exponentially with
    the number of nodes: below 1e-9 with these.
    """
    root = np.linalg.cholesky(covariance)
    sharpest = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))  # deviation given all others
    grids = [
        _nodes(cuts, m, s, narrow)
        for m, s, narrow in zip(mean, np.sqrt(np.diag(covariance)), sharpest, strict=True)
    ]

    def integrate(known: np.ndarray) -> np.ndarray:
        """Boxes of the entries after the first len(known), given those as standard normals."""
        j = len(known)
        centre, width = mean[j] + root[j, :j] @ known, root[j, j]
        if j == len(mean) - 1:
            return np.diff(ndtr((cuts - centre) / width))
        nodes, weights, starts = grids[j]
        noise = (nodes - centre) / width
        density = weights * np.exp(-(noise**2) / 2) / (width * np.sqrt(2 * np.pi))
        if j == len(mean) - 2:
            centres = mean[-1] + root[-1, :j] @ known + root[-1, j] * noise
            inner = np.diff(ndtr((cuts - centres[:, None]) / root[-1, -1]), axis=1)
        else:
            inner = np.array([integrate(np.append(known, e)) for e in noise])
        density = density.reshape(-1, *[1] * (inner.ndim - 1))
        return np.add.reduceat(density * inner, starts, axis=0)

    return integrate(np.zeros(0))


def _nodes(
    cuts: np.ndarray, mean: float, deviation: float, narrow: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights of all cells, and where each cell starts.

    Open cells end seven deviations from the mean (mass beyond: 1e-12) or one past their edge.
    """
    low = min(mean - 7 * deviation, cuts[1] - deviation)
    high = max(mean + 7 * deviation, cuts[-2] + deviation)
    ends = np.concatenate([[low], cuts[1:-1], [high]])
    parts = []
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        half = (end - start) / 2
        at, weight = np.polynomial.legendre.leggauss(int(np.ceil(8 + 3 * half / narrow)))
        parts.append((start + half * (at + 1), half * weight))
    starts = np.cumsum([0] + [len(at) for at, _ in parts[:-1]])
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]), starts
