"""A task: an object that holds everything in which one task differs from another.

A task of your own is a subclass of `Task` and one instance of it, which is given to `register`
(`experiments/<task>/plug.py`). It overrides the defaults, which are those of pictures of 8 bits. It
must have a `name`, a `card` and `pair`; a y that is no picture needs `image` as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cnf.errors import ConfigError
from cnf.replication import plugs
from cnf.replication.data.batches import Generators, gather, symmetries
from cnf.replication.data.config import DataConfig
from cnf.replication.data.examples import Example, Kind

ScoredModel = Any  # of `evaluation`, which stands on the tasks


@dataclass(frozen=True)
class Card:
    """The texts of a model card: what is modelled, an example of the arguments of `sample` after
    the model's name, how the table of scores is read, and what the models cannot do."""

    title: str
    example: str
    reading: str
    limits: Sequence[str]


class Task:
    """A task: how pairs are made, scored, drawn and presented."""

    name: str
    card: Card

    # -- what is modelled
    kind: Kind = "pictures"  # of the image sets that it reads
    channels = 3  # of y
    bins = 256  # grey levels of y; 2: labels
    factor = 1  # the size of y over that of x

    # -- how pairs are made
    crop: int | None = None  # pixels of y a side of a training crop unless the config says so
    all_symmetries = False  # in training all eight of the square, not only left and right
    pads = False  # pictures are extended by zeros to sizes that a model takes, not mirrored
    data_unread: Sequence[str] = ("round_x", "noise", "jitter")  # fields of DataConfig without use
    has_low_resolution = False  # x is a smaller y, and may be rounded to 8 bits

    # -- how models are scored
    embedded, far = "embedded-sr", "far-sr"  # sets that are scored, or stressed, by default
    bits = "bits_per_dim"  # the metric of its likelihood
    divisors: Sequence[str] = ("sub-pixels",)  # what its bits are divided by
    temperature = 1.0  # of a single sample
    temperatures: Sequence[float] = (1.0,)  # those of --full
    samples = 16  # for means and marginals
    samples_of_patches = 0  # the same, for image sets that are not whole photographs
    full_samples = 32  # the same, with --full
    needs_samples = True  # without samples only bits are computed, even if the model has a mean
    has_threshold = False  # probabilities become masks by a threshold chosen on validation
    references: Mapping[str, Callable[[ScoredModel], list | None]] = {}  # answers without a model
    worst: Sequence[str] = ("bits_per_dim",)  # a card names the worst picture by the first of these

    # -- how a reader's pictures are answered
    num = 4  # samples that are written
    many = 32  # samples at temperature 1 for means and deviations
    mean = "mean"  # what the mean of samples is called, in titles and names of files
    spread: Mapping[str, Any] = {}  # rows that say how often the spread of samples holds the truth
    spread_of = ""  # what truth
    interval: Mapping[str, Any] = {}  # of a calibrated interval; their threshold: log of its factor
    threshold: Mapping[str, Any] = {}  # rows that say at which probability a mask begins

    # -- how models are presented
    scores: Mapping[str, Mapping[str, Any]] = {"bits/dim": {"metric": "bits_per_dim"}}  # of a card
    pipeline = "image-to-image"  # what model hubs call it
    releases: Mapping[str, str] = {}  # by their names, the runs of results/ that are released

    @property
    def white(self) -> float:
        """The deviation that is shown white, in units of y."""
        return max(self.bins / 8, 0.5)

    @property
    def unit(self) -> str:
        """How a deviation of y is followed in a sentence."""
        return "" if self.is_binary else " grey levels"

    @property
    def is_binary(self) -> bool:
        return self.bins == 2

    def batch(
        self,
        examples: Sequence[Example],
        indices: Sequence[int],
        options: DataConfig,
        rngs: Generators | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The pairs of the examples at `indices`: y (B,C,H,W) and x, float32, in grey levels.

        Without `rngs` pictures are whole. In training, `rngs` holds one generator for each picture.
        Everything random about the picture is drawn from it (the crop, symmetries, what `pair`
        draws), so that it does not depend on batch or process. Without `options.augment` there are
        no symmetries and no changes of colour.
        Raises DataError if pictures of one batch differ in size or are smaller than the crop.
        """
        y, x = gather(examples, indices, options.crop or self.crop, rngs)
        size = tuple(y.shape[-2:])
        if rngs and options.augment:
            y, x = symmetries(y, x, rngs, self.all_symmetries)
        try:
            y, x = self.pair(y.float(), None if x is None else x.float(), options, rngs)
        except NotImplementedError:
            raise ConfigError(f"`pair` of the task {self.name} is not written yet") from None
        self.check_pair(y, x, size)
        return y, x

    def pair(
        self, y: Tensor, x: Tensor | None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """The pairs (y, x) of some examples of one size.

        Args:
            y: of the examples, float32 (B,C,H,W) in grey levels: the pictures of an image set of
                "pictures", the labels of a "labelled" one.
            x: the photographs of a labelled set (B,3,H,W). For pictures it is None, and made here.
            rngs: in training a generator for each picture, from which everything random is drawn.
                None when models are scored and sampled: then the same picture must give the same
                pair.
        """
        raise NotImplementedError

    def y_size(self, height: int, width: int) -> tuple[int, int]:
        """The size of the y that `pair` makes of an example of `height` x `width`."""
        return height, width

    def check_pair(self, y: Tensor, x: Tensor, size: tuple[int, int]) -> None:
        """Raise ConfigError unless y and x are as the task says."""
        height, width = self.y_size(*size)
        if y.shape[1:] != (self.channels, height, width):
            shape = "x".join(map(str, y.shape[1:]))
            raise ConfigError(
                f"the task {self.name} makes y of {shape} (CxHxW), and says channels = "
                f"{self.channels} and y_size = {height}x{width}: correct either"
            )
        below = (height // self.factor, width // self.factor)
        if tuple(x.shape[-2:]) != below:
            shape = "x".join(map(str, x.shape[-2:]))
            raise ConfigError(
                f"the task {self.name} makes x of {shape} (HxW) for y of {height}x{width}, and "
                f"says factor = {self.factor}: correct either"
            )

    def image(self, y: Tensor, x: Tensor) -> Tensor:
        """A y (C,H,W) as a picture: grey levels (1,H,W) or (3,H,W)."""
        return y

    def per_image(self, m: ScoredModel) -> dict[str, np.ndarray]:
        """Values of single images beside the bits: {metric: (N,)}."""
        return {}

    def curves(self, m: ScoredModel) -> dict[str, Any]:
        """The data of the plots of a full evaluation, for JSON."""
        return {}

    def figures(self, m: ScoredModel, run: Path) -> dict[str, np.ndarray] | None:
        """Pictures of what the model of a run folder makes of a set, {end of the name: pixels};
        None: the first pictures of the set with samples of each."""
        return None

    @property
    def picture(self) -> type | None:
        """How a reader's picture is seen, and how answers become files: a subclass of `Picture`;
        None: as in `Picture` itself."""
        return None


TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known by its name. Raises ValueError if there is one of that name, or if it lacks
    what a task must have."""
    for attribute in ("name", "card"):
        if not hasattr(task, attribute):
            raise ValueError(f"{type(task).__name__} has no `{attribute}`: give it one")
    if task.name in TASKS:
        raise ValueError(f"there is a task '{task.name}' already: choose another name")
    TASKS[task.name] = task
    return task


def find(name: str) -> Task:
    """The task of that name: one of the replication, or that of experiments/<name>/plug.py. Raises
    ConfigError."""
    if name not in TASKS and plugs.has_plug(name):
        plugs.plug(name)
        if name not in TASKS:
            raise ConfigError(f"experiments/{name}/plug.py registers no task of the name {name!r}")
    if name not in TASKS:
        raise ConfigError(f"task = {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]


def of_kind(kind: Kind) -> Task:
    """The first task that reads image sets of a kind; references without a model are of this
    task."""
    return next(task for task in TASKS.values() if task.kind == kind)
