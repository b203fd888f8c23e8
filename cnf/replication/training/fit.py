"""Training of models that are fitted to all pictures in one pass, without gradients: controls."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from cnf.errors import TrainingError
from cnf.replication.training import checkpoints, processes
from cnf.replication.training.batches import whole_batch
from cnf.replication.training.loop import progress_bar
from cnf.replication.training.run import Run
from cnf.replication.training.signals import Stop
from cnf.replication.training.validation import progress, validate


@runtime_checkable
class Fitted(Protocol):
    """A model that is fitted to all pictures in one pass, see `config.is_fitted`."""

    def fit(self, pairs: "Pairs", seed: int) -> None: ...


def train_in_one_pass(run: Run, out: Path, stop: Stop) -> None:
    """Fit the model of a run, unless that is done already, or time or a signal ends the run."""
    with progress_bar(run) as bar:
        if run.step < run.steps and not stop.now():
            with run.timed():
                fit(run)
            bar.update()
            with run.timed():
                line = validate(run)
            checkpoints.keep(run, out, line)
            processes.print_once(progress(run, line))
    checkpoints.finish(run, out)


@torch.no_grad()
def fit(run: Run) -> None:
    """Fit the model of `run` to its pictures, as they are."""
    model = run.model.cpu()  # where the pictures are
    if not isinstance(model, Fitted):
        raise TrainingError(f"{type(model).__name__} cannot be fitted: give it fit(pairs, seed)")
    model.fit(Pairs(run), run.seed)
    run.model.to(run.device)
    run.average.load_state_dict(run.model.state_dict())
    nats = run.model.loss(*run.batch(0), run.generator(0))[0].item()
    run.step += 1
    run.sums = {"nats": nats, "grad_norm": 0.0, "updates": 1}


class Pairs:
    """y and x of every training picture, whole."""

    def __init__(self, run: Run):
        self.run = run

    def __len__(self) -> int:
        return len(self.run.data)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        run = self.run
        for place in range(len(self)):
            yield whole_batch(run.data, [place], run.config, run.model.multiple)[:2]
