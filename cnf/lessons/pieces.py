"""The classes of my_flow.py: of which lesson each is, where it is explained, and its laws."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnf.lessons.laws import (
    actnorm,
    couplings,
    flows,
    linear,
    motion,
    noise,
    pixels,
    priors,
    weighted,
)
from cnf.testing import Case, Law

BOOK = Path(__file__).parents[2] / "book"  # of a clone; a wheel has no pages


@dataclass(frozen=True)
class Piece:
    """One class. `section` is a heading of the lesson's page, book/PAGE.md; `says` what is needed
    of it, for those who have no page."""

    name: str
    lesson: int
    page: str
    section: str
    says: str
    laws: Callable[[type], tuple[Case, dict[str, Law]]]

    @property
    def where(self) -> str:
        place = f'lesson {self.lesson}, "{self.section}"'
        if (BOOK / f"{self.page}.md").is_file():
            return f"{place} (book/{self.page}.md)"
        return f"{place}: {self.says}"


PIECES = [
    Piece(
        "PerPixel",
        1,
        "why-likelihoods",
        "A loss is a probability model",
        "log P(y|x) is the sum of log q over labels 1 and of log(1 - q) over labels 0, with "
        "q = sigmoid(logit); F.logsigmoid((2 y - 1) logit) is both",
        pixels.perpixel,
    ),
    Piece(
        "ActNorm",
        2,
        "change-of-variables",
        "Layers add up",
        "z = exp(l) (y + b) scales each of H W positions, so the term is H W (l_1 + ... + l_C); "
        "the first batch sets l = -log of the deviation and b = -mean of each channel",
        actnorm.actnorm,
    ),
    Piece(
        "Coupling",
        3,
        "coupling-layers",
        "The code of a coupling",
        "z_a = y_a, z_b = y_b exp(log_s) + t, where (log_s, t) are found from y_a and h alone; the "
        "term is the sum of log_s; back: y_b = (z_b - t) exp(-log_s)",
        couplings.coupling,
    ),
    Piece(
        "Conv1x1",
        4,
        "multi-scale",
        "The rest of a step",
        "z = W y at each of H W positions, so the term is H W log|det W|; back multiplies by the "
        "inverse of W",
        linear.conv1x1,
    ),
    Piece(
        "Squeeze",
        4,
        "multi-scale",
        "The rest of a step",
        "a 2x2 block of positions becomes 4 channels of one; nothing is scaled: the term is 0",
        linear.squeeze,
    ),
    Piece(
        "Prior",
        5,
        "conditioning",
        "Three places for x",
        "the term is the sum of log N(y_b; mu, sigma^2), that is -(y_b - mu)^2 / (2 sigma^2) - "
        "log sigma - 1/2 log 2 pi, where mu and sigma are found from y_a and h; "
        "back draws mu + tau sigma eps",
        priors.prior,
    ),
    Piece(
        "UniformDequantization",
        6,
        "dequantization",
        "Uniform noise and bits per dimension",
        "v = (y + u) / levels with u uniform in [0, 1): the density of v in its cell is levels for "
        "each of D entries, so the term, -log q, is -D log levels",
        noise.uniform,
    ),
    Piece(
        "BinaryDequantization",
        7,
        "binary-targets",
        "Noise on a half-line",
        "v = 1/2 + (2 y - 1) softplus(w), w = 3 + eps; q(v) is the density of eps, which is "
        "sigmoid(eps) sigmoid(-eps), over the slope of softplus, sigmoid(w)",
        noise.binary,
    ),
    Piece(
        "WeightedBernoulli",
        8,
        "factorised-models",
        "The weighted likelihood",
        "q is p^beta / (p^beta + (1 - p)^(1 - beta)), so logit q = (1 - beta) softplus(a) - beta "
        "softplus(-a), where a is the logit of p",
        weighted.weighted,
    ),
    Piece(
        "Flow",
        9,
        "one-file",
        "The model",
        "log_prob adds the terms of all layers, each given the features of its size; sample calls "
        "back of the same layers, the last one first, with tau",
        flows.flow,
    ),
    Piece(
        "Motion",
        18,
        "flows-in-continuous-time",
        "Bits, by the solver",
        "log p(v) is log N(v_0; 0, I) less the integral of the divergence of u along the path from "
        "noise (t = 0) to v (t = 1); the loss is the mean of (u(v_t, t) - (v - noise))^2, with "
        "v_t = t v + (1 - t) noise",
        motion.motion,
    ),
]
LESSONS = sorted({piece.lesson for piece in PIECES})
WHICH = f"1 to 9, or {LESSONS[-1]}"
