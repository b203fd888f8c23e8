"""One training loop for every model: a flow or a baseline, on one device or on many.

The state of a run is a step number, weights, averaged weights and the optimizer. Everything random
is keyed: the order of the pictures by (seed, epoch), their augmentation by (seed, place in that
order), the noise by (seed, step). So an interrupted run goes on as if it had not been (bit for bit
on a CPU with the same number of threads).

Started by `torchrun`, every process takes its share of a step's pictures, and the run is that of
one process up to rounding. `training.accumulate` cuts a share into micro-batches, one after the
other. Batch norm sees the joined batch of all GPUs, but on CPUs that of its own process, and each
micro-batch by itself. The main process alone writes and prints.
"""

import copy
import json
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cnf import noise, weights
from cnf.errors import CheckpointError, ConfigError, DataError, TrainingError
from cnf.flow import ConditionalFlow
from cnf.nets import set_precision
from cnf.replication import distributed, optimizers, releases, run_folder
from cnf.replication.config import (
    Config,
    TrainingConfig,
    build,
    config_sha256,
    is_fitted,
    to_dict,
)
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.data.batches import make_batch
from cnf.replication.data.catalogue import parts
from cnf.replication.diagnose import first_non_finite
from cnf.replication.tasks import TASKS

TRAINING_NOISE = -1  # the `draw` of training noise; validation noise is draw 0, 1, ...
# with `recompute`: how often the reconstruction error is measured, and where it stops the run, in
# units of v. Trained flows have 1e-7 to 1e-5 in float32 and 1e-4 to 1e-2 in bfloat16, and their
# gradients then change by 1e-6 and 1e-2 of themselves; at these bounds they are no longer right.
GUARD_EVERY = 100
MAX_RECONSTRUCTION_ERROR = {"fp32": 1e-3, "bf16": 0.1}
# what a checkpoint holds of a run
COUNTED = ("steps", "step", "best", "seconds", "cpu_seconds", "sums")
LEARNED = ("model", "average", "optimizer")
OF_OPTIMIZER = ("training.optimizer",)  # what decides its moments
BOUNDS = ("model.clip", "model.ar_clip")  # weights fit with any: a start may change them
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
        seed: weights, order, augmentation and noise; if None 0, or that of what it goes on from.
        start: a run folder, to begin with its averaged weights; or a checkpoint in one, to branch
            off with all it holds: average, optimizer and steps done, which count in the budget.
        device: "auto" (CUDA if there is one), "cpu" or "cuda".

    Raises TrainingError, CheckpointError (what is in `out` or `start` does not fit), ConfigError,
    DataError. On SIGINT and SIGTERM writes a checkpoint, then raises KeyboardInterrupt.
    """
    out = Path(out)
    distributed.start(device)  # from here on, several processes are one
    with ExitStack() as held:
        with distributed.together():
            if distributed.is_main():
                held.enter_context(run_folder.locked(out))
            if resume:
                config, record = run_folder.same_run(out, config, minutes, steps, seed)
                seed = record["seed"]
            else:
                config = with_budget(config, minutes, steps)
                if start and is_fitted(config):
                    raise ConfigError(f"--start {start}: a control is fitted anew, leave it out")
                if (out / "last.pt").exists():
                    raise TrainingError(
                        f"{out} already holds a run: go on with --resume {out}, or choose another "
                        "--out"
                    )
                if (out / releases.WEIGHTS).exists():
                    raise TrainingError(
                        f"{out} holds trained weights, which would be replaced: choose another "
                        f"--out; --start {out} begins with them"
                    )
                seed = run_folder.first_seed(seed, start)
        run = Run.build(config, seed, device)
        if not resume:
            _say(run.data.describe())
            record = run.begin(start)
        if run.own_batch_norms():
            _say(
                f"batch norm: on CPUs each of the {distributed.count()} processes takes the "
                "statistics of its own pictures, so this is not quite the run of one process"
            )
        with distributed.together():
            if resume:
                run.load(out / "last.pt")
                for split, images in (("train", run.data), ("valid", run.valid)):
                    if record["data"][split]["sha256"] != images.sha256:
                        raise CheckpointError(
                            f"{out} was trained on other {split} pictures than {images.name} now "
                            "holds: restore the set (`python -m cnf data verify`) or train again"
                        )
            if distributed.is_main():
                if resume:
                    lines = run_folder.read_history(out)
                    lines = [line for line in lines if line["step"] <= run.step]
                    run_folder.write_history(out, lines)
                else:
                    (out / "history.jsonl").unlink(missing_ok=True)
                    run_folder.write_record(out, record)
                    run.save(out / "last.pt")
        _loop(run, out, max_minutes)
    return out


def _loop(run: "Run", out: Path, max_minutes: float | None) -> None:
    """From `run.step` to `run.steps`, unless time or a signal ends it before."""
    options = run.config.training
    kept = {max(1, round(share * run.steps)) for share in options.keep}
    end = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    hidden = None if distributed.is_main() else True  # None: where there is no terminal
    bar = tqdm(total=run.steps, initial=run.step, unit="step", disable=hidden, dynamic_ncols=True)
    with _signals() as stop, bar:
        while run.step < run.steps and not distributed.any_of(
            bool(stop) or time.monotonic() >= end
        ):
            with run.timed():
                nats = run.update()
            bar.update()
            bar.set_postfix_str(f"{nats / math.log(2):.3f} bits/dim", refresh=False)
            validated = run.step % options.validate_every == 0 or run.step == run.steps
            if validated:
                with run.timed():
                    line = run.validate()
            if validated or run.step in kept:
                with distributed.together():
                    if distributed.is_main() and validated:
                        run_folder.write_history(out, [*run_folder.read_history(out), line])
                        if line["best"]:
                            run.save_weights(out / "weights.safetensors")
                        run.save(out / "last.pt")
                    if distributed.is_main() and run.step in kept:
                        run.save(out / f"step-{run.step}.pt")
            if validated:
                left = (run.steps - run.step) * run.seconds / run.step / 60
                _say(
                    f"step {run.step}/{run.steps}  train {line['bits_per_dim']:.4f}  "
                    f"valid {line['valid_bits_per_dim']:.4f} bits/dim{' (best)' * line['best']}  "
                    f"grad {line['grad_norm']:.2g}  {line['images_per_second']:.0f} images/s  "
                    f"{left:.1f} min left"
                )
        with distributed.together():
            if distributed.is_main():
                _finish(run, out)
    if distributed.any_of(bool(stop)):
        text = f"stopped at step {run.step}: go on with --resume {out}"
        raise distributed.by_all(KeyboardInterrupt(text))
    if run.step < run.steps:
        _say(f"slice ended at step {run.step} of {run.steps}: go on with --resume {out}")
    else:
        _say(f"{out}: {run.best:.4f} bits/dim in validation; see `python -m cnf evaluate`")


def _finish(run: "Run", out: Path) -> None:
    """Leave a checkpoint or, of a run that is done, what it took; draw history.jsonl."""
    from cnf.replication.curves import training_curves

    if run.step == run.steps:
        took = {"seconds": round(run.seconds, 1), "cpu_seconds": round(run.cpu_seconds, 1)}
        run_folder.write_record(out, run_folder.read_record(out) | {"took": took})
    else:
        run.save(out / "last.pt")
    fitted = is_fitted(run.config)  # in one step: there is no curve
    if not fitted and (history := run_folder.read_history(out)):
        with run_folder.atomic(out / "history.png") as part:
            training_curves(history, part)


@dataclass
class Run:
    """The state of a run between two steps."""

    config: Config
    seed: int
    device: torch.device
    data: ImageSet
    valid: ImageSet
    model: nn.Module
    wrapped: nn.Module = field(init=False)  # the model; it averages the gradients of processes
    average: nn.Module = field(init=False)  # exponential moving average of the model's weights
    optimizer: torch.optim.Optimizer | optimizers.Together = field(init=False)
    steps: int = 0  # the budget
    step: int = 0  # updates done
    best: float = math.inf  # bits/dim of the weights that are kept, the best by validation
    seconds: float = 0.0  # spent on updates and validations, over all slices, by the clock
    cpu_seconds: float = 0.0  # the same by the processor: other work on the machine does not count
    sums: dict[str, float] = field(default_factory=dict)  # of logs since the last validation

    @classmethod
    def build(cls, config: Config, seed: int, device: str = "auto") -> "Run":
        """Load the data, build the model from `seed`, let ActNorm see the first batch.

        Every process sees the whole first batch, so that all start alike. Raises ConfigError,
        DataError, TrainingError.
        """
        place = distributed.start(device)
        with distributed.together():
            if not 0 <= seed < 2**64:
                raise ConfigError(f"seed = {seed}: choose 0 or more, and less than 2^64")
            check_batch(config.training)
            data, valid = (load(config.data.train, split) for split in ("train", "valid"))
            if config.data.use_valid:
                data = replace(data, examples=[*data, *valid])
            if data.kind != TASKS[config.task].kind:
                raise ConfigError(
                    f"data.train = '{data.name}' is a set of {data.kind}, this is a run of "
                    f"{config.task}: see `python -m cnf data list`"
                )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = build(config)
            set_precision(model, config.training.precision)
            if config.training.precision == "bf16" and not _computes_bf16(place):
                _say(
                    "this processor has no bfloat16 arithmetic: a step takes far longer than with "
                    "--set training.precision=fp32"
                )
            if config.training.recompute:
                if not isinstance(model, ConditionalFlow):
                    raise ConfigError("training.recompute = true: only a flow can be inverted")
                model.recompute = True
            model.to(place)
            run = cls(config, seed, place, data, valid, model)
            with torch.no_grad():
                model.train()
                model.loss(*run.batch(0), run.generator(0))
        run._wrap()
        return run

    def _wrap(self) -> None:
        """Make several processes train `model` as one, by the mean of their gradients,
        :eq:`eq-many-mean`; begin its average and its optimizer."""
        self.wrapped = self.model
        if distributed.count() > 1:
            if self.device.type == "cuda":  # on CPUs there is no such layer
                self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
            with warnings.catch_warnings():  # torch is about to rename broadcast_buffers
                warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
                self.wrapped = DistributedDataParallel(
                    self.model, broadcast_buffers=False, gradient_as_bucket_view=True
                )
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = optimizers.make(self.model, self.config.training)

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
        rows = [noise.Rows(self.generator(step), options.batch_size, start) for start in starts]
        return [(*self.batch(step, part.start, size), part) for part in rows]

    def generator(self, step: int) -> torch.Generator:
        """The noise of one step."""
        seed = noise.keyed(self.seed, [step], TRAINING_NOISE)[0].initial_seed()
        return torch.Generator(self.device).manual_seed(seed)

    def update(self) -> float:
        """One step of the optimizer; returns -log p(y|x) of the batch in nats/dim.

        Raises TrainingError, before any weight changes, if the loss or a gradient is not finite.
        """
        if is_fitted(self.config):
            return self._fit()
        options, step = self.config.training, self.step
        for group in self.optimizer.param_groups:
            group["lr"] = optimizers.learning_rate(options, step, self.steps)
        with distributed.together():
            parts = self.parts(step)
        if options.recompute and step % GUARD_EVERY == 0:
            self._guard()
        self.model.train()
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts, start=1):
            waits = number < len(parts) and distributed.count() > 1  # with its gradients for others
            with self.wrapped.no_sync() if waits else nullcontext():
                loss, logs = self.wrapped(*part)
                (loss / len(parts)).backward()
            for name, value in ({"nats": loss} | logs | {"loss": loss}).items():
                sums[name] = sums.get(name, 0.0) + value.detach().float() / len(parts)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), options.clip_norm or math.inf)
        sums["grad_norm"] = norm.float()
        values = distributed.mean(torch.stack(list(sums.values()))).tolist()
        logs = dict(zip(sums, values, strict=True))
        if not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):
            mine = [first_non_finite(self.model, *part) for part in self.parts(step)]
            found = [name for names in distributed.gathered(mine) for name in names if name]
            what = "gradient" if math.isfinite(logs["loss"]) else "loss"
            raise _stopped(
                f"the {what} of step {step + 1} is not finite; first in "
                f"{found[0] if found else 'the loss itself'}",
                f"lower training.lr, training.clip_norm{self.bounds}",
            )
        self.optimizer.step()
        self.model.zero_grad()
        self._join_statistics()
        self._update_average(min(options.ema, (1 + step) / (10 + step)))
        self.step += 1
        for name, value in (logs | {"updates": 1}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.sums["grad_norm_max"] = max(self.sums.get("grad_norm_max", 0.0), logs["grad_norm"])
        return logs["nats"]

    def _guard(self) -> None:
        """Raise TrainingError, on all processes, if activations can no longer be rebuilt."""
        self.model.eval()
        mine = max(self.model.reconstruction_error(*part) for part in self.parts(self.step))
        error = max(distributed.gathered(mine))
        bound = MAX_RECONSTRUCTION_ERROR[self.config.training.precision]
        if error > bound:
            raise _stopped(
                f"before step {self.step + 1} the flow rebuilds v to within {error:.2g} only, not "
                f"{bound:g}: gradients from rebuilt activations would be wrong",
                "set training.recompute=false, or lower training.lr or model.max_log_scale",
            )
        largest = self.sums.get("reconstruction_error_max", 0.0)
        self.sums["reconstruction_error_max"] = max(largest, error)

    def own_batch_norms(self) -> list[nn.BatchNorm2d]:
        """Batch norms that see the pictures of their own process only."""
        parts = self.model.modules() if distributed.count() > 1 else ()
        return [part for part in parts if isinstance(part, nn.BatchNorm2d)]

    @torch.no_grad()
    def _join_statistics(self) -> None:
        """Running statistics of such a batch norm become their mean over processes."""
        for part in self.own_batch_norms():
            for statistics in (part.running_mean, part.running_var):
                statistics.copy_(distributed.mean(statistics))

    @torch.no_grad()
    def _fit(self) -> float:
        """The one step of a control: all pictures in one pass, as they are."""
        self.model.cpu()  # where the pictures are
        self.model.fit(_Pairs(self), self.seed)
        self.model.to(self.device)
        self.average.load_state_dict(self.model.state_dict())
        nats = self.model.loss(*self.batch(0), self.generator(0))[0].item()
        self.step, self.sums = self.step + 1, {"nats": nats, "grad_norm": 0.0, "updates": 1}
        return nats

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        """Weights and running statistics are averaged, flags and counters copied."""
        averaged, current = (
            [*model.parameters(), *model.buffers()] for model in (self.average, self.model)
        )
        pairs = list(zip(averaged, current, strict=True))
        moving = [pair for pair in pairs if pair[1].is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*moving, strict=True)), 1 - decay)
        for mean, value in pairs:
            if not value.is_floating_point():
                mean.copy_(value)

    @torch.no_grad()
    def validate(self) -> dict[str, Any]:
        """A line of history: means since the last one, and bits/dim of the averaged weights."""
        options = self.config.training
        groups = self._groups()
        bits = [b for group in distributed.divided(groups, self._bits_per_dim) for b in group]
        value = sum(bits) / len(bits)
        if not math.isfinite(value):
            bad = next(self.valid[i].name for i, b in enumerate(bits) if not math.isfinite(b))
            raise _stopped(
                f"validation after step {self.step} is not finite on picture '{bad}'",
                f"lower training.lr{self.bounds}",
            )
        is_best = value < self.best or self.config.data.use_valid  # no choice: the last is kept
        self.best = value if is_best else self.best
        updates = self.sums.pop("updates")
        largest = {name: self.sums.pop(name) for name in list(self.sums) if name.endswith("_max")}
        means = {name: total / updates for name, total in self.sums.items()}
        self.sums = {}
        return {
            "step": self.step,
            "epoch": round(self.step * options.batch_size / len(self.data), 3),
            "lr": optimizers.learning_rate(options, self.step - 1, self.steps),
            "bits_per_dim": means.pop("nats") / math.log(2),
            **means,
            **largest,
            "valid_bits_per_dim": value,
            "valid_images": len(bits),
            "best": is_best,
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "images_per_second": round(self.step * options.batch_size / max(self.seconds, 1e-9), 1),
        }

    def _groups(self, count: int | None = None) -> list[list[int]]:
        """The first validation pictures in batches; pictures of different sizes stand alone."""
        options = self.config.training
        count = min(count or options.validate_images, len(self.valid))
        same = not TASKS[self.config.task].pads and self.valid.stacked is not None
        size = options.batch_size if same else 1
        return [list(range(start, min(start + size, count))) for start in range(0, count, size)]

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

    def _move(self, *pictures: Tensor) -> tuple[Tensor, ...]:
        if self.device.type == "cuda":  # from pinned memory, so that nothing waits for the copy
            pictures = tuple(t.pin_memory() for t in pictures)
        options = {"memory_format": torch.channels_last, "non_blocking": True}
        return tuple(t.to(self.device, **options) for t in pictures)

    def begin(self, start: Path | None = None) -> dict[str, Any]:
        """Begin, at the weights of `start` if it is given, and turn a budget in minutes into steps;
        what config.json then holds."""
        options, count = self.config.training, distributed.count()
        began = {} if start is None else {"start": self._take(start)}
        budget = {"steps": options.steps}
        if options.steps is None:
            seconds = distributed.gathered(self.probe())[0]
            budget = {
                "steps": steps_in(options.minutes, seconds, options.validate_every),
                "minutes": options.minutes,
                "seconds_a_step": seconds[0],
                "seconds_a_validation": seconds[1],
            }
        self.steps = budget["steps"]
        if "checkpoint" in began.get("start", {}):
            began["start"] |= run_folder.turn(self.config, start, self.seed, self.step, self.steps)
        if self.step >= self.steps:
            text = f"a budget of {self.steps} steps, and {start} has done {self.step}: give more"
            raise distributed.by_all(ConfigError(text))
        device, threads = run_folder.device_name(self.device), torch.get_num_threads()
        one = f"{device}, {threads} threads" if self.device.type == "cpu" else device
        commit, dirty = run_folder.git_state()
        return {
            "config": to_dict(self.config),
            "config_sha256": config_sha256(self.config),
            "seed": self.seed,
            "steps": self.steps,
            "budget": budget,
            "data": {
                "name": self.data.name,
                "stand_in": self.data.stand_in,
                "train": {"images": len(self.data), "sha256": self.data.sha256},
                "valid": {"images": len(self.valid), "sha256": self.valid.sha256},
            },
            "command": run_folder.command(self.config, self.steps, self.seed, count, start),
            "parameters": weights.count_parameters(self.model),
            "device": device,
            "hardware": one if count == 1 else f"{count} processes, each on {one}",
            "processes": count,
            "threads": threads,
            "torch": torch.__version__,
            "commit": commit,
            "dirty": dirty,
            **began,
        }

    def _take(self, start: Path) -> dict[str, Any]:
        """Take the averaged weights of a run folder, or all that a checkpoint of one holds; what
        config.json says of it."""
        branch = start.suffix == ".pt"
        path = start if branch else start / "weights.safetensors"
        before = run_folder.read_record(path.parent, needed=False).get("config", {}).get("data", {})
        same = {*parts(before.get("train", ""))} & {*parts(self.config.data.train)}
        if same and before.get("use_valid") and not self.config.data.use_valid:
            raise ConfigError(
                f"--start {start} has trained on the validation pictures of {', '.join(same)}: "
                "give --set data.use_valid=true, or other weights"
            )
        with distributed.together():
            self.load(path, ("model.", *OF_OPTIMIZER) if branch else ("model.",), BOUNDS)
        self.best = math.inf  # of the weights in this folder
        found = {"run": path.resolve().parent.name, "weights_sha256": run_folder.file_sha256(path)}
        return found | {"checkpoint": path.name} if branch else found

    @property
    def bounds(self) -> str:
        """What else to lower when a run diverges."""
        return " or model.max_log_scale" if "max_log_scale" in self.config.model else ""

    def probe(self) -> tuple[float, float]:
        """Seconds of one step and of one validation, measured on a copy: `self` does not change.
        One thread on a CPU is timed by the processor, so that other work does not shorten a run."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.process_time if alone else time.monotonic
        trial = replace(self, model=copy.deepcopy(self.model), sums={})
        trial._wrap()
        trial.step, trial.steps = 0, PROBE_WARM_UP + PROBE_STEPS
        times, started = [], time.monotonic()
        while trial.step < trial.steps:
            before = clock()
            trial.update()
            times.append(clock() - before)
            enough = len(times) > PROBE_WARM_UP + 1
            if distributed.any_of(enough and time.monotonic() - started > PROBE_SECONDS):
                break
        return median(times[PROBE_WARM_UP:]), trial.seconds_a_validation(clock)

    @torch.no_grad()
    def seconds_a_validation(self, clock: Callable[[], float] = time.monotonic) -> float:
        """By the time that one group of pictures takes, the second time."""
        groups = self._groups()
        self._bits_per_dim(groups[0])
        before = clock()
        self._bits_per_dim(groups[0])
        return (clock() - before) * sum(map(len, groups)) / len(groups[0])

    def save(self, path: Path) -> None:
        """Write everything needed to go on."""
        state = {name: getattr(self, name) for name in (*COUNTED, "seed")}
        state |= {name: getattr(self, name).state_dict() for name in LEARNED}
        run_folder.write_checkpoint(path, state, self.config)

    def load(
        self, path: Path, sections: tuple[str, ...] = ("",), but: tuple[str, ...] = ()
    ) -> None:
        """Take the state that `save` wrote, or averaged weights, of a run whose configuration has
        the same `sections`, `but` for these keys, of which it tells. Raises CheckpointError if the
        file is damaged or does not fit."""
        if path.suffix == ".pt":
            state, stored = run_folder.read_checkpoint(path)
        else:
            model = run_folder.trained(path)
            state, stored = dict.fromkeys(("model", "average"), model.state_dict()), model.config
        there, here = to_dict(stored), to_dict(self.config)
        different = run_folder.differences(there, here, sections)
        if wrong := [one for one in different if one.split()[0] not in but]:
            raise CheckpointError(
                f"{path} belongs to another run: {'; '.join(wrong)}: make them the same"
            )
        if different:
            _say(f"{path}: {'; '.join(different)}")
        try:
            for name, value in state.items():
                if name == "optimizer":
                    optimizers.restore(self.optimizer, value)
                elif name in LEARNED:
                    getattr(self, name).load_state_dict(value)
                elif name in COUNTED:
                    setattr(self, name, value)
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
            "config": json.dumps(to_dict(self.config)),
        }
        with run_folder.atomic(path) as part:
            self.average.save(part, metadata)


class _Pairs:
    """y and x of every training picture, whole."""

    def __init__(self, run: Run):
        self.run = run

    def __len__(self) -> int:
        return len(self.run.data)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        run = self.run
        for place in range(len(self)):
            yield whole_batch(run.data, [place], run.config, run.model.multiple)[:2]


def steps_in(minutes: float, seconds: tuple[float, float], validate_every: int) -> int:
    """Updates that fit in `minutes`, given the seconds of an update and of a validation."""
    step, validation = seconds
    return max(1, round(60 * minutes / (step + validation / validate_every)))


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


def whole_batch(
    images: ImageSet, indices: list[int], config: Config, multiple: int
) -> tuple[Tensor, Tensor, int]:
    """Whole pictures with sides the model can take: y, x, and D of the pictures themselves.

    Super-resolution pictures are cropped at the right and bottom to a multiple of `multiple`.
    Vessel pictures are padded there with zeros, which never count in D: padding can only cost bits.
    """
    examples = [images[i] for i in indices]
    pads = TASKS[config.task].pads
    if not pads:
        height, width = (side - side % multiple for side in examples[0].y.shape[-2:])
        if not height * width:
            raise DataError(f"{examples[0].name} is smaller than {multiple} pixels: leave it out")
        examples = [Example(e.name, e.y[..., :height, :width]) for e in examples]
    y, x = make_batch(examples, range(len(examples)), config.data)
    dims = y[0].numel()
    if pads:
        bottom, right = (-side % multiple for side in y.shape[-2:])
        y, x = (F.pad(t, (0, right, 0, bottom)) for t in (y, x))
    return y, x, dims


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The list yielded fills at the first SIGINT or SIGTERM; a second one acts at once."""
    received: list[int] = []
    here = threading.current_thread() is threading.main_thread()  # others may not listen
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if here}

    def restore(*signalled) -> None:
        received.extend(signalled[:1])
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, restore)
    try:
        yield received
    finally:
        restore()


def _computes_bf16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are fast; on a processor without it they are emulated."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return device.type != "cpu" or (supported is not None and supported())


def check_batch(options: TrainingConfig) -> None:
    """Raise ConfigError unless every micro-batch of every process has as many pictures."""
    parts = distributed.count() * options.accumulate
    if options.batch_size % parts:
        raise ConfigError(
            f"training.batch_size = {options.batch_size} does not divide by {distributed.count()} "
            f"process(es) x training.accumulate = {options.accumulate}: choose a multiple of "
            f"{parts}"
        )


def _stopped(what: str, remedy: str) -> TrainingError:
    """What every process raises when numbers go wrong."""
    return distributed.by_all(TrainingError(f"{what}. The last good state is kept: {remedy}"))


def _say(text: str) -> None:
    if distributed.is_main():
        tqdm.write(text)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order in which an epoch goes through the pictures."""
    return np.random.default_rng([0, seed, epoch]).permutation(size)
