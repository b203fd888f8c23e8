"""The state of a run, and the batch and the noise of each of its steps."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from cnf import noise
from cnf.errors import ConfigError
from cnf.flow import ConditionalFlow
from cnf.model import ConditionalModel
from cnf.nets import set_precision
from cnf.replication import distributed
from cnf.replication.config import Config, build
from cnf.replication.data import ImageSet, load
from cnf.replication.data.examples import PATCH
from cnf.replication.tasks.task import Task, find_task
from cnf.replication.training import logs, optimizers, processes
from cnf.replication.training.batches import check_batch, order, whole_batch

TRAINING_NOISE = -1  # the `draw` of training noise; validation noise is draw 0, 1, ...


@dataclass
class Run:
    """The state of a run between two steps."""

    config: Config
    seed: int
    device: torch.device
    data: ImageSet
    valid: ImageSet
    model: ConditionalModel
    wrapped: nn.Module = field(init=False)  # the model; it averages the gradients of processes
    average: ConditionalModel = field(init=False)  # of the model's weights, exponential
    optimizer: torch.optim.Optimizer | optimizers.OptimizerGroup = field(init=False)
    steps: int = 0  # the budget
    step: int = 0  # updates done
    best: float = math.inf  # bits/dim of the weights that are kept, the best by validation
    seconds: float = 0.0  # spent on updates and validations, over all slices, by the clock
    cpu_seconds: float = 0.0  # the same by the processor: other work on the machine does not count
    sums: dict[str, float] = field(default_factory=dict)  # of logs since the last validation
    write_log: Callable[[logs.History], None] | None = None  # called with a history that has grown

    @classmethod
    def build(cls, config: Config, seed: int, device: str = "auto") -> "Run":
        """Load the data, build the model from `seed`, let ActNorm see the first batch.

        Every process sees the whole first batch, so that all start alike. Raises ConfigError,
        DataError, TrainingError.
        """
        torch_device = distributed.start(device)
        with distributed.raise_together():
            if not 0 <= seed < 2**64:
                raise ConfigError(f"seed = {seed}: choose 0 or more, and less than 2^64")
            check_batch(config.training)
            data, valid = (load(config.data.train, split) for split in ("train", "valid"))
            if config.data.use_valid:
                data = replace(data, examples=[*data, *valid])
            if data.kind != find_task(config.task).kind:
                raise ConfigError(
                    f"data.train = '{data.name}' is a set of {data.kind}, this is a run of "
                    f"{config.task}: see `python -m cnf data list`"
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = build(config)
            config = with_crop(config, data, model)
            model.config = config
            check_crop(config, data, model)
            set_precision(model, config.training.precision)
            is_slow = torch_device.type == "cpu" and not distributed.has_bf16(torch_device)
            if config.training.precision == "bf16" and is_slow:
                processes.print_once(
                    "this processor is not faster in bfloat16: a step takes longer than with "
                    "--set training.precision=fp32"
                )
            if config.training.recompute:
                if not isinstance(model, ConditionalFlow):
                    raise ConfigError("training.recompute = true: only a flow can be inverted")
                model.recompute = True
            model.to(torch_device)
            run = cls(config, seed, torch_device, data, valid, model)
            # a pair that cannot be scored is refused now, not when the first steps are validated
            several = range(min(len(valid), 2 if valid.stacked is not None else 1))
            whole_batch(valid, list(several), config, model.multiple)
            with torch.no_grad():
                model.train()
                model.loss(*run.batch(0), run.generator(0))
        run.prepare()
        return run

    @property
    def task(self) -> Task:
        return find_task(self.config.task)

    @property
    def unit(self) -> str:
        """Of what is printed: a mask has one number a pixel."""
        return "bits/pixel" if self.task.is_binary else "bits/dim"

    def prepare(self) -> None:
        """Wrap `model` for several processes; make its average and its optimizer."""
        self.model, self.wrapped = processes.wrap(self.model, self.device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = optimizers.make_optimizer(self.model, self.config.training)

    def batch(self, step: int, start: int = 0, size: int | None = None) -> tuple[Tensor, Tensor]:
        """y (B,C,H,W) and x of one step, augmented: all its pictures, or `size` of them from
        `start` on."""
        first = step * self.config.training.batch_size + start
        places = range(first, first + (size or self.config.training.batch_size))
        indices = [
            int(order(self.seed, place // len(self.data), len(self.data))[place % len(self.data)])
            for place in places
        ]
        rngs = [np.random.default_rng([1, self.seed, place]) for place in places]
        y, x = self.move(*self.task.batch(self.data, indices, self.config.data, rngs))
        return y, x

    def parts(self, step: int) -> list[tuple[Tensor, Tensor, noise.Rows]]:
        """This process's share of a step as micro-batches: y, x, and their rows of the noise."""
        options = self.config.training
        size = options.batch_size // (distributed.count() * options.accumulate)
        first = distributed.rank() * options.accumulate * size
        starts = range(first, first + options.accumulate * size, size)
        rows = [noise.Rows(self.generator(step), options.batch_size, start) for start in starts]
        return [(*self.batch(step, part.start, size), part) for part in rows]

    def generator(self, step: int) -> torch.Generator:
        """The noise of one step."""
        seed = noise.keyed(self.seed, [step], TRAINING_NOISE)[0].initial_seed()
        return torch.Generator(self.device).manual_seed(seed)

    def log(self, logs: dict[str, float]) -> None:
        """Add what one step logged to the sums since the last validation."""
        for name, value in (logs | {"updates": 1}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["grad_norm_max"] = max(self.sums.get("grad_norm_max", 0.0), logs["grad_norm"])

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time spent inside to `seconds` and `cpu_seconds`."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.seconds += time.monotonic() - wall
        self.cpu_seconds += time.process_time() - cpu

    def move(self, *pictures: Tensor) -> tuple[Tensor, ...]:
        """Pictures on the device of the run."""
        if self.device.type == "cuda":  # from pinned memory, so that nothing waits for the copy
            pictures = tuple(t.pin_memory() for t in pictures)
        return tuple(
            t.to(self.device, memory_format=torch.channels_last, non_blocking=True)
            for t in pictures
        )


def with_fast_precision(config: Config, device: str) -> Config:
    """A preset's "bf16" becomes "fp32" on a processor that is not faster in bfloat16; a line says
    so, and the record of the run has what was taken."""
    torch_device = distributed.choose_device(device)
    is_gpu = torch_device.type != "cpu"
    if config.training.precision == "fp32" or is_gpu or distributed.has_bf16(torch_device):
        return config
    processes.print_once(
        "training.precision = fp32: this processor is not faster in bfloat16; --set it otherwise"
    )
    return replace(config, training=replace(config.training, precision="fp32"))


def with_crop(config: Config, data: ImageSet, model: ConditionalModel) -> Config:
    """`config` with crops of PATCH pixels a side, or as many as the smallest picture has, if it is
    trained on a reader's folder of photographs, which are larger or differ in size; a line says
    so."""
    is_own = config.data.train.startswith("folder:") and data.kind == "pictures"
    are_patches = len(data.sizes) == 1 and not data.is_photographs
    if config.data.crop or find_task(config.task).crop or not is_own or are_patches:
        return config
    grid = math.lcm(model.multiple, model.factor)
    smallest = min(min(size) for size in data.sizes)
    crop = max(min(PATCH, smallest) // grid, 1) * grid
    processes.print_once(f"data.crop = {crop}: photographs are cut at random; --set it otherwise")
    return replace(config, data=replace(config.data, crop=crop))


def check_crop(config: Config, data: ImageSet, model: ConditionalModel) -> None:
    """Raise ConfigError unless every picture of `data` holds a crop, of a size that the model
    takes."""
    crop, grid = (
        config.data.crop or find_task(config.task).crop,
        math.lcm(model.multiple, model.factor),
    )
    if not crop:
        return
    smallest = min(min(size) for size in data.sizes)
    most = smallest // grid * grid
    if crop > smallest or crop % grid:
        remedy = f"set data.crop to a multiple of {grid}, at most {most}"
        if not most:
            remedy = f"leave out pictures with fewer than {grid} pixels a side"
        raise ConfigError(
            f"data.crop = {crop}, but the smallest side of a picture of {data.name} is {smallest}, "
            f"and the model takes multiples of {grid}: {remedy}"
        )
