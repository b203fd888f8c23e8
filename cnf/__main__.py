"""The command line: python -m cnf train | evaluate | sample | data | results."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cnf.errors import CnfError, ConfigError

Experiment = Annotated[Literal["sr", "vessels"], tyro.conf.Positional]
Device = Literal["auto", "cpu", "cuda"]


def train(
    experiment: Experiment,
    model: Literal["flow", "baseline"] | None = None,
    preset: str | None = None,
    overrides: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(name="set", metavar="KEY=VALUE")
    ] = (),
    minutes: float | None = None,
    steps: int | None = None,
    max_minutes: float | None = None,
    resume: Path | None = None,
    seed: int | None = None,
    out: Path | None = None,
    threads: int | None = None,
    device: Device = "auto",
    dry_run: bool = False,
) -> None:
    """Train a model. With no option: the smallest preset on embedded data, nothing to download.

    Args:
        experiment: sr (super-resolution) or vessels (retinal vessels).
        model: flow, or its factorised baseline [flow].
        preset: smoke, cpu, gpu or paper [smoke].
        overrides: one value of the preset, e.g. training.lr=1e-3 or data.train=drive; repeatable.
        minutes: budget in minutes, turned into steps once, from a short probe.
        steps: budget in steps.
        max_minutes: end this slice with a checkpoint after so many minutes.
        resume: go on with the run in this folder; its configuration is taken from there.
        seed: weights, order, augmentation and noise [0].
        out: run folder [runs/EXPERIMENT-MODEL-PRESET-sSEED].
        threads: CPU threads [1 on a CPU].
        device: auto takes CUDA if there is one.
        dry_run: print parameters, steps and time, write nothing.
    """
    import torch

    from cnf import training
    from cnf.config import load_config

    for name, value in (("--threads", threads), ("--max-minutes", max_minutes)):
        if value is not None and value <= 0:
            raise ConfigError(f"{name} {value}: give a number above 0")
    training.check_device(device)
    if threads is not None or device == "cpu" or not torch.cuda.is_available():
        torch.set_num_threads(threads or 1)
    config, folder = None, resume
    if resume is not None:
        if dry_run or out is not None:
            raise ConfigError("--resume goes with neither --dry-run nor --out: leave those out")
        config = training.read_config(resume)
        if config.experiment != experiment:
            raise ConfigError(f"{resume} is a run of {config.experiment}, not of {experiment}")
    if resume is None or model or preset or overrides:
        stored = config and ("flow" if config.model.kind == "flow" else "baseline", config.preset)
        model, preset = model or (stored or ["flow"])[0], preset or (stored or ["", "smoke"])[1]
        config = load_config(experiment, model, preset, list(overrides))
        if resume and any(o.startswith(("training.steps", "training.minutes")) for o in overrides):
            steps, minutes = config.training.steps, config.training.minutes
        folder = resume or out or Path(f"runs/{experiment}-{model}-{preset}-s{seed or 0}")
    if dry_run:
        print(training.estimate(training.with_budget(config, minutes, steps), seed or 0, device))
        return
    training.train(
        config,
        folder,
        minutes=minutes,
        steps=steps,
        max_minutes=max_minutes,
        resume=resume is not None,
        seed=seed,
        device=device,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for an expected error, 130 if interrupted."""
    commands = {"train": train}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands, prog="python -m cnf", description=__doc__, args=arguments
        )
    except CnfError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
