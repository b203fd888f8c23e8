"""A reader's picture as a model sees it, and how the model's answers become files.

What a file holds is kept: size, transparency (the alpha channel), colour profile. Files hold whole
grey levels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnf.errors import ConfigError
from cnf.flow import ConditionalModel
from cnf.replication.data.images import check_size, read_photograph
from cnf.replication.panels import Panel
from cnf.replication.plotting import to_uint8
from cnf.replication.sampling.tiling import fitted, plan
from cnf.replication.tasks.task import find
from cnf.resample import imresize_double

if TYPE_CHECKING:
    from cnf.replication.sampling.sample import Options


def as_batch(pixels: np.ndarray) -> Tensor:
    """uint8 (H,W,3) -> float32 (1,3,H,W)."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None]


class Picture:
    """A picture as a model sees it: x, float32 (1,3,H,W), grey levels; `notes` say what was found
    and done. Raises DataError for a file that cannot be used.

    `sample` asks, in this order: `check` whether options fit, and `input` for x; what counts of
    every answer (`written`), and its `image`; it lets `observe` look at answers of temperature 1;
    at the end it asks for `extras`, and for what stands on the contact sheet. A task overrides what
    is different for it.
    """

    files: tuple[str, ...] = ()  # ends of the names of what `extras` gives
    shows_uncertainty = False  # whether mean and deviation are always written

    def __init__(self, path: Path, model: ConditionalModel, asked: "Options"):
        self.path, self.photo = path, read_photograph(path)
        self.model, self.task = model, find(model.config.task)
        check_size(path, *self.photo.pixels.shape[:2])
        self.notes = self.photo.notes
        self.x = self.input(asked)
        height, width = (model.factor * side for side in fitted(model, self.x).shape[-2:])
        self.tiles = plan(model, (height, width), asked.tile)
        if self.tiles is not None:
            self.notes += (f"{height}x{width} in {self.tiles} (--tile)",)

    @classmethod
    def check(cls, asked: "Options", task: str) -> None:
        """Raise ConfigError for options that mean nothing here."""
        if asked.fov is not None or asked.fit is not None:
            raise ConfigError(
                f"--fov and --fit are for photographs of eyes: leave them out for {task}"
            )

    def input(self, asked: "Options") -> Tensor:
        """x, (1,3,h,w): what the task makes of the picture, or the picture itself where x is no
        part of y."""
        picture = as_batch(self.photo.pixels)
        if self.task.kind == "labelled":
            return picture
        return self.task.pair(picture, None, self.model.config.data, None)[1]

    def written(self, y: Tensor) -> Tensor:
        """What counts of a y (C,h,w), at the size that is written."""
        return y

    def image(self, y: Tensor) -> Image.Image:
        """What `written` gives, as a picture."""
        return self.framed(self.task.image(y, self.x[0]))

    def framed(self, levels: Tensor | np.ndarray) -> Image.Image:
        """Grey levels (C,H,W) as a picture with the colour profile and the alpha channel of this
        one, if it has them."""
        pixels, alpha = to_uint8(levels), self.photo.alpha
        if alpha is not None:
            alpha = torch.from_numpy(alpha.copy())[None]
            double = pixels.shape[:2] != alpha.shape[1:]
            pixels = np.dstack([pixels, to_uint8(imresize_double(alpha) if double else alpha)])
        image = Image.fromarray(pixels)
        image.info["icc_profile"] = self.photo.profile
        return image

    def observe(self, y: Tensor) -> None:
        """Look at one of many samples at temperature 1, as `written` gives it."""

    def extras(self, mean: Tensor | None) -> Iterator[tuple[str, Any]]:
        """What is written of all of them, with `files` as names."""
        yield from ()

    # -- on the contact sheet ----------------------------------------------------------------------

    def overview(self) -> np.ndarray:
        """The whole picture, uint8."""
        return np.asarray(self.framed(self.photo.pixels.transpose(2, 0, 1)))

    def panels(self) -> dict[str, Panel]:
        """{title: what is shown} before the samples."""
        return {"x": np.asarray(self.framed(self.x[0])), "the picture": self.overview()}

    def lines(self) -> list[str]:
        """Lines of text beneath."""
        height, width = self.photo.pixels.shape[:2]
        return [f"{self.path.name}: {width}x{height} pixels; τ is the temperature of samples"]

    def interest(self, answer: Tensor) -> tuple[Tensor, str]:
        """Where to look where there is one answer and no deviation, (H,W), >= 0; and what that
        is."""
        return answer.std(0, correction=0), "where it has most colour"
