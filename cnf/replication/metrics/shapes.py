"""Shape of a vessel mask: pieces, holes, and the vessels that cross a circle around the optic disc.

Masks are bool (H,W); only pixels inside the field of view count. F looks at every pixel alone;
these numbers depend on how pixels are connected."""

from math import ceil, nan, pi
from typing import NamedTuple

import numpy as np
import scipy
import skimage

from cnf.errors import DataError

RADIUS = 0.5  # of the circle around the disc, in radii of the field of view
DISC = 0.06  # width of the blur that finds the disc, in the same unit
SURROUNDINGS = 0.25  # width of the blur that stands for what is around it
VESSEL = 0.1  # dark lines up to this width are closed
EDGE = 0.93  # the disc's centre is not looked for beyond


class Shape(NamedTuple):
    """Numbers that describe one mask.

    area: share of the pixels in the field of view that are vessel.
    components: number of 8-connected pieces, of one pixel or more.
    euler: pieces less holes.
    crossings: number of runs of vessel along the circle; NaN without a circle.
    """

    area: float
    components: int
    euler: int
    crossings: float


def shape(mask: np.ndarray, fov: np.ndarray, circle: np.ndarray | None = None) -> Shape:
    """`Shape` of a mask, bool (H,W), inside `fov`, bool (H,W). `circle` is that of `circle_around`;
    its pixels out of view count as no vessel. Raises DataError if mask and field of view differ in
    size, or no pixel is in view."""
    mask = inside(mask, fov)
    area = int(mask.sum())
    crossings = nan if circle is None else runs(along(circle, mask))
    if not area:
        return Shape(0.0, 0, 0, crossings)
    components = int(skimage.measure.label(mask, return_num=True, connectivity=2)[1])
    return Shape(area / int(fov.sum()), components, euler_number(mask), crossings)


def inside(mask: np.ndarray, fov: np.ndarray) -> np.ndarray:
    """The mask, bool, without what lies outside the field of view. Raises as `shape` does."""
    mask, fov = np.asarray(mask), np.asarray(fov)
    if mask.ndim != 2 or mask.shape != fov.shape:
        raise DataError(f"mask {mask.shape} and field of view {fov.shape}: both must be one (H,W)")
    if not fov.any():
        raise DataError("the field of view is empty: give the mask of the photograph itself")
    return (mask > 0) & (fov > 0)


def euler_number(mask: np.ndarray) -> int:
    """8-connected pieces less their holes: faces - edges + corners of the union of closed pixels,
    :eq:`eq-connected-euler`. That of scikit-image, with connectivity=2, but faster."""
    m = np.pad(mask, 1)
    beside, above = m[:, 1:] | m[:, :-1], m[1:] | m[:-1]
    corners = above[:, 1:] | above[:, :-1]
    return int(m.sum()) - int(beside.sum()) - int(above.sum()) + int(corners.sum())


# --- the circle around the optic disc -------------------------------------------------------------


def runs(values: np.ndarray) -> int:
    """How many runs of True there are along a closed line, bool (n,)."""
    values = np.asarray(values, bool)
    return int((values & ~np.roll(values, 1)).sum()) or int(values.any())


def view_radius(fov: np.ndarray) -> float:
    """Radius in pixels of a disc with the area of the field of view."""
    return float(np.sqrt(np.asarray(fov).sum() / pi))


def circle_around(centre: tuple[float, float], fov: np.ndarray) -> np.ndarray:
    """The pixels of the circle around (row, col), in order, (n,2) rows and columns; some may lie
    out of the picture. Neighbours share an edge, so that no 8-connected vessel slips through.

    Raises DataError if no pixel of the circle is in view.
    """
    r = RADIUS * view_radius(fov)
    angle = np.linspace(0, 2 * pi, max(8, ceil(8 * pi * r)), endpoint=False)  # four a pixel
    points = np.stack([centre[0] + r * np.sin(angle), centre[1] + r * np.cos(angle)], 1)
    points = np.floor(points + 0.5).astype(int)
    corners = np.stack([points[:, 0], np.roll(points[:, 1], -1)], 1)  # between diagonal steps
    points = np.stack([points, corners], 1).reshape(-1, 2)
    points = points[(points != np.roll(points, 1, 0)).any(1)]
    if not along(points, np.asarray(fov) > 0).any():
        raise DataError(f"no pixel of a circle around {centre} is in view: choose another centre")
    return points


def along(circle: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mask, bool (H,W), at pixels (n,2); False out of the picture."""
    values = np.zeros(len(circle), bool)
    is_inside = ((circle >= 0) & (circle < mask.shape)).all(1)
    values[is_inside] = mask[circle[is_inside, 0], circle[is_inside, 1]]
    return values


def disc(pixels: np.ndarray, fov: np.ndarray) -> tuple[float, float]:
    """(row, col) of the optic disc in a photograph, uint8 (H,W,3): where it is brightest compared
    with its surroundings, at the width of a disc. Brightness is the mean logarithm of red and
    green, after a closing that removes vessels.

    Checked by eye, the point lies on the disc in all training and test photographs of DRIVE and in
    19 of 20 of CHASE_DB1, but only in 12 of 16 of STARE, where bright lesions mislead it. In 48
    pictures of `fundus.generate`, where the disc is known, it is always within 0.2 radii of the
    field of view. Raises DataError if sizes differ or no pixel is in view.
    """
    pixels, fov = np.asarray(pixels), np.asarray(fov) > 0
    if pixels.shape != (*fov.shape, 3):
        raise DataError(f"photograph {pixels.shape} and field of view {fov.shape}: give (H,W,3)")
    if not fov.any():
        raise DataError("the field of view is empty: give the mask of the photograph itself")
    step = max(1, int(view_radius(fov) // 48))  # a small picture is enough
    r = view_radius(fov) / step
    height, width = (side // step for side in fov.shape)

    def small(picture: np.ndarray) -> np.ndarray:
        blocks = picture[: height * step, : width * step].reshape(height, step, width, step)
        return blocks.mean((1, 3))

    weight = small(fov.astype(float))
    colours = (small(pixels[..., k] * fov) / np.maximum(weight, 1e-3) for k in (0, 1))
    bright = sum(np.log(colour + 8) for colour in colours) / 2
    bright = np.where(weight > 0.5, bright, bright[weight > 0.5].min(initial=np.log(8)))
    bright = scipy.ndimage.grey_closing(bright, (max(3, int(VESSEL * r) | 1),) * 2)

    def blurred(width: float) -> np.ndarray:
        total = scipy.ndimage.gaussian_filter(bright * weight, width * r)
        return total / np.maximum(scipy.ndimage.gaussian_filter(weight, width * r), 1e-3)

    rows, cols = np.indices(weight.shape)
    middle = [(places * weight).sum() / weight.sum() for places in (rows, cols)]
    near = (weight > 0.99) & (np.hypot(rows - middle[0], cols - middle[1]) < EDGE * r)
    contrast = np.where(near, blurred(DISC) - blurred(SURROUNDINGS), -np.inf)
    row, col = map(int, np.unravel_index(contrast.argmax(), contrast.shape))
    return (row + 0.5) * step - 0.5, (col + 0.5) * step - 0.5
