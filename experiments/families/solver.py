"""What of the bits is the solver's: `python -m experiments.families.solver RUN SET PICTURES`
appends to solver.jsonl the bits of the first test pictures with `STEPS` steps, with twice as many,
and with other noise, which is that of dequantization and of the probe; of a model that is scored by
its bound, which is kept beside them, those of its path as a flow. Needs the pictures."""

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
STEPS = {"sr": 8, "vessels": 12}  # of the models of flow matching


@torch.no_grad()
def measured(run: Path, of: str, pictures: int) -> dict:
    model = releases.load(run)
    path = model.layers[-1]
    steps = STEPS[model.config.task]
    row = {"run": run.name, "set": of, "pictures": pictures, "steps": steps}
    pairs = {}
    settings = [("as it is", steps, 0), ("twice the steps", 2 * steps, 0)]
    settings += [("other noise", steps, 1)]
    if path.bound:
        settings.insert(0, ("its bound", path.steps, 0))
    round_x = True if model.config.task == "sr" else None
    for name, path.steps, seed in settings:
        path.bound = name == "its bound"
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
