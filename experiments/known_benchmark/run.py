"""Entries of the benchmark `cnf.known`: short trainings of families, here and in other libraries.

    python -m experiments.known_benchmark.run rows autoregressive --seconds 60 --seed 0

adds a row to entries.jsonl; `table` in place of a task prints them.
"""

import argparse
import importlib.metadata
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cnf
from cnf import known

ROWS = Path(__file__).resolve().parent / "entries.jsonl"
TRAIN, PICTURES, BATCH = 1, 20_000, 64  # seed and number of training pictures
DRAWS = 16  # of the noise of a picture, when it is scored


class Independent(nn.Module):
    """Independent levels given x, by three convolutions."""

    bound = False

    def __init__(self, levels: int, width: int = 32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, levels, 1),
        )

    def logits(self, y: Tensor, x: Tensor) -> Tensor:
        return self.net(x)

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return -F.cross_entropy(self.logits(y, x), y[:, 0].long(), reduction="none").sum((1, 2))


class Causal(nn.Conv2d):
    """A convolution that sees what is above, on the left, and, unless `first`, the place itself."""

    def __init__(self, inputs: int, outputs: int, size: int, first: bool):
        super().__init__(inputs, outputs, size, padding=size // 2)
        mask, half = torch.zeros(size, size), size // 2
        mask[:half], mask[half, : half + (not first)] = 1, 1
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight * self.mask, self.bias)


class Autoregressive(Independent):
    """Each level given x and the levels before it: a small PixelCNN."""

    def __init__(self, levels: int, width: int = 32):
        super().__init__(levels, width)
        self.net[4] = nn.Conv2d(width, width, 1)
        self.levels, self.first = levels, Causal(levels, width, 5, first=True)
        self.second, self.out = Causal(width, width, 3, first=False), nn.Conv2d(width, levels, 1)

    def logits(self, y: Tensor, x: Tensor) -> Tensor:
        one_hot = F.one_hot(y[:, 0].long(), self.levels).movedim(-1, 1).float()
        hidden = F.relu(self.first(one_hot) + self.net(x))
        return self.out(F.relu(hidden + self.second(hidden)))


class Dequantized(nn.Module):
    """A density of 64 numbers v = 6 (y + u) / levels - 3, u uniform: a bound on log P(y|x)."""

    bound = True

    def __init__(self, levels: int, make: Callable[[], nn.Module], log_prob: Callable):
        super().__init__()
        self.levels, self.flow, self.of = levels, make(), log_prob

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        v = 6 * (y.float() + torch.rand(y.shape)) / self.levels - 3
        density = self.of(self.flow, v.flatten(1), x.flatten(1))
        return density + known.SIZE * math.log(6 / self.levels)


class Glow(nn.Module):
    """The coupling flow of this package, with uniform noise."""

    bound = True

    def __init__(self, levels: int):
        super().__init__()
        options = {"levels": 1, "steps": 4, "width": 32, "dequantization": "uniform"}
        self.flow = cnf.glow(1, 2, bins=levels, **options)

    def log_prob(self, y: Tensor, x: Tensor) -> Tensor:
        return self.flow.log_prob(y.float(), x)


def zuko_nsf(levels: int) -> nn.Module:
    import zuko

    def make() -> nn.Module:
        return zuko.flows.NSF(known.SIZE, 2 * known.SIZE, transforms=2, hidden_features=(128,))

    return Dequantized(levels, make, lambda flow, v, c: flow(c).log_prob(v))


def nflows_maf(levels: int) -> nn.Module:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.transforms import CompositeTransform, MaskedAffineAutoregressiveTransform

    def make() -> nn.Module:
        sizes = {"features": known.SIZE, "hidden_features": 128, "num_blocks": 1}
        steps = [
            MaskedAffineAutoregressiveTransform(**sizes, context_features=2 * known.SIZE)
            for _ in range(2)
        ]
        return Flow(CompositeTransform(steps), StandardNormal([known.SIZE]))

    return Dequantized(levels, make, lambda flow, v, c: flow.log_prob(v, context=c))


FAMILIES: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "independent": ("torch", Independent),
    "autoregressive": ("torch", Autoregressive),
    "coupling flow": ("conditional-normalizing-flows", Glow),
    "spline flow": ("zuko", zuko_nsf),
    "masked autoregressive flow": ("nflows", nflows_maf),
}


def batches(task: str) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = (torch.from_numpy(t) for t in known.TASKS[task].draw(PICTURES, TRAIN))
    while True:
        for rows in torch.randperm(len(x)).split(BATCH):
            yield y[rows], x[rows]


def trained(model: nn.Module, task: str, seconds: float) -> int:
    """Train for so many seconds of a processor, the rate falling to 0; returns the steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    started, steps = time.process_time(), 0
    for y, x in batches(task):
        share = (time.process_time() - started) / seconds
        if share >= 1:
            return steps
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - share)
        loss = -model.log_prob(y, x).mean() / known.SIZE
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    raise AssertionError("batches never end")


@torch.no_grad()
def scored(model: nn.Module, task: str) -> known.Score:
    x, y = (torch.from_numpy(t) for t in known.test(task))
    draws = DRAWS if model.bound else 1
    log_p = torch.stack([model.log_prob(y, x).double() for _ in range(draws)])
    return known.score(task, (log_p.logsumexp(0) - math.log(draws)).numpy())


def table() -> str:
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    lines = [
        "| task | place | entry | library | excess, bits per entry | seeds |",
        "|" + "---|" * 6,
    ]
    for task in known.TASKS:
        mine = [row for row in rows if row["task"] == task]
        by_name: dict[str, list[float]] = {}
        for row in mine:
            by_name.setdefault(row["entry"], []).append(row["excess"])
        for place, name, mean, _ in known.ranked(by_name):
            row = next(row for row in mine if row["entry"] == name)
            sign = "≤ " if row["bound"] else ""
            cells = [task, place, name, row["library"], f"{sign}{mean:.4f}", len(by_name[name])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=[*known.TASKS, "table"])
    parser.add_argument("entry", nargs="?", choices=list(FAMILIES))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.task == "table":
        print(table())
        return 0
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    library, make = FAMILIES[given.entry]
    model = make(known.TASKS[given.task].levels)
    steps = trained(model.train(), given.task, given.seconds)
    found = scored(model.eval(), given.task)
    row = {
        "task": given.task,
        "entry": given.entry,
        "library": library,
        "version": importlib.metadata.version(library).partition("+")[0],
        "seed": given.seed,
        "seconds": given.seconds,
        "steps": steps,
        "weights": sum(p.numel() for p in model.parameters()),
        "bound": model.bound,
        **{k: round(float(getattr(found, k)), 5) for k in ("bits", "truth", "excess", "error")},
        "mistakes": found.mistakes,
    }
    with ROWS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
