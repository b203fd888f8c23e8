"""The budget of a run: minutes become a number of steps, once, from a short probe."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from cnf.errors import ConfigError
from cnf.replication import distributed
from cnf.replication.config import Config, is_fitted
from cnf.replication.training import loop, validation
from cnf.replication.training.run import Run

PROBE_WARM_UP, PROBE_STEPS, PROBE_SECONDS = 3, 20, 20.0


def with_budget(config: Config, minutes: float | None, steps: int | None) -> Config:
    """`config` with the budget given here, if any. Raises ConfigError for none or two of them."""
    for name, value in (("--minutes", minutes), ("--steps", steps)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} {value} is no budget: give a number above 0")
    if minutes is not None or steps is not None:
        config = replace(config, training=replace(config.training, minutes=minutes, steps=steps))
    options = config.training
    if is_fitted(config) and options.steps != 1:
        raise ConfigError("a control is fitted in one step: leave --minutes and --steps out")
    if (options.minutes is None) == (options.steps is None):
        raise ConfigError(
            f"--minutes {options.minutes} and --steps {options.steps}: give one, or set exactly "
            "one of training.minutes and training.steps"
        )
    return config


def budget_text(config: Config) -> str:
    """The budget of a configuration, "200 steps" or "5 minutes"."""
    options = config.training
    return f"{options.steps} steps" if options.minutes is None else f"{options.minutes:g} minutes"


def budget_in_steps(run: Run) -> dict[str, Any]:
    """The budget of a run, for config.json: steps and, if it was given in minutes, the measured
    times from which they follow."""
    options = run.config.training
    if options.steps is not None:
        return {"steps": options.steps}
    seconds = distributed.all_gather(probe(run))[0]
    return {
        "steps": steps_in(options.minutes, seconds, options.validate_every),
        "minutes": options.minutes,
        "seconds_a_step": seconds[0],
        "seconds_a_validation": seconds[1],
    }


def steps_in(minutes: float | None, seconds: tuple[float, float], validate_every: int) -> int:
    """Updates that fit in `minutes`, given the seconds of an update and of a validation. Raises
    ConfigError without minutes."""
    if minutes is None:
        raise ConfigError("no budget: set training.minutes or training.steps")
    step, validation = seconds
    return max(1, round(60 * minutes / (step + validation / validate_every)))


def probe(run: Run) -> tuple[float, float]:
    """Seconds of one step and of one validation, measured on a copy, so that `run` does not change.
    With one thread on a CPU, processor time is measured, so that other work does not count."""
    is_single_thread = run.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if is_single_thread else time.monotonic
    trial = replace(run, model=copy.deepcopy(run.model), sums={})
    trial.prepare()
    trial.step, trial.steps = 0, PROBE_WARM_UP + PROBE_STEPS
    times, started = [], time.monotonic()
    while trial.step < trial.steps:
        before = clock()
        loop.update(trial)
        times.append(clock() - before)
        is_measured = len(times) > PROBE_WARM_UP + 1
        if distributed.any_of(is_measured and time.monotonic() - started > PROBE_SECONDS):
            break
    return median(times[PROBE_WARM_UP:]), seconds_a_validation(trial, clock)


@torch.no_grad()
def seconds_a_validation(run: Run, clock: Callable[[], float] = time.monotonic) -> float:
    """Seconds of a validation, from the time that one group of pictures takes the second time."""
    groups = validation.groups(run)
    validation.bits_per_dim(run, groups[0])
    before = clock()
    validation.bits_per_dim(run, groups[0])
    own = groups[:: distributed.count()]  # the others are validated by other processes
    return (clock() - before) * sum(map(len, own)) / len(groups[0])
