"""Bits: -log P(y|x) / (D log 2), D the entries of y, or the pixels in the field of view.

Padding never counts in D; a factorised model leaves it out of log P too, a flow pays for it, so
that its figure stays an upper bound.
"""

import math
from collections.abc import Iterator

import numpy as np

from cnf.replication.metrics import Score, mean_se
from cnf.replication.scored_model import Subject


def bits(
    subject: Subject, metric: str, log_p: np.ndarray, draws: int, bound: str | None = None
) -> Iterator[Score]:
    """Of log-probabilities (N,), nats: bits divided by each D. Mean over images."""
    sr = subject.experiment == "sr"
    divisors = {"sub-pixels": False} if sr else {"all pixels": False, "field of view": True}
    for divided_by, fov in divisors.items():
        found = mean_se(-log_p / (subject.sizes(fov) * math.log(2)))
        yield Score(metric, *found, bound or subject.bound, divided_by, draws=draws)


def likelihoods(subject: Subject, only: str = "") -> Iterator[Score]:
    """Bits, plain and importance-weighted, divided by each D. Mean over images."""
    options = subject.options
    sr = subject.experiment == "sr"
    metric = "bits_per_dim" if sr else "bits_per_pixel"
    if only not in ("", metric):
        return
    draws = 0 if subject.model.exact else options.draws
    passes = [(subject.bound, draws, subject.log_probs(options.draws))]
    if options.importance and not subject.model.exact:
        bound = f"{subject.bound}, importance-weighted"
        log_p = subject.importance_log_probs(options.importance)
        passes.append((bound, options.importance, log_p))
    for bound, number, log_p in passes:
        yield from bits(subject, metric, log_p, number, bound)
