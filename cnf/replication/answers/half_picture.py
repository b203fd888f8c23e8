"""A reader's picture that is doubled. If it is grey, the model gets three equal channels, and the
luma of its samples is written."""

import functools

import numpy as np
import torch
from torch import Tensor

from cnf.replication.answers.picture import Picture
from cnf.replication.data.images import LUMA
from cnf.replication.panels import Panel
from cnf.resample import imresize_double


class HalfPicture(Picture):
    keeps_16_bits = True

    def output(self, y: Tensor) -> Tensor:
        """y, or its luma (1,H,W) if the picture is grey."""
        if not self.photo.is_grey:
            return y
        return (torch.tensor(LUMA)[:, None, None] * y).sum(0, keepdim=True)

    @functools.cached_property
    def bicubic(self) -> Tensor:
        return self.output(imresize_double(self.x)[0])

    def panels(self) -> dict[str, Panel]:
        doubled = self.overview().repeat(2, 0).repeat(2, 1)
        return {"input": doubled, "bicubic": np.asarray(self.image(self.bicubic))}

    def lines(self) -> list[str]:
        height, width = self.photo.pixels.shape[:2]
        return [
            f"{self.path.name}: {width}x{height} pixels, drawn at {2 * width}x{2 * height}; "
            "τ is the temperature of samples"
        ]

    def interest(self, answer: Tensor) -> tuple[Tensor, str]:
        difference = (answer - self.bicubic).abs().mean(0)
        return difference, "where it differs most from bicubic"
