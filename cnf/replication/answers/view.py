"""What `sample` does for photographs of eyes beside drawing: it finds the field of view, resizes
the photograph for the model, makes an overlay, and counts vessels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from cnf.errors import ConfigError, DataError
from cnf.replication.answers.areas import Area
from cnf.replication.config import Config
from cnf.replication.data import catalogue
from cnf.replication.data.field_of_view import field_of_view, is_eye_shaped
from cnf.replication.data.folders import partner
from cnf.replication.data.images import LUMA, Photograph, read_mask
from cnf.replication.metrics.shapes import shape

# A photograph whose diameter differs by more than this factor is resized. On CHASE_DB1, 1.7 times
# as wide as DRIVE, `vessels-baseline` has F 0.74 with resizing and 0.32 without.
TOLERATED = 1.25
# One that differs by more than this was taken by another camera: of DRIVE's the widest and the
# narrowest differ by less than 1 %, STARE's are a fifth wider.
SAME_CAMERA = 1.05
# of the models trained on DRIVE the one with the best F on CHASE_DB1 and on STARE
FOR_OTHER_CAMERAS = "vessels-baseline-jitter-s0"
CERTAIN = (0.1, 0.9)  # a marginal below the first is no vessel, from the second on a certain one
BLUE, ORANGE = (86, 180, 233), (230, 159, 0)  # Okabe and Ito's
LEGEND = (
    f"overlay: blue where the marginal is {CERTAIN[1]:g} or more, orange from {CERTAIN[0]:g} on"
)
COLUMNS = (
    *("picture", "quantity", "mean", "low", "high", "median", "spread_low", "spread_high"),
    *("samples", "field_of_view"),
)


@dataclass(frozen=True, eq=False)
class View:
    """How a photograph of (H,W) pixels is prepared for a vessel model.

    fov: field of view, bool (H,W). size: (h,w) of the model's input. notes: what was found and
    done, a phrase each.
    """

    fov: np.ndarray
    size: tuple[int, int]
    notes: tuple[str, ...]

    def resized(self, pixels: np.ndarray) -> np.ndarray:
        """The photograph, uint8 (H,W,3), at the size of the model's input, (h,w,3), by the
        antialiased cubic kernel."""
        if self.size == self.fov.shape:
            return pixels
        image = Image.fromarray(pixels)
        return np.asarray(image.resize(self.size[::-1], Image.Resampling.BICUBIC))

    def back(self, y: Tensor) -> Tensor:
        """y (C,h,w) at the photograph's size, (C,H,W), by the nearest pixel, and 0 outside the
        field of view."""
        for dim, (new, old) in enumerate(zip(self.fov.shape, self.size, strict=True), 1):
            if new != old:
                y = y.index_select(dim, ((torch.arange(new) + 0.5) * old / new).long())
        return y * torch.from_numpy(self.fov)

    def count(self, y: Tensor) -> tuple[float, int]:
        """The area of a mask (1,H,W) as a share of the field of view, and its number of pieces."""
        mask_shape = shape(y[0].numpy() > 0.5, self.fov)
        return mask_shape.area, mask_shape.components


def view(
    photo: Photograph,
    config: Config,
    path: Path,
    mask: Path | None = None,
    fit: bool | None = None,
    whole: bool = False,
) -> View:
    """Find the field of view of the photograph `path`, and the size for the model.

    `mask`, `fit` and `whole` are `fov`, `fit` and `whole` of `sample.Options`. Without a mask all
    of the picture counts if the model was trained on a reader's folder.

    Raises DataError (a picture of one colour or without an eye, a mask that does not fit),
    ConfigError (`fit` where the width of the training data is not known).
    """
    if (photo.pixels == photo.pixels[0, 0]).all():
        raise DataError(f"{path}: every pixel has the same colour: there is nothing to see")
    notes = []
    if photo.is_grey:
        notes.append("grey: the model learned from colours, which say more")
    is_folder = config.data.train.startswith("folder:")  # its pictures may show anything
    size, origin = photo.pixels.shape[:2], "found"
    if mask is not None:
        file = partner(mask, path) if mask.is_dir() else mask
        fov, origin = read_mask(file, size, "field of view"), f"given by {file.name}"
        if not fov.any():
            raise DataError(f"{file}: marks nothing: white is what counts")
    else:
        fov = np.ones(size, bool) if is_folder or whole else found(photo, path)
    width, has_edge = diameter(fov), mask is not None or not fov.all()
    if has_edge:
        share = f"{100 * fov.mean():.0f} % of the picture"
        notes.append(f"field of view {origin}: {width} pixels across, {share}")
    elif not is_folder:
        notes.append("all of the picture counts as field of view (--whole)")
    trained_width = width_of_training(config)
    if fit and trained_width is None:
        raise ConfigError(
            f"--fit: nobody said how wide the field of view is in '{config.data.train}', on which "
            "the model was trained: resize the picture yourself"
        )
    ratio = trained_width / width if trained_width and (has_edge or fit) else 1.0
    difference, model_size = max(ratio, 1 / ratio), size
    is_resized = fit or (fit is None and difference > TOLERATED)
    if is_resized and trained_width is not None:  # known where the difference is
        model_size = scaled(size, width, trained_width, path)
        notes.append(
            f"the model learned from eyes {trained_width} pixels across: it sees this one at "
            f"{model_size[1]}x{model_size[0]}, and its answers are brought back to "
            f"{size[1]}x{size[0]}; with --no-fit: as it is"
        )
    elif difference > TOLERATED:
        notes.append(
            f"the model learned from eyes {trained_width} pixels across: do not trust it at this "
            "size (without --no-fit the picture is resized)"
        )
    if difference > SAME_CAMERA and config.data.train == "drive" and config.data.jitter == 1:
        notes.append(
            f"by its width it is of another camera than DRIVE's, for which `{FOR_OTHER_CAMERAS}` "
            "has the better F, on CHASE_DB1 and on STARE"
        )
    return View(fov, model_size, tuple(notes))


def found(photo: Photograph, path: Path) -> np.ndarray:
    """The field of view that the photograph shows, bool (H,W). Raises DataError if it shows no
    eye."""
    try:
        fov = field_of_view(photo.pixels)
    except DataError as error:
        raise DataError(f"{path}: {error} (--fov)") from None
    if fov.all() or not is_eye_shaped(fov):
        shown = "no dark border" if fov.all() else "what is bright is no disc"
        raise DataError(
            f"{path}: does not look like a photograph of an eye ({shown}): give its field of "
            "view by --fov, or --whole if all of it counts"
        )
    return fov


def width_of_training(config: Config) -> int | None:
    """How wide, in pixels, the field of view is in the training data; None if nobody said so, or if
    it differs from set to set."""
    sets = map(catalogue.CATALOGUE.get, catalogue.parts(config.data.train))
    widths = {entry.across for entry in sets if entry}
    return widths.pop() if len(widths) == 1 else None


def scaled(size: tuple[int, int], width: int, trained_width: int, path: Path) -> tuple[int, int]:
    """The size (H,W) of a picture whose field of view, `width` pixels across, is made as wide as in
    the training data. Raises DataError if nobody can hold such a picture."""
    rows, columns = (max(1, round(trained_width / width * side)) for side in size)
    if Image.MAX_IMAGE_PIXELS is not None and rows * columns > Image.MAX_IMAGE_PIXELS:
        raise DataError(
            f"{path}: a field of view {width} pixels across, for the model {trained_width}, "
            f"asks for a picture of {columns}x{rows}: give another --fov, or --no-fit"
        )
    return rows, columns


def overlay(photo: Photograph, marginal: np.ndarray) -> np.ndarray:
    """The photograph in grey, uint8 (H,W,3), with certain vessels in blue and possible ones in
    orange, by the marginal (H,W)."""
    picture = np.repeat((photo.pixels @ np.array(LUMA))[..., None], 3, axis=2)
    is_sure, is_possible = marginal >= CERTAIN[1], marginal >= CERTAIN[0]
    for pixels, colour in ((is_sure, BLUE), (is_possible & ~is_sure, ORANGE)):
        picture[pixels] = 0.2 * picture[pixels] + 0.8 * np.array(colour)
    return np.floor(picture + 0.5).astype(np.uint8)


def diameter(fov: np.ndarray) -> int:
    """The longer side of the box around a field of view, in pixels. For a disc this is its
    diameter, even if the picture cuts off its top and bottom."""
    box = Image.fromarray(fov).getbbox()
    if box is None:
        raise DataError("the field of view is empty: give a mask that shows where the eye is")
    left, top, right, bottom = box
    return max(right - left, bottom - top)


def spread(counts: Sequence[tuple[float, int]]) -> np.ndarray:
    """Median, 5 % and 95 % quantile of the numbers of `View.count` over samples, (2,3): of area, of
    components."""
    # "weibull": a further sample lies inside with probability 0.9 if there are 19 samples or more;
    # fewer reach from the smallest to the largest
    return np.quantile(counts, (0.5, 0.05, 0.95), axis=0, method="weibull").T


def summary(
    name: str, area: Area, trust: str, counts: Sequence[tuple[float, int]], fov: np.ndarray
) -> tuple[str, str]:
    """The expected area with its calibrated interval, and the median and spread over samples of the
    numbers of `View.count`, from their 5 % to their 95 % quantile: as a CSV file, with areas as
    shares of the field of view, and as a sentence, with areas in per cent. `trust` says how often
    such an interval held, or, where there is none, why."""
    quantiles, inner = spread(counts)[1], "5 to 95 %" if len(counts) > 18 else "smallest to largest"
    shares = ["" if share is None else f"{share:.5f}" for share in area]
    components = ["", "", "", *(f"{q:.1f}" for q in quantiles)]
    rows = [
        (name, quantity, *cells, len(counts), fov.sum())
        for quantity, cells in (("vessel_area", shares), ("components", components))
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    interval = f"not calibrated: {trust}"
    if area.low is not None and area.high is not None:
        ends = f"{100 * area.low:.2f} to {100 * area.high:.2f}"
        interval = f"calibrated 90 % interval {ends} %; {trust}"
    return table.to_csv(index=False, lineterminator="\n"), (
        f"vessels: {100 * area.mean:.2f} % of the field of view, {interval}; "
        + "samples: {:.2f} ({:.2f} to {:.2f}) %; ".format(*(100 * share for share in area[3:]))
        + "components: {:.0f} ({:.0f} to {:.0f}): median and spread ".format(*quantiles)
        + f"({inner}) of {len(counts)} samples at temperature 1"
    )
