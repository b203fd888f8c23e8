"""The loop of training."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from cnf.replication import distributed
from cnf.replication.training import average, checkpoints, guards, optimizers, processes
from cnf.replication.training.run import Run
from cnf.replication.training.signals import Stop
from cnf.replication.training.validation import plot_history, progress, validate


def train_by_steps(run: Run, out: Path, stop: Stop) -> None:
    """Train from `run.step` to `run.steps`, unless time or a signal ends the slice before."""
    validate_every, checkpoint_steps = (
        run.config.training.validate_every,
        checkpoints.kept_steps(run),
    )
    with progress_bar(run) as bar:
        while run.step < run.steps and not stop.now():
            with run.timed():
                nats = update(run)
            bar.update()
            bar.set_postfix_str(f"{nats / math.log(2):.3f} {run.unit}", refresh=False)
            line = None
            if run.step % validate_every == 0 or run.step == run.steps:
                with run.timed():
                    line = validate(run)
            if line or run.step in checkpoint_steps:
                checkpoints.keep(run, out, line)
            if line:
                processes.print_once(progress(run, line))
    checkpoints.finish(run, out)
    plot_history(out, run.unit)


def update(run: Run) -> float:
    """One step of the optimizer; returns -log p(y|x) of the batch in nats/dim.

    Raises TrainingError, before any weight changes, if the loss or a gradient is not finite.
    """
    options, step = run.config.training, run.step
    for group in run.optimizer.param_groups:
        group["lr"] = optimizers.learning_rate(options, step, run.steps)
    with distributed.raise_together():
        parts = run.parts(step)
    if options.recompute:
        guards.check_reconstruction(run)
    run.model.train()
    sums: dict[str, Tensor] = {}
    for number, part in enumerate(parts, start=1):
        with processes.gradients_joined(run.wrapped, number == len(parts)):
            loss, logs = run.wrapped(*part)
            (loss / len(parts)).backward()
        for name, value in ({"nats": loss} | logs | {"loss": loss}).items():
            sums[name] = sums.get(name, 0.0) + value.detach().float() / len(parts)
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), options.clip_norm or math.inf)
    sums["grad_norm"] = norm.float()
    values = distributed.mean(torch.stack(list(sums.values()))).tolist()
    logs = dict(zip(sums, values, strict=True))
    guards.check_finite(run, logs)
    run.optimizer.step()
    run.model.zero_grad()
    processes.join_statistics(run.model)
    average.update(run.average, run.model, min(options.ema, (1 + step) / (10 + step)))
    run.step += 1
    run.log(logs)
    return logs["nats"]


def progress_bar(run: Run) -> tqdm:
    """A progress bar over the steps of a run, on a terminal."""
    hidden = None if distributed.is_main() else True  # None: hidden if there is no terminal
    return tqdm(total=run.steps, initial=run.step, unit="step", disable=hidden, dynamic_ncols=True)
