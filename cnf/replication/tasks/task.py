"""What differs from one task to another: an object says it all.

A task of your own is a subclass that says what differs from the defaults here, which are those of
pictures of 8 bits, and one instance that is given to `register` (`experiments/<task>/plug.py`). It
must have a `name`, a `card` and `pair`; a y that is no picture needs `image`, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from cnf.errors import ConfigError
from cnf.replication import plugs
from cnf.replication.data.batches import Generators, gather, symmetries
from cnf.replication.data.config import DataConfig
from cnf.replication.data.examples import Example, Kind

if TYPE_CHECKING:
    from cnf.replication.evaluation.scored_model import ScoredModel
    from cnf.replication.sampling.picture import Picture


@dataclass(frozen=True)
class Card:
    """What a model card says of a task: what is modelled, how `sample` is called after the model's
    name, how the table of scores is read, what the models cannot do."""

    title: str
    example: str
    reading: str
    limits: Sequence[str]


class Task:
    """A task: how pairs are made, scored, drawn and shown."""

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
    pads = False  # pictures go on as zeros to sizes that a model takes, not mirrored
    data_unread: Sequence[str] = ("round_x", "noise", "jitter")  # options that mean nothing here
    has_low_resolution = False  # x is a smaller y, and may be rounded to 8 bits

    # -- how models are scored
    embedded, far = "embedded-sr", "far-sr"  # sets that are scored, or stressed, by default
    bits = "bits_per_dim"  # the metric of its likelihood
    divisors: Sequence[str] = ("sub-pixels",)  # what its bits are divided by
    temperature = 1.0  # of a single sample
    temperatures: Sequence[float] = (1.0,)  # those of --full
    samples = 16  # for means and marginals
    samples_of_patches = 0  # the same, of pictures that are no whole photographs
    full_samples = 32  # for everything that --full asks for
    needs_samples = True  # without them an evaluation tells bits alone, even of a model's own mean
    has_threshold = False  # probabilities become masks by one that is chosen on validation
    references: Mapping[str, Callable[["ScoredModel"], list | None]] = {}  # answers without a model
    worst: Sequence[str] = ("bits_per_dim",)  # the first that is known tells where a model fails

    # -- how a reader's pictures are answered
    num = 4  # samples that are written
    many = 32  # samples at temperature 1 for means and deviations
    mean = "mean"  # what the mean of samples is called, in titles and names of files
    white, unit = 32.0, " grey levels"  # where a map of deviations ends, in units of y
    has_field_of_view = False  # x shows what lies in a circle; outside of it y counts for nothing

    # -- how models are presented
    scores: Mapping[str, Mapping[str, Any]] = {"bits/dim": {"metric": "bits_per_dim"}}  # of a card
    pipeline = "image-to-image"  # what model hubs call it
    releases: Mapping[str, str] = {}  # by their names, the runs of results/ that are released

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

        Without `rngs` pictures come whole. In training, `rngs` holds one generator a picture, from
        which everything random about it is drawn, so that it does not depend on its batch or
        process: the crop, symmetries, and what `pair` draws. `options.augment` False leaves out
        symmetries and changes of colour.
        Raises DataError if pictures of one batch differ in size or are smaller than the crop.
        """
        y, x = gather(examples, indices, options.crop or self.crop, rngs)
        size = tuple(y.shape[-2:])
        if rngs and options.augment:
            y, x = symmetries(y, x, rngs, self.all_symmetries)
        y, x = self.pair(y.float(), None if x is None else x.float(), options, rngs)
        self.check_pair(y, x, size)
        return y, x

    def pair(
        self, y: Tensor, x: Tensor | None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """The pairs (y, x) of some examples of one size.

        Args:
            y: of the examples, float32 (B,C,H,W) in grey levels: of an image set of "pictures" the
                pictures themselves, of a "labelled" one the labels.
            x: the photographs of a labelled set (B,3,H,W); None of pictures, and made here.
            rngs: in training a generator a picture, from which all that is random is drawn; None
                when models are scored and sampled: then the same picture must give the same pair.
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
        """What is shown of a y (C,H,W): grey levels (1,H,W) or (3,H,W)."""
        return y

    def per_image(self, m: "ScoredModel") -> dict[str, np.ndarray]:
        """Values an image beside the bits: {metric: (N,)}."""
        return {}

    def curves(self, m: "ScoredModel") -> dict[str, Any]:
        """What plots of a full evaluation need, as JSON holds it."""
        return {}

    def figures(self, m: "ScoredModel", run: Path) -> dict[str, np.ndarray]:
        """Pictures of what the model of a run folder makes of a set, {end of the name: pixels}."""
        from cnf.replication.evaluation.figures import panels_of_first

        return panels_of_first(m)

    @property
    def picture(self) -> type["Picture"]:
        """How a reader's picture is seen, and how answers become files; a subclass may name its
        class."""
        from cnf.replication.sampling.picture import Picture

        return Picture


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
    if name not in TASKS and plugs.has(name):
        plugs.plug(name)
        if name not in TASKS:
            raise ConfigError(f"experiments/{name}/plug.py registers no task of the name {name!r}")
    if name not in TASKS:
        raise ConfigError(f"task = {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]


def of_kind(kind: Kind) -> Task:
    """The first task that reads image sets of a kind: whose references are told without a model."""
    return next(task for task in TASKS.values() if task.kind == kind)
