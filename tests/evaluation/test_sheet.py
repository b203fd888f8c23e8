"""The contact sheet: pixels stay pixels, details are where answers differ."""

import numpy as np
import pytest

from cnf.replication.sheet import (
    CHECKERS,
    COLUMNS,
    DETAIL,
    GAP,
    PANEL,
    contact_sheet,
    details,
    flatten,
)


def contains(sheet, block):
    """Whether an array of (h,w,3) is a part of another."""
    height, width = block.shape[:2]
    views = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], (height, width))
    places = np.argwhere((views[..., ::37, ::37] == block[::37, ::37, 0]).all((-2, -1)))
    return any(np.array_equal(sheet[y : y + height, x : x + width], block) for y, x in places)


@pytest.fixture
def panels():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (38, 46, 3), np.uint8) for name in ("input", "sample 1")}


def test_a_small_picture_is_shown_whole_every_pixel_enlarged(panels):
    interest = np.zeros((38, 46))
    sheet = contact_sheet(panels["input"], panels, interest, "where", ["a line"])
    zoom = PANEL // 46
    for panel in panels.values():
        assert contains(sheet, panel.repeat(zoom, 0).repeat(zoom, 1))
    assert sheet.shape[1] == 2 * (zoom * 46 + GAP) + GAP


def test_many_panels_of_a_small_picture_go_on_in_the_next_line(panels):
    many = {f"{n}": np.roll(panels["input"], n, 0) for n in range(6)}
    sheet = contact_sheet(panels["input"], many, np.zeros((38, 46)), "where", [], "a scale")
    zoom = PANEL // 46
    assert sheet.shape[1] == COLUMNS * (zoom * 46 + GAP) + GAP
    for panel in many.values():
        assert contains(sheet, panel.repeat(zoom, 0).repeat(zoom, 1))


def test_a_large_picture_is_shown_by_its_most_interesting_parts():
    interest = np.zeros((600, 800))
    interest[320:448, 96:224] = 1
    interest[0:100, 600:700] = 0.5
    boxes = details(interest)
    assert boxes[0] == (slice(320, 448), slice(96, 224))
    assert interest[boxes[1]].sum() == 5000
    covered = np.zeros(interest.shape, int)
    for box in boxes:
        covered[box] += 1
    assert len(boxes) == 3 and covered.max() == 1 and covered.sum() == 3 * DETAIL**2
    panel = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    sheet = contact_sheet(panel, {"input": panel, "mean": panel}, interest, "where", [], "scale")
    # the last column has no letter over its corner
    assert contains(sheet, panel[boxes[0]].repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (257, 257), (100, 1000)])
def test_details_of_odd_shapes_lie_inside(size):
    for down, across in details(np.ones(size)):
        assert 0 <= down.start < down.stop <= size[0]
        assert 0 <= across.start < across.stop <= size[1]


def test_grey_and_transparent_panels_become_colour():
    grey = np.full((2 * CHECKERS, 2 * CHECKERS), 100, np.uint8)
    assert (flatten(grey) == 100).all() and flatten(grey).shape == (*grey.shape, 3)
    alpha = np.zeros_like(grey)
    alpha[0] = 255
    seen = flatten(np.dstack([grey, grey, grey, alpha]))
    assert (seen[0] == 100).all()
    assert set(np.unique(seen[1:])) == {204, 255}
    assert np.array_equal(flatten(np.dstack([grey, alpha])), seen)
