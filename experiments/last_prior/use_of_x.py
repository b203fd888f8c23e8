"""How much the last prior's mean depends on x: `python experiments/last_prior/use_of_x.py RUN...`
writes use_of_x.json. Needs DRIVE, and runs with their weights."""

import json
import sys
from pathlib import Path

import torch

from cnf.replication import releases
from cnf.replication.cards import conditioning
from cnf.replication.data import load
from cnf.replication.tasks.task import find_task

PHOTOGRAPHS, INSIDE = range(6), slice(200, 328)


@torch.no_grad()
def use_of_x(run: Path) -> dict[str, object]:
    """The deviation of mu over positions of a photograph and over photographs, in units of z (means
    over channels), and the layers to which every x is the same."""
    flow = releases.load(run / releases.WEIGHTS).float().eval()
    net, means = flow.layers[-1].net, []
    dead = conditioning.sentence(flow)
    if net is None:
        return {"dead": dead}
    net.register_forward_hook(lambda module, given, out: means.append(out.chunk(2, 1)[0]))
    images = load("drive", "test")
    for photograph in PHOTOGRAPHS:
        y, x = find_task("vessels").batch(images, [photograph], flow.config.data)
        flow.log_prob(y[..., INSIDE, INSIDE], x[..., INSIDE, INSIDE])
    mu = torch.cat(means)
    within, between = mu.std((2, 3)).mean(), mu.mean((2, 3)).std(0).mean()
    return {
        "positions": round(within.item(), 4),
        "photographs": round(between.item(), 4),
        "dead": dead,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {Path(run).name: use_of_x(Path(run)) for run in sys.argv[1:]}
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
