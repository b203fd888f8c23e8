"""Controls of vessels: tables of counts, without a flow and without gradients.

A joint model is useful only if it beats them. They are fitted to the training pictures in one pass
(`fit`), and saved, loaded and scored like every other model.
"""

from collections.abc import Collection
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnf import noise
from cnf.factorised import Bernoulli, Entrywise, at_full, target
from cnf.features import Spec
from cnf.flow import check_draws
from cnf.nets import wavefronts
from cnf.noise import Generator
from cnf.replication.releases import load
from cnf.weights import kind

Pairs = Collection[tuple[Tensor, Tensor]]  # y (1, C, H, W) and x of each picture
EDGES = (-6.5, 6.5, 14)  # first, last and number of the edges between bins of a logit, in nats
REACH = 4  # rows and columns to the farthest of 24 neighbours
STRENGTHS = 2.0 ** np.arange(-2, 8)  # candidate weights of a shorter context, in counts
Neighbours = Annotated[int, Field(gt=0, le=24)]  # the table has 2^n rows


def neighbours(n: int) -> list[tuple[int, int]]:
    """(rows, columns) from a pixel to the n nearest before it in raster order, nearest first, at
    most `REACH` rows and columns away."""
    offsets = []
    for row in range(-REACH, 1):
        for column in range(-REACH, REACH + 1):
            if (row, column) < (0, 0):
                offsets.append((row, column))
    return sorted(offsets, key=lambda o: (o[0] ** 2 + o[1] ** 2, -o[0], abs(o[1]), o[1]))[:n]


class Counts(Entrywise):
    """P(y_i | y_<i, x) from a table of counts: how often a pixel was vessel whose n labels before
    it were the same, and, with a `marginal`, whose logit of that model was in the same bin. Exact.

    Counts of a context are smoothed by the estimate for the context without its farthest label. The
    weight of that estimate, in counts, is the one that predicts left-out photographs best; it is
    chosen for each length of context.

    Shapes: y (B, 1, H, W) in {0, 1}; outside the picture labels count as 0.
    """

    labels = Bernoulli.labels

    def __init__(self, n: int, marginal: Bernoulli | None = None, baseline: str = ""):
        super().__init__()
        self.offsets, self.marginal, self.baseline = neighbours(n), marginal, baseline
        self.multiple = 1 if marginal is None else marginal.multiple
        self.table = nn.Parameter(torch.zeros(self.bins * 2**n), requires_grad=False)  # logits

    @property
    def bins(self) -> int:
        return 1 if self.marginal is None else EDGES[2] + 1

    def condition(self, x: Tensor) -> list[Tensor]:
        self.check_input(x)
        if self.marginal is None:
            return [torch.zeros_like(x[:, :1], dtype=torch.long)]
        edges = torch.linspace(*EDGES, device=x.device)
        return [torch.bucketize(self.marginal.condition(x)[0].contiguous(), edges)]

    def contexts(self, y: Tensor, h: Tensor) -> Tensor:
        """The row of the table for every pixel, (B, 1, H, W): the bin, then the nearest labels."""
        r, (height, width) = REACH, y.shape[-2:]
        padded, codes = F.pad(y.long(), (r, r, r, 0)), h.clone()
        for i, j in self.offsets:
            codes = 2 * codes + padded[..., r + i : r + i + height, r + j : r + j + width]
        return codes

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P(y_i | y_<i, x), nats, (B, 1, H, W)."""
        y = target(self, y, 2, like=h[0].to(self.table.dtype))
        return F.logsigmoid((2 * y - 1) * self.table[self.contexts(y, h[0])])

    @torch.no_grad()
    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Pixel after pixel. Those of a wavefront are drawn at once, because none depends on
        another one."""
        check_draws(temperature, n)
        bins, r = h[0].repeat(n, 1, 1, 1)[:, 0], REACH
        height, width = bins.shape[-2:]
        generator = noise.repeated(generator, n, len(h[0]))
        eps = temperature * noise.logistic((len(bins), 1, height, width), generator, self.table)
        y, device = bins.new_zeros(len(bins), height + r, width + 2 * r), {"device": bins.device}
        rows_away, columns_away = torch.tensor(self.offsets, **device).T[..., None]
        powers = 2 ** torch.arange(len(self.offsets) - 1, -1, -1, **device)[:, None]
        for rows, columns in wavefronts(height, width, r, bins.device):
            code = (y[:, rows + rows_away + r, columns + columns_away + r] * powers).sum(1)
            table_rows = bins[:, rows, columns] * 2 ** len(self.offsets) + code
            v = self.table[table_rows] + eps[:, 0, rows, columns]
            y[:, rows + r, columns + r] = (v > 0).long()
        return (2 * y[:, None, r:, r : r + width] - 1).to(eps.dtype).unflatten(0, (n, -1))

    @torch.no_grad()
    def fit(self, pairs: Pairs, seed: int = 0) -> None:
        """Count, from the shortest context to the longest. log P(0) and log P(1) are stored
        separately: from a probability near 0 or 1 the other one could not be computed exactly."""
        if self.marginal is not None:
            self.marginal.load_state_dict(load(self.baseline).state_dict())
            self.marginal.eval()
        codes, labels = [], []
        for y, x in pairs:
            codes.append(self.contexts(y, self.condition(x)[0]).flatten().numpy())
            labels.append(y.flatten().numpy())
        n = len(self.offsets)
        # log P(0), log P(1): of each context, and of each pixel from all photographs but its own
        log_p = np.full((2, 1), np.log(0.5))
        left_out = [np.full((2, len(y)), np.log(0.5)) for y in labels]
        for length in range(n + 1):
            size = self.bins * 2**length
            contexts = [code >> (n - length) for code in codes]
            counts = [_label_counts(*pair, size) for pair in zip(contexts, labels, strict=True)]
            others = [table[:, c] for table, c in zip(without_own(counts), contexts, strict=True)]
            scores = []
            for strength in STRENGTHS:
                predicted = _smoothed_each(others, left_out, strength)
                scores.append((mean_log_p(predicted, labels), strength))
            strength = max(scores)[1]
            left_out = _smoothed_each(others, left_out, strength)
            shorter = np.repeat(log_p, size // log_p.shape[1], axis=1)
            log_p = _smoothed(sum(counts), shorter, strength)
        self.table.copy_(torch.from_numpy(log_p[1] - log_p[0]))


def _label_counts(contexts: np.ndarray, labels: np.ndarray, size: int) -> np.ndarray:
    """How often each context had label 0 and label 1, (2, size)."""
    return np.stack([np.bincount(contexts, labels == k, size) for k in (0, 1)])


def without_own(counts: list[np.ndarray]) -> list[np.ndarray]:
    """The counts of all other photographs, for each photograph."""
    total = sum(counts)
    return [total - own for own in counts]


def _smoothed(counts: np.ndarray, log_p: np.ndarray, strength: float) -> np.ndarray:
    """log P(0) and log P(1), (2, ...), from counts and `strength` further ones, in shares log_p."""
    further = np.exp(log_p) * strength
    return np.log(counts + further) - np.log(counts.sum(0) + strength)


def _smoothed_each(
    counts: list[np.ndarray], log_p: list[np.ndarray], strength: float
) -> list[np.ndarray]:
    return [_smoothed(*pair, strength) for pair in zip(counts, log_p, strict=True)]


def mean_log_p(log_p: list[np.ndarray], labels: list[np.ndarray]) -> float:
    """The mean over photographs of the mean log P of their labels."""
    pairs = zip(log_p, labels, strict=True)
    return float(np.mean([np.where(y == 1, p[1], p[0]).mean() for p, y in pairs]))


@kind("controls/counts")
def counts(neighbours: Neighbours = 20) -> Counts:
    """Counts given the labels before a pixel alone."""
    return Counts(neighbours)


@kind("controls/counts_logit")
def counts_logit(
    features: Spec, neighbours: Neighbours = 12, baseline: str = "vessels-baseline"
) -> Counts:
    """Counts given the labels before a pixel and the logit of a trained baseline, which has these
    features."""
    return Counts(neighbours, Bernoulli(at_full(features)), baseline)
