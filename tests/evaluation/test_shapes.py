"""Shapes of masks: drawings with known answers, scikit-image, and brute force."""

import math

import numpy as np
import pytest
from skimage import measure
from skimage.draw import disk, line

from cnf.replication.data import fundus
from cnf.replication.metrics import shapes

FULL = np.ones((40, 50), bool)


def drawing(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def flood(mask):
    """8-connected pieces by hand: their sizes."""
    left, sizes = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        edge, size = [left.pop()], 1
        while edge:
            r, c = edge.pop()
            near = {(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            size += len(near)
            edge += near
        sizes.append(size)
    return sizes


def test_a_drawing_with_known_pieces_and_holes():
    mask = drawing(
        "####....#.",
        "#..#.....#",
        "#..#......",
        "####..####",
        "......#.##",
        "......####",
    )
    found = shapes.shape(mask, np.ones_like(mask))
    # a ring, a diagonal pair that holds together by its corners, a block with a hole of one pixel
    assert found.components == 3
    assert found.euler == 3 - 2
    assert found.area == mask.sum() / 60
    assert math.isnan(found.crossings)


@pytest.mark.equation("eq-connected-euler")
@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9])
def test_pieces_and_euler_number_agree_with_flood_fill_and_scikit_image(share):
    rng = np.random.default_rng(int(100 * share))
    mask = rng.random(FULL.shape) < share
    found, sizes = shapes.shape(mask, FULL), flood(mask)
    assert found.components == len(sizes)
    assert found.euler == measure.euler_number(mask, connectivity=2)
    holes = measure.label(np.pad(~mask, 1, constant_values=True), connectivity=1).max() - 1
    assert found.euler == found.components - holes


def test_only_pixels_in_view_count():
    fov = np.zeros_like(FULL)
    fov[10:30, 10:30] = True
    mask = np.zeros_like(FULL)
    mask[5:35, 15] = mask[20, 12:28] = mask[0, 0] = True
    mask[18:23, 13] = False  # the stroke is cut: two pieces in view
    inner = shapes.shape(mask, fov)
    assert inner.area == (mask & fov).sum() / 400
    assert inner[:4] == shapes.shape(mask & fov, fov)[:4]
    assert inner.components == 2 and shapes.shape(mask, FULL).components == 3


def test_an_empty_mask_has_no_shape():
    empty = np.zeros_like(FULL)
    circle = shapes.circle_around((20, 25), FULL)
    assert shapes.shape(empty, FULL, circle) == (0.0, 0, 0, 0)
    assert shapes.shape(FULL, FULL, circle) == (1.0, 1, 1, 1)


# --- crossings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spokes", [0, 1, 2, 5, 12])
def test_spokes_cross_a_circle_once_each(spokes):
    fov = np.zeros((201, 201), bool)
    fov[disk((100, 100), 98)] = True
    mask = np.zeros_like(fov)
    for k in range(spokes):
        angle = 0.3 + 2 * math.pi * k / max(spokes, 1)
        end = 100 + 90 * math.sin(angle), 100 + 90 * math.cos(angle)
        mask[line(100, 100, round(end[0]), round(end[1]))] = True  # 8-connected, a pixel wide
    circle = shapes.circle_around((100, 100), fov)
    assert shapes.shape(mask, fov, circle).crossings == spokes
    # pixels of the circle are neighbours by an edge: nothing 8-connected gets through
    gaps = np.abs(circle - np.roll(circle, 1, 0)).sum(1)
    assert gaps.max() == 1
    radii = np.hypot(*(circle - 100).T)
    # half a pixel's diagonal, or a corner put between two of them
    assert np.abs(radii - 0.5 * shapes.view_radius(fov)).max() < 1


def test_there_is_no_vessel_on_a_circle_out_of_view():
    fov = np.zeros((201, 201), bool)
    fov[disk((100, 100), 98)] = True
    circle = shapes.circle_around((100, 15), fov)
    assert (circle < 0).any()  # it leaves the picture
    everywhere = np.ones_like(fov)
    assert shapes.shape(everywhere, fov, circle).crossings == 1  # the arc in view, in one run
    seen = shapes.along(circle, fov)
    assert 0.3 < seen.mean() < 0.6
    everywhere[:, 40:60] = False  # the circle reaches column 64: cut above and below
    assert shapes.shape(everywhere, fov, circle).crossings == 3


# --- the optic disc -------------------------------------------------------------------------------


def truth_of(seed, size):
    """Where `fundus.generate` puts the disc, in either eye, and the radius of the view."""
    rng = np.random.default_rng((seed, 0xF0))
    x, y = np.array([0.66, -0.03]) + rng.normal(0, 0.03, 2)
    scale = 0.475 * size
    return [(size / 2 + scale * y, size / 2 + side * scale * x) for side in (-1, 1)], scale


def test_finds_the_disc_of_most_synthetic_pictures():
    found = []
    for seed in range(2000, 2008):
        example = fundus.generate(seed, 128)
        fov = example.fov.numpy()
        centres, scale = truth_of(seed, 128)
        row, col = shapes.disc(example.x.permute(1, 2, 0).numpy(), fov)
        away = min(math.hypot(row - r, col - c) for r, c in centres) / scale
        found.append(away < 0.2)
    assert sum(found) >= 7  # all 8 with the generator as it is
