"""Measure time and memory. All candidates run in one process and take turns, so that they share the
state of its allocator, which matters more than the differences between libraries."""

import contextlib
import functools
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from tools.bench.freia import Freia
from tools.bench.nflows import Nflows
from tools.bench.normflows import Normflows
from tools.bench.ours import Ours
from tools.bench.work import Adapter, Work

REFERENCE = "FrEIA"
TASKS = {
    "train": "training step",
    "train_h": "the same, features with gradient",
    "log_prob": "log_prob",
    "sample": "sampling",
}
MANY = 32  # samples of one x
log = functools.partial(print, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Candidate:
    """One row of the table: an adapter, its options, and how PyTorch is to run it."""

    name: str
    adapter: type[Adapter]
    options: dict[str, bool] = field(default_factory=dict)
    channels_last: bool = False
    autocast: bool = False


CANDIDATES = (
    Candidate("FrEIA", Freia),
    Candidate("nflows", Nflows),
    Candidate("normflows", Normflows),
    Candidate("ours, layer by layer", Ours, {"fast": False}),
    Candidate("ours", Ours),
    Candidate("ours, channels-last", Ours, channels_last=True),
    Candidate("ours, recompute", Ours, {"recompute": True}),
    Candidate("FrEIA, channels-last", Freia, channels_last=True),
    Candidate("ours, bf16", Ours, {"bf16": True}),
    Candidate("ours, bf16, channels-last", Ours, {"bf16": True}, channels_last=True),
    Candidate("FrEIA, autocast", Freia, autocast=True),
)
# asked for MANY samples of one x
SEVERAL = (REFERENCE, "ours, layer by layer", "ours", "ours, channels-last", "ours, bf16")
GROWING = {"stored": Candidate("", Ours), "recomputed": Candidate("", Ours, {"recompute": True})}
# {factor: (values, the exponent to expect)}; the middle convolution is quadratic in the width, the
# other two are linear
FACTORS = {
    "side": ((16, 32, 64), "2"),
    "depth": ((2, 4, 8, 16), "1"),
    "width": ((64, 128, 256), "1 to 2"),
    "batch": ((8, 16, 32, 64), "1"),
}


class Runner:
    """A candidate with its inputs: `run(task)` does one training step, log_prob or batch of
    samples."""

    def __init__(self, candidate: Candidate, work: Work, device: str):
        torch.manual_seed(0)
        self.candidate, self.device = candidate, device
        self.model = candidate.adapter(work, **candidate.options).to(device)
        self.y, self.h = work.inputs(device)
        if candidate.channels_last:
            order = torch.channels_last
            self.model = self.model.to(memory_format=order)
            self.y, *self.h = (t.contiguous(memory_format=order) for t in (self.y, *self.h))
        self.model.start(self.y, self.h)
        self.one = [t[:1].clone(memory_format=torch.preserve_format) for t in self.h]
        # so small a step that the weights of the last round are those of the first
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-7, fused=True)

    def loss(self, gradient_of_features: bool = False) -> Tensor:
        h = [t.detach().requires_grad_(gradient_of_features) for t in self.h]
        with self.precision():
            return -self.model.log_prob(self.y, h).mean()

    def precision(self) -> contextlib.AbstractContextManager:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.candidate.autocast)

    def run(self, task: str) -> None:
        if task.startswith("train"):
            self.optimizer.zero_grad()
            self.loss(task == "train_h").backward()
            self.optimizer.step()
            return
        with torch.no_grad(), self.precision():
            if task == "log_prob":
                self.model.log_prob(self.y, self.h)
            elif task == "many":
                self.model.sample_many(self.one, MANY)
            else:
                self.model.sample(self.h if task == "sample" else self.one)

    def time(self, task: str, repeats: int = 1) -> tuple[float, float]:
        """(CPU, wall) seconds of one run."""
        self.synchronize()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            self.run(task)
        self.synchronize()
        return (time.process_time() - cpu) / repeats, (time.perf_counter() - wall) / repeats

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def saved(self) -> float:
        """MiB that autograd saves between forward and backward of a training step, each storage
        once, without parameters, y and h."""
        inputs = (self.y, *self.h, *self.model.parameters(), *self.model.buffers())
        known_addresses = {t.untyped_storage().data_ptr() for t in inputs}
        saved: dict[int, Tensor] = {}  # holding a tensor keeps its address from a second use

        def pack(t: Tensor) -> Tensor:
            saved.setdefault(t.untyped_storage().data_ptr(), t)
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            self.loss()
        sizes = [t.untyped_storage().nbytes() for p, t in saved.items() if p not in known_addresses]
        return sum(sizes) / 2**20


Times = dict[str, dict[str, list[tuple[float, float]]]]  # candidate -> task -> (CPU, wall) a round


def interleave(
    runners: dict[str, Runner], tasks: Sequence[str], rounds: int = 3, minutes: float = 0.0
) -> Times:
    """At least `rounds` rounds, and more until the minutes are over. In a round every runner does
    every task once, in a new order."""
    repeats, end = {}, time.monotonic() + 60 * minutes
    for name, runner in runners.items():
        for task in tasks:
            runner.time(task)
            seconds = runner.time(task)[1]
            # a GPU finishes a step in milliseconds: enough of them for the clock
            repeats[name, task] = (
                max(1, math.ceil(0.05 / seconds)) if runner.device == "cuda" else 1
            )
    times: Times = {name: {task: [] for task in tasks} for name in runners}
    shuffle, done = random.Random(0), 0
    while done < rounds or time.monotonic() < end:
        # task by task: what is compared is measured within seconds
        for task in shuffle.sample(list(tasks), len(tasks)):
            for name in shuffle.sample(list(runners), len(runners)):
                times[name][task].append(runners[name].time(task, repeats[name, task]))
        done += 1
        log(f"round {done}")
    return times


def quartiles(values: Sequence[float]) -> list[float]:
    return [float(q) for q in np.quantile(values, [0.25, 0.5, 0.75])]


def summary(times: Times, clock: int, reference: str = REFERENCE) -> dict[str, dict[str, dict]]:
    """candidate -> task -> median seconds, and the quartiles of the ratios to the reference in the
    same round. `clock`: 0 CPU, 1 wall."""

    def row(tasks: dict[str, list[tuple[float, float]]], task: str) -> dict:
        seconds = [pair[clock] for pair in tasks[task]]
        reference_seconds = [pair[clock] for pair in times[reference][task]]
        return {
            "seconds": quartiles(seconds)[1],
            "ratio": quartiles(np.divide(seconds, reference_seconds)),
        }

    return {name: {task: row(tasks, task) for task in tasks} for name, tasks in times.items()}


def per_sample(times: Times, clock: int) -> dict[str, list[float]]:
    """candidate -> quartiles of (seconds for MANY samples of one x) / MANY / (seconds for one)."""
    ratios = {}
    for name, tasks in times.items():
        seconds_many, seconds_one = (np.array(tasks[task])[:, clock] for task in ("many", "one"))
        ratios[name] = quartiles(seconds_many / MANY / seconds_one)
    return ratios


def growth(work: Work, device: str, factors: dict[str, tuple[Sequence[int], str]]) -> dict:
    """How a training step grows with each factor alone: seconds and MiB, and their exponents."""
    growths, clock = {}, int(device == "cuda")
    for factor, (values, expected) in factors.items():
        log(f"growth with {factor}")
        growths[factor] = row = {"values": list(values), "expected": expected}
        runners = {
            f"{kind} {value}": Runner(candidate, replace(work, **{factor: value}), device)
            for value in values
            for kind, candidate in GROWING.items()
        }
        saved_by_runner = {name: runner.saved() for name, runner in runners.items()}
        times = interleave(runners, ["train"])
        for kind in GROWING:
            names = [f"{kind} {value}" for value in values]
            seconds = [quartiles([t[clock] for t in times[n]["train"]])[1] for n in names]
            saved = [saved_by_runner[name] for name in names]
            row[kind] = {"seconds": seconds, "seconds_exponent": exponent(values, seconds)}
            row[kind] |= {"saved": saved, "saved_exponent": exponent(values, saved)}
    return growths


def exponent(x: Sequence[float], y: Sequence[float]) -> list[float | None]:
    """Slope of log y over log x by least squares, and its standard error (None of two points)."""
    line = scipy.stats.linregress(np.log(x), np.log(y))
    return [float(line.slope), float(line.stderr) if len(x) > 2 else None]
