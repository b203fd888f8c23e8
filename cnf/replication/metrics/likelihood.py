"""Bits: -log P(y|x) / (D log 2), D the entries of y, or the pixels in the field of view.

Padding never counts in D; a factorised model leaves it out of log P too, a flow cannot, so that its
figure stays an upper bound. Means are over images.
"""

import math

import numpy as np
from torch import Tensor

from cnf.replication.metrics import Setting, Value, mean_se, metric
from cnf.replication.scored_model import ScoredModel


def bits(m: ScoredModel, s: Setting, log_p: np.ndarray) -> Value:
    """Of log-probabilities (N,), nats: bits divided by each D."""
    bound = m.bound + ", importance-weighted" * s.importance
    found = -log_p / (m.sizes(s.divided_by == "field of view") * math.log(2))
    return Value(*mean_se(found), {"bound": bound})


@metric("bits/dim", "bits/dim", 3, 1e-4, task="sr", of="bits", tag="basic", each_x=True)
def bits_per_dim(m: ScoredModel, s: Setting) -> Value:
    log_p = m.importance_log_probs(s.draws) if s.importance else m.log_probs(s.draws or 1)
    return bits(m, s, log_p)


@metric("bits/pixel", "bits/pixel", 4, 1e-4, task="vessels", of="bits", tag="basic")
def bits_per_pixel(m: ScoredModel, s: Setting) -> Value:
    return bits_per_dim(m, s)


@metric(
    "bits/pixel of the second observer's mask", "bits/pixel", 4, 1e-4, task="vessels", of="bits"
)
def second_bits(m: ScoredModel, s: Setting) -> Value | None:
    log_p = None if s.importance else second_log_probs(m, s.draws or 1)
    return None if log_p is None else bits(m, s, log_p)


def second_log_probs(m: ScoredModel, draws: int = 1) -> np.ndarray | None:
    """log P(second observer's mask | x), nats, (N,), with the noise of the first's."""
    masks: list[Tensor] | None = m.seconds
    if masks is None:
        return None

    def compute():
        pairs = zip(m.indices, masks, strict=True)
        each = [[m.mask_log_probs(i, mask[None], d)[0] for d in range(draws)] for i, mask in pairs]
        return np.mean(each, 1)

    return m.once(("second", draws), compute)


BITS = ("bits_per_dim", "bits_per_pixel", "second_bits")
