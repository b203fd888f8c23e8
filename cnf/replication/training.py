"""One training loop for every model: a flow or a baseline, on one device or on many.

The state of a run is a step number, weights, averaged weights and the optimizer. Everything random
is keyed: the order of the pictures by (seed, epoch), their augmentation by (seed, place in that
order), the noise by (seed, step). So a run needs no stored random state, and one that was
interrupted goes on exactly as if it had not been (bit for bit on a CPU with the same number of
threads).

Started by `torchrun` or `accelerate launch`, every process takes its share of a step's pictures;
gradients, and with them the run, are those of one process up to rounding. `training.accumulate`
cuts a share into micro-batches that pass one after the other. Batch norm sees the joined batch of
all processes, but each micro-batch by itself. The main process alone writes and prints.

A run folder holds
    config.json          configuration, seed, hashes of the data, budget in steps
    history.jsonl, .png  one line a validation, and the plot of it
    last.pt              everything needed to go on
    weights.safetensors  averaged weights of the best validation, for `cnf.load`
"""

import copy
import io
import json
import math
import shlex
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from cnf import build, noise
from cnf.config import Config, TrainingConfig, config_sha256, from_dict, to_dict
from cnf.errors import CheckpointError, ConfigError, DataError, TrainingError
from cnf.flow import ConditionalFlow
from cnf.nets import set_precision
from cnf.replication import distributed, run_folder
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.data.batches import make_batch
from cnf.replication.diagnose import first_non_finite

TRAINING_NOISE = -1  # the `draw` of training noise; validation noise is draw 0, 1, ...
# torch.load raises a different one of these for each way in which a file can be damaged
DAMAGED = (RuntimeError, ValueError, KeyError, TypeError, OSError, EOFError, UnpicklingError)
# with `recompute`: how often the reconstruction error is measured, and where it stops the run, in
# units of v. Trained flows have 1e-7 to 1e-5 in float32 and 1e-4 to 1e-2 in bfloat16, and their
# gradients then change by 1e-6 and 1e-2 of themselves; at these bounds they are no longer right.
GUARD_EVERY = 100
MAX_RECONSTRUCTION_ERROR = {"fp32": 1e-3, "bf16": 0.1}
PROBE_WARM_UP, PROBE_STEPS, PROBE_SECONDS = 3, 20, 20.0


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
) -> Path:
    """Train `config` into the folder `out` and return the folder.

    Args:
        config: what to train; with `resume`, None stands for the configuration of the run.
        minutes, steps: the whole budget, instead of the configuration's. Minutes become a number of
            steps once, from a short probe; schedules follow steps.
        max_minutes: end this slice with a checkpoint after so many minutes.
        resume: go on from `out`/last.pt.
        seed: weights, order, augmentation and noise; 0 if None and not resumed.
        start: begin with the weights of this run folder instead of untrained ones.
        device: "auto" (CUDA if there is one), "cpu" or "cuda".

    Raises TrainingError (no such device, folder in use, non-finite loss or gradient, disk full),
    CheckpointError (what is in `out` does not fit), ConfigError, DataError. On SIGINT and SIGTERM
    writes a checkpoint, then raises KeyboardInterrupt.
    """
    out = Path(out)
    _accelerator(device)  # from here on, several processes are one
    with ExitStack() as held:
        with distributed.together():
            if distributed.is_main():
                held.enter_context(run_folder.locked(out))
        with distributed.together():
            if resume:
                record = run_folder.read_record(out)
                config = run_folder.same_run(
                    record, run_folder.read_config(out), config, minutes, steps, seed
                )
            else:
                config = with_budget(config, minutes, steps)
                if (out / "last.pt").exists():
                    raise TrainingError(
                        f"{out} already holds a run: go on with --resume {out}, or choose another "
                        "--out"
                    )
        fresh = not resume and start is None
        run = Run.build(config, record["seed"] if resume else seed or 0, device, fresh)
        if resume:
            with distributed.together():
                run.load(out / "last.pt", record)
        else:
            _say(run.data.describe())
            record = run.record() if start is None else run.started_from(start)
            run.steps = record["steps"]
        with distributed.together():
            if distributed.is_main() and resume:
                run_folder.rewind_history(out, run.step)
            elif distributed.is_main():
                (out / "history.jsonl").unlink(missing_ok=True)
                run_folder.write_atomically(
                    out / "config.json", json.dumps(record, indent=1).encode()
                )
                run.save(out / "last.pt")
        _loop(run, out, max_minutes)
    return out


def _loop(run: "Run", out: Path, max_minutes: float | None) -> None:
    """From `run.step` to `run.steps`, unless time or a signal ends it before."""
    options = run.config.training
    end = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    bar = tqdm(
        total=run.steps,
        initial=run.step,
        unit="step",
        disable=None if distributed.is_main() else True,
        dynamic_ncols=True,
    )
    with _signals() as stop, bar:
        while run.step < run.steps and not distributed.any_of(
            bool(stop) or time.monotonic() >= end
        ):
            with run.timed():
                nats = run.update()
            bar.update()
            bar.set_postfix_str(
                f"{nats / math.log(2):.3f} bits/dim, {run.images_per_second():.0f} images/s",
                refresh=False,
            )
            if run.step % options.validate_every == 0 or run.step == run.steps:
                with run.timed():
                    line, is_best = run.validate()
                with distributed.together():
                    if distributed.is_main():
                        run_folder.append(out / "history.jsonl", line)
                        if is_best:
                            run.save_weights(out / "weights.safetensors")
                        run.save(out / "last.pt")
                _say(_sentence(line, run.steps))
        with distributed.together():
            if distributed.is_main():
                if run.step % options.validate_every and run.step < run.steps:
                    run.save(out / "last.pt")
                _plot_history(out)
    if distributed.any_of(bool(stop)):
        text = f"stopped at step {run.step}: go on with --resume {out}"
        raise distributed.by_all(KeyboardInterrupt(text))
    if run.step < run.steps:
        _say(f"slice ended at step {run.step} of {run.steps}: go on with --resume {out}")
    else:
        _say(f"{out}: {run.best:.4f} bits/dim in validation; see `python -m cnf evaluate`")


@dataclass
class Run:
    """The state of a run between two steps."""

    config: Config
    seed: int
    device: torch.device
    data: ImageSet
    valid: ImageSet
    accelerator: Accelerator
    model: nn.Module
    # the model; with several processes, one that also averages their gradients
    wrapped: nn.Module = field(init=False)
    average: nn.Module = field(init=False)  # exponential moving average of the model's weights
    optimizer: torch.optim.Optimizer = field(init=False)
    steps: int = 0  # the budget
    step: int = 0  # updates done
    best: float = math.inf  # bits/dim of the weights that are kept, the best by validation
    seconds: float = 0.0  # spent on updates and validations, over all slices, by the clock
    cpu_seconds: float = 0.0  # the same by the processor: other work on the machine does not count
    sums: dict[str, float] = field(default_factory=dict)  # of logs since the last validation

    @classmethod
    def build(cls, config: Config, seed: int, device: str = "auto", fresh: bool = True) -> "Run":
        """Load the data, build the model from `seed`, let ActNorm see the first batch.

        Every process sees the whole first batch, so that all start alike. Only a `fresh` run needs
        pretrained features; the weights of others are loaded next. Raises ConfigError, DataError,
        TrainingError.
        """
        accelerator = _accelerator(device)
        with distributed.together():
            if seed < 0:
                raise ConfigError(f"seed = {seed}: choose 0 or more")
            _check_batch(config.training)
            data, valid = load(config.data.train, "train"), load(config.data.train, "valid")
            if config.data.use_valid:
                data = data.joined(valid)
            if data.experiment != config.experiment:
                raise ConfigError(
                    f"data.train = '{data.name}' is a set for {data.experiment}, this is a run of "
                    f"{config.experiment}: see `python -m cnf data list`"
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = build.build(config)
            if fresh and (line := build.begin(model)):
                _say(line)
            set_precision(model, config.training.precision)
            if config.training.recompute:
                if not isinstance(model, ConditionalFlow):
                    raise ConfigError("training.recompute = true: only a flow can be inverted")
                model.recompute = True
            model.to(accelerator.device)
            run = cls(config, seed, accelerator.device, data, valid, accelerator, model)
            with torch.no_grad():
                model.train()
                model.loss(*run.batch(0), run.generator(0))
        run._wrap()
        return run

    def _wrap(self) -> None:
        """Make several processes train `model` as one, by the mean of their gradients,
        :eq:`eq-many-mean`; begin its average and its optimizer."""
        if distributed.count() > 1 and self.device.type == "cuda":  # on CPUs there is no such layer
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        with warnings.catch_warnings():  # torch is about to rename broadcast_buffers
            warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
            self.wrapped = self.accelerator.prepare_model(self.model)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = _optimizer(self.model, self.config.training)

    def batch(self, step: int, start: int = 0, size: int | None = None) -> tuple[Tensor, Tensor]:
        """y (B,C,H,W) and x of one step, augmented: all pictures, or `size` from `start` on."""
        first = step * self.config.training.batch_size + start
        places = range(first, first + (size or self.config.training.batch_size))
        indices = [
            int(_order(self.seed, place // len(self.data), len(self.data))[place % len(self.data)])
            for place in places
        ]
        rngs = [np.random.default_rng([1, self.seed, place]) for place in places]
        return self._move(*make_batch(self.data, indices, self.config.data, rngs))

    def parts(self, step: int) -> list[tuple[Tensor, Tensor, noise.Rows]]:
        """This process's share of a step as micro-batches: y, x, and their rows of the noise."""
        options = self.config.training
        size = options.batch_size // (distributed.count() * options.accumulate)
        first = distributed.rank() * options.accumulate * size
        starts = range(first, first + options.accumulate * size, size)
        return [
            (
                *self.batch(step, start, size),
                noise.Rows(self.generator(step), options.batch_size, start),
            )
            for start in starts
        ]

    def generator(self, step: int) -> torch.Generator:
        """The noise of one step."""
        seed = noise.keyed(self.seed, [step], TRAINING_NOISE)[0].initial_seed()
        return torch.Generator(self.device).manual_seed(seed)

    def update(self) -> float:
        """One step of the optimizer; returns -log p(y|x) of the batch in nats/dim.

        Raises TrainingError, before any weight changes, if the loss or a gradient is not finite.
        """
        options, step = self.config.training, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(options, step, self.steps)
        with distributed.together():
            parts = self.parts(step)
        if options.recompute and step % GUARD_EVERY == 0:
            self._guard(parts)
        self.model.train()
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)  # gradients of the others wait here for its own
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss, logs = self.wrapped(*part)
                self.accelerator.backward(loss / len(parts))
            for name, value in ({"nats": loss} | logs | {"loss": loss}).items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / len(parts)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm or math.inf)
        sums["grad_norm"] = norm.float()
        values = distributed.mean(torch.stack(list(sums.values()))).tolist()
        logs = dict(zip(sums, values, strict=True))
        if not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):
            what = "gradient" if math.isfinite(logs["loss"]) else "loss"
            raise distributed.by_all(
                TrainingError(
                    f"the {what} of step {step + 1} is not finite; first in {self._diagnose()}. "
                    "The last good state is kept: lower training.lr, training.clip_norm or "
                    "model.max_log_scale"
                )
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._update_average(min(options.ema, (1 + step) / (10 + step)))
        self.step += 1
        for name, value in (logs | {"updates": 1}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["grad_norm_max"] = max(self.sums.get("grad_norm_max", 0.0), logs["grad_norm"])
        return logs["nats"]

    def _guard(self, parts: list[tuple[Tensor, Tensor, noise.Rows]]) -> None:
        """Raise TrainingError, on all processes, if activations can no longer be rebuilt."""
        self.model.eval()
        fresh = [(y, x, replace(rows, generator=self.generator(self.step))) for y, x, rows in parts]
        mine = max(self.model.reconstruction_error(*part) for part in fresh)
        error = max(distributed.gathered(mine))
        bound = MAX_RECONSTRUCTION_ERROR[self.config.training.precision]
        if error > bound:
            raise distributed.by_all(
                TrainingError(
                    f"before step {self.step + 1} the flow rebuilds v to within {error:.2g} only, "
                    f"not {bound:g}: gradients from rebuilt activations would be wrong. The last "
                    "good state is kept: set training.recompute=false, or lower training.lr or "
                    "model.max_log_scale"
                )
            )
        name = "reconstruction_error_max"
        self.sums[name] = max(self.sums.get(name, 0.0), error)

    def _diagnose(self) -> str:
        """Where in this step the first number that is not finite comes from."""
        found = [first_non_finite(self.model, *part) for part in self.parts(self.step)]
        return next(
            (f for all_of in distributed.gathered(found) for f in all_of if f), "the loss itself"
        )

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        """Weights and running statistics are averaged, flags and counters copied."""
        averaged = [*self.average.parameters(), *self.average.buffers()]
        current = [*self.model.parameters(), *self.model.buffers()]
        pairs = list(zip(averaged, current, strict=True))
        moving = [pair for pair in pairs if pair[1].is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*moving, strict=True)), 1 - decay)
        for mean, value in pairs:
            if not value.is_floating_point():
                mean.copy_(value)

    @torch.no_grad()
    def validate(self) -> tuple[dict[str, Any], bool]:
        """A line of history: means since the last one, and bits/dim of the averaged weights."""
        count = min(self.config.training.validate_images, len(self.valid))
        groups = list(_groups(self.valid, count, self.config))
        bits = [b for group in distributed.divided(groups, self._bits_per_dim) for b in group]
        value = sum(bits) / len(bits)
        if not math.isfinite(value):
            bad = next(self.valid[i].name for i, b in enumerate(bits) if not math.isfinite(b))
            raise distributed.by_all(
                TrainingError(
                    f"validation after step {self.step} is not finite on picture '{bad}'. The last "
                    "good state is kept: lower training.lr or model.max_log_scale"
                )
            )
        is_best = value < self.best or self.config.data.use_valid  # no choice: the last is kept
        self.best = value if is_best else self.best
        updates = self.sums.pop("updates")
        largest = {name: self.sums.pop(name) for name in list(self.sums) if name.endswith("_max")}
        means = {name: total / updates for name, total in self.sums.items()}
        self.sums = {}
        line = {
            "step": self.step,
            "epoch": round(self.step * self.config.training.batch_size / len(self.data), 3),
            "lr": learning_rate(self.config.training, self.step - 1, self.steps),
            "bits_per_dim": means.pop("nats") / math.log(2),
            **means,
            **largest,
            "valid_bits_per_dim": value,
            "valid_images": count,
            "best": is_best,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "images_per_second": round(self.images_per_second(), 1),
        }
        return line, is_best

    def _bits_per_dim(self, indices: list[int]) -> list[float]:
        """Bits/dim of whole validation pictures, with noise keyed by (seed, index)."""
        y, x, dims = whole_batch(self.valid, indices, self.config, self.model.multiple)
        generator = noise.keyed(self.seed, indices)
        log_p = self.average.log_prob(*self._move(y, x), generator)
        return (-log_p.double() / (dims * math.log(2))).tolist()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count what is done inside, by the clock and by the processor."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self.seconds += time.monotonic() - wall
        self.cpu_seconds += time.process_time() - cpu

    def images_per_second(self) -> float:
        """Pictures trained on a second, validations counted in."""
        return self.step * self.config.training.batch_size / max(self.seconds, 1e-9)

    def _move(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        options = {"device": self.device, "memory_format": torch.channels_last}
        return y.to(**options), x.to(**options)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def record(self) -> dict[str, Any]:
        """What config.json holds. Turns a budget in minutes into steps."""
        options = self.config.training
        budget: dict[str, Any] = {"steps": options.steps}
        if options.steps is None:
            seconds = distributed.of_main(self.probe())
            budget = {
                "steps": steps_in(options.minutes, seconds, options.validate_every),
                "minutes": options.minutes,
                "seconds_a_step": seconds[0],
                "seconds_a_validation": seconds[1],
            }
        return {
            "config": to_dict(self.config),
            "config_sha256": config_sha256(self.config),
            "seed": self.seed,
            "steps": budget["steps"],
            "budget": budget,
            "data": {
                "name": self.data.name,
                "stand_in": self.data.stand_in,
                "train": {"images": len(self.data), "sha256": self.data.sha256},
                "valid": {"images": len(self.valid), "sha256": self.valid.sha256},
            },
            "command": run_folder.command(
                self.config, budget["steps"], self.seed, distributed.count()
            ),
            "parameters": self.num_parameters,
            "device": _device_name(self.device),
            "hardware": _hardware(self.device),
            "processes": distributed.count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def copied(self) -> "Run":
        """A run that begins at these weights: what it does leaves `self` alone."""
        accelerator = _accelerator(self.device.type)
        trial = replace(self, accelerator=accelerator, model=copy.deepcopy(self.model), sums={})
        trial._wrap()
        return trial

    def started_from(self, start: Path) -> dict[str, Any]:
        """Take the weights of another run before the first step; what config.json then holds.

        Raises CheckpointError if there are none, or if they are of another model.
        """
        with distributed.together():
            model = build.load(start / "weights.safetensors")
            config = model.config
            there, here = to_dict(config)["model"], to_dict(self.config)["model"]
            if different := run_folder.differences(there, here):
                raise CheckpointError(
                    f"{start} holds another model ({'; '.join(different)}): start from a run whose "
                    "model section is the same"
                )
            for own in (self.model, self.average):
                own.load_state_dict(model.state_dict())
        record, weights = self.record(), run_folder.file_sha256(start / "weights.safetensors")
        if record["command"]:
            folder = start.resolve()  # whose place in this machine is nobody's business
            record["command"] += f" --start {shlex.quote(f'{folder.parent.name}/{folder.name}')}"
        return record | {"start": {"run": start.resolve().name, "weights_sha256": weights}}

    def probe(self) -> tuple[float, float]:
        """Seconds of one step and of one validation, measured on a copy: `self` does not change.
        One thread on a CPU is timed by the processor, so that other work does not shorten a run."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.process_time if alone else time.monotonic
        trial = self.copied()
        trial.steps = PROBE_WARM_UP + PROBE_STEPS
        times, started = [], time.monotonic()
        while trial.step < trial.steps:
            before = clock()
            trial.update()
            times.append(clock() - before)
            enough = len(times) > PROBE_WARM_UP + 1
            if distributed.any_of(enough and time.monotonic() - started > PROBE_SECONDS):
                break
        count = min(self.config.training.validate_images, len(self.valid))
        groups = list(_groups(self.valid, count, self.config))
        with torch.no_grad():
            trial._bits_per_dim(groups[0])
            before = clock()
            trial._bits_per_dim(groups[0])
            validation = (clock() - before) * count / len(groups[0])
        return median(times[PROBE_WARM_UP:]), validation

    def save(self, path: Path) -> None:
        """Write everything needed to go on."""
        state = {
            "config": json.dumps(to_dict(self.config), sort_keys=True),
            "seed": self.seed,
            "steps": self.steps,
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "sums": self.sums,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        run_folder.write_atomically(path, buffer.getbuffer())

    def load(self, path: Path, record: dict[str, Any]) -> None:
        """Take the state `save` wrote. Raises CheckpointError if it is damaged or another run's."""
        if not path.exists():
            raise CheckpointError(
                f"{path}: no such checkpoint. A run that was killed before its first one starts "
                f"again with --out {path.parent}"
            )
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            stored = from_dict(json.loads(state["config"]))
        except DAMAGED as error:
            raise CheckpointError(
                f"{path}: cannot be read ({run_folder.first_line(error)}): it was cut "
                "short or is not a checkpoint; restore a copy or train again"
            ) from error
        different = run_folder.differences(to_dict(stored), to_dict(self.config))
        if different:
            raise CheckpointError(f"{path} belongs to another run: {'; '.join(different)}")
        for split, images in (("train", self.data), ("valid", self.valid)):
            if record["data"][split]["sha256"] != images.sha256:
                raise CheckpointError(
                    f"{path.parent} was trained on other {split} pictures than {images.name} now "
                    "holds: restore the set (`python -m cnf data verify`) or train again"
                )
        try:
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            for name in ("steps", "step", "best", "seconds", "cpu_seconds", "sums"):
                setattr(self, name, state[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path} holds another model than its configuration builds "
                f"({run_folder.first_line(error)}): train again, or use the code that made it"
            ) from error

    def save_weights(self, path: Path) -> None:
        """Write the averaged weights for `cnf.load`."""
        metadata = {
            "seed": str(self.seed),
            "step": str(self.step),
            "steps": str(self.steps),
            "valid_bits_per_dim": repr(self.best),
            "data": self.data.name,
            "data_sha256": self.data.sha256,
        }
        with run_folder.atomic(path) as part:
            self.average.save(part, metadata)


def learning_rate(options: TrainingConfig, step: int, steps: int) -> float:
    """Learning rate of update number `step` (from 0) of `steps`.

    Linear warm-up over `options.warmup` updates, times a schedule: "cosine" falls from 1 to 0 at
    `steps`; "halving" halves every `options.halve_every` updates; "constant" is 1.
    """
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    match options.schedule:
        case "cosine":
            factor = 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
        case "halving":
            factor = 0.5 ** (step // options.halve_every)
        case _:
            factor = 1.0
    return options.lr * warm * factor


def steps_in(minutes: float, seconds: tuple[float, float], validate_every: int) -> int:
    """Updates that fit in `minutes`, given the seconds of an update and of a validation."""
    step, validation = seconds
    return max(1, round(60 * minutes / (step + validation / validate_every)))


def check_device(device: str) -> None:
    """Raise TrainingError unless `device` is auto, cpu, or a cuda that is there."""
    if device not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"--device {device}: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: there is no CUDA GPU here: use --device cpu")


def with_budget(config: Config, minutes: float | None, steps: int | None) -> Config:
    """`config` with the budget given here, if any. Raises ConfigError for none or two of them."""
    if minutes is not None and steps is not None:
        raise ConfigError(f"--minutes {minutes} and --steps {steps} are two budgets: give one")
    for name, value in (("--minutes", minutes), ("--steps", steps)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{name} {value} is no budget: give a number above 0")
    if minutes is not None or steps is not None:
        config = replace(config, training=replace(config.training, minutes=minutes, steps=steps))
    budgets = (config.training.minutes, config.training.steps)
    if sum(b is not None for b in budgets) != 1:
        raise ConfigError(
            f"training.minutes = {budgets[0]} and training.steps = {budgets[1]}: set exactly one, "
            "or give --minutes or --steps"
        )
    return config


def whole_batch(
    images: ImageSet, indices: list[int], config: Config, multiple: int
) -> tuple[Tensor, Tensor, int]:
    """Whole pictures with sides the model can take: y, x, and D of the pictures themselves.

    Super-resolution pictures are cropped at the right and bottom to a multiple of `multiple`.
    Vessel pictures are padded there with zeros; the padding never counts in D, and since it can
    only cost bits, the bits/dim are never too good.
    """
    examples = [images[i] for i in indices]
    if config.experiment == "sr":
        sides = [side - side % multiple for side in examples[0].y.shape[-2:]]
        if min(sides) == 0:
            raise DataError(f"{examples[0].name} is smaller than {multiple} pixels: leave it out")
        examples = [Example(e.name, e.y[..., : sides[0], : sides[1]]) for e in examples]
    y, x = make_batch(examples, range(len(examples)), config.data)
    dims = y[0].numel()
    if config.experiment == "vessels":
        bottom, right = (-side % multiple for side in y.shape[-2:])
        y, x = (F.pad(t, (0, right, 0, bottom)) for t in (y, x))
    return y, x, dims


def _plot_history(out: Path) -> None:
    """Draw history.jsonl as history.png."""
    from cnf.replication import plotting

    history = run_folder.read_history(out)
    if history:
        with run_folder.atomic(out / "history.png") as part:
            plotting.training_curves(history, part)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The list yielded fills at the first SIGINT or SIGTERM; a second one acts at once."""
    received: list[int] = []
    before = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number, frame) -> None:
        received.append(number)
        restore()

    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        restore()


def _accelerator(device: str) -> Accelerator:
    """Start the group of processes, if there are several; the threads of each stay as they are."""
    check_device(device)
    cpu = device == "cpu" or not torch.cuda.is_available()
    threads = torch.get_num_threads()
    # buffers agree without being sent: statistics are joined, flags set before
    options = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[options])
    torch.set_num_threads(threads)
    return accelerator


def _check_batch(options: TrainingConfig) -> None:
    """Raise ConfigError unless every micro-batch of every process has as many pictures."""
    parts = distributed.count() * options.accumulate
    if options.batch_size % parts:
        raise ConfigError(
            f"training.batch_size = {options.batch_size} does not divide by {distributed.count()} "
            f"process(es) x training.accumulate = {options.accumulate}: choose a multiple of "
            f"{parts}"
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else run_folder.processor()


def _hardware(device: torch.device) -> str:
    """The processor with its threads or the card, and how many processes have one each."""
    one = _device_name(device)
    if device.type == "cpu":
        one += f", {torch.get_num_threads()} threads"
    return one if distributed.count() == 1 else f"{distributed.count()} processes, each on {one}"


def _say(text: str) -> None:
    if distributed.is_main():
        tqdm.write(text)


def _optimizer(model: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        model.parameters(),
        lr=options.lr,
        betas=options.betas,
        weight_decay=options.weight_decay,
        amsgrad=options.amsgrad,
        fused=True,
    )


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch goes through the pictures."""
    return np.random.default_rng([0, seed, epoch]).permutation(size)


def _groups(images: ImageSet, count: int, config: Config) -> Iterator[list[int]]:
    """The first `count` indices in batches; pictures of different sizes stand alone."""
    same = config.experiment == "sr" and images.stacked is not None
    size = config.training.batch_size if same else 1
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))


def _sentence(line: dict[str, Any], steps: int) -> str:
    left = (steps - line["step"]) * line["seconds"] / line["step"]
    return (
        f"step {line['step']}/{steps}  train {line['bits_per_dim']:.4f}  "
        f"valid {line['valid_bits_per_dim']:.4f} bits/dim{' (best)' if line['best'] else ''}  "
        f"grad {line['grad_norm']:.2g}  {line['images_per_second']:.0f} images/s  "
        f"{left / 60:.1f} min left"
    )
