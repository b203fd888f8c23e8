"""Bits: -log P(y|x) / (D log 2), D the entries of y, or the pixels in the field of view.

Padding never counts in D; an exact model leaves it out of log P too, a flow cannot, so that its
figure stays an upper bound. Means are over images.
"""

import math

import numpy as np

from cnf.replication.metrics import Setting, Value, mean_se, metric
from cnf.replication.scored_model import ScoredModel, once


def bits(m: ScoredModel, s: Setting, log_p: np.ndarray) -> Value:
    """Of log-probabilities (N,), nats: bits divided by each D."""
    found = -log_p / (m.sizes(s.divided_by == "field of view") * math.log(2))
    bound = "exact"
    if not m.model.exact:  # its first layer, such as UniformDequantization
        kind = type(m.model.layers[0]).__name__.removesuffix("Dequantization")
        bound = f"{kind.lower()} dequantization"
    elif m.config.model.get("cells", 1) > 1:
        bound = "two cells for each grey level: no likelihood"
    return mean_se(found, bound=bound + ", importance-weighted" * s.importance)


@metric(
    *("bits/pixel", "bits/pixel", 4, 1e-4),
    **{"name": "bits_per_pixel", "task": "vessels", "of": "bits", "tag": "basic"},
)
@metric("bits/dim", "bits/dim", 3, 1e-4, task="sr", of="bits", tag="basic", each_x=True)
def bits_per_dim(m: ScoredModel, s: Setting) -> Value:
    log_p = m.importance_log_probs(s.draws) if s.importance else m.log_probs(s.draws or 1)
    return bits(m, s, log_p)


@metric(
    "bits/pixel of the second observer's mask", "bits/pixel", 4, 1e-4, task="vessels", of="bits"
)
def second_bits(m: ScoredModel, s: Setting) -> Value | None:
    if s.importance or m.seconds is None:
        return None
    return bits(m, s, second_log_probs(m, s.draws or 1))


@once
def second_log_probs(m: ScoredModel, draws: int) -> np.ndarray:
    """log P(second observer's mask | x), nats, (N,), with the noise of the first's."""
    pairs = zip(m.indices, m.seconds, strict=True)
    each = [[m.mask_log_probs(i, mask[None], d)[0] for d in range(draws)] for i, mask in pairs]
    return np.mean(each, 1)
