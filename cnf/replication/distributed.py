"""Several processes that act as one, as `torchrun` and other launchers start them.

In a single process these functions do nothing, or the obvious. With several processes, all of them
must call each function, in the same order.
"""

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from cnf.errors import CnfError, TrainingError

BF16_SHARE = 0.9  # a smaller gain is not worth other last digits
Error = TypeVar("Error", bound=BaseException)


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA if there is one. Raises TrainingError for a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: there is no CUDA GPU here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether it is a processor on which networks are faster in bfloat16: it has instructions for
    it, and a convolution in it takes less than BF16_SHARE of the time in float32. Not every
    processor that has them gains; others emulate bfloat16, slowly."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    has_instructions = any(capabilities.get(n) for n in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cpu" and has_instructions and bf16_share() < BF16_SHARE


@functools.cache
@torch.no_grad()
def bf16_share() -> float:
    """The time of a small convolution in bfloat16, with its casts, over that in float32: of each
    the shortest of six, by the clock of this thread. Measured once, in about ten milliseconds."""
    x = torch.ones(1, 64, 32, 32).to(memory_format=torch.channels_last)
    weight, seconds = torch.full((64, 64, 3, 3), 0.01), {False: math.inf, True: math.inf}
    for _ in range(6):  # in turn, so that both see the same machine; the first ones warm up
        for is_bf16 in seconds:
            before = time.thread_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
                F.conv2d(x, weight, padding=1)
            seconds[is_bf16] = min(seconds[is_bf16], time.thread_time() - before)
    return seconds[True] / seconds[False]


def start(device: str) -> torch.device:
    """Join the group of processes, if several were started. Returns the device of this process: a
    GPU of its own, if there are GPUs."""
    chosen_device = choose_device(device)
    if chosen_device.type == "cuda":
        chosen_device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(chosen_device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not _started():
        dist.init_process_group("gloo" if chosen_device.type == "cpu" else "cpu:gloo,cuda:nccl")
    return chosen_device


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _started() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _started() else 0


def is_main() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def mean(values: Tensor) -> Tensor:
    """The mean over processes, the same bits on each."""
    if count() > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= count()
    return values


def any_of(flag: bool) -> bool:
    """Whether the flag of any process is set."""
    return flag if count() == 1 else bool(mean(torch.tensor(float(flag))))


def all_gather(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    values = [value] * count()
    if count() > 1:
        dist.all_gather_object(values, value)
    return values


def parallel_map(items: Sequence[Any], function: Callable[[Any], Any]) -> list[Any]:
    """function(item) for every item, in order, on all processes; each computes its share."""
    with raise_together():
        own_results = [function(item) for item in items[rank() :: count()]]
    shares = all_gather(own_results)
    return [shares[number % count()][number // count()] for number in range(len(items))]


@contextmanager
def raise_together() -> Iterator[None]:
    """If a process raises an error inside, all processes raise it at the end, so that none waits
    for one that has ended. Inside, no process may wait for another."""
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    if not any_of(error is not None):
        return
    reports = all_gather(None if error is None else (type(error), str(error)))
    if error is None:
        number = next(n for n, report in enumerate(reports) if report is not None)
        kind, text = reports[number]
        if not issubclass(kind, CnfError):
            kind, text = TrainingError, f"process {number} failed ({kind.__name__}: {text})"
        error = kind(text)
    raise marked_for_all(error)


def marked_for_all(error: Error) -> Error:
    """Mark an error that every process raises: one of them prints it, and they end together."""
    vars(error)["marked_for_all"] = True
    return error


def end_group(error: BaseException | None = None) -> None:
    """Leave the group of processes, unless others may not do the same."""
    if _started() and (error is None or hasattr(error, "marked_for_all")):
        dist.barrier()
        dist.destroy_process_group()


def should_print(error: BaseException) -> bool:
    """Whether this process should print an error: the main one, or any whose error is its own."""
    return is_main() or not hasattr(error, "marked_for_all")


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
