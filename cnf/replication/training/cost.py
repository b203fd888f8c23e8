"""The cost of a run, before it starts: parameters, arithmetic, memory and time.

This process does what a run does, for a few steps. If the whole batch takes too long, smaller
batches are measured and extrapolated linearly.
"""

import copy
import os
import sys
import tempfile
import time
import timeit
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cnf import weights
from cnf.errors import ConfigError
from cnf.flow import ConditionalFlow
from cnf.model import ConditionalModel
from cnf.replication import run_folder, training
from cnf.replication.config import Config, is_fitted

SECONDS = 20.0  # for the steps of a probe
LIMIT = 8 * 2**30  # bytes that a probe on a CPU may use
UPDATES = 3  # steps measured with each size of batch


@dataclass(frozen=True)
class Cost:
    """The cost that `measure` found. Seconds are of a wall clock, memory is in bytes.

    Attributes:
        shape: (C, H, W) of one y in training.
        flops_log_prob, flops_training: of one y, see `flops`.
        batches: sizes that were measured. If the run's own is not among them, `step` and `memory`
            are extrapolated linearly in the size.
        step, validation: seconds of one update, and of one validation with all its pictures.
        memory: the peak, see `peak_memory`.
    """

    data: str
    device: str
    threads: int
    parameters: int
    shape: tuple[int, int, int]
    flops_log_prob: int
    flops_training: int
    batches: tuple[int, ...]
    step: float
    validation: float
    memory: int

    def seconds(self, steps: int, validate_every: int) -> float:
        """Seconds of a whole run: its updates and validations."""
        return steps * self.step + -(-steps // validate_every) * self.validation


def estimate(config: Config, seed: int = 0, device: str = "auto") -> str:
    """The cost of a run, as lines to print; nothing is written."""
    cost = measure(config, seed, device)
    options, validate_every = config.training, config.training.validate_every
    steps = options.steps or training.steps_in(
        options.minutes, (cost.step, cost.validation), validate_every
    )
    note = ""
    if options.batch_size not in cost.batches:
        note = f", extrapolated from batches of {', '.join(map(str, cost.batches))}"
    duration = run_folder.duration_text(cost.seconds(steps, validate_every))
    lines = [
        f"model        {config.task} {config.model['kind']}, preset {config.preset}",
        f"data         {cost.data}",
        f"parameters   {cost.parameters:,}",
        f"arithmetic   {cost.flops_log_prob / 1e9:.3g} GFLOP a picture of "
        f"{'x'.join(map(str, cost.shape))} for log_prob, {cost.flops_training / 1e9:.3g} GFLOP in "
        "training (convolutions and matrix products)",
        f"device       {cost.device}, {cost.threads} CPU thread(s)",
        f"memory       {_bytes(cost.memory)} at the peak{note}",
        f"one step     {cost.step:.3g} s for a batch of {options.batch_size}{note}",
        f"validation   {cost.validation:.3g} s, every {validate_every} steps",
        f"steps        {steps:,} ({steps * options.batch_size:,} pictures)",
        f"time         {duration} on this machine",
    ]
    return "\n".join(lines)


def flops(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[int, int]:
    """Floating-point operations of log_prob(y|x) and of its loss with the gradient.

    Counted by `torch.utils.flop_counter`: two for every multiplication of a convolution (those with
    padding included) or of a matrix product, none for anything else (activations, log-determinants,
    the optimizer). The layers run one by one, without fast path and without recomputing.
    """
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, ConditionalFlow):
            part.fast = part.recompute = False
    generator = torch.Generator(y.device)
    model.train()
    model.loss(y, x, generator)  # resampling matrices are made once, they do not count
    with FlopCounterMode(display=False) as training_pass:
        model.loss(y, x, generator)[0].backward()
    model.eval()
    with FlopCounterMode(display=False) as scoring, torch.no_grad():
        model.log_prob(y, x, generator)
    return scoring.get_total_flops(), training_pass.get_total_flops()


def measure(config: Config, seed: int = 0, device: str = "auto") -> Cost:
    """Build the model, do a few steps and measure their cost. Raises what a run would raise."""
    if sys.platform == "win32":
        raise ConfigError("--dry-run cannot measure memory on Windows: run it in WSL, or train")
    if is_fitted(config):
        raise ConfigError("a control is fitted in one pass of seconds to minutes: just train it")
    options = config.training
    training.check_batch(options)
    size, steps, peaks = options.accumulate, {}, {}
    run = training.Run.build(_with_batch(config, size), seed, device)
    run.steps = 10**9  # so that the probe does not reach the end of the schedule
    limit = min(LIMIT, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2)
    if run.device.type == "cuda":
        limit = torch.cuda.mem_get_info(run.device)[1] / 2
    started = time.monotonic()
    while True:
        run.config = _with_batch(config, size)
        steps[size] = min(
            timeit.repeat(
                lambda: training.update(run), timer=time.monotonic, repeat=UPDATES, number=1
            )
        )
        peaks[size] = peak_memory(run.device)
        next_size = min(2 * size, options.batch_size)
        growth, seconds_left = next_size / size, SECONDS - (time.monotonic() - started)
        fits = growth * UPDATES * steps[size] < seconds_left and growth * peaks[size] < limit
        if size == options.batch_size or len(steps) > 1 and not fits:
            break
        size = next_size
    # whole pictures, or a checkpoint, may take more memory than a batch of crops
    validation = training.seconds_a_validation(run)
    with tempfile.TemporaryDirectory() as folder:
        training.checkpoints.save(run, Path(folder) / "last.pt")
    y, x = run.batch(0, size=1)
    channels, height, width = y.shape[1:]
    scored, trained = flops(run.model, y, x)
    return Cost(
        data=run.data.describe(),
        device=run_folder.device_name(run.device),
        threads=torch.get_num_threads(),
        parameters=weights.count_parameters(run.model),
        shape=(channels, height, width),
        flops_log_prob=scored,
        flops_training=trained,
        batches=tuple(steps),
        step=_at(options.batch_size, steps),
        validation=validation,
        memory=round(max(_at(options.batch_size, peaks), peak_memory(run.device))),
    )


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since the process began: allocated by PyTorch on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage includes the process that forked this one
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _with_batch(config: Config, size: int) -> Config:
    return replace(config, training=replace(config.training, batch_size=size))


def _at(batch: int, values: Mapping[int, float]) -> float:
    """The measured value for this size of batch, or the linear extrapolation."""
    if batch in values:
        return values[batch]
    line = np.polyfit(list(values), list(values.values()), 1)
    return max(np.polyval(line, batch), *values.values())


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
