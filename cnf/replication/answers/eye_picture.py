"""A reader's photograph of the eye: masks of 0 and 255, black outside the field of view; one of the
probability, an overlay, and a table of area and components."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cnf.errors import DataError
from cnf.replication.answers.areas import UNKNOWN, Area
from cnf.replication.answers.picture import Picture, as_batch
from cnf.replication.answers.view import LEGEND, overlay, spread, summary, view
from cnf.replication.panels import Panel


class EyePicture(Picture):
    files = ("mask.png", "overlay.png", "table.csv")
    shows_uncertainty = True

    @classmethod
    def check(cls, options: Any, task: str) -> None:
        """Every option has a meaning here."""

    def input(self, options: Any) -> Tensor:
        if self.photo.alpha is not None:
            raise DataError(f"{self.path}: has transparent pixels: give the photograph as taken")
        fov = options.fov and Path(options.fov)
        self.view = view(self.photo, self.model.config, self.path, fov, options.fit, options.whole)
        self.counts: list[tuple[float, int]] = []
        self.threshold = options.threshold
        self.notes = self.notes + self.view.notes
        self.unlike = ""  # why a calibration on whole photographs does not hold for this one
        if self.photo.is_grey:
            self.unlike = "photographs in colour were compared with drawings, this one is grey"
        elif options.whole:
            self.unlike = "fields of view that were found were compared with drawings, not --whole"
        elif options.fit is not None:
            self.unlike = "sizes without --fit and --no-fit were compared with drawings"
        return as_batch(self.view.resized(self.photo.pixels))

    def output(self, y: Tensor) -> Tensor:
        return self.view.back(y)

    def to_image(self, levels: Tensor | np.ndarray) -> Image.Image:
        image = super().to_image(levels)
        image.info.pop("icc_profile")  # a mask has no colours
        return image

    def observe(self, y: Tensor) -> None:
        self.counts.append(self.view.count(y))

    @property
    def probability(self) -> np.ndarray:
        """The mean of the answers, (H,W). Raises DataError before there is one."""
        if self.mean is None:
            raise DataError(f"{self.path}: no answer was drawn: draw samples, or the mean")
        return self.mean[0].numpy()

    @property
    def mask(self) -> np.ndarray:
        """Where the probability is the threshold or more, bool (H,W)."""
        return (self.probability >= self.threshold) & self.view.fov

    @property
    def area(self) -> Area:
        """Of vessels, as shares of the field of view."""
        mean = float(self.probability[self.view.fov].mean(dtype=float))
        is_calibrated = self.calibration is not None and not self.unlike
        ends = self.calibration.ends(mean) if is_calibrated else (None, None)
        return Area(mean, *ends, *spread(self.counts)[0].tolist())

    @property
    def trust(self) -> str:
        """How often such intervals held the area that was drawn, or why there is none."""
        return UNKNOWN if self.calibration is None else self.unlike or str(self.calibration)

    def numbers(self) -> dict[str, Any]:
        area, components = self.area, spread(self.counts)[1].tolist()
        key = "not_calibrated" if area.low is None else "calibration"
        return {
            "threshold": self.threshold,
            "field_of_view": int(self.view.fov.sum()),
            "samples": len(self.counts),
            "vessel_area": area._asdict() | {key: self.trust},
            "components": dict(zip(Area._fields[3:], components, strict=True)),
        }

    def extras(self, mean: Tensor | None) -> Iterator[tuple[str, Any]]:
        yield "mask.png", Image.fromarray(np.uint8(255) * self.mask)
        self.overlay = overlay(self.photo, self.probability)
        yield "overlay.png", Image.fromarray(self.overlay)
        answered = self.area, self.trust, self.counts, self.view.fov
        table, self.sentence = summary(self.path.name, *answered)
        yield "table.csv", table
        self.said.append(f"{self.path.name}: {self.sentence}")

    def overview(self) -> np.ndarray:
        return self.overlay

    def panels(self) -> dict[str, Panel]:
        return {"photograph": self.photo.pixels, "overlay": self.overlay}

    def lines(self) -> list[str]:
        return [*super().lines(), LEGEND, *self.sentence.split("; ")]
