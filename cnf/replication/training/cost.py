"""What a run costs, before it is begun: parameters, arithmetic, memory and time.

This process does what a run does, for a few steps. Where the whole batch is too much for that,
smaller ones are measured and a line through them is followed.
"""

import copy
import os
import resource
import tempfile
import time
import timeit
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cnf import weights
from cnf.errors import ConfigError
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.replication import run_folder, training
from cnf.replication.config import Config, is_fitted

SECONDS = 20.0  # for the steps of a probe
LIMIT = 8 * 2**30  # bytes that no probe on a CPU may take
UPDATES = 3  # of each batch


@dataclass(frozen=True)
class Cost:
    """What `measure` found. Seconds are of a wall clock, memory is in bytes.

    Attributes:
        shape: (C, H, W) of one y in training. flops_log_prob, flops_training: of one, see `flops`.
        batches: sizes that were measured. Without the run's own among them, `step` and `memory` are
            extrapolated, linear in the batch.
        step, validation: of one update, of one validation with all its pictures.
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
        """Of a whole run: its updates and validations."""
        return steps * self.step + -(-steps // validate_every) * self.validation


def estimate(config: Config, seed: int = 0, device: str = "auto") -> str:
    """What a run would take, in lines to print; nothing of it is kept."""
    cost = measure(config, seed, device)
    options, every = config.training, config.training.validate_every
    steps = options.steps or training.steps_in(options.minutes, (cost.step, cost.validation), every)
    how = ""
    if options.batch_size not in cost.batches:
        how = f", extrapolated from batches of {', '.join(map(str, cost.batches))}"
    lines = [
        f"model        {config.task} {config.model['kind']}, preset {config.preset}",
        f"data         {cost.data}",
        f"parameters   {cost.parameters:,}",
        f"arithmetic   {cost.flops_log_prob / 1e9:.3g} GFLOP a picture of "
        f"{'x'.join(map(str, cost.shape))} for log_prob, {cost.flops_training / 1e9:.3g} GFLOP in "
        "training (convolutions and matrix products)",
        f"device       {cost.device}, {cost.threads} CPU thread(s)",
        f"memory       {_bytes(cost.memory)} at the peak{how}",
        f"one step     {cost.step:.3g} s for a batch of {options.batch_size}{how}",
        f"validation   {cost.validation:.3g} s, every {every} steps",
        f"steps        {steps:,} ({steps * options.batch_size:,} pictures)",
        f"time         {run_folder.about(cost.seconds(steps, every))} on this machine",
    ]
    return "\n".join(lines)


def flops(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[int, int]:
    """Floating-point operations of log_prob(y|x) and of its loss with the gradient.

    Counted by `torch.utils.flop_counter`: two for every multiplication of a convolution (those with
    padding included) or of a matrix product, nothing for anything else (activations,
    log-determinants, the optimizer). The layers run one by one, as they are written: what a fast
    path saves, or recomputing adds, does not count.
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
    """Build the model, do a few steps and say what they took. Raises what a run would raise."""
    if is_fitted(config):
        raise ConfigError("a control is fitted in one pass of seconds to minutes: just train it")
    options = config.training
    training.check_batch(options)
    size, steps, peaks = options.accumulate, {}, {}
    run = training.Run.build(_with_batch(config, size), seed, device)
    run.steps = 10**9  # as if the run were long: the probe does not come to its end
    limit = min(LIMIT, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2)
    if run.device.type == "cuda":
        limit = torch.cuda.mem_get_info(run.device)[1] / 2
    began = time.monotonic()
    while True:
        run.config = _with_batch(config, size)
        steps[size] = min(
            timeit.repeat(
                lambda: training.update(run), timer=time.monotonic, repeat=UPDATES, number=1
            )
        )
        peaks[size] = peak_memory(run.device)
        following = min(2 * size, options.batch_size)
        more, left = following / size, SECONDS - (time.monotonic() - began)
        fits = more * UPDATES * steps[size] < left and more * peaks[size] < limit
        if size == options.batch_size or len(steps) > 1 and not fits:
            break
        size = following
    validation = training.seconds_a_validation(
        run
    )  # whole pictures may take more than a batch of crops
    with tempfile.TemporaryDirectory() as folder:
        training.checkpoints.save(run, Path(folder) / "last.pt")  # and so may a checkpoint
    y, x = run.batch(0, size=1)
    scored, trained = flops(run.model, y, x)
    return Cost(
        data=run.data.describe(),
        device=run_folder.device_name(run.device),
        threads=torch.get_num_threads(),
        parameters=weights.count_parameters(run.model),
        shape=tuple(y.shape[1:]),
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
    if (status := Path("/proc/self/status")).exists():  # getrusage also counts what forked it
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _with_batch(config: Config, size: int) -> Config:
    return replace(config, training=replace(config.training, batch_size=size))


def _at(batch: int, values: dict[int, float]) -> float:
    """What was measured, or on the line through it."""
    if batch in values:
        return values[batch]
    line = np.polyfit(list(values), list(values.values()), 1)
    return max(np.polyval(line, batch), *values.values())


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
