"""What of the bits is the solver's: `python -m experiments.families.solver RUN SET PICTURES`
appends to solver.jsonl the bits of the first test pictures with the model's steps, with twice as
many, and with other noise, which is that of dequantization and of the probe. Needs the pictures."""

import json
import sys
from pathlib import Path

import torch

from cnf.replication import releases
from cnf.replication.data import load
from cnf.replication.measures import Setting
from cnf.replication.metrics.likelihood import bits
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options

FILE = Path(__file__).with_name("solver.jsonl")


@torch.no_grad()
def measured(run: Path, of: str, pictures: int) -> dict:
    model = releases.load(run)
    path = model.layers[-1]
    steps = path.steps
    row = {"run": run.name, "set": of, "pictures": pictures, "steps": steps}
    pairs = {}
    settings = ("as it is", 1, 0), ("twice the steps", 2, 0), ("other noise", 1, 1)
    round_x = True if model.config.task == "sr" else None
    for name, number, seed in settings:
        path.steps = number * steps
        options = Options(limit=pictures, seed=seed, round_x=round_x)
        scored = ScoredModel(model, load(of, "test"), options)
        log_p = scored.log_probs(1)
        row[name] = round(bits(scored, Setting(), log_p).value, 6)
        pairs[name] = scored.in_bits(log_p)
    change = pairs["twice the steps"] - pairs["as it is"]
    row["mean change"], row["largest change"] = float(change.mean()), float(abs(change).max())
    return row


if __name__ == "__main__":
    row = measured(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
    with FILE.open("a") as file:
        file.write(f"{json.dumps(row)}\n")
    print(row)
