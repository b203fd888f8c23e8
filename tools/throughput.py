"""Seconds a training step takes in one process and in several that act as one; the cost of `paper`.

    python tools/throughput.py processes      three minutes -> results/bench/throughput.json
    python tools/throughput.py paper          one minute    -> results/bench/paper-here.json

Needs cores that nothing else uses; how much others used of them is in the file.
"""

import json
import multiprocessing
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from statistics import median

import psutil
import torch
import tyro

from cnf import build
from cnf.config import Config, load_config
from cnf.replication import cost, distributed, run_folder, training

BENCH = Path(__file__).resolve().parent.parent / "results" / "bench"
# set-up -> (processes, pictures a step over the batch B of the preset), of P processes; `part` is
# one process with the share of each in `strong`: what that takes more is the exchange
SETUPS = {
    "one": lambda p: (1, 1),
    "part": lambda p: (1, 1 / p),
    "weak": lambda p: (p, p),
    "strong": lambda p: (p, 1),
}
WARM_UP = 3  # steps
context = multiprocessing.get_context("spawn")


def worker(pipe, config: Config, rank: int, count: int, port: int) -> None:
    """Join the group, build the run; then for every number received do so many steps, send the
    seconds they took."""
    torch.set_num_threads(1)
    if count > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    run = training.Run.build(config, 0, "cpu")
    run.steps = 10**9  # as if the run were long
    pipe.send(build.count_parameters(run.model))
    while steps := pipe.recv():
        before = time.perf_counter()
        for _ in range(steps):
            run.update()
        pipe.send(time.perf_counter() - before)
    distributed.leave()


class Setup:
    """Processes that train as one and wait for their turn."""

    def __init__(self, config: Config, count: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pairs = [context.Pipe() for _ in range(count)]
        self.pipes = [here for here, _ in pairs]
        self.workers = [
            context.Process(target=worker, args=(there, config, rank, count, port), daemon=True)
            for rank, (_, there) in enumerate(pairs)
        ]
        for process, (_, there) in zip(self.workers, pairs, strict=True):
            process.start()
            there.close()  # so that a worker that dies ends the wait for it

    def steps(self, number: int) -> float:
        """Seconds a step, of `number` of them."""
        for pipe in self.pipes:
            pipe.send(number)
        return max(pipe.recv() for pipe in self.pipes) / number

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(0)
        for process in self.workers:
            process.join()


@contextmanager
def recorded(values: dict) -> Iterator[None]:
    """Add to `values` where and when the work inside was done, and the cores others used."""
    commit, dirty = run_folder.git_state()
    wall, others = time.monotonic(), _busy() - _ours()
    yield
    others, wall = _busy() - _ours() - others, time.monotonic() - wall
    values |= {
        "hardware": run_folder.processor(),
        "cores": os.cpu_count(),
        "cores_used_by_others": round(max(0.0, others / wall), 2),
        "torch": torch.__version__,
        "date": str(date.today()),
        "git": commit,
        "dirty": dirty,
        "minutes": round(wall / 60, 1),
        "command": f"python tools/throughput.py {' '.join(sys.argv[1:])}",
    }


def _busy() -> float:
    """CPU seconds of the machine that were not idle."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _ours() -> float:
    """CPU seconds of this process and of its children that have ended."""
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in own)


def compare(experiment: str, processes: int, rounds: int, seconds: float) -> dict:
    """All set-ups of one experiment's cpu preset, in turns, one thread a process, on the pictures
    that come with the package: a step takes the same time on any."""
    options = [f"data.train=embedded-{experiment}", "training.minutes=null", "training.steps=1"]
    config = load_config(experiment, "flow", "cpu", options)
    batch, setups, shapes = config.training.batch_size, {}, {}
    for name, make in SETUPS.items():
        count, factor = make(processes)
        size = round(factor * batch)
        shapes[name] = {"processes": count, "batch": size}
        own = replace(config, training=replace(config.training, batch_size=size))
        setups[name] = Setup(own, count)
    parameters = [pipe.recv() for s in setups.values() for pipe in s.pipes][0]
    for setup in setups.values():
        setup.steps(WARM_UP)
    steps = max(2, round(seconds / setups["one"].steps(2)))
    times = {name: [] for name in setups}
    order = list(setups)
    for _ in range(rounds):
        for name in order:
            times[name].append(round(setups[name].steps(steps), 5))
        order = order[1:] + order[:1]
    for setup in setups.values():
        setup.end()
    return {
        "parameters": parameters,
        "precision": config.training.precision,
        "steps_a_turn": steps,
        "setups": {name: shapes[name] | {"seconds_a_step": times[name]} for name in setups},
    }


def measure_processes(
    processes: int = 2,
    rounds: int = 9,
    seconds: float = 1.2,
    out: Path = BENCH / "throughput.json",
) -> None:
    """Compare one process and several.

    Args:
        processes: how many.
        rounds: in each, every set-up has one turn.
        seconds: of a turn of one process.
        out: where the times go.
    """
    work: dict = {}
    values: dict = {}
    with recorded(values):
        for experiment in ("sr", "vessels"):
            work[f"{experiment} flow cpu"] = compare(experiment, processes, rounds, seconds)
    _write(out, values | {"rounds": rounds, "work": work})
    for name, found in work.items():
        one = found["setups"]["one"]
        for kind, setup in found["setups"].items():
            ratios = [
                (a / one["batch"]) / (b / setup["batch"])
                for a, b in zip(one["seconds_a_step"], setup["seconds_a_step"], strict=True)
            ]
            print(
                f"{name:17s} {kind:7s}{setup['processes']} process(es), batch {setup['batch']:4d}: "
                f"{median(setup['seconds_a_step']):.3f} s a step, {median(ratios):.2f} times the "
                f"pictures a second of one ({min(ratios):.2f} to {max(ratios):.2f})"
            )
    _warn(values)


def measure_paper(out: Path = BENCH / "paper-here.json") -> None:
    """Keep what `python -m cnf train sr --preset paper --dry-run` measures.

    Args:
        out: where it goes.
    """
    values: dict = {}
    with recorded(values):
        found = cost.measure(load_config("sr", "flow", "paper"), device="cpu")
    values["as"] = "python -m cnf train sr --preset paper --dry-run"
    _write(out, values | {"cost": asdict(found)})
    print(f"{found.step:.3g} s a step, from batches of {found.batches}, {found.threads} thread(s)")
    _warn(values)


def _write(out: Path, values: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write_atomically(out, (json.dumps(values, indent=1) + "\n").encode())


def _warn(values: dict) -> None:
    others = values["cores_used_by_others"]
    if others > 0.1:
        print(f"others used {others:.2f} of the cores: measure again when the machine is idle")


if __name__ == "__main__":
    commands = {"processes": measure_processes, "paper": measure_paper}
    tyro.extras.subcommand_cli_from_dict(commands)
