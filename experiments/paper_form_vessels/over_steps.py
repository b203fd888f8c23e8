"""What each hour of a training bought: `python experiments/paper_form_vessels/over_steps.py RUN`
appends to over-steps.jsonl, for each checkpoint that the run kept and for its last weights, bits of
the photographs it learned from and of the test photographs, and draws one sample of a part of a
test photograph beside the others in over-steps.png. Needs DRIVE; what is in the file is not
computed again."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from cnf import noise
from cnf.model import ConditionalModel
from cnf.replication import run_folder
from cnf.replication.config import build
from cnf.replication.data import load
from cnf.replication.measures import Setting
from cnf.replication.metrics.likelihood import bits_per_pixel
from cnf.replication.scored.model import ScoredModel
from cnf.replication.tasks.task import find_task

FILE = Path(__file__).with_name("over-steps.jsonl")
PHOTOGRAPH, ROWS, COLUMNS = 1, slice(180, 308), slice(60, 188)


def checkpoints(run: Path) -> dict[int, Path]:
    """The files by their steps; the last weights are those of last.pt."""
    found = {int(path.stem.removeprefix("step-")): path for path in run.glob("step-*.pt")}
    last, _ = run_folder.read_checkpoint(run / "last.pt")
    return dict(sorted((found | {last["step"]: run / "last.pt"}).items()))


def averaged(path: Path) -> tuple[ConditionalModel, dict]:
    """The model with the averaged weights of a checkpoint, and what the checkpoint counted."""
    state, config = run_folder.read_checkpoint(path)
    model = build(config)
    model.load_state_dict(state["average"])
    return model.eval(), state


@torch.no_grad()
def sample(model: ConditionalModel) -> list[list[int]]:
    """One sample of a part of the photograph, under the same noise for every checkpoint."""
    _, x = find_task("vessels").batch(load("drive", "test"), [PHOTOGRAPH], model.config.data)
    drawn = model.sample(x[..., ROWS, COLUMNS], 1, 1.0, noise.keyed(0, [PHOTOGRAPH]))
    return drawn[0, 0, 0].byte().tolist()


def measured(path: Path, step: int) -> dict:
    model, state = averaged(path)
    row = {"run": path.parent.name, "step": step, "cpu_minutes": round(state["cpu_seconds"] / 60)}
    for split in ("train", "test"):
        scored = ScoredModel(model, load("drive", split))
        value = bits_per_pixel(scored, Setting(divided_by="all pixels"))
        row |= {split: round(value.value, 5), f"{split}_se": round(value.standard_error, 5)}
    return row


def main(run: Path) -> None:
    rows = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []
    done = {(row["run"], row["step"]) for row in rows}
    found = checkpoints(run)
    for step, path in found.items():
        if (run.name, step) not in done:
            row = measured(path, step)
            print(row, flush=True)
            with FILE.open("a") as file:
                file.write(json.dumps(row) + "\n")
    figure, axes = plt.subplots(1, len(found), figsize=(1.6 * len(found), 1.9))
    for ax, (step, path) in zip(axes, found.items(), strict=True):
        ax.imshow(sample(averaged(path)[0]), cmap="gray", interpolation="nearest")
        ax.set_title(f"{step:,}", fontsize=8)
        ax.set_axis_off()
    figure.savefig(FILE.with_suffix(".png"), dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
