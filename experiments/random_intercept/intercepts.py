"""How much an observer draws, photograph by photograph: the best intercept of a Bernoulli model for
each photograph of its validation split. A line a photograph is written to intercepts.jsonl; lines
of other runs stay.

    python experiments/random_intercept/intercepts.py runs/vessels-baseline-fold1-s0 ...

The derivative of sum_j log P(y_j | a_j + b) by b is sum_j y_j - sigmoid(a_j + b). So the best b
makes the expected area that of the drawing.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from scipy.optimize import brentq
from torch import Tensor

from cnf.replication import releases
from cnf.replication.data import load
from cnf.replication.scored.model import ScoredModel

TABLE = Path(__file__).with_suffix(".jsonl")


def best_intercept(a: Tensor, y: Tensor) -> dict[str, float]:
    """The best intercept for logits a and labels y, and log(expected area / area drawn)."""
    a, area = a.double(), float(y.sum())
    b = brentq(lambda b: torch.sigmoid(a + b).sum().item() - area, -10, 10)
    return {"intercept": round(b, 4), "log_area": round(math.log(torch.sigmoid(a).sum() / area), 4)}


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", help="folders of runs of --model baseline")
    runs = parser.parse_args().runs
    run_names = {Path(run).name for run in runs}
    old_lines = map(json.loads, TABLE.read_text("utf-8").splitlines())
    lines = [line for line in old_lines if line["run"] not in run_names]
    for run in runs:
        model = releases.load(Path(run) / "weights.safetensors")
        images = load(model.config.data.train, "valid")
        m = ScoredModel(model, images)
        for index, example in enumerate(images):
            y, x = m.pair(index)
            a = model.logit(m.pad(y, x)[1])[..., : y.shape[-2], : y.shape[-1]]
            lines.append({"run": Path(run).name, "photograph": example.name} | best_intercept(a, y))
    TABLE.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
