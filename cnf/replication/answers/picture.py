"""A reader's picture as input of a model, and how the model's answers become files.

Answers have the transparency (the alpha channel) and the colour profile of the picture. Files hold
whole grey levels; the mean of a picture of 16 bits a channel has 16.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnf.errors import ConfigError
from cnf.model import ConditionalModel
from cnf.replication.answers.formats import Deep, check_format
from cnf.replication.answers.tiling import fitted, plan
from cnf.replication.data.images import PER_LEVEL, check_size, read_photograph
from cnf.replication.panels import Panel
from cnf.replication.plotting import to_uint8
from cnf.replication.tasks.task import Task, find_task
from cnf.resample import imresize_double

Options = Any  # of `sample`, which asks for pictures


def as_batch(pixels: np.ndarray) -> Tensor:
    """Grey levels (H,W,3) -> float32 (1,3,H,W)."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


class Picture:
    """A picture as input of a model: x, float32 (1,3,H,W), grey levels. `notes` say how the file
    was read and changed, `said` are lines about the answers, and `mean` is their mean, an `output`,
    where one was asked for. The `content` of a file may be given; then `path` is its name. Raises
    DataError for a file that cannot be used.

    `sample` calls, in this order: `check` of the options; `input` for x; for every answer `output`,
    the part that is written, and `image`; `observe` for each answer at temperature 1; at the end
    `extras`, and the methods for the contact sheet. A task may have a subclass with what is
    different for it, see `pictures.PICTURES`.
    """

    files: tuple[str, ...] = ()  # ends of the names of the files that `extras` gives
    shows_uncertainty = False  # whether mean and deviation are always written
    precision = "fp32"  # of the networks that answered; `sample` says another
    keeps_16_bits = False  # whether a file of 16 bits a channel is read and answered as such

    def __init__(
        self, path: Path, model: ConditionalModel, options: Options, content: bytes | None = None
    ):
        self.path, self.photo = path, read_photograph(path, content=content)
        self.mean: Tensor | None = None
        self.calibration: Any = None  # of intervals that were compared with the truth, if any were
        self.said: list[str] = []
        self.model, self.task = model, find_task(model.config.task)
        check_size(path, *self.photo.pixels.shape[:2])
        self.notes = self.photo.notes
        if self.photo.deep is not None:
            said = "the mean has 16, too; samples are whole grey levels of 8"
            said = said if self.keeps_16_bits else "rounded to 8, which the model reads and writes"
            self.notes += (f"16 bits a channel: {said}",)
        self.x = self.input(options)
        height, width = (model.factor * side for side in fitted(model, self.x).shape[-2:])
        check_format(options.format, max(height, width), self.is_deep)
        self.tiles = plan(model, (height, width), options.tile)
        if self.tiles is not None:
            self.notes += (f"{height}x{width} in {self.tiles} (--tile)",)

    @property
    def is_deep(self) -> bool:
        """Whether the mean is written with 16 bits a channel."""
        return self.keeps_16_bits and self.photo.deep is not None

    @classmethod
    def check(cls, options: Options, task: str) -> None:
        """Raise ConfigError for options that mean nothing here."""
        if options.fov is not None or options.fit is not None or options.whole:
            raise ConfigError(
                f"--fov, --fit and --whole are for photographs of eyes: leave them out for {task}"
            )
        if options.threshold is not None:
            raise ConfigError(f"--threshold is for probabilities: leave it out for {task}")

    def input(self, options: Options) -> Tensor:
        """x, (1,3,h,w): what the task makes of the picture, see `Task.x_of`."""
        levels = self.photo.levels if self.keeps_16_bits else self.photo.pixels
        if self.task.kind == "pictures" and type(self.task).x_of is Task.x_of:
            self.notes += (
                "x is made of this picture, as in training; where a picture is an x already, the "
                f"task {self.task.name} needs `x_of`",
            )
        return self.task.x_of(as_batch(levels), self.model.config.data)

    def output(self, y: Tensor) -> Tensor:
        """The part of a y (C,h,w) that is written, at the size of the files."""
        return y

    def image(self, y: Tensor) -> Image.Image:
        """An `output` as a picture."""
        return self.to_image(self.task.image(y, self.x[0]))

    def to_image(self, levels: Tensor | np.ndarray) -> Image.Image:
        """Grey levels (C,H,W) as a picture with the colour profile and the alpha channel of this
        one, if it has them."""
        pixels, alpha = to_uint8(levels), self.photo.alpha
        if alpha is not None:
            opacity = torch.from_numpy(alpha.copy())[None]
            if pixels.shape[:2] != alpha.shape:
                opacity = imresize_double(opacity)
            pixels = np.dstack([pixels, to_uint8(opacity)])
        image = Image.fromarray(pixels)
        image.info["icc_profile"] = self.photo.profile
        return image

    def deep(self, y: Tensor) -> Deep:
        """An `output` (C,H,W), grey levels that need not be whole, as a picture of 16 bits."""
        image = self.image(y)
        steps = (PER_LEVEL * y.double()).round().clamp(0, 65535).permute(1, 2, 0).numpy()
        levels = steps.astype(np.uint16)
        if self.photo.alpha is not None:
            levels = np.dstack([levels, PER_LEVEL * np.asarray(image)[..., -1].astype(np.uint16)])
        return Deep(levels.squeeze(2) if levels.shape[2] == 1 else levels, image)

    def numbers(self) -> dict[str, Any]:
        """What is said in numbers about the answers, for JSON."""
        return {}

    def record(self, files: Sequence[Path]) -> dict[str, Any]:
        """Everything that is said about this picture, and its files, for JSON."""
        height, width = self.photo.pixels.shape[:2]
        said = {"notes": self.notes, "answers": self.said, **self.numbers()}
        return {
            "picture": str(self.path),
            "width": width,
            "height": height,
            "precision": self.precision,
            "files": list(map(str, files)),
            **said,
        }

    def observe(self, y: Tensor) -> None:
        """Called with the `output` of each of the many samples at temperature 1."""

    def extras(self, mean: Tensor | None) -> Iterator[tuple[str, Any]]:
        """Further files about these samples: (one of `files`, its content)."""
        yield from ()

    # -- on the contact sheet ----------------------------------------------------------------------

    def overview(self) -> np.ndarray:
        """The whole picture, uint8."""
        return np.asarray(self.to_image(self.photo.pixels.transpose(2, 0, 1)))

    def panels(self) -> dict[str, Panel]:
        """{title: panel} before the samples."""
        return {"x": np.asarray(self.to_image(self.x[0])), "the picture": self.overview()}

    def lines(self) -> list[str]:
        """Lines of text beneath."""
        height, width = self.photo.pixels.shape[:2]
        return [f"{self.path.name}: {width}x{height} pixels; τ is the temperature of samples"]

    def interest(self, answer: Tensor) -> tuple[Tensor, str]:
        """A map of interest (H,W), >= 0, for a single answer without a deviation, and what it
        shows."""
        return answer.std(0, correction=0), "where it has most colour"
