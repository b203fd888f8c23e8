"""What each minute of the released training bought, on pictures:

`python -m experiments.longer_trainings.over_minutes RUN` measures each checkpoint that the run kept
and its last weights (over-minutes.jsonl): bits of the test pictures and PSNR of the mean of 16
samples of Set5. Two pictures are drawn from each, under the same noise, and beside them from the
flow that was trained for six hours (over-minutes.png). Needs Tiny-ImageNet 32 and Set5."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cnf import noise
from cnf.model import ConditionalModel
from cnf.replication import releases
from cnf.replication.data import load
from cnf.replication.measures import Setting
from cnf.replication.metrics.likelihood import bits_per_dim
from cnf.replication.metrics.superresolution import psnr
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from cnf.replication.tasks.task import find_task
from experiments.paper_form_vessels.over_steps import averaged, checkpoints

FILE = Path(__file__).with_name("over-minutes.jsonl")
LONGEST = "sr-flow-ar-long-s0"
SHOWN = (1, 35)
MEAN = Setting(temperature=1.0, samples=16, protocol="standard")


def measured(model: ConditionalModel) -> dict[str, float]:
    test = ScoredModel(model, load("tinyimagenet32", "test"), Options(round_x=True))
    bits = bits_per_dim(test, Setting(divided_by="sub-pixels"))
    photographs = psnr(ScoredModel(model, load("set5", "test"), Options(round_x=True)), MEAN)
    return {
        "bits_per_dim": round(bits.value, 4),
        "bits_per_dim_se": round(bits.standard_error, 4),
        "psnr": round(photographs.value, 2),
    }


def columns(models: list[ConditionalModel]) -> list[np.ndarray]:
    """x in large pixels, one draw from each model, and the truth: (rows, columns, 3) of bytes."""
    images, task = load("tinyimagenet32", "test"), find_task("sr")
    y, x = task.batch(images, SHOWN, models[0].config.data)
    pictures = [x.repeat_interleave(2, -1).repeat_interleave(2, -2)]
    pictures += [model.sample(x, 1, 1.0, noise.keyed(0, SHOWN))[0] for model in models]
    pictures.append(y)
    return [
        torch.cat(list(each.clamp(0, 255).byte()), 1).permute(1, 2, 0).numpy() for each in pictures
    ]


@torch.no_grad()
def main(run: Path) -> None:
    models, rows = [], []
    for step, path in checkpoints(run).items():
        model, state = averaged(path)
        rows.append(
            {"run": run.name, "step": step, "cpu_minutes": round(state["cpu_seconds"] / 60, 1)}
        )
        rows[-1] |= measured(model)
        print(rows[-1], flush=True)
        models.append(model)
    FILE.write_text("".join(json.dumps(row) + "\n" for row in rows))
    strip = np.stack(columns([*models, releases.load(LONGEST)]))
    Image.fromarray(np.concatenate(list(strip), 1)).save(FILE.with_suffix(".png"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
