"""Train, evaluate and publish the runs that need a GPU, the most telling ones first, in slices.

    make gpu                                all that is left, until it is done or stopped
    make gpu GPU='--minutes 9'              one slice of it; the same line again goes on from there
    make gpu GPU='--preset paper --plan'    only the estimate: days and memory of one GPU
    make gpu GPU='--preset smoke --device cpu'    a try on a CPU with tiny models, in _build/gpu

A slice of training ends with a checkpoint in runs/NAME, which also holds the weights and the log
(history.jsonl). Finished runs are scored, an image set at a time, into results/NAME. A run that is
published there is not trained again, a set that was scored is not scored again.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from torch.utils._python_dispatch import TorchDispatchMode

from cnf import weights
from cnf.errors import CheckpointError, CnfError, TrainingError
from cnf.flow import ConditionalModel
from cnf.replication import places, releases, results, run_folder, training
from cnf.replication.config import Config, build, load_config
from cnf.replication.data import load
from cnf.replication.distributed import choose_device
from cnf.replication.evaluation.evaluate import evaluate
from cnf.replication.options import Device, Flag, Folder, Minutes, Number, option
from cnf.replication.presentation import presentation_of
from cnf.replication.run_folder import publishing
from cnf.replication.tasks.task import find_task
from cnf.replication.training import cost

SLICE = 9.0  # minutes of training, then a checkpoint
# What is scored. The most telling pair is first; the paper's vessels take hours, its pictures days.
SETS = {"sr": ["tinyimagenet32", "set5", "set14", "bsd100"], "vessels": ["drive"]}
GPU = ["sr-flow-gpu", "sr-baseline-gpu", "vessels-flow-gpu", "vessels-baseline-gpu"]
PAPER = ["vessels-flow-paper", "vessels-baseline-paper", "sr-flow-paper", "sr-baseline-paper"]
SMOKE = [name.replace("gpu", "smoke") for name in GPU]
LAUNCH = 1e-5  # seconds that a card waits for each operation, assumed: small pictures wait most
MOMENTS = {"adamw": 2, "muon": 2, "amsgrad": 3}  # numbers that an optimizer keeps of each weight


@dataclass(frozen=True)
class Options:
    """Train, evaluate and publish the runs that need a GPU, in slices that can be resumed."""

    preset: Annotated[Literal["gpu", "paper", "smoke"] | None, option()] = None
    """only the runs of this preset; by default those of gpu, then those of paper. smoke is for a
    try on a CPU."""
    seeds: Annotated[int, option("N")] = 3
    """trainings of each run of the preset gpu, first the first of each; of paper there is one."""
    minutes: Minutes = None
    """of this call; by default it ends when everything is done."""
    plan: Flag = False
    """only print what is left, and the estimate."""
    steps: Number = None
    """of each training, instead of the preset's budget; for a try."""
    limit: Number = None
    """score only the first N pictures of each set; for a try."""
    peak: Annotated[float, option("TFLOPS")] = 495.0
    """operations a second at the card's peak, for the estimate: by default an H100 in TF32."""
    device: Device = "auto"
    folder: Folder = None
    """holds runs/ and results/; by default the repository, for a try _build/gpu."""

    @property
    def root(self) -> Path:
        is_try = self.preset == "smoke" or self.steps or self.limit
        return self.folder or places.REPOSITORY / ("_build/gpu" if is_try else "")

    @property
    def results(self) -> Path:
        return self.root / "results"


@dataclass(frozen=True)
class Job:
    """One run: the preset and seed that it is trained with."""

    preset: str
    seed: int
    options: Options

    @property
    def name(self) -> str:
        return f"{self.preset}-s{self.seed}"

    @property
    def folder(self) -> Path:
        """Of the run: where it is trained, or, on another machine, where it was published."""
        here, published = (self.options.root / d / self.name for d in ("runs", "results"))
        return here if (here / "config.json").exists() or not published.exists() else published

    @property
    def config(self) -> Config:
        return training.with_budget(load_config(self.preset), None, self.options.steps)

    def is_trained(self) -> bool:
        return "took" in run_folder.read_record(self.folder, needed=False)

    def sets(self) -> list[str]:
        """The image sets on which it is not scored yet."""
        task = find_task(self.config.task)
        is_small = self.preset in SMOKE
        wanted = [presentation_of(task.name).embedded] if is_small else SETS[task.name]
        scored = {row.data for row in results.read_rows(self.options.results, self.name)}
        return [name for name in wanted if name not in scored]

    def state(self) -> str:
        """What is left to do; "" if it is done."""
        if self.is_trained():
            return f"to score on {', '.join(self.sets())}" if self.sets() else ""
        if not (self.folder / "last.pt").exists():
            return "to train"
        step = ([{"step": 0}] + run_folder.read_history(self.folder))[-1]["step"]
        return f"at step {step:,} of {run_folder.read_record(self.folder)['steps']:,}"

    def train(self, minutes: float) -> None:
        """A slice of its training."""
        begun = (self.folder / "last.pt").exists()
        training.train(
            None if begun else self.config,
            self.folder,
            resume=begun,
            seed=None if begun else self.seed,
            max_minutes=minutes,
            device=self.options.device,
        )

    def score(self, name: str) -> None:
        """Its rows on an image set, written into results/; the weights go there if they are small,
        else the rows keep their hash."""
        target, here = self.options.results, self.folder
        if not (here / releases.WEIGHTS).exists():
            raise CheckpointError(
                f"the weights of {self.name} are on the machine that trained it: copy its "
                f"runs/{self.name} here to score it on {name}"
            )
        size = (here / releases.WEIGHTS).stat().st_size / 2  # published as float16
        is_small = here.parent == target or size < publishing.MAX_BYTES
        if not is_small:
            publishing.publish_record(here, target / self.name)
        evaluate(
            here,
            name,
            full=True,
            limit=self.options.limit,
            publish=is_small,
            out=None if is_small else target,
            device=self.options.device,
            results=target,
        )


def jobs(options: Options) -> list[Job]:
    """All runs in the order in which they are made."""
    presets = {"smoke": SMOKE, "gpu": GPU, "paper": PAPER}
    names = presets[options.preset] if options.preset else GPU + PAPER
    pairs = [(name, seed) for seed in range(options.seeds) for name in names if name in GPU]
    pairs += [(name, 0) for name in names if name not in GPU]
    return [Job(name, seed, options) for name, seed in pairs]


# -- the estimate ----------------------------------------------------------------------------------


def bytes_kept(model: ConditionalModel, y: torch.Tensor, x: torch.Tensor) -> int:
    """Bytes that autograd keeps of a batch until the backward pass, without the weights."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = model.train().loss(y, x, torch.Generator().manual_seed(0))
    for weight in model.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    del loss  # until here nothing that was kept could be freed and its address used again
    return sum(kept.values())


class Operations(TorchDispatchMode):
    """Counts the operations that are sent to the device."""

    count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.count += not operation.is_view
        return operation(*args, **(kwargs or {}))


def estimate(config: Config, peak: float) -> str:
    """Arithmetic, memory and time of a run: measured with one picture, then multiplied."""
    options, task = config.training, find_task(config.task)
    images = load(config.data.train, "valid")
    y, x = task.batch(images, [0], config.data, [np.random.default_rng(0)])
    torch.manual_seed(0)
    model = build(config)
    _, work = cost.flops(model, y, x)
    copies = 3 + MOMENTS[options.optimizer]  # weights, gradient, average, moments
    memory = 4 * copies * weights.count_parameters(model)
    memory += options.batch_size // options.accumulate * bytes_kept(model, y, x)
    text = f"{work / 1e9:.3g} GFLOP a picture, about {memory / 2**30:.1f} GiB; "
    if options.minutes is not None:
        return text + f"its budget, {options.minutes:g} minutes"
    with Operations() as operations:
        model.loss(y, x, torch.Generator().manual_seed(0))[0].backward()
    arithmetic = options.batch_size * work / (1e12 * peak)
    fast, slow = (
        run_folder.duration_text(options.steps * (arithmetic / share + LAUNCH * operations.count))
        for share in (0.4, 0.1)
    )
    return text + f"{options.steps:,} steps of {options.batch_size}: {fast} to {slow}"


def plan(left: Sequence[Job], peak: float) -> str:
    """What is left, with the estimate of each preset, and what it assumes."""
    configs = {job.preset: job.config for job in left if not job.is_trained()}
    texts = {preset: estimate(config, peak) for preset, config in configs.items()}
    lines = [f"{job.name:<26} {job.state()}" for job in left]
    lines += [""] + [f"{preset:<26} {text}" for preset, text in texts.items()]
    lines += [
        "",
        "Operations are counted (torch.utils.flop_counter: convolutions and matrix products) and",
        "activations measured, of one picture in float32 on a CPU, and multiplied by the batch.",
        f"Assumed: one card, {peak:g} TFLOP/s at its peak, of which 40 % to 10 % are reached, and",
        f"{1e6 * LAUNCH:.0f} microseconds to launch each operation. Validations are not counted.",
        "On the card, `python -m cnf train TASK --preset paper --dry-run` measures real steps.",
    ]
    return "\n".join(lines)


# -- slices ----------------------------------------------------------------------------------------


def go_on(left: Sequence[Job], minutes: float | None) -> list[str]:
    """Do what is left, until it is done or the time is over. Returns a sentence for each run whose
    training failed, such as one that is not finite any more: the others go on without it."""
    budget = math.inf if minutes is None else minutes
    end, failed = time.monotonic() + 60 * budget, []

    def remaining() -> float:
        return (end - time.monotonic()) / 60

    is_first = True
    for job in left:
        try:
            while not job.is_trained() and remaining() > 0:
                print(f"\n== {job.name}: {job.state()}", flush=True)
                job.train(min(SLICE, remaining()))
                is_first = False
        except TrainingError as error:
            failed.append(f"{job.name}: {error}")
            continue
        for name in job.sets() if job.is_trained() else []:
            if not is_first and remaining() < budget / 2 < math.inf:
                return failed  # a set is scored in one go: the next call begins with it
            print(f"\n== {job.name}: scored on {name}", flush=True)
            job.score(name)
            is_first = False
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    options = tyro.cli(Options, args=arguments, prog="python -m tools.gpu", description=__doc__)
    try:
        left = [job for job in jobs(options) if job.state()]
        if not left:
            print("done: every run is trained, scored and published")
            return 0
        print(plan(left, options.peak), flush=True)
        if options.plan:
            return 0
        if options.device == "auto" and not torch.cuda.is_available():
            print("\nno GPU here: nothing was trained (--device cpu trains all the same)")
            return 1
        choose_device(options.device)
        failed = go_on(left, options.minutes)
    except CnfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(error or "interrupted", file=sys.stderr)
        return 130
    print("\n".join(["", *failed]))
    left = [job for job in jobs(options) if job.state()]
    if left:
        print(f"{len(left)} runs are left, the first {left[0].name}: the same command goes on")
    else:
        print("done: `python -m cnf results readme` renews the tables; commit results/")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
