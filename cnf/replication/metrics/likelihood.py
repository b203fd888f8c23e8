"""Bits: -log P(y|x) / (D log 2), where D is the number of entries of y, or of pixels in the field
of view.

Padding never counts in D. An exact model leaves it out of log P too. A flow cannot, so that its
value remains an upper bound. Means are over images.
"""

import numpy as np

from cnf.errors import ResultsError
from cnf.replication.measures import Setting
from cnf.replication.metrics import Value, mean_se
from cnf.replication.scored.model import ScoredModel, computed_once


def bits(m: ScoredModel, s: Setting, log_p: np.ndarray) -> Value:
    """Bits divided by each D, from log-probabilities (N,) in nats."""
    values = m.in_bits(log_p, s.divided_by == "field of view")
    bound = "exact"
    if not m.model.exact:  # its first layer, such as UniformDequantization
        layers = getattr(m.model, "layers", ())
        if not layers:
            raise ResultsError(
                f"{type(m.model).__name__} is not exact and has no layers: its bound is called by "
                "the first of them"
            )
        kind = type(layers[0]).__name__.removesuffix("Dequantization")
        bound = f"{kind.lower()} dequantization"
    elif m.config.model.get("cells", 1) > 1:
        bound = "two cells for each grey level: no likelihood"
    if s.importance:
        bound += ", importance-weighted"
    return mean_se(values, bound=bound)


def bits_of_y(m: ScoredModel, s: Setting, name: str) -> Value | None:
    """The bits of y, if the task calls them by this name."""
    if m.presentation.bits != name:
        return None
    log_p = m.importance_log_probs(s.draws) if s.importance else m.log_probs(s.draws or 1)
    return bits(m, s, log_p)


def bits_per_dim(m: ScoredModel, s: Setting) -> Value | None:
    return bits_of_y(m, s, "bits_per_dim")


def bits_per_pixel(m: ScoredModel, s: Setting) -> Value | None:
    return bits_of_y(m, s, "bits_per_pixel")


def second_bits(m: ScoredModel, s: Setting) -> Value | None:
    if s.importance or m.second_masks is None:
        return None
    return bits(m, s, m.statistics(SecondObserver).log_probs(s.draws or 1))


class SecondObserver:
    """The likelihood of the masks of the second observer under a model."""

    def __init__(self, scored: ScoredModel):
        self.scored = scored

    @computed_once
    def log_probs(self, draws: int) -> np.ndarray:
        """log P(second observer's mask | x), nats, (N,), with the noise of the first's."""
        m, by_picture = self.scored, []
        if m.second_masks is None:
            raise ResultsError(f"{m.images.name} has no second observer: leave these bits out")
        for index, mask in zip(m.indices, m.second_masks, strict=True):
            log_probs = [m.mask_log_probs(index, mask[None], draw)[0] for draw in range(draws)]
            by_picture.append(np.mean(log_probs))
        return np.array(by_picture)
