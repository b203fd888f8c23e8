"""What a run costs, before it is begun: parameters, arithmetic, memory and time.

A fresh process does what a run does, for a few steps, in a temporary folder: so nothing that the
caller has allocated counts, and a checkpoint costs what it costs. Where the whole batch is too much
for that, smaller ones are measured and a line through them is followed.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cnf import build, errors
from cnf.config import Config, from_dict, to_dict
from cnf.errors import CnfError, TrainingError
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.replication import run_folder, training

SECONDS = 20.0  # for the steps of a probe
LIMIT = 8 * 2**30  # bytes that no probe on a CPU may take
UPDATES, UPDATES_OF_ALL = 3, 10  # of a smaller batch; of the whole one, its validation included
ON_GPUS = Path(__file__).resolve().parents[2] / "results" / "bench" / "presets.json"


@dataclass(frozen=True)
class Cost:
    """What `measure` found. Seconds are of a wall clock, memory is in bytes.

    Attributes:
        shape: (C, H, W) of one y in training.
        flops_log_prob, flops_training: of one such y, see `flops`.
        batches: sizes that were measured. Without the run's own among them, `step`, `validation`
            and `memory` are extrapolated, linear in the batch.
        start: seconds from the start of the process to the first step.
        step, validation, checkpoint, end: of one update, one validation with all its pictures, one
            checkpoint with the weights that are kept, and the plot at the end.
        memory: the peak. On a CPU that of the resident memory of the whole process; on a GPU that
            of what PyTorch allocated there.
        libraries: the part of `memory` that was there before data and model: Python and its
            libraries.
    """

    data: str
    device: str
    threads: int
    parameters: int
    shape: tuple[int, int, int]
    flops_log_prob: int
    flops_training: int
    batches: tuple[int, ...]
    start: float
    step: float
    validation: float
    checkpoint: float
    end: float
    memory: int
    libraries: int

    def seconds(self, steps: int, validate_every: int) -> float:
        """Of a whole run, from the command to its end."""
        validations = -(-steps // validate_every)
        saved = self.validation + self.checkpoint
        return self.start + steps * self.step + validations * saved + self.end


def estimate(config: Config, seed: int = 0, device: str = "auto") -> str:
    """What a run would take, in lines to print; nothing of it is kept."""
    cost = measure(config, seed, device)
    options, every = config.training, config.training.validate_every
    steps = options.steps or training.steps_in(options.minutes, (cost.step, cost.validation), every)
    how = ""
    if options.batch_size not in cost.batches:
        how = f", extrapolated from batches of {_listed(cost.batches)}"
    memory = f"{_bytes(cost.memory)} at the peak"
    if cost.libraries:
        memory += f", {_bytes(cost.libraries)} of them Python and its libraries"
    else:
        memory += ", allocated by PyTorch on the GPU"
    size = "x".join(map(str, cost.shape))
    lines = [
        f"model        {config.experiment} {config.model.kind}, preset {config.preset}",
        f"data         {cost.data}",
        f"parameters   {cost.parameters:,}",
        f"arithmetic   {_count(cost.flops_log_prob)}FLOP a picture of {size} for log_prob, "
        f"{_count(cost.flops_training)}FLOP in training (convolutions and matrix products)",
        f"device       {cost.device}, {cost.threads} CPU thread(s)",
        f"memory       {memory}{how}",
        f"one step     {cost.step:.3g} s for a batch of {options.batch_size}{how}",
        f"validation   {cost.validation:.3g} s, and {cost.checkpoint:.2g} s for a checkpoint, "
        f"every {every} steps",
        f"steps        {steps:,} ({steps * options.batch_size:,} pictures)",
        f"time         {_duration(cost.seconds(steps, every) / 60)} on this machine",
    ]
    if config.preset in ("gpu", "paper"):
        lines.append(f"one H100     {on_gpu(config, 'H100', steps)}")
    return "\n".join(lines)


def on_gpu(config: Config, card: str, steps: int, path: Path = ON_GPUS) -> str:
    """What `path` holds on this work on `card`, or "not measured yet": never an estimate.

    `path` is a list of {"config": ..., "cost": ...}, as `measured` gives them. A measurement counts
    if model, batch, crop and precision are those of `config`.
    """
    rows = json.loads(path.read_text()) if path.exists() else []
    for row in rows:
        cost = Cost(**row["cost"])
        if card in cost.device and _work(from_dict(row["config"])) == _work(config):
            minutes = cost.seconds(steps, config.training.validate_every) / 60
            return f"{_duration(minutes)}, {cost.step:.3g} s a step, {_bytes(cost.memory)}"
    return "not measured yet"


def measured(config: Config, cost: Cost) -> dict:
    """A measurement for `on_gpu`. Raises TrainingError for what was extrapolated."""
    if config.training.batch_size not in cost.batches:
        raise TrainingError(
            f"a batch of {config.training.batch_size} was not measured, only {cost.batches}: "
            "measure on a machine that can hold it"
        )
    return {"config": to_dict(config), "cost": asdict(cost)}


def flops(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[int, int]:
    """Floating-point operations of log_prob(y|x) and of its loss with the gradient.

    Counted by `torch.utils.flop_counter` in a real pass: two for every multiplication of a
    convolution (those with padding included) or of a matrix product, and nothing for anything else
    (activations, log-determinants and their gradients, the optimizer). The layers run one by one,
    as they are written: what a fast path saves, or recomputing adds, does not count.
    """
    model = copy.deepcopy(model)
    for part in model.modules():
        if isinstance(part, ConditionalFlow):
            part.fast = part.recompute = False

    def noise() -> torch.Generator:
        return torch.Generator(y.device).manual_seed(0)

    model.train()
    model.loss(y, x, noise())  # resampling matrices are made once, they do not count
    with FlopCounterMode(display=False) as training_pass:
        model.loss(y, x, noise())[0].backward()
    model.eval()
    with FlopCounterMode(display=False) as scoring, torch.no_grad():
        model.log_prob(y, x, noise())
    return scoring.get_total_flops(), training_pass.get_total_flops()


# -- in a process of its own -----------------------------------------------------------------------


def measure(config: Config, seed: int = 0, device: str = "auto") -> Cost:
    """Build the model in a fresh process, do a few steps there and say what they took.

    Raises what a run would raise; TrainingError if the process dies, as it does without memory.
    """
    training.check_device(device)
    asked = {
        "config": to_dict(config),
        "seed": seed,
        "device": device,
        "threads": torch.get_num_threads(),
        "started": time.monotonic(),
    }
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", "from cnf import cost; cost.answer()"],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    if done.returncode:
        raise TrainingError(
            f"the probe ended with exit status {done.returncode}; -9 means that memory ran out: "
            "lower training.batch_size or the model"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise getattr(errors, found["error"])(found["message"])
    return Cost(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})


def answer() -> None:
    """What the fresh process does: read a question from standard input, write the answer."""
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    try:
        found = asdict(
            _probe(from_dict(asked["config"]), asked["seed"], asked["device"], asked["started"])
        )
    except CnfError as error:
        found = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(found))


def _probe(config: Config, seed: int, device: str, started: float) -> Cost:
    libraries = peak_memory(torch.device("cpu"))
    run = training.Run.build(_with_batch(config, 1), seed, device)
    run.steps = 10**9  # as if the run were long: the probe does not come to its end
    cuda = run.device.type == "cuda"
    libraries = 0 if cuda else libraries
    start = time.monotonic() - started
    wanted, batch = config.training.batch_size, 1
    share = -(-wanted // config.training.accumulate)  # passes at a time: memory depends on it alone
    steps: dict[int, float] = {}
    peaks: dict[int, int] = {}
    began = time.monotonic()
    while batch:
        run.config = config if batch == wanted else _with_batch(config, batch)
        steps[batch] = min(_timed(run.update) for _ in range(UPDATES))
        peaks[min(batch, share)] = peak_memory(run.device) - libraries
        left = SECONDS - (time.monotonic() - began)
        batch = _next(wanted, share, steps, peaks, left, _limit(run.device) - libraries)
    memory, step, validation = _at(share, peaks), steps.get(wanted), None
    if wanted in steps:
        step, validation = run.probe()
    with tempfile.TemporaryDirectory() as folder:
        # whole pictures may take more memory than a batch of crops, and so may a checkpoint
        count = min(config.training.validate_images, len(run.valid))
        group = next(training._groups(run.valid, count, run.config))
        options = replace(run.config.training, validate_images=len(group))
        run.config = replace(run.config, training=options)
        before = time.monotonic()
        line, _ = run.validate()
        seconds = time.monotonic() - before
        if validation is None:
            step, validation = _at(wanted, steps), seconds * count / len(group)
        out = Path(folder)
        checkpoint = _timed(lambda: run.save(out / "last.pt"))
        checkpoint += _timed(lambda: run.save_weights(out / "weights.safetensors"))
        run_folder.append(out / "history.jsonl", line)
        end = _timed(lambda: training._plot_history(out))
    memory = libraries + max(memory, peak_memory(run.device) - libraries)
    y, x = run.batch(0)
    scored, trained = flops(run.model, y[:1], x[:1])
    return Cost(
        data=run.data.describe(),
        device=training._device_name(run.device),
        threads=torch.get_num_threads(),
        parameters=build.count_parameters(run.model),
        shape=tuple(y.shape[1:]),
        flops_log_prob=scored,
        flops_training=trained,
        batches=tuple(steps),
        start=start,
        step=step,
        validation=validation,
        checkpoint=checkpoint,
        end=end,
        memory=memory,
        libraries=libraries,
    )


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak since the process began: allocated by PyTorch on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone; getrusage also counts what forked it
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _limit(device: torch.device) -> int:
    """Bytes that a probe may take: half of what there is; on a CPU at most `LIMIT`."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1] // 2
    return min(LIMIT, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


def _with_batch(config: Config, size: int) -> Config:
    return replace(config, training=replace(config.training, batch_size=size, accumulate=1))


def _next(
    wanted: int,
    share: int,
    steps: dict[int, float],
    peaks: dict[int, int],
    seconds: float,
    room: int,
) -> int:
    """The batch to measure next: the run's own if that is predicted to fit, else twice the last.
    0: neither does, or there is nothing left to measure.

    share: how many of the run's own batch pass at a time; no smaller batch is larger than that.
    """
    last = max(steps)
    for batch, updates in ((wanted, UPDATES_OF_ALL), (min(2 * last, share), UPDATES)):
        fits = updates * _at(batch, steps) < seconds and _at(min(batch, share), peaks) < room
        if batch > last and fits:
            return batch
    return 0


def _at(batch: int, values: dict[int, float]) -> float:
    """Follow the line through values by batch; through one value and the origin if it is alone."""
    if batch in values:
        return values[batch]
    if len(values) == 1:
        ((only, value),) = values.items()
        return value * batch / only
    slope, start = np.polyfit(list(values), list(values.values()), 1)
    return max(start + slope * batch, *values.values())


def _timed(action) -> float:
    before = time.monotonic()
    action()
    return time.monotonic() - before


def _work(config: Config) -> tuple:
    """What decides about memory and the time of a step."""
    options = config.training
    return config.model, config.data.crop, options.batch_size, options.precision


# -- words -----------------------------------------------------------------------------------------


def _listed(batches: tuple[int, ...]) -> str:
    *front, last = map(str, batches)
    return f"{', '.join(front)} and {last}" if front else last


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count(number: float) -> str:
    """1.23e9 -> "1.23 G", to be followed by a unit."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g} {prefix}"
    return f"{number / 1e3:.3g} k"


def _duration(minutes: float) -> str:
    for size, unit in ((1440, "days"), (60, "hours"), (1, "minutes")):
        if minutes >= 2 * size:
            return f"{minutes / size:.1f} {unit}"
    return f"{60 * minutes:.0f} seconds"
