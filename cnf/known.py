r"""A yardstick for conditional likelihoods: four tasks of small pictures whose P(y|x) is exact.

On average, no model of y given x has a higher log-probability than the truth. So what a model
lacks is counted, in bits per entry, and what is above the truth is a mistake, which is found here
and, where the numbers agree with a well-known one, named:

    >>> from cnf import known
    >>> x, y = known.TASKS["rows"].draw(20_000, seed=1)  # to train on; any seed but known.TEST
    >>> x, y = known.test("rows")
    >>> print(known.score("rows", log_prob=mine.log_prob(y, x)))
    rows: 0.8099 bits per entry, the truth 0.6326, excess 0.1773 +- 0.0031

    python -m cnf.known make rows test.npz          x and y of the test, or of any --seed
    python -m cnf.known score rows submitted.npz    log_prob (1000,) in nats, or samples, or both

Pictures y are whole numbers (n, 1, 8, 8), inputs x are float32 (n, 2, 8, 8). What each task is
about:

    boxes     grey levels: a Gaussian picture, correlated along rows, cut into cells of one level
    rows      labels: the same picture cut at a threshold (multivariate probit, a row at a time)
    texture   four levels, each given the one on its left and the one above it
    raters    labels by one of three raters, who draw the outline wider or narrower

This file needs NumPy and PyTorch alone: it may be copied.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.floating] | NDArray[np.integer]

SIDE = 8
SIZE = SIDE * SIDE  # entries of y
TEST, N_TEST = 0, 1000  # the seed and the number of the pictures that every entry is scored on
ALARM = math.log(1e6)  # nats; see `above`
REACH = 7.0  # standard normals beyond it have a mass of 1e-12


@dataclass(frozen=True)
class Task:
    """Pairs (x, y) from a seed, and the exact log P(y|x)."""

    name: str
    levels: int
    answer: Callable[[np.ndarray, np.random.Generator], np.ndarray]  # y given x
    exact: Callable[[np.ndarray, np.ndarray], np.ndarray]  # log P of (y, x)

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n pairs: x float32 (n, 2, 8, 8), y int64 (n, 1, 8, 8) in 0 to levels - 1."""
        rng = np.random.default_rng([seed, n, *self.name.encode()])
        x = inputs(n, rng)
        return x, self.answer(x, rng)

    def sample(self, x: Array, seed: int) -> np.ndarray:
        """One y from P(y|x) for each x."""
        return self.answer(np.asarray(x), np.random.default_rng([seed, *self.name.encode()]))

    def log_prob(self, y: Array, x: Array) -> np.ndarray:
        """log P(y|x) in nats, float64 (n,). Raises ValueError for levels that there are not."""
        if y.shape != (len(x), 1, SIDE, SIDE) or x.shape[1:] != (2, SIDE, SIDE):
            raise ValueError(f"y {y.shape} and x {x.shape}: they are (n, 1, 8, 8) and (n, 2, 8, 8)")
        if (y != np.floor(y)).any() or y.min() < 0 or y.max() >= self.levels:
            raise ValueError(f"y has other numbers than the levels 0 to {self.levels - 1}")
        return self.exact(y.astype(np.int64), x)


# -- what is drawn ---------------------------------------------------------------------------------


def inputs(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two smooth pictures with some noise in each entry, of variance near one."""
    grid = rng.normal(size=(n, 2, 4, 4))
    place = np.linspace(0, 3, SIDE)
    weight = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(4)))  # (8, 4), linear
    smooth = np.einsum("ia,ncab,jb->ncij", weight, grid, weight)
    return (smooth + 0.3 * rng.normal(size=smooth.shape)).astype(np.float32)


def chain(n: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Standard normal pictures (n, 8, 8) whose rows are Markov chains."""
    w = rng.normal(size=(n, SIDE, SIDE))
    for j in range(1, SIDE):
        w[..., j] = correlation * w[..., j - 1] + math.sqrt(1 - correlation**2) * w[..., j]
    return w


def chain_log_prob(low: np.ndarray, high: np.ndarray, correlation: float) -> np.ndarray:
    r"""log P(low < w < high in every entry) of such a picture, (n, 8, 8) -> (n,).

    With alpha_j(w) the density of w_j = w together with all entries before it inside their bounds,
    alpha_j(w) = \int N(w; a w', 1 - a^2) alpha_{j-1}(w') dw', on the nodes of Gauss-Legendre.
    """
    n, width = len(low), math.sqrt(1 - correlation**2)
    low, high = (np.clip(t, -REACH, REACH).reshape(-1, SIDE) for t in (low, high))
    low = np.minimum(low, high - 1e-9)  # a cell beyond REACH keeps a width, and no mass to speak of
    found = np.empty(len(low))
    length = (high - low).max(1)
    order = np.argsort(length)  # rows of short intervals need fewer nodes
    for part in np.array_split(order, max(1, len(order) // 256)):
        count = math.ceil(8 + 3 * length[part].max() / (2 * width))
        nodes, weights = np.polynomial.legendre.leggauss(count)
        half = (high[part] - low[part])[..., None] / 2
        w, step = torch.from_numpy(low[part][..., None] + half * (nodes + 1)), half * weights
        area = torch.from_numpy(step)
        alpha = torch.exp(-w[:, 0].square() / 2) / math.sqrt(2 * math.pi)
        total = torch.zeros(len(part), dtype=torch.float64)
        for j in range(SIDE):
            if j:
                apart = (w[:, j, :, None] - correlation * w[:, j - 1, None, :]) / width
                kernel = torch.exp(-apart.square() / 2) / (width * math.sqrt(2 * math.pi))
                alpha = (kernel @ alpha[..., None])[..., 0]
            alpha = alpha * area[:, j]
            mass = alpha.sum(1).clamp(min=1e-300)
            alpha, total = alpha / mass[:, None], total + mass.log()
        found[part] = total.numpy()
    return found.reshape(n, SIDE).sum(1)


# -- the tasks -------------------------------------------------------------------------------------

GREY, SCALE, ALONG = 8, 1.5, 0.8  # levels, deviation in levels, correlation of neighbours in a row
BLEND = math.sqrt(2) / 2


def mean_of(x: np.ndarray) -> np.ndarray:
    """A number for each place, (n, 8, 8): the first picture, and the second by its sign."""
    return BLEND * (x[:, 0].astype(np.float64) + np.tanh(2 * x[:, 1].astype(np.float64)))


def boxes_answer(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    v = GREY / 2 + SCALE * (mean_of(x) + chain(len(x), ALONG, rng))
    return np.clip(np.floor(v), 0, GREY - 1).astype(np.int64)[:, None]


def boxes_exact(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    ends = np.array([-np.inf, *range(1, GREY), np.inf])
    low, high = ((ends[y[:, 0] + k] - GREY / 2) / SCALE - mean_of(x) for k in (0, 1))
    return chain_log_prob(low, high, ALONG)


def rows_answer(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (mean_of(x) + chain(len(x), ALONG, rng) > 0).astype(np.int64)[:, None]


def rows_exact(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    one, cut = y[:, 0] == 1, -mean_of(x)
    return chain_log_prob(np.where(one, cut, -np.inf), np.where(one, np.inf, cut), ALONG)


FOUR = 4


def texture_logits(left: np.ndarray, above: np.ndarray, m: np.ndarray) -> np.ndarray:
    """log P of each level, (n, 4): near what is on its left, above it, and what x says. -1 stands
    for what is outside of the picture."""
    k = np.arange(FOUR)
    place = (FOUR - 1) / 2 + 1.2 * m[:, None]
    score = -0.5 * (k - place) ** 2
    for near, weight in ((left, 0.9), (above, 0.5)):
        score = score - weight * np.where(near[:, None] < 0, 0, np.abs(k - near[:, None]))
    return score - np.log(np.exp(score).sum(1, keepdims=True))


def texture(x: np.ndarray, choose: Callable) -> tuple[np.ndarray, np.ndarray]:
    """y, and log P(y|x), entry by entry; `choose` gives the level (n,) of entry (i, j)."""
    n, m = len(x), mean_of(x)
    y, total = np.full((n, SIDE + 1, SIDE + 1), -1), np.zeros(n)
    for i in range(SIDE):
        for j in range(SIDE):
            log_p = texture_logits(y[:, i + 1, j], y[:, i, j + 1], m[:, i, j])
            y[:, i + 1, j + 1] = choose(i, j, log_p)
            total += log_p[np.arange(n), y[:, i + 1, j + 1]]
    return y[:, None, 1:, 1:], total


def texture_answer(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    def choose(i: int, j: int, log_p: np.ndarray) -> np.ndarray:
        below = np.exp(log_p).cumsum(1)[:, :-1]  # the last is 1
        return (rng.random(len(log_p))[:, None] > below).sum(1)

    return texture(x, choose)[0]


def texture_exact(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return texture(x, lambda i, j, log_p: y[:, 0, i, j])[1]


RATERS = np.array([[0.5, 0.0, 4.0], [0.3, 1.0, 4.0], [0.2, -1.0, 3.0]])  # share, shift, sharpness


def raters_answer(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    who = rng.choice(len(RATERS), size=len(x), p=RATERS[:, 0])
    shift, sharp = (RATERS[who, k][:, None, None] for k in (1, 2))
    one = rng.random((len(x), SIDE, SIDE)) < 1 / (1 + np.exp(-sharp * (mean_of(x) + shift)))
    return one.astype(np.int64)[:, None]


def raters_exact(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    each = []
    for share, shift, sharp in RATERS:
        logit = sharp * (mean_of(x) + shift) * (2 * y[:, 0] - 1)
        each.append(math.log(share) - np.logaddexp(0, -logit).sum((1, 2)))
    return np.logaddexp.reduce(each)


TASKS = {
    task.name: task
    for task in (
        Task("boxes", GREY, boxes_answer, boxes_exact),
        Task("rows", 2, rows_answer, rows_exact),
        Task("texture", FOUR, texture_answer, texture_exact),
        Task("raters", 2, raters_answer, raters_exact),
    )
}


def task_of(name: str) -> Task:
    if name not in TASKS:
        raise ValueError(f"no task {name!r}: choose from {', '.join(TASKS)}")
    return TASKS[name]


def test(name: str, seed: int = TEST) -> tuple[np.ndarray, np.ndarray]:
    """x and y that entries are scored on; other seeds verify an entry on pictures that are new."""
    return task_of(name).draw(N_TEST, seed)


# -- scores ----------------------------------------------------------------------------------------


@dataclass
class Score:
    """What was submitted, beside the truth. Bits are per entry of y."""

    task: str
    bits: float = math.nan
    truth: float = math.nan
    excess: float = math.nan  # of bits over the truth
    error: float = math.nan  # its standard error, over pictures
    samples: float = math.nan  # standard errors off the truth, of the worst of `looks`
    mistakes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        if not math.isnan(self.bits):
            parts = f"{self.bits:.4f} bits per entry, the truth {self.truth:.4f}"
            lines.append(f"{self.task}: {parts}, excess {self.excess:.4f} +- {self.error:.4f}")
        if not math.isnan(self.samples):
            lines.append(f"{self.task}: samples are {self.samples:.1f} standard errors off")
        return "\n".join([*lines, *(f"  mistake: {m}" for m in self.mistakes)])


def score(
    name: str,
    log_prob: Array | None = None,
    samples: Array | None = None,
    seed: int = TEST,
) -> Score:
    """What log-probabilities and samples of the test are worth.

    Args:
        name: of the task.
        log_prob: (1000,) nats, of y given x of `test(name, seed)`, in their order.
        samples: (1000, 1, 8, 8) or more of them, (s, 1000, 1, 8, 8), drawn given those x.

    Raises ValueError for other shapes, numbers that are not finite, or if nothing is given.
    """
    task, (x, y) = task_of(name), test(name, seed)
    if log_prob is None and samples is None:
        raise ValueError("nothing to score: give log_prob, or samples, or both")
    truth = task.log_prob(y, x)
    nats = SIZE * math.log(2)
    found = Score(name, truth=-truth.mean() / nats)
    if log_prob is not None:
        q = np.asarray(log_prob, dtype=np.float64)
        if q.shape != truth.shape:
            raise ValueError(f"log_prob has shape {q.shape}, not {truth.shape}: one of each y")
        if not np.isfinite(q).all():
            raise ValueError(f"log_prob of picture {np.isfinite(q).argmin()} is not finite")
        less = (truth - q) / nats
        found.bits, found.excess = -q.mean() / nats, less.mean()
        found.error = less.std() / math.sqrt(len(less))
        found.mistakes += mistakes(task, q, truth)
    if samples is not None:
        off = apart(task, np.asarray(samples), x, seed)
        found.samples = max(off.values())
        wrong = [what for what, far in off.items() if far > 6]
        if wrong:
            found.mistakes.append(f"samples have another {', another '.join(wrong)} than the truth")
    return found


def above(q: np.ndarray, truth: np.ndarray) -> str:
    r"""How log-probabilities are above the truth by more than chance allows; "" if they are not.

    If \sum_y Q(y|x) <= 1, the mean of exp(q - truth) over y ~ P is at most 1, and so is that of
    its product over all pictures: the sum of q - truth exceeds log(1e6) with probability 1e-6 at
    most (Markov). The same holds for one picture, of n, with log(1e6 n).
    """
    gain = q - truth
    if gain.sum() > ALARM:
        return f"above the truth by {gain.sum():.0f} nats in all: probabilities do not sum to 1"
    if gain.max() > ALARM + math.log(len(gain)):
        which = f"picture {gain.argmax()} is {gain.max():.0f} nats above the truth"
        return f"{which}: probabilities do not sum to 1, or it is of another picture"
    return ""


def mistakes(task: Task, q: np.ndarray, truth: np.ndarray) -> list[str]:
    """What is certainly wrong, and the well-known mistake that gives such numbers, if any does."""
    found = []
    if (q > 0).any():
        found.append(f"{(q > 0).sum()} log-probabilities of whole numbers are above 0")
    if alarm := above(q, truth):
        found.append(alarm)
    if np.ptp(q) < 1e-9 * (1 + np.abs(q).max()):
        return [*found, "every picture has the same log_prob: it is averaged over the batch"]
    steady = np.corrcoef(q, truth)[0, 1]
    others = {
        "one place late": np.roll(q, -1),
        "one place early": np.roll(q, 1),
        "the last comes first": q[::-1],
    }
    for words, other in others.items():
        if np.corrcoef(other, truth)[0, 1] > max(0.5, 2 * abs(steady)):
            found.append(f"likely: pictures are in another order: {words}")
    centred = truth - truth.mean()
    slope = (q - q.mean()) @ centred / (centred @ centred)
    if found and (words := likely(task, q, truth)):
        found.append(f"likely: {words}")
    elif not found and steady > 0.95 and abs(slope * math.log(2) - 1) < 0.05:
        found.append("likely: it is in bits, not in nats")
    return found


def likely(task: Task, q: np.ndarray, truth: np.ndarray) -> str:
    """The repair of what is above the truth that comes nearest to it, from below; "" if none is
    within half of the truth's own nats."""
    log_levels = math.log(task.levels)
    table = {
        "its sign is wrong: a loss": -q,
        "its sign is wrong, and it is divided by the number of entries": -q * SIZE,
        "it is divided by the number of entries": q * SIZE,
        "it is bits per entry, with the wrong sign": -q * SIZE * math.log(2),
        "it is bits per entry": q * SIZE * math.log(2),
        "each entry has the mass of two cells": q - SIZE * math.log(2),
        f"a density of y / {task.levels}: log {task.levels} is missing in each entry": q
        - SIZE * log_levels,
        "only one row of each picture is counted": q * SIDE,
    }
    if task.levels == 2:
        table.pop("each entry has the mass of two cells")
    best, words = -0.5 * abs(truth.mean()), ""
    for name, repaired in table.items():
        gain = (repaired - truth).mean()
        together = np.corrcoef(repaired, truth)[0, 1]
        if best < gain and together > 0.5 and not above(repaired, truth):
            best, words = gain, name
    return words


def looks(task: Task, y: np.ndarray, x: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers of each picture whose means are the same for samples and truth, (n,) each."""
    v = y[:, 0].astype(np.float64)
    m = mean_of(x)
    return {
        "mean": v.mean((1, 2)),
        "spread of levels": np.square(v - (task.levels - 1) / 2).mean((1, 2)),
        "dependence on x": (v * m).mean((1, 2)),
        "dependence of neighbours in a row": np.abs(np.diff(v, axis=2)).mean((1, 2)),
        "dependence of neighbours in a column": np.abs(np.diff(v, axis=1)).mean((1, 2)),
        "log-probability": task.log_prob(y, x),
    }


def apart(task: Task, samples: np.ndarray, x: np.ndarray, seed: int) -> dict[str, float]:
    """Standard errors between the means of `looks` of samples and of as many draws from the truth,
    picture by picture."""
    if samples.ndim == 4:
        samples = samples[None]
    if samples.shape[1:] != (len(x), 1, SIDE, SIDE):
        raise ValueError(f"samples have shape {samples.shape}, not (s, {len(x)}, 1, 8, 8)")
    differences: dict[str, list] = {}
    for k, drawn in enumerate(samples):
        there = looks(task, task.sample(x, seed=seed + 1000 + k), x)
        for name, here in looks(task, drawn, x).items():
            differences.setdefault(name, []).append(here - there[name])
    found = {}
    for name, each in differences.items():
        d = np.mean(each, 0)
        found[name] = float(abs(d.mean()) / (d.std() / math.sqrt(len(d)) + 1e-12))
    return found


def verified(
    name: str, log_prob: Callable[[np.ndarray, np.ndarray], Array], seeds: Sequence[int]
) -> tuple[list[Score], bool]:
    """Scores of a function of (y, x) on fresh pictures, and whether none is off the score of the
    test by more than four standard errors: what has seen the test is better there."""
    x, y = test(name)
    first, fresh = score(name, log_prob(y, x)), []
    for seed in seeds:
        x, y = test(name, seed)
        fresh.append(score(name, log_prob(y, x), seed=seed))
    return fresh, all(
        abs(s.excess - first.excess) < 4 * math.hypot(s.error, first.error) for s in fresh
    )


def ranked(excess: Mapping[str, Sequence[float]]) -> list[tuple[int, str, float, float]]:
    """(place, name, mean, spread) of entries, the best first, from the excess of each of their
    training seeds. Who is within two standard errors of the best of a place shares that place."""
    rows = []
    for name, values in excess.items():
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        rows.append((float(np.mean(values)), name, spread, len(values)))
    spreads = [spread for _, _, spread, _ in rows if not math.isnan(spread)]
    usual = float(np.median(spreads)) if spreads else 0.0  # for an entry of one seed
    found: list[tuple[int, str, float, float]] = []
    place, lead, lead_error = 1, -math.inf, 0.0
    for k, (mean, name, spread, n) in enumerate(sorted(rows)):
        error = (usual if math.isnan(spread) else spread) / math.sqrt(n)
        if mean - lead > 2 * math.hypot(error, lead_error):
            place, lead, lead_error = k + 1, mean, error
        found.append((place, name, mean, spread))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m cnf.known", description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["make", "score"])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("file", type=Path, help=".npz to write, or with what is submitted")
    parser.add_argument("--seed", type=int, default=TEST, help="of other pictures")
    parser.add_argument("--n", type=int, default=N_TEST, help="of pictures that are made")
    given = parser.parse_args()
    if given.what == "make":
        x, y = TASKS[given.task].draw(given.n, given.seed)
        np.savez_compressed(given.file, x=x, y=y)
        return 0
    if not given.file.exists():
        parser.error(f"no file {given.file}")
    with np.load(given.file) as held:
        sent = {key: held[key] for key in ("log_prob", "samples") if key in held}
    found = score(given.task, seed=given.seed, **sent)
    print(found)
    return 1 if found.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
