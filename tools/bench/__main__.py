"""Our flow against FrEIA, nflows and normflows: the same work, in one process, interleaved.

    python -m tools.bench [--device cuda] [--minutes 8] [--quick]

`work` states the architecture, one file a library builds it from that library's own parts,
`measure` times and weighs it. The package `cnf` imports none of the three libraries: they are the
optional extra `bench`. Of vectors: `python -m tools.bench.vectors`.
"""

import json
import os
import platform
import re
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd  # noqa: E402
import torch  # noqa: E402
import tyro  # noqa: E402

from cnf.replication import places, run_folder  # noqa: E402
from tools.bench import measure  # noqa: E402
from tools.bench.work import Work  # noqa: E402

QUICK = Work(batch=2, side=16, levels=2, depth=2, width=8, features=4)


@dataclass(frozen=True)
class Options:
    device: Literal["cpu", "cuda"] = "cpu"
    minutes: float = 8.0
    """About how long the whole takes; at least three rounds are done."""
    quick: bool = False
    """A few seconds of tiny work: every row, no number worth anything, nothing written."""


def run(options: Options) -> dict:
    """Measure everything."""
    torch.set_num_threads(1)
    started, clock = time.monotonic(), int(options.device == "cuda")
    torch.backends.cudnn.benchmark = clock > 0  # for every candidate
    work, factors = QUICK if options.quick else Work(), dict(measure.FACTORS)
    if options.quick:
        small_values = {name: (getattr(work, name), 2 * getattr(work, name)) for name in factors}
        factors = {name: (small_values[name], expected) for name, (_, expected) in factors.items()}
    elif clock:
        factors["side"] = ((16, 32, 64, 128), "2")
    growth = measure.growth(work, options.device, factors)
    runners = {}
    for candidate in measure.CANDIDATES:
        measure.log(f"building {candidate.name}")
        runners[candidate.name] = measure.Runner(candidate, work, options.device)
    memory = {name: {"train": {"saved": runner.saved()}} for name, runner in runners.items()}
    several_runners = {name: runners[name] for name in measure.SEVERAL}
    times_of_many = measure.interleave(
        several_runners, ["one", "many"], rounds=3 if options.quick else 10
    )
    minutes_left = 0.0 if options.quick else options.minutes - (time.monotonic() - started) / 60
    times = measure.interleave(runners, list(measure.TASKS), minutes=minutes_left)
    summary = measure.summary(times, clock, reference="ours")
    return {
        "machine": machine(options.device),
        "work": asdict(work),
        "rounds": len(times[measure.REFERENCE]["train"]),
        "cpu": measure.summary(times, 0),
        "wall": measure.summary(times, 1),
        "recompute": summary["ours, recompute"]["train"]["ratio"],
        "per_sample": measure.per_sample(times_of_many, clock),
        "memory": memory,
        "growth": growth,
    }


def machine(device: str) -> dict[str, Any]:
    """The machine and the versions on which the numbers depend."""
    capability = torch.backends.cpu.get_cpu_capability()
    if device == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
    return {
        "name": run_folder.device_name(torch.device(device)),
        "device": device,
        "capability": capability,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{library: version(library) for library in ("freia", "nflows", "normflows")},
        **run_folder.provenance(),
    }


def table(measured: dict) -> str:
    """Milliseconds of each task, a line a candidate; the written file has the rest."""
    clock = "wall" if measured["machine"]["device"] == "cuda" else "cpu"
    times = {
        name: {task: f"{1000 * cell['seconds']:.1f}" for task, cell in row.items()}
        for name, row in measured[clock].items()
    }
    return f"ms of {clock} time, median\n{pd.DataFrame(times).T.to_string()}"


def write(measured: dict, folder: Path) -> Path:
    """<processor>.json."""
    name = re.sub(r"\((r|tm)\)", "", measured["machine"]["name"].lower())
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', name).strip('-')}.json"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measured, indent=1, ensure_ascii=False)
    run_folder.write_atomically(path, (text + "\n").encode())
    return path


def main(options: Options) -> None:
    warnings.filterwarnings("ignore", "torch.triangular_solve is deprecated")  # nflows calls it
    text = json.dumps(run(options))
    measured = json.loads(text, parse_float=lambda digits: float(f"{float(digits):.4g}"))
    print(table(measured))
    if not options.quick:
        print(f"wrote {write(measured, places.REPOSITORY / 'results' / 'bench')}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__.partition("\n")[0]))
