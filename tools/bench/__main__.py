import json
import os
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402
import tyro  # noqa: E402

from tools.notebooks import ROOT  # noqa: E402

try:
    from tools.bench import measure, report
except ModuleNotFoundError as error:
    if error.name in ("FrEIA", "nflows", "normflows"):
        sys.exit(f"{error.name} is missing: pip install -c constraints.txt -e '.[bench]'")
    raise
from tools.bench.work import Work  # noqa: E402

QUICK = Work(batch=2, side=16, levels=2, depth=2, width=8, features=4)


@dataclass(frozen=True)
class Options:
    """Our flow against FrEIA, nflows and normflows: the same work, in one process, interleaved."""

    device: Literal["cpu", "cuda"] = "cpu"
    minutes: float = 8.0
    """About how long the whole takes; at least three rounds are done."""
    quick: bool = False
    """A few seconds of tiny work: every row, no number worth anything."""
    threads: int = 1
    out: Path | None = None
    """Where <processor>.json and .png go: results/bench; with --quick nowhere unless named."""
    show: Path | None = None
    """Print the table of this file, draw its figure again, and measure nothing."""


def run(options: Options, say=lambda line: None) -> dict:
    """Measure everything."""
    torch.set_num_threads(options.threads)
    if options.device == "cuda":
        torch.backends.cudnn.benchmark = True  # for every candidate
    started = time.monotonic()
    work = QUICK if options.quick else Work()
    rounds = 3 if options.quick else None
    machine = report.machine(options.device)
    grown = measure.growth(work, options.device, factors(work, options), 3, say)
    runners = {}
    for candidate in measure.CANDIDATES:
        say(f"building {candidate.name}")
        runners[candidate.name] = measure.Runner(candidate, work, options.device)
    memory = {
        name: {task: runner.memory(task == "train_h") for task in ("train", "train_h")}
        for name, runner in runners.items()
    }
    several = {name: runners[name] for name in measure.SEVERAL}
    many = measure.interleave(several, ["one", "many"], 0, 3 if options.quick else 10, say)
    left = options.minutes - (time.monotonic() - started) / 60
    times = measure.interleave(runners, measure.TASKS, left, rounds, say)
    clock = int(options.device == "cuda")
    stored = measure.summary(times, clock, reference="ours")
    return {
        "machine": machine,
        "work": asdict(work),
        "rounds": len(times[measure.REFERENCE]["train"]),
        "cpu": measure.summary(times, 0),
        "wall": measure.summary(times, 1),
        "recompute": stored["ours, recompute"]["train"]["ratio"],
        "per_sample": measure.per_sample(many, clock),
        "memory": memory,
        "growth": grown,
    }


def factors(work: Work, options: Options) -> dict:
    """Of each factor, the values to measure."""
    if options.quick:
        doubled = {name: getattr(work, name) for name in measure.FACTORS}
        return {n: ((v, 2 * v), measure.FACTORS[n][1]) for n, v in doubled.items()}
    found = dict(measure.FACTORS)
    if options.device == "cuda":
        values, expected = found["side"]
        found["side"] = ((*values, 128), expected)
    return found


def main(options: Options) -> None:
    warnings.filterwarnings("ignore", "torch.triangular_solve is deprecated")  # nflows calls it
    if options.show:
        results = json.loads(options.show.read_text("utf-8"))
        print(report.table(results))
        report.save_figure(report.draw(results), options.show.with_suffix(".png"))
        return
    results = run(options, say=lambda line: print(line, file=sys.stderr, flush=True))
    print(report.table(results))
    out = options.out or (None if options.quick else ROOT / "results" / "bench")
    if out:
        for path in report.write(results, out):
            print(f"wrote {path}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=Options.__doc__))
