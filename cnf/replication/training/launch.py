"""`train`: start a run in a folder, resume it, or branch off another one."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from cnf import weights
from cnf.errors import CheckpointError, ConfigError, TrainingError
from cnf.replication import distributed, places, releases, run_folder
from cnf.replication.config import Config, config_sha256, is_fitted, to_dict
from cnf.replication.training import checkpoints, fit, logs, loop, processes, resuming
from cnf.replication.training.budget import budget_in_steps, budget_text, with_budget
from cnf.replication.training.run import Run
from cnf.replication.training.signals import stopping


def train(
    config: Config | None,
    out: Path | str,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    max_minutes: float | None = None,
    resume: bool = False,
    seed: int | None = None,
    start: Path | None = None,
    device: str = "auto",
    log: logs.Format | None = None,
) -> Path:
    """Train `config` into the folder `out` and return the folder.

    Args:
        config: what to train; with `resume`, None stands for the configuration of the run.
        minutes, steps: the whole budget, instead of the configuration's. Minutes become a number of
            steps once, from a short probe; schedules follow steps.
        max_minutes: end this slice with a checkpoint after so many minutes.
        resume: continue from `out`/last.pt.
        seed: of weights, order, augmentation and noise; None: 0, or the seed of the run or
            checkpoint that is continued.
        start: a run folder, to start from its averaged weights; or a checkpoint in one, to branch
            off with its average, optimizer and number of steps, which count in the budget.
        device: "auto" (CUDA if there is one), "cpu" or "cuda".
        log: also write the history for other programs, see `logs`.

    Raises TrainingError, CheckpointError (what is in `out` or `start` does not fit), ConfigError,
    DataError. On SIGINT and SIGTERM writes a checkpoint, then raises KeyboardInterrupt.
    """
    out = Path(out)
    logs.check(log)
    distributed.start(device)  # from here on, several processes act as one
    with ExitStack() as stack:
        with distributed.raise_together():
            if distributed.is_main():
                stack.enter_context(run_folder.locked(out))
            if resume:
                config, record = resuming.same_run(out, config, minutes, steps, seed)
                seed = record["seed"]
            elif config is None:
                raise ConfigError("no configuration: give one, or the folder of a run to resume")
            else:
                config = with_budget(config, minutes, steps)
                check_new_run(out, config, start)
                seed = resuming.first_seed(seed, start)
        if not resume:  # at once: to read a set may take minutes
            processes.print_once(
                f"{config.preset}, seed {seed}, {budget_text(config)}: reads {config.data.train}"
            )
        run = Run.build(config, seed, device)
        if not resume:
            processes.print_once(run.data.describe())
            record = start_run(run, out, start)
        if processes.own_batch_norms(run.model):
            processes.print_once(
                f"batch norm: on CPUs each of the {distributed.count()} processes takes the "
                "statistics of its own pictures, so this is not quite the run of one process"
            )
        with distributed.raise_together():
            if resume:
                resume_run(run, out, record)
            elif distributed.is_main():
                (out / "history.jsonl").unlink(missing_ok=True)
                run_folder.write_record(out, record)
                checkpoints.save(run, out / "last.pt")
        if log and distributed.is_main():
            run.write_log = logs.start(log, out)
        train_slice(run, out, max_minutes)
    return out


def check_new_run(out: Path, config: Config, start: Path | None) -> None:
    """Raise ConfigError or TrainingError unless a run can begin in `out`, from `start`."""
    if start and is_fitted(config):
        raise ConfigError(f"--start {start}: a control is fitted anew, leave it out")
    if (out / "last.pt").exists():
        raise TrainingError(
            f"{out} already holds a run: go on with --resume {out}, or choose another --out"
        )
    if (out / releases.WEIGHTS).exists():
        raise TrainingError(
            f"{out} holds trained weights, which would be replaced: choose another "
            f"--out; --start {out} begins with them"
        )


def resume_run(run: Run, out: Path, record: dict[str, Any]) -> None:
    """Continue from the last checkpoint; later lines of history are removed. Raises CheckpointError
    if the checkpoint does not fit, or if `record` is of other pictures."""
    checkpoints.load(run, out / "last.pt")
    for split, images in (("train", run.data), ("valid", run.valid)):
        if record["data"][split]["sha256"] != images.sha256:
            raise CheckpointError(
                f"{out} was trained on other {split} pictures than {images.name} now "
                "holds: restore the set (`python -m cnf data verify`) or train again"
            )
    if distributed.is_main():
        lines = run_folder.read_history(out)
        run_folder.write_history(out, [line for line in lines if line["step"] <= run.step])


def train_slice(run: Run, out: Path, max_minutes: float | None) -> None:
    """Train until the budget or `max_minutes` is used up or a signal comes, and print which."""
    train_on = fit.train_in_one_pass if is_fitted(run.config) else loop.train_by_steps
    with stopping(max_minutes) as stop:
        train_on(run, out, stop)
    if stop.by_signal():
        text = f"stopped at step {run.step}: go on with --resume {out}"
        raise distributed.marked_for_all(KeyboardInterrupt(text))
    if run.step < run.steps:
        processes.print_once(
            f"slice ended at step {run.step} of {run.steps}: go on with --resume {out}"
        )
    else:
        processes.print_once(
            f"{out}: {run.best:.4f} {run.unit} in validation; see `python -m cnf evaluate`"
        )


def start_run(run: Run, out: Path, start: Path | None = None) -> dict[str, Any]:
    """Start a run in `out`, from the weights of `start` if that is given, and turn a budget in
    minutes into steps. Returns the content of config.json."""
    start_fields = {} if start is None else {"start": checkpoints.start_from(run, start)}
    found = start
    if start is not None and start.suffix != ".pt":
        found = releases.find_weights(start).parent
    budget = budget_in_steps(run)
    run.steps = budget["steps"]
    if run.step >= run.steps:
        text = f"a budget of {run.steps} steps, and {start} has done {run.step}: give more"
        raise distributed.marked_for_all(ConfigError(text))
    count = distributed.count()
    device, threads = run_folder.device_name(run.device), torch.get_num_threads()
    hardware = f"{device}, {threads} threads" if run.device.type == "cpu" else device
    commit, dirty = places.git_state()
    return {
        "config": to_dict(run.config),
        "config_sha256": config_sha256(run.config),
        "seed": run.seed,
        "steps": run.steps,
        "budget": budget,
        "data": {
            "name": run.data.name,
            "stand_in": run.data.stand_in,
            "train": {"images": len(run.data), "sha256": run.data.sha256},
            "valid": {"images": len(run.valid), "sha256": run.valid.sha256},
        },
        "commands": run_folder.commands(out, run.config, run.steps, run.seed, count, found),
        "parameters": weights.count_parameters(run.model),
        "device": device,
        "hardware": hardware if count == 1 else f"{count} processes, each on {hardware}",
        "processes": count,
        "threads": threads,
        "torch": torch.__version__,
        "commit": commit,
        "dirty": dirty,
        **start_fields,
    }
