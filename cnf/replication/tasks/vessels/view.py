"""What `sample` does beside drawing where the answer is a mask: where the eye is in the photograph,
at what size the model should see it, what is shown and what is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from cnf.errors import ConfigError, DataError
from cnf.replication.config import Config
from cnf.replication.data import catalogue
from cnf.replication.data.field_of_view import field_of_view
from cnf.replication.data.folders import partner
from cnf.replication.data.images import LUMA, Photograph, read_mask
from cnf.replication.metrics.shapes import shape

# A diameter that differs by more than this factor is fitted. On CHASE_DB1, 1.7 times as wide as
# DRIVE, `vessels-baseline` has F 0.74 fitted and 0.32 as the photographs are.
TOLERATED = 1.25
SURE = (0.1, 0.9)  # marginals at or above the second are sure vessels, below the first none
BLUE, ORANGE = (86, 180, 233), (230, 159, 0)  # Okabe and Ito's
LEGEND = f"overlay: blue where the marginal is {SURE[1]:g} or more, orange from {SURE[0]:g} on"
COLUMNS = ("picture", "quantity", "median", "low", "high", "samples", "field_of_view")


@dataclass(frozen=True, eq=False)
class View:
    """How a vessel model sees a photograph of (H,W) pixels.

    fov: bool (H,W), what counts. size: (h,w) at which the model sees it. notes: what was found and
    done, a phrase each.
    """

    fov: np.ndarray
    size: tuple[int, int]
    notes: tuple[str, ...]

    def resized(self, pixels: np.ndarray) -> np.ndarray:
        """Of uint8 (H,W,3) what the model sees, (h,w,3): by the antialiased cubic kernel."""
        if self.size == self.fov.shape:
            return pixels
        image = Image.fromarray(pixels)
        return np.asarray(image.resize(self.size[::-1], Image.Resampling.BICUBIC))

    def back(self, y: Tensor) -> Tensor:
        """y (C,h,w) at the photograph's size, (C,H,W), by the nearest pixel; outside the field of
        view 0, whatever the model says there."""
        for dim, (new, old) in enumerate(zip(self.fov.shape, self.size, strict=True), 1):
            if new != old:
                y = y.index_select(dim, ((torch.arange(new) + 0.5) * old / new).long())
        return y * torch.from_numpy(self.fov)

    def count(self, y: Tensor) -> tuple[float, int]:
        """Of a mask (1,H,W): its area as a share of the field of view, and its components."""
        found = shape(y[0].numpy() > 0.5, self.fov)
        return found.area, found.components


def view(
    photo: Photograph, config: Config, path: Path, mask: Path | None = None, fit: bool | None = None
) -> View:
    """Find the field of view of the photograph `path`, and the size for the model.

    `mask` and `fit` are `fov` and `fit` of `sampling.Options`. Without a mask all of the picture
    counts if the model was trained on a reader's folder.

    Raises DataError (nothing to see, a mask that does not fit), ConfigError (`fit` where nobody
    knows how wide the training data are).
    """
    if (photo.pixels == photo.pixels[0, 0]).all():
        raise DataError(f"{path}: every pixel has the same colour: there is nothing to see")
    notes = ["grey: the model learned from colours, which say more"] * photo.is_grey
    size, how = photo.pixels.shape[:2], "found"
    own = config.data.train.startswith("folder:")  # of anything: a dark border may mean nothing
    if mask is not None:
        file = partner(mask, path) if mask.is_dir() else mask
        fov, how = read_mask(file, size), f"given by {file.name}"
        if not fov.any():
            raise DataError(f"{file}: marks nothing: white is what counts")
    elif own:
        fov = np.ones(size, bool)
    else:
        try:
            fov = field_of_view(photo.pixels)
        except DataError as error:
            raise DataError(f"{path}: {error} (--fov)") from None
    wide, has_edge = across(fov), mask is not None or not fov.all()
    if has_edge:
        share = f"{100 * fov.mean():.0f} % of the picture"
        notes.append(f"field of view {how}: {wide} pixels across, {share}")
    elif not own:
        notes.append("no field of view found (no dark border): all of the picture counts")
    sets = map(catalogue.CATALOGUE.get, catalogue.parts(config.data.train))
    widths = {entry.across for entry in sets if entry}
    known = widths.pop() if len(widths) == 1 else None
    if fit and known is None:
        raise ConfigError(
            f"--fit: nobody said how wide the field of view is in '{config.data.train}', on which "
            "the model was trained: resize the picture yourself"
        )
    ratio = known / wide if known and (has_edge or fit) else 1.0
    differs, seen = max(ratio, 1 / ratio) > TOLERATED, size
    if fit or (fit is None and differs):
        seen = tuple(max(1, round(ratio * side)) for side in size)
        if seen[0] * seen[1] > Image.MAX_IMAGE_PIXELS:
            raise DataError(
                f"{path}: a field of view {wide} pixels across, for the model {known}, asks for a "
                f"picture of {seen[1]}x{seen[0]}: give another --fov, or --no-fit"
            )
        notes.append(
            f"the model learned from eyes {known} pixels across: it sees this one at "
            f"{seen[1]}x{seen[0]}, and its answers are brought back to {size[1]}x{size[0]}; with "
            "--no-fit: as it is"
        )
    elif differs:
        notes.append(
            f"the model learned from eyes {known} pixels across: do not trust it at this size "
            "(without --no-fit the picture is resized)"
        )
    return View(fov, seen, tuple(notes))


def overlay(photo: Photograph, marginal: np.ndarray) -> np.ndarray:
    """The photograph in grey, uint8 (H,W,3), with vessels blue where the marginal (H,W) is sure of
    them and orange where it is not."""
    picture = np.repeat((photo.pixels @ np.array(LUMA))[..., None], 3, axis=2)
    sure, seen = marginal >= SURE[1], marginal >= SURE[0]
    for where, colour in ((sure, BLUE), (seen & ~sure, ORANGE)):
        picture[where] = 0.2 * picture[where] + 0.8 * np.array(colour)
    return np.floor(picture + 0.5).astype(np.uint8)


def across(fov: np.ndarray) -> int:
    """The longer side of the box around a field of view, in pixels: of a disc its diameter, also
    where the picture cuts off its top and bottom."""
    left, top, right, bottom = Image.fromarray(fov).getbbox()
    return max(right - left, bottom - top)


def summary(name: str, counts: Sequence[tuple[float, int]], fov: np.ndarray) -> tuple[str, str]:
    """Median and 90 % interval over the samples of what `View.count` says: a CSV file, areas as
    shares of the field of view; and a sentence, areas in per cent."""
    # so that one more draw of the model lies inside nine times of ten, however few they are
    area, components = np.quantile(counts, (0.5, 0.05, 0.95), axis=0, method="weibull").T
    rows = [
        (name, quantity, *(f"{q:.{digits}f}" for q in quantiles), len(counts), fov.sum())
        for quantity, digits, quantiles in (("vessel_area", 5, area), ("components", 1, components))
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.to_csv(index=False, lineterminator="\n"), (
        "vessels: {:.2f} ({:.2f} to {:.2f}) % of the field of view; ".format(*100 * area)
        + "components: {:.0f} ({:.0f} to {:.0f}): median and 90 % ".format(*components)
        + f"interval over {len(counts)} samples at temperature 1"
    )
