"""Seconds a training step takes in one process and in several that act as one; the cost of `paper`;
seconds that released models take to draw a mask.

    python tools/throughput.py processes      three minutes -> results/bench/throughput.json
    python tools/throughput.py paper          one minute    -> results/bench/paper-here.json
    python tools/throughput.py samples        two minutes   -> results/bench/samples.json

Needs cores that nothing else uses; how much others used of them is in the file.
"""

import json
import multiprocessing
import os
import resource
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, replace
from statistics import median

import psutil
import torch

from cnf import weights
from cnf.replication import distributed, releases, run_folder, training
from cnf.replication.config import Config, load_config, preset_of
from cnf.replication.training import cost

BENCH = run_folder.REPOSITORY / "results" / "bench"
PROCESSES, ROUNDS, SECONDS = 2, 9, 1.2  # of a turn of one process
# set-up -> (processes, pictures a step over the batch of the preset); `part` is one process with
# the share of each in `strong`: what that takes more is the exchange
SETUPS = {
    "one": (1, 1),
    "part": (1, 1 / PROCESSES),
    "weak": (PROCESSES, PROCESSES),
    "strong": (PROCESSES, 1),
}
WARM_UP = 3  # steps
DRAWN = ("vessels-flow-cpu-s0", "vessels-flow-ar-cpu-s0", "vessels-autoregressive-cpu-s0")
SIDES = (584, 568)  # of DRIVE's photographs, filled up to multiples of 8
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
    pipe.send(weights.count_parameters(run.model))
    while steps := pipe.recv():
        before = time.perf_counter()
        for _ in range(steps):
            training.update(run)
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
        for rank, (_, there) in enumerate(pairs):
            arguments = (there, config, rank, count, port)
            context.Process(target=worker, args=arguments, daemon=True).start()
            there.close()  # so that a worker that dies ends the wait for it

    def steps(self, number: int) -> float:
        """Seconds a step, of `number` of them."""
        for pipe in self.pipes:
            pipe.send(number)
        return max(pipe.recv() for pipe in self.pipes) / number


def compare(task: str) -> dict:
    """All set-ups of one task's cpu preset, in turns, one thread a process, on the pictures
    that come with the package: a step takes the same time on any."""
    options = [f"data.train=embedded-{task}", "training.minutes=null", "training.steps=1"]
    config = load_config(preset_of(task, preset="cpu"), options)
    setups, found = {}, {}
    for name, (count, factor) in SETUPS.items():
        size = round(factor * config.training.batch_size)
        found[name] = {"processes": count, "batch": size, "seconds_a_step": []}
        own = replace(config, training=replace(config.training, batch_size=size))
        setups[name] = Setup(own, count)
    parameters = [pipe.recv() for setup in setups.values() for pipe in setup.pipes][0]
    for setup in setups.values():
        setup.steps(WARM_UP)
    steps = max(2, round(SECONDS / setups["one"].steps(2)))
    order = deque(setups)
    for _ in range(ROUNDS):
        for name in order:
            found[name]["seconds_a_step"].append(round(setups[name].steps(steps), 5))
        order.rotate(-1)
    for setup in setups.values():
        for pipe in setup.pipes:
            pipe.send(0)
    for name, setup in found.items():
        print(f"{task} {name:7s}{median(setup['seconds_a_step']):.3f} s a step")
    made = {"parameters": parameters, "precision": config.training.precision}
    return made | {"steps_a_turn": steps, "setups": found}


def processes() -> dict:
    work = {f"{task} flow cpu": compare(task) for task in ("sr", "vessels")}
    return {"rounds": ROUNDS, "work": work}


def paper() -> dict:
    """What `python -m cnf train sr --preset paper --dry-run` measures."""
    found = cost.measure(load_config("sr-flow-paper"), device="cpu")
    print(f"{found.step:.3g} s a step, from batches of {found.batches}, {found.threads} thread(s)")
    return {"as": "python -m cnf train sr --preset paper --dry-run", "cost": asdict(found)}


def samples() -> dict:
    """One mask of a photograph of DRIVE's size, in turns, one thread; its content costs nothing."""
    torch.set_num_threads(1)
    models = {run: releases.load(run) for run in DRAWN}
    x = torch.full((1, 3, *SIDES), 128.0)
    seconds: dict[str, list[float]] = {run: [] for run in DRAWN}
    for _ in range(1 + ROUNDS):
        for run, model in models.items():
            before = time.perf_counter()
            model.sample(x, n=1)
            seconds[run].append(round(time.perf_counter() - before, 3))
    for found in seconds.values():
        del found[0]  # warm-up
    for run, found in seconds.items():
        print(f"{run:30s}{median(found):.2f} s")
    return {"sides": SIDES, "rounds": ROUNDS, "seconds": seconds}


def others() -> float:
    """CPU seconds of the machine that were neither idle nor of this process and its children."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(times) - idle - sum(used.ru_utime + used.ru_stime for used in own)


COMMANDS = {
    "processes": (processes, "throughput.json"),
    "paper": (paper, "paper-here.json"),
    "samples": (samples, "samples.json"),
}


def main(name: str) -> None:
    """Keep what is measured, where and when that was done, and the cores that others used."""
    measure, file = COMMANDS[name]
    made = run_folder.made()
    wall, busy = time.monotonic(), others()
    found = measure()
    while multiprocessing.active_children():  # which count when they have ended
        time.sleep(0.1)
    wall = time.monotonic() - wall
    used = round(max(0.0, (others() - busy) / wall), 2)
    values = {
        "hardware": run_folder.processor(),
        "cores": os.cpu_count(),
        "cores_used_by_others": used,
        **made,
        "minutes": round(wall / 60, 1),
        "command": f"python tools/throughput.py {name}",
    }
    text = json.dumps(values | found, indent=1) + "\n"
    run_folder.write_atomically(BENCH / file, text.encode())
    if used > 0.1:
        print(f"others used {used} cores: measure again on an idle machine")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"give one of: {', '.join(COMMANDS)}")
    main(sys.argv[1])
