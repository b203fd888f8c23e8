"""Validation: bits/dim of the averaged weights on whole pictures, and a line of history."""

import math
from pathlib import Path
from typing import Any

import torch

from cnf import noise
from cnf.replication import distributed, run_folder
from cnf.replication.tasks.task import find_task
from cnf.replication.training import guards, optimizers
from cnf.replication.training.batches import whole_batch
from cnf.replication.training.run import Run


@torch.no_grad()
def validate(run: Run) -> dict[str, Any]:
    """Validate; returns a line of history: means of the logs since the last one, and bits/dim of
    the averaged weights."""
    options = run.config.training
    shares = distributed.parallel_map(groups(run), lambda group: bits_per_dim(run, group))
    bits = [b for share in shares for b in share]
    guards.check_validation(run, bits)
    value = sum(bits) / len(bits)
    is_best = value < run.best or run.config.data.use_valid  # then the last weights are kept
    run.best = value if is_best else run.best
    updates = run.sums.pop("updates")
    maxima = {name: run.sums.pop(name) for name in list(run.sums) if name.endswith("_max")}
    means = {name: total / updates for name, total in run.sums.items()}
    run.sums = {}
    return {
        "step": run.step,
        "epoch": round(run.step * options.batch_size / len(run.data), 3),
        "lr": optimizers.learning_rate(options, run.step - 1, run.steps),
        "bits_per_dim": means.pop("nats") / math.log(2),
        **means,
        **maxima,
        "valid_bits_per_dim": value,
        "valid_images": len(bits),
        "best": is_best,
        "seconds": round(run.seconds, 1),
        "cpu_seconds": round(run.cpu_seconds, 1),
        "images_per_second": round(run.step * options.batch_size / max(run.seconds, 1e-9), 1),
    }


def groups(run: Run, count: int | None = None) -> list[list[int]]:
    """Indices of the first validation pictures, in batches; of different sizes, one at a time."""
    options = run.config.training
    count = min(count or options.validate_images, len(run.valid))
    same = not find_task(run.config.task).pads and run.valid.stacked is not None
    size = options.batch_size if same else 1
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]


def bits_per_dim(run: Run, indices: list[int]) -> list[float]:
    """Bits/dim of whole validation pictures, with noise keyed by (seed, index)."""
    y, x, dims = whole_batch(run.valid, indices, run.config, run.model.multiple)
    generator = noise.keyed(run.seed, indices)
    y, x = run.move(y, x)
    log_p = run.average.log_prob(y, x, generator)
    return (-log_p.double() / (dims * math.log(2))).tolist()


def progress(run: Run, line: dict[str, Any]) -> str:
    """A line of history as it is printed."""
    left = (run.steps - run.step) * run.seconds / run.step / 60
    best = " (best)" if line["best"] else ""
    return (
        f"step {run.step}/{run.steps}  train {line['bits_per_dim']:.4f}  "
        f"valid {line['valid_bits_per_dim']:.4f} {run.unit}{best}  "
        f"grad {line['grad_norm']:.2g}  {line['images_per_second']:.0f} images/s  "
        f"{left:.1f} min left"
    )


def plot_history(out: Path, unit: str) -> None:
    """Draw history.jsonl, if there is any, as history.png; `unit` is that of its bits."""
    from cnf.replication.training.curves import training_curves  # plotting is slow to import

    with distributed.raise_together():
        history = run_folder.read_history(out) if distributed.is_main() else []
        if history:
            with run_folder.atomic(out / "history.png") as part:
                training_curves(history, part, unit)
