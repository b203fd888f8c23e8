"""Where the eye is in a fundus photograph."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image

from cnf.errors import DataError

LEAST_SHARE = 0.05  # of the frame: a smaller bright region is no eye
CORNER = 0.04  # side of the squares in the corners that show the border, of the frame's side
DARK = 0.5  # largest median luma of a corner, of that of the bright pixels
FAINT = 8  # grey levels: a frame whose 99th percentile is lower shows nothing
# Of the disc of its width: 80 photographs of DRIVE, STARE and CHASE_DB1 fill 0.968 or more, and a
# rectangle that is not narrower than NARROW fills at most 0.92.
ROUND, NARROW = 0.955, 0.7


def field_of_view(pixels: np.ndarray) -> np.ndarray:
    """The region that the camera saw, bool (H,W), of an RGB photograph uint8 (H,W,3) with a dark
    border.

    Steps: Otsu's threshold on the logarithm of the luma; morphological opening against specks; the
    largest component; its convex hull, which fills holes (dark vessels, a dark fovea, a shadow at
    the rim). A frame without four dark corners (cropped inside the eye, or no eye) is all True.
    Raises DataError if there is no bright region.
    """
    luma = pixels.astype(np.int64) @ np.array([299, 587, 114]) // 1000
    if np.percentile(luma, 99) < FAINT:
        raise DataError(
            f"no field of view: 99 % of the photograph is darker than {FAINT} of 255: give a mask, "
            "or a brighter photograph"
        )
    level = np.log1p(luma)
    if level.min() == level.max():
        return np.ones(luma.shape, bool)
    light = level > threshold_otsu(level)
    tall, wide = (max(1, round(CORNER * side)) for side in luma.shape)
    corners = [
        luma[rows, columns]
        for rows in (slice(tall), slice(-tall, None))
        for columns in (slice(wide), slice(-wide, None))
    ]
    if max(np.median(corner) for corner in corners) > DARK * np.median(luma[light]):
        return np.ones(luma.shape, bool)
    light = ndimage.binary_opening(light, iterations=max(1, min(luma.shape) // 200))
    regions, _ = ndimage.label(light)
    sizes = np.bincount(regions.ravel(), minlength=2)[1:]
    if sizes.max() < LEAST_SHARE * luma.size:
        percent = 100 * sizes.max() / luma.size
        raise DataError(
            f"no field of view: the largest bright region is {percent:.2g} % of the photograph, "
            f"less than {100 * LEAST_SHARE:.0f} %: give a mask, or crop the photograph to the eye"
        )
    return convex_hull_image(regions == sizes.argmax() + 1)


def is_eye_shaped(fov: np.ndarray) -> bool:
    """Whether a field of view, bool (H,W), is a disc, perhaps cut off at the top and bottom, or at
    the sides."""
    rows, columns = np.flatnonzero(fov.any(axis=1)), np.flatnonzero(fov.any(axis=0))
    box = fov[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    sides = np.array(box.shape)
    y, x = (np.arange(side) + 0.5 - side / 2 for side in sides)
    disc = y[:, None] ** 2 + x**2 <= (sides.max() / 2) ** 2
    overlap = (box & disc).sum() / (box | disc).sum()
    return bool(overlap >= ROUND and sides.min() >= NARROW * sides.max())
