"""Entries of the benchmark `cnf.known`: short trainings of families, here and in other libraries.

    python -m experiments.known_benchmark.run rows autoregressive --seconds 25 --seed 0

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
from typing import Any

import torch
from torch import Tensor, nn

from cnf import known
from cnf.replication import plugs, run_folder

own, registered, libraries = (
    plugs.module("known_benchmark", part) for part in ("own", "registered", "libraries")
)
ROWS = Path(__file__).resolve().parent / "entries.jsonl"
TRAIN, PICTURES, BATCH, RATE = 1, 20_000, 64, 3e-3  # seed, number of training pictures
OURS = "conditional-normalizing-flows"

FAMILIES: dict[str, tuple[str, Callable[[int], own.Entry]]] = {
    "independent": ("torch", own.Independent),
    "mixture of independent": ("torch", own.Mixture),
    "autoregressive": ("torch", own.Autoregressive),
    **{name: (OURS, make) for name, make in registered.ENTRIES.items()},
    **libraries.ENTRIES,
}


def entries_of(task: str) -> list[str]:
    """Those that can model the levels of a task."""
    labels = known.TASKS[task].levels == 2
    return [name for name in FAMILIES if labels or name not in registered.OF_LABELS]


def pictures(task: str) -> tuple[Tensor, Tensor]:
    x, y = (torch.from_numpy(t) for t in known.TASKS[task].draw(PICTURES, TRAIN))
    return y, x


def batches(y: Tensor, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        for rows in torch.randperm(len(x)).split(BATCH):
            yield y[rows], x[rows]


def trained(model: own.Entry, task: str, seconds: float) -> int:
    """Train for so many seconds of a processor, the rate falling to 0; returns the steps."""
    drawn = pictures(task)
    if isinstance(model, registered.Counts):
        model.fit(*drawn)
        return 1
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    started, steps = time.process_time(), 0
    for y, x in batches(*drawn):
        share = (time.process_time() - started) / seconds
        if share >= 1:
            return steps
        optimizer.param_groups[0]["lr"] = RATE * (1 - share)
        loss = model.loss(y, x)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    raise AssertionError("batches never end")


@torch.no_grad()
def log_probs(model: own.Entry, y: Tensor, x: Tensor, draws: int) -> Tensor:
    """(n,) nats, in float64: of `draws` of a bound, as the entry averages them."""
    log_p = torch.stack([model.log_prob(y, x).double() for _ in range(draws)])
    return log_p.mean(0) if model.mean_of_logs else log_p.logsumexp(0) - math.log(draws)


def solver_bits(model: Any, y: Tensor, x: Tensor, seed: int) -> float:
    """Bits per entry that change, in the mean, when the solver takes twice as many steps."""
    found = []
    for _ in range(2):
        torch.manual_seed(seed)
        found.append(log_probs(model, y, x, 1).mean().item())
        model.finer()
    return round((found[0] - found[1]) / (known.SIZE * math.log(2)), 6)


def entry(
    task: str, name: str, seconds: float, seed: int, code: dict[str, Any]
) -> tuple[dict[str, Any], known.Score]:
    """The row of an entry that is trained now, and its score."""
    torch.manual_seed(seed)
    library, make = FAMILIES[name]
    model = make(known.TASKS[task].levels)
    steps = trained(model.train(), task, seconds)
    x, y = (torch.from_numpy(t) for t in known.test(task))
    log_p = log_probs(model.eval(), y, x, model.draws)
    found = known.score(task, log_p.numpy())
    row = {
        "task": task,
        "entry": name,
        "library": library,
        "version": importlib.metadata.version(library).partition("+")[0],
        "seed": seed,
        "seconds": None if isinstance(model, registered.Counts) else seconds,
        "steps": steps,
        "weights": sum(p.numel() for p in model.parameters()),
        "bound": model.bound,
        "draws": model.draws,
        "noise": model.noise,
        **{k: round(float(getattr(found, k)), 5) for k in ("bits", "truth", "excess", "error")},
        "mistakes": found.mistakes,
        "hardware": f"{run_folder.processor()}, 1 thread",
        **{k: code[k] for k in ("git", "torch", "date")},
    }
    if hasattr(model, "finer"):
        row["solver"] = solver_bits(model, y[:100], x[:100], seed)
    return row, found


def table() -> str:
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    lines = [
        "| task | place | entry | library | noise | excess, bits per entry | steps | seeds |",
        "|" + "---|" * 8,
    ]
    for task in known.TASKS:
        mine = [row for row in rows if row["task"] == task]
        by_name: dict[str, list[float]] = {}
        for row in mine:
            by_name.setdefault(row["entry"], []).append(row["excess"])
        for place, name, mean, _ in known.ranked(by_name):
            row = next(row for row in mine if row["entry"] == name)
            excess = f"{'≤ ' if row['bound'] else ''}{mean:.4f}"
            what = [name, row["library"], row["noise"], excess, f"{row['steps']:,}"]
            cells = [task, place, *what, len(by_name[name])]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", choices=[*known.TASKS, "table"])
    parser.add_argument("entry", nargs="*", metavar="entry", help=", ".join(FAMILIES))
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.task == "table":
        print(table())
        return 0
    if wrong := [name for name in given.entry if name not in FAMILIES]:
        parser.error(f"no entry {wrong[0]!r}: choose from {', '.join(FAMILIES)}")
    torch.set_num_threads(1)
    code = run_folder.provenance()
    for name in given.entry or entries_of(given.task):
        row, found = entry(given.task, name, given.seconds, given.seed, code)
        with ROWS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name}: {found}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
