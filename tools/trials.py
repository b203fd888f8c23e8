"""Try a change at equal cost: train a preset with some keys changed, for the same time of one core,
and write down the validation bits of x not rounded and rounded, into results/trials/NAME.jsonl.

    python tools/trials.py sr --minutes 4 --table better wide model.width=96

The budget is time of the processor, not of the clock, so that other work on the machine changes
nothing; it becomes a number of steps after a short probe, and the schedule follows the steps.
Nothing here looks at a test set.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from statistics import median

import torch

from cnf import models, runs, training
from cnf.config import load_config

TABLES = Path(__file__).resolve().parent.parent / "results" / "trials"
WARM_UP, PROBE = 3, 15


def trial(experiment: str, model: str, minutes: float, seed: int, overrides: list[str]) -> dict:
    """Train and validate once: the values of one line."""
    config = load_config(
        experiment, model, "cpu", [*overrides, "training.minutes=null", "training.steps=1000000"]
    )
    run = training.Run.build(config, seed, "cpu")
    run.steps = 1_000_000
    times = []
    for _ in range(WARM_UP + PROBE):
        start = time.process_time()
        run.update()
        times.append(time.process_time() - start)
    steps = round(60 * minutes / median(times[WARM_UP:]))
    run = training.Run.build(config, seed, "cpu")
    run.steps = steps
    start = time.process_time()
    while run.step < steps:
        run.update()
    seconds = time.process_time() - start
    line = {
        "overrides": overrides,
        "model": model,
        "parameters": models.count_parameters(run.model),
        "steps": steps,
        "pictures": steps * config.training.batch_size,
        "cpu_seconds": round(seconds),
        "seed": seed,
        "valid_images": len(run.valid),
    }
    rounding = {"float": False, "rounded": True} if experiment == "sr" else {"": False}
    for name, round_x in rounding.items():
        data = dataclasses.replace(config.data, round_x=round_x)
        run.config = dataclasses.replace(config, data=data)
        with torch.no_grad():
            bits = [
                b
                for group in training._groups(run.valid, len(run.valid), run.config)
                for b in run._bits_per_dim(group)
            ]
        line[f"bits_{name}".rstrip("_")] = round(sum(bits) / len(bits), 4)
    return line | {"hardware": f"{runs.processor()}, 1 thread"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("experiment", choices=["sr", "vessels"])
    parser.add_argument("name", help="what this trial is called")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--model", choices=["flow", "baseline"], default="flow")
    parser.add_argument("--table", required=True, help="the file in results/trials to append to")
    parser.add_argument("--minutes", type=float, default=4.0, help="of one core")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    line = trial(given.experiment, given.model, given.minutes, given.seed, given.overrides)
    line = {"name": given.name} | line
    TABLES.mkdir(exist_ok=True)
    with (TABLES / f"{given.table}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
