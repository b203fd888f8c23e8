"""Processor seconds of one core, transformers and couplings in turn, with untrained weights, on a
machine that does nothing else: `python experiments/transformer_flow/cost.py` writes cost.json in a
minute."""

import json
import statistics
import time
from pathlib import Path

import torch

from cnf.replication import config, run_folder, training

HERE, TURNS = Path(__file__).parent, 3
SIZES = {"vessels": (584, 568), "sr": (16, 16)}  # of x: a photograph of DRIVE, a small picture
SAMPLES = {"vessels": 1, "sr": 50}
FLOWS = {
    "vessels": {
        "couplings": HERE.parent / "last_prior/runs/flow.yml",
        "transformers": HERE / "runs/vessels.yml",
    },
    "sr": {
        "couplings": HERE.parent / "ablations/runs/reference.yml",
        "transformers": HERE / "runs/sr.yml",
    },
}


def measure(task: str) -> dict[str, dict[str, float]]:
    """The median of a training step, and of samples given the features of x."""
    options = [f"data.train=embedded-{task}", "training.minutes=null", "training.steps=1"]
    runs, models = {}, {}
    for name, path in FLOWS[task].items():
        settings = config.load_config(str(path), options)
        runs[name], models[name] = training.Run.build(settings, 0, "cpu"), config.build(settings)
        runs[name].steps = 10**9  # as if the run were long
    x = torch.full((1, 3, *SIZES[task]), 128.0)
    seconds = {name: {"step": [], "samples": []} for name in runs}
    for _ in range(1 + TURNS):
        for name, run in runs.items():
            start = time.process_time()
            training.update(run)
            step = time.process_time()
            with torch.no_grad():
                h = models[name].condition(x)
                given = time.process_time()
                models[name].sample_given(h, SAMPLES[task])
            seconds[name]["step"].append(step - start)
            seconds[name]["samples"].append(time.process_time() - given)
    return {
        name: {what: round(statistics.median(times[1:]), 3) for what, times in of_run.items()}
        for name, of_run in seconds.items()
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    hardware = {"hardware": f"{run_folder.processor()}, 1 thread"}
    found = hardware | run_folder.provenance() | {task: measure(task) for task in FLOWS}
    (HERE / "cost.json").write_text(json.dumps(found, indent=1) + "\n")
