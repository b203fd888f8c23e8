"""One model that several processes train together, by the functions of `distributed.py`."""

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cnf.flow import ConditionalModel
from cnf.replication import distributed


def wrap(model: ConditionalModel, device: torch.device) -> tuple[ConditionalModel, nn.Module]:
    """Make several processes train `model` together, by the mean of their gradients,
    :eq:`eq-many-mean`. Returns the model, in which batch norms may have been replaced, and the
    module to call in training; in a single process that is the model itself."""
    if distributed.count() == 1:
        return model, model
    if device.type == "cuda":  # on CPUs there is no such layer
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with warnings.catch_warnings():  # torch is about to rename broadcast_buffers
        warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
        wrapped = DistributedDataParallel(
            model, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    return model, wrapped


def gradients_joined(wrapped: nn.Module, last: bool) -> AbstractContextManager:
    """Inside, gradients are averaged over processes only with the last micro-batch of a step."""
    if last or not isinstance(wrapped, DistributedDataParallel):
        return nullcontext()
    return wrapped.no_sync()


def own_batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    """Batch norms that see the pictures of their own process only."""
    parts = model.modules() if distributed.count() > 1 else ()
    return [part for part in parts if isinstance(part, nn.BatchNorm2d)]


@torch.no_grad()
def join_statistics(model: nn.Module) -> None:
    """Replace the running statistics of such batch norms by their mean over processes."""
    for part in own_batch_norms(model):
        for statistics in (part.running_mean, part.running_var):
            if statistics is not None:
                statistics.copy_(distributed.mean(statistics))


def print_once(text: str) -> None:
    """Print a line, once for all processes."""
    if distributed.is_main():
        tqdm.write(text)
