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
from cnf.replication import distributed, places, releases, run_folder, training
from cnf.replication.config import Config, load_config, preset_of
from cnf.replication.training import cost

BENCH = places.REPOSITORY / "results" / "bench"
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
SAMPLED_RUNS = ("vessels-flow-cpu-s0", "vessels-flow-ar-cpu-s0", "vessels-autoregressive-cpu-s0")
SIDES = (584, 568)  # of DRIVE's photographs, filled up to multiples of 8
context = multiprocessing.get_context("spawn")


def worker(pipe, config: Config, rank: int, count: int, port: int) -> None:
    """Join the group and build the run. Then, for every number received, do so many steps and send
    their seconds; 0 ends the worker."""
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
    distributed.end_group()


class Setup:
    """Processes that train as one and wait for their turn."""

    def __init__(self, config: Config, count: int):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pairs = [context.Pipe() for _ in range(count)]
        self.pipes = [own_pipe for own_pipe, _ in pairs]
        for rank, (_, worker_pipe) in enumerate(pairs):
            arguments = (worker_pipe, config, rank, count, port)
            context.Process(target=worker, args=arguments, daemon=True).start()
            worker_pipe.close()  # so that a worker that dies ends the wait for it

    def steps(self, number: int) -> float:
        """Seconds a step, of `number` of them."""
        for pipe in self.pipes:
            pipe.send(number)
        return max(pipe.recv() for pipe in self.pipes) / number


def compare(task: str) -> dict:
    """Measure all set-ups of one task's cpu preset in turns, with one thread a process, on pictures
    that come with the package; a step takes the same time on any pictures."""
    options = [f"data.train=embedded-{task}", "training.minutes=null", "training.steps=1"]
    config = load_config(preset_of(task, preset="cpu"), options)
    setups, measured = {}, {}
    for name, (count, factor) in SETUPS.items():
        size = round(factor * config.training.batch_size)
        measured[name] = {"processes": count, "batch": size, "seconds_a_step": []}
        config_of_setup = replace(config, training=replace(config.training, batch_size=size))
        setups[name] = Setup(config_of_setup, count)
    parameters = [pipe.recv() for setup in setups.values() for pipe in setup.pipes][0]
    for setup in setups.values():
        setup.steps(WARM_UP)
    steps = max(2, round(SECONDS / setups["one"].steps(2)))
    order = deque(setups)
    for _ in range(ROUNDS):
        for name in order:
            measured[name]["seconds_a_step"].append(round(setups[name].steps(steps), 5))
        order.rotate(-1)
    for setup in setups.values():
        for pipe in setup.pipes:
            pipe.send(0)
    for name, setup in measured.items():
        print(f"{task} {name:7s}{median(setup['seconds_a_step']):.3f} s a step")
    facts = {"parameters": parameters, "precision": config.training.precision}
    return facts | {"steps_a_turn": steps, "setups": measured}


def processes() -> dict:
    work = {f"{task} flow cpu": compare(task) for task in ("sr", "vessels")}
    return {"rounds": ROUNDS, "work": work}


def paper() -> dict:
    """What `python -m cnf train sr --preset paper --dry-run` measures."""
    measured_cost = cost.measure(load_config("sr-flow-paper"), device="cpu")
    step, batches, threads = measured_cost.step, measured_cost.batches, measured_cost.threads
    print(f"{step:.3g} s a step, from batches of {batches}, {threads} thread(s)")
    return {"as": "python -m cnf train sr --preset paper --dry-run", "cost": asdict(measured_cost)}


def samples() -> dict:
    """Seconds of one sampled mask for a photograph of DRIVE's size, models in turns, one thread.
    The content of the photograph does not matter."""
    torch.set_num_threads(1)
    models = {run: releases.load(run) for run in SAMPLED_RUNS}
    x = torch.full((1, 3, *SIDES), 128.0)
    seconds: dict[str, list[float]] = {run: [] for run in SAMPLED_RUNS}
    for _ in range(1 + ROUNDS):
        for run, model in models.items():
            before = time.perf_counter()
            model.sample(x, n=1)
            seconds[run].append(round(time.perf_counter() - before, 3))
    for times in seconds.values():
        del times[0]  # warm-up
    for run, times in seconds.items():
        print(f"{run:30s}{median(times):.2f} s")
    return {"sides": SIDES, "rounds": ROUNDS, "seconds": seconds}


def cpu_seconds_of_others() -> float:
    """CPU seconds of the machine that were neither idle nor of this process and its children."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0)
    own_usage = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return sum(times) - idle - sum(used.ru_utime + used.ru_stime for used in own_usage)


COMMANDS = {
    "processes": (processes, "throughput.json"),
    "paper": (paper, "paper-here.json"),
    "samples": (samples, "samples.json"),
}


def main(name: str) -> None:
    """Write a measurement, with the machine, the code, and the cores that other processes used."""
    measure, file = COMMANDS[name]
    provenance = run_folder.provenance()
    wall, busy = time.monotonic(), cpu_seconds_of_others()
    measured = measure()
    while multiprocessing.active_children():  # which count when they have ended
        time.sleep(0.1)
    wall = time.monotonic() - wall
    others_cores = round(max(0.0, (cpu_seconds_of_others() - busy) / wall), 2)
    values = {
        "hardware": run_folder.processor(),
        "cores": os.cpu_count(),
        "cores_used_by_others": others_cores,
        **provenance,
        "minutes": round(wall / 60, 1),
        "command": f"python tools/throughput.py {name}",
    }
    text = json.dumps(values | measured, indent=1) + "\n"
    run_folder.write_atomically(BENCH / file, text.encode())
    if others_cores > 0.1:
        print(f"others used {others_cores} cores: measure again on an idle machine")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"give one of: {', '.join(COMMANDS)}")
    main(sys.argv[1])
