"""Try a change at equal cost: train a preset with some keys changed, for the same time of one core,
and append a line to TABLE.jsonl in this folder, with the bits/dim of the whole validation
split.

    python experiments/small_trials/trials.py sr wide model.width=96 --minutes 4 --table better

The budget is time of the processor, not of the clock: other work on the machine changes it little.
It becomes a number of steps after a short probe, and the schedule follows the steps. A line holds
all that is needed to train the same again. Nothing here looks at a test set.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from cnf import weights
from cnf.replication import run_folder, training
from cnf.replication.config import Config, load_config, model_name, preset_of, to_dict
from cnf.replication.training import validation

TABLES = Path(__file__).parent


def trial(config: Config, seed: int, minutes: float) -> dict[str, Any]:
    """Train once and validate: the values of a line. A budget in steps of `config` goes first."""
    run = training.Run.build(config, seed, "cpu")
    run.steps = config.training.steps or training.steps_in(minutes, (training.probe(run)[0], 0), 1)
    options = dataclasses.replace(config.training, minutes=None, steps=run.steps)
    config = run.config = dataclasses.replace(config, training=options)
    start = time.process_time()
    while run.step < run.steps:
        training.update(run)
    seconds = time.process_time() - start
    return {
        "model": model_name(config),
        "parameters": weights.count_parameters(run.model),
        "steps": run.steps,
        "pictures": run.steps * config.training.batch_size,
        "cpu_seconds": round(seconds),
        "seed": seed,
        "valid_images": len(run.valid),
        **{name: round(bits, 4) for name, bits in validate_whole_split(run).items()},
        "hardware": f"{run_folder.processor()}, 1 thread",
        "torch": torch.__version__,
        "config": to_dict(config),
    }


@torch.no_grad()
def validate_whole_split(run: training.Run) -> dict[str, float]:
    """Bits/dim of the averaged weights on the whole validation split; for super-resolution, given x
    as it is and given x rounded."""
    config, bits_by_kind = run.config, {}
    kinds = {"bits_float": False, "bits_rounded": True}
    for name, round_x in kinds.items() if config.task == "sr" else [("bits", False)]:
        data = dataclasses.replace(config.data, round_x=round_x)
        run.config = dataclasses.replace(config, data=data)
        groups = validation.groups(run, len(run.valid))
        scores = [validation.bits_per_dim(run, group) for group in groups]
        bits_by_kind[name] = fmean(bits for score in scores for bits in score)
    run.config = config
    return bits_by_kind


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", help="sr, vessels, or the FILE.yml of an experiment")
    parser.add_argument("name", help="what this trial is called")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--model", choices=["flow", "baseline"], default="flow")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--table", required=True, help="the table to append to")
    parser.add_argument("--minutes", type=float, default=4.0, help="of one core")
    parser.add_argument("--steps", default="null", help="a fixed number instead of minutes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    budget = ["training.minutes=null", f"training.steps={options.steps}"]
    preset = options.what
    if not preset.endswith(".yml"):
        preset = preset_of(options.what, options.model, options.preset)
    config = load_config(preset, [*options.overrides, *budget])
    line = {"name": options.name, "overrides": options.overrides}
    line |= trial(config, options.seed, options.minutes)
    TABLES.mkdir(exist_ok=True)
    with (TABLES / f"{options.table}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
