"""Controls of vessels: tables of counts, without a flow and without gradients.

Any claim about joint modelling has to face them. They are fitted to the training pictures in one
pass (`fit`), saved, loaded and scored like every other model.
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
STRENGTHS = 2.0 ** np.arange(-2, 8)  # of a shorter context, in counts
Neighbours = Annotated[int, Field(gt=0, le=24)]  # the table has 2^n rows


def neighbours(n: int) -> list[tuple[int, int]]:
    """(rows, columns) from a pixel to the n nearest before it in raster order, nearest first; none
    is further than `REACH` in either."""
    r = REACH
    before = [(i, j) for i in range(-r, 1) for j in range(-r, r + 1) if (i, j) < (0, 0)]
    return sorted(before, key=lambda o: (o[0] ** 2 + o[1] ** 2, -o[0], abs(o[1]), o[1]))[:n]


class Counts(Entrywise):
    """P(y_i | y_<i, x) from a table of counts: how often a pixel with the same n labels before it,
    and the same bin of the logit of `marginal` if there is one, was a vessel. Exact.

    Counts of a context are smoothed by the estimate for the context without its farthest label,
    worth so many counts as predict the left-out photograph best, for each length by itself.

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
        wide, found = F.pad(y.long(), (r, r, r, 0)), h.clone()
        for i, j in self.offsets:
            found = 2 * found + wide[..., r + i : r + i + height, r + j : r + j + width]
        return found

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P(y_i | y_<i, x), nats, (B, 1, H, W)."""
        y = target(self, y, 2, like=h[0].to(self.table.dtype))
        return F.logsigmoid((2 * y - 1) * self.table[self.contexts(y, h[0])])

    @torch.no_grad()
    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        """Pixel after pixel; those of a wavefront at once, as none of them sees another."""
        check_draws(temperature, n)
        bins, r = h[0].repeat(n, 1, 1, 1)[:, 0], REACH
        height, width = bins.shape[-2:]
        generator = noise.repeated(generator, n, len(h[0]))
        eps = temperature * noise.logistic((len(bins), 1, height, width), generator, self.table)
        y, place = bins.new_zeros(len(bins), height + r, width + 2 * r), {"device": bins.device}
        down, across = torch.tensor(self.offsets, **place).T[..., None]
        powers = 2 ** torch.arange(len(self.offsets) - 1, -1, -1, **place)[:, None]
        for rows, columns in wavefronts(height, width, r, bins.device):
            seen = (y[:, rows + down + r, columns + across + r] * powers).sum(1)
            row = bins[:, rows, columns] * 2 ** len(self.offsets) + seen
            v = self.table[row] + eps[:, 0, rows, columns]
            y[:, rows + r, columns + r] = (v > 0).long()
        return (2 * y[:, None, r:, r : r + width] - 1).to(eps.dtype).unflatten(0, (n, -1))

    @torch.no_grad()
    def fit(self, pairs: Pairs, seed: int = 0) -> None:
        """Count, from the shortest context to the longest. log P of 0 and of 1 are kept apart: near
        0 and 1 a probability loses the digits that its complement needs."""
        if self.marginal is not None:
            self.marginal.load_state_dict(load(self.baseline).state_dict())
            self.marginal.eval()
        codes, labels = [], []
        for y, x in pairs:
            codes.append(self.contexts(y, self.condition(x)[0]).flatten().numpy())
            labels.append(y.flatten().numpy())
        n = len(self.offsets)
        whole = np.full((2, 1), np.log(0.5))  # log P(0), log P(1) of each context, all pictures
        left_out = [np.full((2, len(y)), np.log(0.5)) for y in labels]  # ... all but its own
        for length in range(n + 1):
            size = self.bins * 2**length
            at = [code >> (n - length) for code in codes]
            each = [
                np.stack([np.bincount(c, y == k, size) for k in (0, 1)])
                for c, y in zip(at, labels, strict=True)
            ]
            rest = [some[:, c] for some, c in zip(without_own(each), at, strict=True)]
            scores = []
            for strength in STRENGTHS:
                log_p = [_smoothed(*pair, strength) for pair in zip(rest, left_out, strict=True)]
                told = zip(log_p, labels, strict=True)
                scores.append(np.mean([np.where(y == 1, p[1], p[0]).mean() for p, y in told]))
            best = max(zip(scores, STRENGTHS, strict=True))[1]
            left_out = [_smoothed(*pair, best) for pair in zip(rest, left_out, strict=True)]
            whole = _smoothed(sum(each), np.repeat(whole, size // whole.shape[1], axis=1), best)
        self.table.copy_(torch.from_numpy(whole[1] - whole[0]))


def without_own(each: list[np.ndarray]) -> list[np.ndarray]:
    """For each picture the counts of all others, from the counts of each."""
    total = sum(each)
    return [total - own for own in each]


def _smoothed(counts: np.ndarray, log_p: np.ndarray, strength: float) -> np.ndarray:
    """log P of 0 and 1, (2, ...), from their counts and `strength` more, shared out by log_p."""
    more = np.exp(log_p) * strength
    return np.log(counts + more) - np.log(counts.sum(0) + strength)


@kind("controls/counts")
def counts(neighbours: Neighbours = 20) -> Counts:
    """Of the labels before a pixel alone."""
    return Counts(neighbours)


@kind("controls/counts_logit")
def counts_logit(
    features: Spec, neighbours: Neighbours = 12, baseline: str = "vessels-baseline"
) -> Counts:
    """Of the labels before a pixel and the logit of a trained baseline on these features."""
    return Counts(neighbours, Bernoulli(at_full(features)), baseline)
