"""A task: how a pair (y, x) is made of a picture. Everything in which the training of one task
differs from that of another is here.

A task of your own is a subclass of `Task` and one instance of it, which is given to `register`
(`experiments/<task>/plug.py`). It overrides the defaults, which are those of pictures of 8 bits. It
must have a `name` and `pair`; a y that is no picture needs `image` as well. What is scored by
default, the card and the options of `sample` are said beside it (`cnf.replication.presentation`).
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor

from cnf.errors import ConfigError
from cnf.replication import plugs
from cnf.replication.data.batches import Generators, gather, symmetries
from cnf.replication.data.config import DataConfig
from cnf.replication.data.examples import Example, Kind


class Task:
    """A task: how a pair (y, x) is made of a picture. How it is scored and shown is said beside it,
    by `presentation.present`."""

    name: str
    kind: Kind = "pictures"  # of the image sets that it reads
    channels = 3  # of y
    bins = 256  # grey levels of y; 2: labels
    factor = 1  # the size of y over that of x
    crop: int | None = None  # pixels of y a side of a training crop unless the config says so
    all_symmetries = False  # in training all eight of the square, not only left and right
    pads = False  # pictures are extended by zeros to sizes that a model takes, not mirrored
    data_unread: Sequence[str] = ("round_x", "noise", "jitter")  # fields of DataConfig without use
    has_low_resolution = False  # x is a smaller y, and may be rounded to 8 bits

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
        height, width = y.shape[-2:]
        if rngs and options.augment:
            y, x = symmetries(y, x, rngs, self.all_symmetries)
        try:
            x = None if x is None else x.float()
            y, x = self.checked_pair(y.float(), x, options, rngs)
        except NotImplementedError:
            raise ConfigError(f"`pair` of the task {self.name} is not written yet") from None
        self.check_pair(y, x, (height, width))
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
                A NumPy generator each. None when models are scored and sampled: then the same
                picture must give the same pair, whatever the others of its batch are.
        """
        raise NotImplementedError

    def x_of(self, picture: Tensor, options: DataConfig) -> Tensor:
        """What a reader's picture becomes as x when one samples: float32 (1,3,H,W), grey levels.

        By default what `pair` makes of it. Where such a picture is an x already (small, to be
        doubled; noisy, to be denoised), override this and return it: `pair` would make it smaller,
        or noisier, once more.
        """
        if self.kind == "pictures":
            return self.checked_pair(picture, None, options, None)[1]
        return self.checked_pair(torch.zeros_like(picture[:, :1]), picture, options, None)[1]

    def checked_pair(
        self, y: Tensor, x: Tensor | None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """`pair`; the first time twice, and without `rngs` then of each picture by itself, the last
        one first. Raises ConfigError if these are other pairs: trainings or scores could not be
        computed again, or would depend on how pictures are put into batches; if they are no pairs;
        or if there is no `image`."""
        if rngs is not None and (self, options, None) not in REPEATABLE:
            first, again = (self.made(*copied(y, x), options, deepcopy(rngs)) for _ in range(2))
            if not all(map(torch.equal, first, again)):
                raise ConfigError(
                    f"`pair` of the task {self.name} made two different pairs from equal rngs: "
                    "draw from rngs alone"
                )
            REPEATABLE.add((self, options, None))
        if rngs is None and (self, options, len(y) > 1) not in REPEATABLE:
            first, again = (self.made(*copied(y, x), options, None) for _ in range(2))
            is_repeatable = all(map(torch.equal, first, again))
            for n in reversed(range(len(y))):
                one = slice(n, n + 1)
                alone = self.pair(*copied(y[one], None if x is None else x[one]), options, None)
                for t, own in zip(first, alone, strict=True):
                    is_repeatable &= apart(t[one], own) <= ROUNDING
            if not is_repeatable:
                raise ConfigError(
                    f"`pair` of the task {self.name} made two different pairs of one picture while "
                    "rngs was None: draw from rngs alone, and in scoring from each picture's own "
                    "pixels, not from its batch, or not at all"
                )
            try:
                self.image(first[0][0], first[1][0])
            except NotImplementedError:
                raise ConfigError(
                    f"`image` of the task {self.name} is not written yet: write it, or delete it "
                    "if y is a picture"
                ) from None
            REPEATABLE.add((self, options, len(y) > 1))
        return self.pair(y, x, options, rngs)

    def made(
        self, y: Tensor, x: Tensor | None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """`pair`. Raises ConfigError unless it gives two tensors of finite numbers."""
        found = self.pair(y, x, options, rngs)
        names = (
            [type(t).__name__ for t in found] if isinstance(found, tuple) else type(found).__name__
        )
        if names != ["Tensor", "Tensor"]:
            raise ConfigError(
                f"`pair` of the task {self.name} gives {names}: return y, x, two tensors"
            )
        if not all(t.isfinite().all() for t in found):
            raise ConfigError(f"`pair` of the task {self.name} makes numbers that are not finite")
        return found

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


def copied(y: Tensor, x: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return y.clone(), None if x is None else x.clone()


def apart(first: Tensor, other: Tensor) -> float:
    """The mean difference of two batches, in grey levels; infinite if their shapes differ."""
    if first.shape != other.shape:
        return math.inf
    return (first.double() - other.double()).abs().mean().item()


# Another batch may round in another way, which moves few values of a picture by a level and all by
# a millionth; noise moves all by more.
ROUNDING = 0.01
REPEATABLE: set[tuple[Task, DataConfig, bool | None]] = (
    set()
)  # checked; whether with several pictures
TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known by its name. Raises ValueError if there is one of that name, or if it has
    none."""
    if not hasattr(task, "name"):
        raise ValueError(f"{type(task).__name__} has no `name`: give it one")
    if hasattr(task, "card"):
        raise ValueError(
            f"the task {task.name} holds a `card`: how a task is shown is said by "
            "`present(task, Presentation(card=...))` of cnf.replication.presentation"
        )
    if task.name in TASKS:
        raise ValueError(f"there is a task '{task.name}' already: choose another name")
    TASKS[task.name] = task
    return task


def find_task(name: str) -> Task:
    """The task of that name: one of the replication, or that of experiments/<name>/plug.py. Raises
    ConfigError."""
    if name not in TASKS and plugs.has_plug(name):
        before = set(TASKS)
        plugs.plug(name)
        if name not in TASKS:
            made = ", ".join(TASKS.keys() - before) or "no task"
            raise ConfigError(
                f"experiments/{name}/plug.py registers {made}, and no task of the name {name!r}: "
                "a task has the name of its folder"
            )
    if name not in TASKS:
        raise ConfigError(
            f"task = {name!r}: choose one of {', '.join(TASKS)}, or a folder of experiments/ whose "
            "plug.py registers a task of its name"
        )
    return TASKS[name]


def of_kind(kind: Kind) -> Task:
    """The first task that reads image sets of a kind; references without a model are of this
    task."""
    return next(task for task in TASKS.values() if task.kind == kind)
