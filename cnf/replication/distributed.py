"""Several processes that act as one, as `torchrun` and other launchers start them.

In a single process every function here does nothing, or the obvious. In several, each of them must
be called by all processes, in the same order.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cnf.errors import CnfError, TrainingError


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA if there is one. Raises TrainingError for a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: there is no CUDA GPU here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def start(device: str) -> torch.device:
    """Join the group of processes, if several were started; the device of this one, its own GPU if
    there are several."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(chosen)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not _started():
        dist.init_process_group("gloo" if chosen.type == "cpu" else "cpu:gloo,cuda:nccl")
    return chosen


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
    """The mean over processes, bit for bit the same on each."""
    if count() > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= count()
    return values


def any_of(flag: bool) -> bool:
    """Whether the flag of any process is set."""
    return flag if count() == 1 else bool(mean(torch.tensor(float(flag))))


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    found = [value] * count()
    if count() > 1:
        dist.all_gather_object(found, value)
    return found


def divided(items: Sequence[Any], function: Callable[[Any], Any]) -> list[Any]:
    """function(item) of every item, in order, on all processes: each computes its share."""
    with together():
        mine = [function(item) for item in items[rank() :: count()]]
    turns = zip_longest(*gathered(mine))
    return [found for turn in turns for found in turn][: len(items)]


@contextmanager
def together() -> Iterator[None]:
    """What one process raises inside, all raise at the end: nobody waits for one that is gone.

    Inside, nothing may wait for another process.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    if not any_of(error is not None):
        return
    said = gathered(None if error is None else (type(error), str(error)))
    if error is None:
        number, (kind, text) = next((n, what) for n, what in enumerate(said) if what)
        if not issubclass(kind, CnfError):
            kind, text = TrainingError, f"process {number} failed ({kind.__name__}: {text})"
        error = kind(text)
    raise by_all(error)


def by_all(error: BaseException) -> BaseException:
    """Mark an error that every process raises: one of them says it, and they leave together."""
    error.by_all = True
    return error


def leave(error: BaseException | None = None) -> None:
    """End the work of the group, unless some processes may be elsewhere."""
    if _started() and (error is None or hasattr(error, "by_all")):
        dist.barrier()
        dist.destroy_process_group()


def speaks(error: BaseException) -> bool:
    """Whether this process should print an error: the main one, or any whose error is its own."""
    return is_main() or not hasattr(error, "by_all")


def _started() -> bool:
    return dist.is_available() and dist.is_initialized()
