"""A procedural fundus photograph with an exact vessel mask, made from a seed.

Vessels grow by space colonisation: points that want blood are scattered over the retina, a few at
first, then more, and each pulls a vessel towards itself until it is reached. An arterial and a
venous tree grow from the optic disc, along parabolic arcades around the fovea. Radii follow
Murray's law, r^g = sum over children of r_child^g. The picture is Beer-Lambert absorption of light
by the vessels' thickness; the mask is the same geometry, with vessels at least about a pixel wide.
All is in units of the radius R of the field of view; only the camera knows pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray as Array
from numpy.random import Generator
from scipy.ndimage import gaussian_filter, map_coordinates

from cnf.replication.data.examples import Example

STEP = 0.022  # length of a vessel segment
REACHED = 0.06  # a vessel this near a point that wants blood supplies it
MURRAY = 2.6  # exponent g of the law of radii
WAVES = (14, 30, 60, 100)  # points that want blood, coarse to fine, in a picture of 256 pixels
DISC = 0.145  # radius of the optic disc


class Anatomy(NamedTuple):
    """Where things are: x to the nasal side, y down, the field of view is the unit disc."""

    disc: Array
    fovea: Array


class Tree(NamedTuple):
    """Vessel segments from `points[parent[i]]` to `points[i]` with radius `radius[i]`."""

    points: Array  # (N,2)
    parent: Array  # (N,), -1 at roots
    radius: Array  # (N,)


def generate(seed: int, size: int = 256, vessels: bool = True) -> Example:
    """One picture: x uint8 (3,size,size), y uint8 (1,size,size) in {0,1}, fov bool (size,size).

    The same seed gives the same picture; without `vessels` it is the same eye bare of them. Raises
    ValueError for a size below 64, where no vessel is a pixel wide.
    """
    if size < 64:
        raise ValueError(f"a fundus of {size}x{size} cannot show vessels: use a size of 64 or more")
    rng = np.random.default_rng((seed, 0xF0))
    anatomy = Anatomy(
        disc=np.array([0.66, -0.03]) + rng.normal(0, 0.03, 2),
        fovea=np.array([-0.02, 0.06]) + rng.normal(0, 0.03, 2),
    )
    scale = 0.475 * size  # pixels in R
    thinnest = max(0.0036, 0.42 / scale)
    detail = min(1.0, size / 256)  # small pictures show fewer of the fine vessels
    waves = [round(wave * detail**power) for power, wave in enumerate(WAVES)]
    veins = _grow(anatomy, rng, thinnest * 1.15, waves)
    arteries = _grow(anatomy, rng, thinnest, waves)
    centre = size / 2 + rng.normal(0, 0.004 * size, 2)
    flip = np.array([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    camera = _Camera(size, scale, centre, flip)
    mask = camera.thickness([veins, arteries], 1, least=0.56)[0] > 0
    fov = camera.distance(np.zeros(2)) <= 1
    trees = (veins, arteries) if vessels else ()
    mask &= vessels
    pixels = _photograph(camera, anatomy, trees, rng)
    return Example(
        f"fundus-{seed}" if vessels else f"fundus-{seed}-bare",
        torch.from_numpy((mask & fov)[None].astype(np.uint8)),
        torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
        torch.from_numpy(fov),
    )


def _trunks(anatomy: Anatomy, rng: Generator) -> list[Array]:
    """The first course of a tree's large vessels, each (n,2) from the disc outwards."""
    start = anatomy.disc + rng.normal(0, 0.02, 2)
    span = start[0] - anatomy.fovea[0]
    trunks = []
    for side in (-1, 1):
        height = rng.uniform(0.45, 0.68)  # how far from the fovea the arcade passes
        rise = np.linspace(0, rng.uniform(0.62, 0.78), 60)
        course = np.stack([start[0] - span * (rise / height) ** 2, start[1] + side * rise], 1)
        # Past the fovea the arcades bend back towards the horizontal.
        past = np.clip(anatomy.fovea[0] + 0.15 - course[:, 0], 0, None)
        course[:, 1] -= side * rng.uniform(0.3, 0.7) * past**2
        trunks.append(course)
        angle = side * rng.uniform(0.7, 1.25)
        along = np.linspace(0, rng.uniform(0.15, 0.3), 20)[:, None]
        trunks.append(start + along * np.array([np.cos(angle), np.sin(angle)]))
    return [_even(course) for course in trunks]


def _even(course: Array) -> Array:
    """Resample a polyline to points STEP apart."""
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(course, axis=0), axis=1))]
    at = np.arange(0, length[-1], STEP)
    return np.stack([np.interp(at, length, course[:, k]) for k in (0, 1)], 1)


def _grow(anatomy: Anatomy, rng: Generator, thinnest: float, waves: list[int]) -> Tree:
    """One tree by space colonisation, its radii by Murray's law, smoothed and made tortuous."""
    courses = _trunks(anatomy, rng)
    points = np.concatenate(courses)
    parent = np.arange(len(points)) - 1
    parent[np.cumsum([len(course) for course in courses[:-1]])] = -1  # where a course begins
    avascular = rng.uniform(0.1, 0.15)
    for wave in waves:
        wanting = rng.uniform(-1.05, 1.05, (4 * wave, 2))
        inside = np.linalg.norm(wanting, axis=1) < 1.05
        for empty, bare in ((anatomy.fovea, avascular), (anatomy.disc, DISC)):
            inside &= np.linalg.norm(wanting - empty, axis=1) > bare
        points, parent = _colonise(points, parent, wanting[inside][:wave], rng)
    points = _smooth(points, parent)
    radius = _murray(parent, thinnest)
    return Tree(_bend(points, anatomy, rng), parent, radius)


def _colonise(points: Array, parent: Array, wanting: Array, rng: Generator) -> tuple[Array, Array]:
    """Grow from `points` until every wanting point is reached or nothing moves.

    A point pulls where growing is cheap: near, and ahead of a vessel rather than beside it, which
    is why vessels branch at acute angles.
    """
    heading = _unit(np.where(parent[:, None] < 0, 0, points - points[parent]))
    gap, cost = _costs(wanting, points, heading)
    nearest, cost, gap = cost.argmin(1), cost.min(1), gap.min(1)
    for _ in range(80):
        alive = gap > REACHED
        if not alive.any():
            break
        wanting, nearest, cost, gap = (a[alive] for a in (wanting, nearest, cost, gap))
        pull = np.zeros_like(points)
        np.add.at(pull, nearest, _unit(wanting - points[nearest]))
        ends = np.unique(nearest)
        noise = rng.normal(0, 0.15, (len(ends), 2))
        going = _unit(_unit(pull[ends]) + 0.9 * heading[ends] + noise)
        # Rounded, so that the last bit of a sum never decides on another machine where to grow.
        new = np.round(points[ends] + STEP * going, 9)
        first = len(points)
        points, parent = np.concatenate([points, new]), np.concatenate([parent, ends])
        heading = np.concatenate([heading, going])
        new_gap, new_cost = _costs(wanting, new, going)
        closer = new_cost.min(1) < cost
        nearest = np.where(closer, first + new_cost.argmin(1), nearest)
        cost, gap = np.minimum(cost, new_cost.min(1)), np.minimum(gap, new_gap.min(1))
    return points, parent


def _costs(wanting: Array, points: Array, heading: Array) -> tuple[Array, Array]:
    """Distance (W,N) of each wanting point to each vessel point, and what growing there costs."""
    way = wanting[:, None] - points
    gap = np.linalg.norm(way, axis=2)
    ahead = (way * heading).sum(2) / np.maximum(gap, 1e-9)
    return gap, gap * (1 + 1.5 * (1 - ahead))


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _smooth(points: Array, parent: Array) -> Array:
    """Relax each point towards the mean of its parent and its children; ends and roots stay."""
    children = np.bincount(parent[parent >= 0], minlength=len(points))
    free = (children > 0) & (parent >= 0)
    edges = np.flatnonzero(parent >= 0)
    for _ in range(6):
        total = np.zeros_like(points)
        np.add.at(total, parent[edges], points[edges])
        mean = (total / np.maximum(children, 1)[:, None] + points[parent]) / 2
        points = np.where(free[:, None], (points + mean) / 2, points)
    return points


def _murray(parent: Array, thinnest: float) -> Array:
    """Radius of each segment; ends have the thinnest. Parents come before children."""
    power = np.zeros(len(parent))
    for i in range(len(parent) - 1, -1, -1):
        power[i] = power[i] or 1.0
        if parent[i] >= 0:
            power[parent[i]] += power[i]
    return np.minimum(thinnest * power ** (1 / MURRAY), 0.019)


def _bend(points: Array, anatomy: Anatomy, rng: Generator) -> Array:
    """Displace by a smooth random field: vessels are never straight."""
    grid = 64
    for wavelength, size in ((0.5, 0.022), (0.25, 0.008), (0.1, 0.004)):
        sigma = wavelength * grid / 2 / 2.4
        field = gaussian_filter(rng.normal(size=(2, grid, grid)), (0, sigma, sigma))
        field *= size / field.std()
        at = ((points / 1.2 + 1) / 2 * (grid - 1)).T
        shift = np.stack([map_coordinates(part, at, order=1, mode="nearest") for part in field], 1)
        calm = np.linalg.norm(points - anatomy.disc, axis=1, keepdims=True) / DISC
        points = points + shift * np.minimum(calm, 1)
    return points


class _Camera(NamedTuple):
    """Maps units of R to pixels: position = centre + scale * flip * point."""

    size: int
    scale: float  # pixels in R
    centre: Array
    flip: Array  # (-1, 1) for left eyes, else (1, 1)

    def grid(self) -> Array:
        """Positions (2,size,size) of pixel centres in units of R."""
        at = np.arange(self.size) + 0.5
        xy = np.stack(np.meshgrid(at, at))
        return (xy - self.centre[:, None, None]) / self.scale * self.flip[:, None, None]

    def distance(self, point: Array) -> Array:
        """Distance of each pixel centre to `point`, in R."""
        return np.linalg.norm(self.grid() - point[:, None, None], axis=0)

    def thickness(self, trees: list[Tree], times: int, least: float = 0.0) -> tuple[Array, Array]:
        """Thickness of the vessels along the line of sight and radius there, in pixels of `size`.

        A vessel is the union of balls along its segments; (n,n) with n = times * size. Radii below
        `least` pixels are raised to it.
        """
        spots = np.concatenate([self._spots(tree, 0.4 / times) for tree in trees])
        spots[:, 2] = np.maximum(spots[:, 2], least)
        spots *= times
        n = self.size * times
        reach = int(np.ceil(spots[:, 2].max())) + 1
        offset = np.arange(-reach, reach + 1)
        columns = np.floor(spots[:, 0])[:, None].astype(int) + offset
        rows = np.floor(spots[:, 1])[:, None].astype(int) + offset
        dx = (columns + 0.5 - spots[:, :1])[:, None, :] ** 2
        dy = (rows + 0.5 - spots[:, 1:2])[:, :, None] ** 2
        half_chord = spots[:, 2, None, None] ** 2 - dx - dy
        which, i, j = np.nonzero(half_chord > 0)
        value, row, column = half_chord[which, i, j], rows[which, i], columns[which, j]
        inside = (row >= 0) & (row < n) & (column >= 0) & (column < n)
        flat = row[inside] * n + column[inside]
        squared, radius = np.zeros(n * n), np.zeros(n * n)
        np.maximum.at(squared, flat, value[inside])
        np.maximum.at(radius, flat, spots[which[inside], 2])
        thick = 2 * np.sqrt(squared.reshape(n, n)) / times
        return thick, radius.reshape(n, n) / times

    def _spots(self, tree: Tree, spacing: float) -> Array:
        """Balls (n,3) along all segments: column, row, radius in pixels of `size`."""
        edges = np.flatnonzero(tree.parent >= 0)
        start, end = tree.points[tree.parent[edges]], tree.points[edges]
        count = int(np.ceil(STEP * 1.6 * self.scale / spacing)) + 1
        t = np.linspace(0, 1, count)[None, :, None]
        xy = start[:, None] * (1 - t) + end[:, None] * t
        xy = self.centre + self.scale * self.flip * xy
        radius = np.broadcast_to(self.scale * tree.radius[edges, None, None], xy[..., :1].shape)
        return np.concatenate([xy, radius], -1).reshape(-1, 3)


def _photograph(camera: _Camera, anatomy: Anatomy, trees: Sequence[Tree], rng: Generator) -> Array:
    """The picture, uint8 (size,size,3), of an eye with these trees: (veins, arteries) or none."""
    size = camera.size
    colour = np.array([0.80, 0.43, 0.24]) * np.exp(rng.normal(0, (0.03, 0.06, 0.1)))
    colour *= rng.uniform(0.65, 1.08)
    image = np.ones((size, size, 3)) * colour
    # Mottling of the retina: smooth noise at four scales.
    texture = np.zeros((size, size))
    for width, strength in ((0.16, 0.07), (0.06, 0.035), (0.022, 0.025), (0.009, 0.02)):
        noise = gaussian_filter(rng.normal(size=(size, size)), width * size / 2, mode="wrap")
        texture += strength * noise / noise.std()
    image *= np.exp(texture[..., None] * np.array([0.7, 1.0, 0.9]))
    # Macula: pigment darkens a wide spot and, more, the fovea in its middle.
    far = camera.distance(anatomy.fovea)
    dark = 0.22 * np.exp(-((far / 0.30) ** 2)) + 0.22 * np.exp(-((far / 0.10) ** 2))
    image *= np.exp(-dark[..., None] * np.array([0.6, 1.0, 1.2]) * rng.uniform(0.7, 1.3))
    image = _disc(image, camera, anatomy, rng)
    image = _vessels(image, camera, trees)
    # Illumination: falls off towards the edge, from a centre that is never quite in the middle.
    lamp = camera.distance(rng.normal(0, 0.18, 2))
    fall = rng.uniform(0.2, 0.45) * lamp[..., None] ** 2.5
    image *= 1.08 * np.exp(-fall * np.array([1.1, 0.75, 0.6]))
    edge = np.clip((1 - camera.distance(np.zeros(2))) * camera.scale + 0.5, 0, 1)[..., None]
    image = np.clip(image, 0, 1) * edge + 0.012
    image = gaussian_filter(image, (0.45, 0.45, 0))
    grain = rng.normal(0, 1, image.shape) * 0.6 + rng.normal(0, 1, (size, size, 1)) * 0.6
    grain = gaussian_filter(grain, (0.5, 0.5, 0))
    image += grain * (0.006 + 0.028 * np.sqrt(np.clip(image, 0, 1)) * edge)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _disc(image: Array, camera: _Camera, anatomy: Anatomy, rng: Generator) -> Array:
    """The optic disc: a pale oval with a brighter cup and an uneven border."""
    oval = np.array([0.92, 1.05])[:, None, None]
    offset = (camera.grid() - anatomy.disc[:, None, None]) / oval
    angle, far = np.arctan2(offset[1], offset[0]), np.linalg.norm(offset, axis=0) / DISC
    far = far * (1 + 0.05 * np.cos(2 * angle + rng.uniform(0, 6)) + 0.03 * np.cos(3 * angle))
    pale = 1 / (1 + np.exp((far - 1) * 14))
    cup = 1 / (1 + np.exp((np.hypot(far, 0.25 * np.cos(angle)) - 0.5) * 10))
    halo = 0.10 * np.exp(-((np.clip(far - 1, 0, None) / 0.5) ** 2))
    rim = np.array([0.88, 0.62, 0.36]) * rng.uniform(0.95, 1.08)
    white = np.array([0.97, 0.82, 0.58])
    image = image * (1 + halo[..., None] * (1 - pale[..., None]))
    image = image + 0.85 * pale[..., None] * (rim - image)
    return image + 0.7 * cup[..., None] * (white - image)


def _vessels(image: Array, camera: _Camera, trees: Sequence[Tree]) -> Array:
    """Light passes the blood: I = I0 exp(-absorption * thickness); arteries lie over veins."""
    times, size = 2, camera.size
    kinds = (np.array([13.0, 44.0, 24.0]), 0.10), (np.array([8.0, 38.0, 22.0]), 0.28)
    for tree, (absorption, reflex) in zip(trees, kinds, strict=False):
        thick, radius = camera.thickness([tree], times)
        thick = thick / camera.scale
        # Light scattered in from beside and above the vessel limits the contrast of thick ones.
        light = 0.7 * np.exp(-absorption * thick[..., None]) + 0.3
        centre = np.clip(thick * camera.scale / np.maximum(2 * radius, 1e-9), 0, 1) ** 8
        wide = np.clip((radius - 1.2) / 1.5, 0, 1)
        light = light + (reflex * centre * wide)[..., None] * (1 - light)
        image = image * light.reshape(size, times, size, times, 3).mean((1, 3))
    return image
