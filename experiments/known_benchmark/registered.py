"""Entries that are registered models of labels of this package, on one small U-Net of x."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import cnf
from cnf import weights
from cnf.replication import models, plugs

Entry = plugs.module("known_benchmark", "own").Entry

UNET = {"kind": "unet", "channels": 16, "scales": 3}
LABELS = {"channels": 1, "bins": 2, "features": UNET}
FLOW = {"levels": 1, "steps": 4, "width": 32, "flip": True}
HALF_LINE = {"dequantization": "binary", "noise": "gaussian"}
PATH = {"width": 64, "blocks": 1, "deep": 64, "deep_blocks": 1, "steps": 24}


def grey_levels(x: Tensor) -> Tensor:
    """x as the three channels of 0 to 255 that feature networks read; 255 is four standard
    deviations above the mean."""
    return torch.cat([128 + 32 * x, torch.full_like(x[:, :1], 128)], dim=1).clamp(0, 255)


class Registered(Entry):
    """A model that `cnf.weights` builds from its kind and the options of that kind."""

    noise = "half-line"

    def __init__(self, levels: int, kind: str, options: dict[str, Any]):
        if levels != 2:
            raise ValueError(f"{kind} models labels: choose a task of 2 levels, not of {levels}")
        super().__init__()
        models.load(kind)
        self.model = weights.build(kind, options)
        self.bound = not self.model.exact
        self.draws = 16 if self.bound else 1

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return self.model.log_prob(y.float(), grey_levels(x))

    def loss(self, y: Tensor, x: Tensor) -> Tensor:
        return self.model.loss(y.float(), grey_levels(x))[0]


class Solved(Registered):
    """A path from data to noise, scored by the solver of its differential equation, with one probe
    of Hutchinson's estimator a draw."""

    mean_of_logs = True

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.draws = 1

    def finer(self) -> None:
        self.model.layers[-1].steps *= 2


class Bounded(Registered):
    """The same network, scored by its variational bound, at other times in each draw."""

    mean_of_logs = True


class Counts(Registered):
    """The control without x: a table of how often a label was 1 after the same twelve labels. It
    is fitted in one pass."""

    noise = "none"

    def fit(self, y: Tensor, x: Tensor) -> None:
        pairs = zip(y.float().split(1000), grey_levels(x).split(1000), strict=True)
        self.model.fit(list(pairs))


class Couplings(Entry):
    """The coupling flow with uniform noise, which reads x as it is."""

    bound, draws, noise = True, 16, "uniform"

    def __init__(self, levels: int):
        super().__init__()
        options = {"levels": 1, "steps": 4, "width": 32, "dequantization": "uniform"}
        self.flow = cnf.glow(1, 2, bins=levels, **options)

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return self.flow.log_prob(y.float(), x)


def of_kind(
    kind: str, made_by: Callable[..., Registered] = Registered, **options: Any
) -> Callable[[int], Registered]:
    return lambda levels: made_by(levels, kind, options)


ENTRIES: dict[str, Callable[[int], Entry]] = {
    "coupling flow": Couplings,
    "counts": of_kind("controls/counts", Counts, neighbours=12),
    "flow matching": of_kind("families/flow-matching", Solved, **LABELS, **PATH),
    "diffusion": of_kind("families/diffusion", Bounded, **LABELS, **PATH),
    "flow with an autoregressive prior": of_kind(
        "autoregressive-flow", **LABELS, **FLOW, **HALF_LINE, ar_width=32, ar_blocks=1
    ),
    "transformer flow": of_kind(
        "transformer_flow/flow", **LABELS, windows=[2, 2, 2, 2], width=64, depth=1
    ),
}
OF_LABELS = ENTRIES.keys() - {"coupling flow"}
