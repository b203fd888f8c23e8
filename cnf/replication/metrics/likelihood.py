"""Bits: -log P(y|x) / (D log 2), D the entries of y, or the pixels in the field of view.

Padding never counts in D; an exact model leaves it out of log P too, a flow cannot, so that its
figure stays an upper bound. Means are over images.
"""

import math

import numpy as np

from cnf.replication.evaluation.scored_model import ScoredModel, computed_once
from cnf.replication.metrics import Setting, Value, mean_se, metric


def bits(m: ScoredModel, s: Setting, log_p: np.ndarray) -> Value:
    """Of log-probabilities (N,), nats: bits divided by each D."""
    found = -log_p / (m.sizes(s.divided_by == "field of view") * math.log(2))
    bound = "exact"
    if not m.model.exact:  # its first layer, such as UniformDequantization
        kind = type(m.model.layers[0]).__name__.removesuffix("Dequantization")
        bound = f"{kind.lower()} dequantization"
    elif m.config.model.get("cells", 1) > 1:
        bound = "two cells for each grey level: no likelihood"
    if s.importance:
        bound += ", importance-weighted"
    return mean_se(found, bound=bound)


def bits_of_y(m: ScoredModel, s: Setting) -> Value:
    log_p = m.importance_log_probs(s.draws) if s.importance else m.log_probs(s.draws or 1)
    return bits(m, s, log_p)


@metric(
    title="bits/dim",
    unit="bits/dim",
    digits=3,
    tolerance=1e-4,
    of="bits",
    tag="basic",
    each_x=True,
)
def bits_per_dim(m: ScoredModel, s: Setting) -> Value | None:
    return bits_of_y(m, s) if m.task.bits == "bits_per_dim" else None


@metric(title="bits/pixel", unit="bits/pixel", digits=4, tolerance=1e-4, of="bits", tag="basic")
def bits_per_pixel(m: ScoredModel, s: Setting) -> Value | None:
    return bits_of_y(m, s) if m.task.bits == "bits_per_pixel" else None


@metric(
    title="bits/pixel of the second observer's mask",
    unit="bits/pixel",
    digits=4,
    tolerance=1e-4,
    of="bits",
)
def second_bits(m: ScoredModel, s: Setting) -> Value | None:
    if s.importance or m.seconds is None:
        return None
    return bits(m, s, m.statistics(SecondObserver).log_probs(s.draws or 1))


class SecondObserver:
    """What a model says of the masks of the second observer."""

    def __init__(self, scored: ScoredModel):
        self.scored = scored

    @computed_once
    def log_probs(self, draws: int) -> np.ndarray:
        """log P(second observer's mask | x), nats, (N,), with the noise of the first's."""
        m = self.scored
        pairs = zip(m.indices, m.seconds, strict=True)
        each = [[m.mask_log_probs(i, mask[None], d)[0] for d in range(draws)] for i, mask in pairs]
        return np.mean(each, 1)
