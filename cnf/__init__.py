"""Conditional normalizing flows: layers with tested likelihoods, and a replication on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cnf.config import Config
    from cnf.flow import ConditionalModel

__version__ = "0.1.0"


def load(name: str | Path = "sr") -> tuple[ConditionalModel, Config]:
    """A trained model in evaluation mode, on the CPU, and its configuration.

    Args:
        name: "sr" (whole photographs, x2), "vessels", "sr-baseline" or "vessels-baseline", see
            `cnf.releases`; a folder of `results/`, such as "sr-flow-cpu-s0"; or a run folder.

    Grey levels are 0 to 255 in and out; x (B,3,H,W), samples (n,B,3,2H,2W):

    >>> import cnf, torch
    >>> model, config = cnf.load("sr-flow-cpu-s0")
    >>> x = torch.full((1, 3, 24, 32), 128.0)
    >>> with torch.no_grad():
    ...     y = model.sample(x, n=2, temperature=0.8)
    >>> y.shape
    torch.Size([2, 1, 3, 48, 64])

    Vessels: x is the photograph, sides multiples of `model.multiple`, samples are masks of 0 and 1
    of its size, and their mean is the probability of a vessel:

    >>> model, config = cnf.load("vessels")
    >>> x = torch.full((1, 3, 64, 96), 128.0)
    >>> with torch.no_grad():
    ...     masks = model.sample(x, n=4)
    >>> masks.shape
    torch.Size([4, 1, 1, 64, 96])
    >>> masks.mean(0).shape
    torch.Size([1, 1, 64, 96])

    Nothing but this function is imported before it is called. Raises CheckpointError, naming what
    is there, for another name, or a file that cannot be read.
    """
    from cnf import build, releases

    return build.load_model(releases.find(name) / releases.WEIGHTS)[:2]
