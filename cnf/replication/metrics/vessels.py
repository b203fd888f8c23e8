"""Metrics of vessel masks inside the field of view, most of them computed in one pass over samples.

What they share is in `masks`, the arithmetic in `overlap`, `calibration` and `shapes`. For a set
without a vessel, only the share of vessel is computed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnf import noise
from cnf.factorised import WeightedBernoulli
from cnf.flow import ConditionalFlow
from cnf.replication.evaluation.scored_model import ScoredModel
from cnf.replication.metrics import (
    Setting,
    Value,
    calibration,
    influences,
    jackknife,
    mean_se,
    metric,
    numbers,
    overlap,
    tightness,
    uncertainty,
)
from cnf.replication.metrics.masks import LIKELIEST, TASK, Masks, counts, pooled, split

# fields of `shapes.Shape` that are kept for all samples
JOINT = "area", "components", "crossings"
