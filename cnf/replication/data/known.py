r"""Data whose conditional likelihood is known, so that the excess of a model can be counted in
bits.

A latent picture is Gaussian, v | x ~ N(m(x), S), with neighbouring entries correlated; the target
is v cut into cells. P(y|x) is then the probability of a box (grey levels) or an orthant (binary,
the multivariate probit model). Two kinds, small and of realistic size:

`GaussianField`, `ThresholdedField`: up to four entries, by quadrature; the input x is one of a few
fixed fields, so that entropies are finite sums over all y and x, not estimates.

`FineField`, `RowField`: pictures of any size, by linear algebra and by a sum along each row; y and
x are what the models of super-resolution and of vessels take. Derived in "Known likelihoods".
"""

from functools import cached_property
from itertools import pairwise, product
from math import ceil, log, pi
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.special import ndtr, xlogy
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from cnf.resample import half_matrix

MIDDLE = 128.0  # the grey level that fields of realistic size lie around
REACH = 7.0  # standard normals beyond it have a mass of 1e-12
ROWS = 256  # rows that `RowField` works on together, so that they stay in the cache


class GaussianField:
    r"""v | x ~ N(levels / 2 + gain x, deviation^2 R), y = floor(v), cut to 0..levels-1.

    R has entries correlation^d for entries a distance d apart (in rows, columns, channels). The
    inputs x are `num_inputs` standard normal fields with the same R, drawn once from `seed`; each
    is equally likely.

    Shapes: y uint8 (B,C,H,W) in {0..levels-1}, x float32 (B,C,H,W). Raises ValueError for a shape
    of more than D = C H W = 4 entries (the quadrature grows like 100^D).
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
        size = int(np.prod(shape))
        if len(shape) != 3 or not 1 <= size <= 4:
            raise ValueError(f"shape {shape} must be (C,H,W) with one to four entries, not {size}")
        _check(correlation, deviation=deviation)
        self.shape, self.levels, self.dims = tuple(shape), levels, size
        self.cuts = np.array([-np.inf, *range(1, levels), np.inf])
        place = np.stack(np.unravel_index(np.arange(size), shape), 1)
        self.covariance = deviation**2 * correlation ** cdist(place, place)
        self._root = np.linalg.cholesky(self.covariance)
        fields = np.random.default_rng(seed).normal(size=(num_inputs, size)) @ self._root.T
        self.inputs = torch.from_numpy(fields / deviation).view(-1, *shape).float()
        self.means = gain * self.inputs.double().flatten(1).numpy() + levels / 2
        self.values = np.array(list(product(range(levels), repeat=size)))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n pairs: y uint8 and x float32, both (n,C,H,W)."""
        which = torch.randint(len(self.inputs), (n,), generator=generator)
        noise = torch.randn(n, self.dims, generator=generator, dtype=torch.float64)
        v = torch.from_numpy(self.means)[which] + noise @ torch.from_numpy(self._root).T
        y = v.floor().clamp(0, self.levels - 1).to(torch.uint8)
        return y.view(n, *self.shape), self.inputs[which]

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """Exact log P(y|x) in nats, float64 (B,). Raises ValueError if an x is not in `inputs`."""
        rows = (x.float().flatten(1)[:, None] == self.inputs.flatten(1)).all(2)
        if not rows.any(1).all():
            raise ValueError("x is not one of this field's inputs: take it from .inputs or .sample")
        columns = np.ravel_multi_index(y.flatten(1).T.numpy(), (self.levels,) * self.dims)
        return torch.from_numpy(np.log(self.table[rows.int().argmax(1), columns]))

    def entropy_bits(self) -> float:
        """Entropy of y given x in bits per entry: no model can score below it,
        :eq:`eq-known-excess`."""
        return float(-xlogy(self.table, self.table).sum(1).mean() / (self.dims * log(2)))

    def best_factorised_bits(self) -> float:
        """Cross-entropy, in bits per entry, of the best model with independent entries given x.

        That model has the true marginals; the excess over `entropy_bits` is the total correlation,
        :eq:`eq-known-information`.
        """
        p = self.marginals
        return float(-xlogy(p, p).sum((1, 2)).mean() / (self.dims * log(2)))

    @cached_property
    def table(self) -> np.ndarray:
        """P(y|x) for every input and every y in the order of `values`: (inputs, levels^D)."""
        return np.array([_boxes(self.cuts, m, self.covariance).ravel() for m in self.means])

    @cached_property
    def marginals(self) -> np.ndarray:
        """P(y_j = k | x), (inputs, D, levels)."""
        one_hot = self.values[:, :, None] == np.arange(self.levels)
        return np.einsum("mv,vdk->mdk", self.table, one_hot)


class ThresholdedField(GaussianField):
    """Binary pictures: a correlated Gaussian picture cut at 1/2, here moved to 1. The options are
    those of `GaussianField` but levels and deviation. P(y|x) of two entries with both means at 1/2
    is known in closed form: :eq:`eq-binary-arcsin`."""

    def __init__(self, shape: tuple[int, int, int] = (1, 2, 2), **options: Any):
        super().__init__(shape, levels=2, deviation=1.0, **options)


class FineField:
    r"""Pairs for x2 super-resolution: a Gaussian picture v, y = floor(v), x = half(v) + noise,
    :eq:`eq-known-data`. Given x it is Gaussian again, :eq:`eq-known-posterior`.

    v ~ N(128, S), S = (deviation^2 - grain^2) C x R + grain^2 I: colours correlate by
    `channel_correlation` (C), places a distance d apart by correlation^d (R), every entry has grain
    of its own. x halves v by `half_matrix` and adds white noise of deviation `noise`: without it
    v | x would have no density, since x would fix a quarter of v's directions. All in grey levels.

    P(y|x) is the integral of v's density over a cell, :eq:`eq-known-cell`: the density of v + u, u
    uniform on (-1/2, 1/2)^D, at the centre of the cell, exactly. `log_prob` takes a Gaussian for
    it, N(m(x), S(x) + I/12), :eq:`eq-known-sheppard`. `law` is that of its residuals, of three
    independent pictures in the colours' own axes.

    Args:
        size: height and width of y, even, at least 4. Setting up takes O(size^6): 64 is much.

    Shapes: y uint8 (B,3,H,W), x float32 (B,3,H/2,W/2). Raises ValueError for parameters that do not
    fit: grain and noise must be at least 1 (below it cells are too coarse), deviation at most 20
    (above it entries would leave 0..255; with 20 one picture of 3x16x16 in 10 million has one).
    """

    def __init__(
        self,
        size: int = 16,
        deviation: float = 20.0,
        correlation: float = 0.8,
        channel_correlation: float = 0.95,
        grain: float = 2.0,
        noise: float = 1.0,
    ):
        if size % 2 or size < 4:
            raise ValueError(f"size = {size}: pictures that are halved need even sides >= 4")
        _check(correlation)
        _check(channel_correlation)
        if not (1 <= grain <= deviation <= 20 and noise >= 1):
            raise ValueError(
                f"grain = {grain}, deviation = {deviation}, noise = {noise}: choose 1 <= grain <= "
                "deviation <= 20 and noise >= 1, in grey levels"
            )
        self.size, self.noise, self.dims = size, noise, 3 * size**2
        halve = half_matrix(size)
        self.halve = torch.kron(halve, halve)  # (n/4, n), n = size^2
        place = torch.cartesian_prod(*[torch.arange(size, dtype=torch.float64)] * 2)
        smooth = correlation ** torch.cdist(place, place)
        # In the eigenvectors of the colours' correlations the three pictures are independent. Two
        # eigenvalues are equal, so a library would choose different eigenvectors on each machine.
        axes = torch.tensor([[1, 1, 1], [-1, 1, 1], [0, -2, 1]], dtype=torch.float64)
        self.axes = axes / axes.norm(dim=0)
        less = 1 - channel_correlation
        values = torch.tensor([less, less, 3 - 2 * less], dtype=torch.float64)
        identity = torch.eye(size**2, dtype=torch.float64)
        prior = (deviation**2 - grain**2) * values[:, None, None] * smooth + grain**2 * identity
        covariance_xv = self.halve @ prior  # covariance of half(v) and v, (3, n/4, n)
        covariance_x = (
            covariance_xv @ self.halve.T + noise**2 * identity[: size**2 // 4, : size**2 // 4]
        )
        self.gain = torch.linalg.solve(covariance_x, covariance_xv).mT  # (3, n, n/4)
        self.covariance = prior - self.gain @ covariance_xv  # of v given x, (3, n, n)
        self._prior_root = torch.linalg.cholesky(prior)
        self.law = MultivariateNormal(
            torch.zeros(size**2).double(), self.covariance + identity / 12
        )

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n pairs: y uint8 (n,3,H,W) and x float32 (n,3,H/2,W/2)."""
        eps = torch.randn(3, self.size**2, n, generator=generator, dtype=torch.float64)
        v = self._prior_root @ eps
        v, x = self._pictures(v), self._pictures(self.halve @ v)
        x = x + self.noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        return v.floor().clamp(0, 255).to(torch.uint8), x.float()

    def sample_given(
        self, x: Tensor, n: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """n draws of y for each x, uint8 (n,B,3,H,W)."""
        shape = (3, self.size**2, n * len(x))
        eps = torch.randn(shape, generator=generator, dtype=torch.float64)
        deviation = self._pictures(torch.linalg.cholesky(self.covariance) @ eps) - MIDDLE
        v = self.mean(x) + deviation.unflatten(0, (n, len(x)))
        return v.floor().clamp(0, 255).to(torch.uint8)

    def mean(self, x: Tensor) -> Tensor:
        """E[v|x], float64 (B,3,H,W)."""
        return self._pictures(self.gain @ self._columns(x))

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """log P(y|x) in nats, float64 (B,). Its error is zero on average, :eq:`eq-known-error`: a
        millionth of a bit per entry, with the defaults."""
        residual = self._columns(y.double() + 0.5 - self.mean(x) + MIDDLE).permute(2, 0, 1)
        return self.law.log_prob(residual).sum(1)

    def factorised_log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """log of the product of the true P(y_j|x), in nats, float64 (B,): no model with independent
        entries has a higher average."""
        deviation = self.variance(extra=0.0).sqrt()
        low = (y.double() - self.mean(x)) / deviation
        high = low + 1 / deviation
        flip = low > 0  # differences of small numbers, not of numbers near 1
        low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
        cells = torch.special.ndtr(high) - torch.special.ndtr(low)
        return cells.log().sum((1, 2, 3))

    def variance(self, extra: float = 1 / 12) -> Tensor:
        """Diagonal of the covariance of v given x, plus `extra`, (3,H,W)."""
        diagonal = torch.diagonal(self.covariance, dim1=1, dim2=2)  # in the colours' own axes
        return (self.axes.square() @ diagonal).view(3, self.size, self.size) + extra

    def entropy_bits(self) -> float:
        """Entropy of y given x in bits per entry: no model can score below it."""
        return self.law.entropy().sum().item() / (self.dims * log(2))

    def best_factorised_bits(self) -> float:
        """Cross-entropy, in bits per entry, of the best model with independent entries given x:
        :eq:`eq-known-gaussian-information` above `entropy_bits`."""
        entropy = Normal(0.0, self.variance().sqrt()).entropy()
        return entropy.sum().item() / (self.dims * log(2))

    def _columns(self, pictures: Tensor) -> Tensor:
        """Pictures around 128, (B,3,H,W), to (3, H W, B) around 0 in the colours' own axes."""
        flat = (pictures.double() - MIDDLE).flatten(2)
        return torch.einsum("ca,bcn->anb", self.axes, flat)

    def _pictures(self, columns: Tensor) -> Tensor:
        """Undo `_columns`."""
        side = round(columns.shape[1] ** 0.5)
        flat = torch.einsum("ca,anb->bcn", self.axes, columns)
        return flat.unflatten(2, (side, side)) + MIDDLE


class RowField:
    r"""Pairs for segmentation: y = 1 where a Gaussian picture v exceeds 1/2, correlated along rows.

    v_ij = m_ij(x) + w_ij, w_ij = a w_i,j-1 + sqrt(1 - a^2) eps_ij of variance 1, a = `correlation`,
    :eq:`eq-known-chain`; rows are independent given x. m(x) = 1/2 + (green - `level`) / `contrast`,
    green the second channel of x. Each row of w is a Markov chain, so that its orthant probability
    is a chain of integrals over one number each, :eq:`eq-known-forward`: of any length, exact to
    the 1e-10 of Gauss-Legendre quadrature.

    Shapes: y uint8 (B,1,H,W) in {0, 1}, x float32 (B,3,H,W), grey levels. Raises ValueError for a
    correlation outside [0, 1) or a contrast that is not positive.
    """

    def __init__(
        self, size: int = 16, correlation: float = 0.8, level: float = 150.0, contrast: float = 30.0
    ):
        _check(correlation, contrast=contrast)
        self.size, self.dims, self.correlation = size, size**2, correlation
        self.level, self.contrast = level, contrast
        self.width = (1 - correlation**2) ** 0.5  # deviation of w given its neighbour on the left

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw n pairs: y uint8 (n,1,H,W), x float32 (n,3,H,W): smooth, noise in each channel."""
        shape = (n, 3, self.size, self.size)
        grid = torch.randn(n, 1, *[-(-self.size // 4) + 1] * 2, generator=generator)
        smooth = torch.nn.functional.interpolate(
            grid, size=shape[2:], mode="bilinear", align_corners=True
        )
        noise = torch.randn(shape, generator=generator)
        x = (MIDDLE + 40 * smooth + 8 * noise).clamp(0, 255).round()
        eps = torch.randn(n, 1, *shape[2:], generator=generator, dtype=torch.float64)
        steps = [eps[..., 0]]
        for j in range(1, self.size):
            steps.append(self.correlation * steps[-1] + self.width * eps[..., j])
        return (torch.stack(steps, -1) > self.thresholds(x)).to(torch.uint8), x

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """log P(y|x) in nats, float64 (B,)."""
        start, sign = self.thresholds(x)[:, 0], 2 * y[:, 0].double() - 1
        # where y = 0, w lies above the threshold of the picture's mirror image
        start = (sign * start).clamp(min=-REACH).flatten(0, 1)  # (B H, W)
        sign = sign.flatten(0, 1)
        blocks = zip(start.split(ROWS), sign.split(ROWS), strict=True)
        rows = torch.cat([self._rows(*block) for block in blocks])
        return rows.view(len(y), -1).sum(1)

    def _rows(self, start: Tensor, sign: Tensor) -> Tensor:
        """log P(sign_j w_j > start_j for all j) of rows, (R, W) -> (R,).

        Gauss-Legendre nodes of every w_j; alpha is the density of w_j at them times the probability
        of all before it, over their total so far.
        """
        length = (REACH - start).clamp(min=1.0)
        count = ceil(8 + 3 * length.max().item() / (2 * self.width))
        nodes, weights = (torch.from_numpy(t) for t in np.polynomial.legendre.leggauss(count))
        w = sign[..., None] * (start[..., None] + length[..., None] * (nodes + 1) / 2)
        alpha = torch.exp(-w[:, 0].square() / 2) / (2 * pi) ** 0.5
        total = torch.zeros(len(start), dtype=torch.float64)
        for j in range(start.shape[1]):
            if j:
                step = (w[:, j, :, None] - self.correlation * w[:, j - 1, None, :]) / self.width
                kernel = step.square_().mul_(-0.5).exp_() / (self.width * (2 * pi) ** 0.5)
                alpha = (kernel @ alpha[..., None])[..., 0]
            alpha = alpha * weights * (length[:, j, None] / 2)
            mass = alpha.sum(1)
            alpha, total = alpha / mass[:, None], total + mass.log()
        return total

    def marginals(self, x: Tensor) -> Tensor:
        """P(y_j = 1 | x), float64 (B,1,H,W)."""
        return torch.special.ndtr(-self.thresholds(x))

    def factorised_log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        """As `FineField.factorised_log_prob`."""
        sign = 2 * y.double() - 1
        return torch.special.log_ndtr(-sign * self.thresholds(x)).sum((1, 2, 3))

    def thresholds(self, x: Tensor) -> Tensor:
        """What w must exceed for y = 1, float64 (B,1,H,W)."""
        return (self.level - x[:, 1:2].double()) / self.contrast


def _check(correlation: float, **positive: float) -> None:
    if not (0 <= correlation < 1 and all(value > 0 for value in positive.values())):
        others = "".join(f", {name} = {value} above 0" for name, value in positive.items())
        raise ValueError(f"correlation = {correlation} must lie in [0, 1){others}")


def _boxes(cuts: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    r"""P(v in each box) of v ~ N(mean, covariance), an array with an axis of cells an entry.

    Gauss-Legendre nodes in every cell of all entries but the last, which, given these, has the
    normal distribution function. The integrand is analytic within a cell: the error falls
    exponentially with the number of nodes, and is below 1e-9 with these.
    """
    root, deviations = np.linalg.cholesky(covariance), np.sqrt(np.diag(covariance))
    narrow = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))  # deviation given all others
    grids = [_nodes(cuts, *moments) for moments in zip(mean[:-1], deviations, narrow, strict=False)]
    axes = np.meshgrid(*(nodes for nodes, _, _ in grids), indexing="ij")
    weights = np.meshgrid(*(weights for _, weights, _ in grids), indexing="ij")
    shape = [len(nodes) for nodes, _, _ in grids]
    v = np.reshape(axes, (len(grids), np.prod(shape, dtype=int)))
    eps = np.linalg.solve(root[:-1, :-1], v - mean[:-1, None])
    density = np.exp(-(eps**2).sum(0) / 2) / (np.diag(root)[:-1] * np.sqrt(2 * pi)).prod()
    centre = mean[-1] + root[-1, :-1] @ eps
    last = np.diff(ndtr((cuts - centre[:, None]) / root[-1, -1]), axis=1)
    mass = (density * np.prod(weights, axis=0).ravel())[:, None] * last
    mass = mass.reshape(*shape, -1)
    for axis, (_, _, starts) in enumerate(grids):
        mass = np.add.reduceat(mass, starts, axis=axis)
    return mass


def _nodes(
    cuts: np.ndarray, mean: float, deviation: float, narrow: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights of all cells, and where each cell starts.

    Open cells end seven deviations from the mean (mass beyond: 1e-12) or one past their edge.
    """
    low = min(mean - 7 * deviation, cuts[1] - deviation)
    high = max(mean + 7 * deviation, cuts[-2] + deviation)
    nodes: list[float] = []
    weights: list[float] = []
    starts = []
    for start, end in pairwise([low, *cuts[1:-1], high]):
        half = (end - start) / 2
        at, weight = np.polynomial.legendre.leggauss(ceil(8 + 3 * half / narrow))
        starts.append(len(nodes))
        nodes.extend(start + half * (at + 1))
        weights.extend(half * weight)
    return np.array(nodes), np.array(weights), np.array(starts)
