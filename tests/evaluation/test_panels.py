"""Panels: pixels stay pixels, places are where answers differ."""

import numpy as np
import pytest
import torch

from cnf.replication.answers.sheet import COLUMNS, DETAIL, SIDE, contact_sheet
from cnf.replication.panels import (
    CHECKERS,
    GAP,
    Deviation,
    busiest,
    compose,
    to_image,
    white,
)
from cnf.replication.tasks import SR, VESSELS


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
    sheet = contact_sheet(panels["input"], panels, torch.zeros(38, 46), "where", ["a line"])
    zoom = SIDE // 46
    for panel in panels.values():
        assert contains(sheet, panel.repeat(zoom, 0).repeat(zoom, 1))
    assert sheet.shape[1] == 2 * (SIDE + GAP) + GAP


def test_many_panels_of_a_small_picture_go_on_in_the_next_line(panels):
    many = {f"{n}": np.roll(panels["input"], n, 0) for n in range(6)}
    sheet = contact_sheet(panels["input"], many, torch.zeros(38, 46), "where", [])
    zoom = SIDE // 46
    assert sheet.shape[1] == COLUMNS * (SIDE + GAP) + GAP
    assert all(contains(sheet, panel.repeat(zoom, 0).repeat(zoom, 1)) for panel in many.values())


def test_a_large_picture_is_shown_by_its_most_interesting_parts():
    interest = torch.zeros(600, 800)
    interest[320:448, 96:224] = 1
    interest[0:100, 600:700] = 0.5
    boxes = busiest(interest, DETAIL, 32, 3)
    assert boxes[0] == (slice(320, 448), slice(96, 224))
    assert interest[boxes[1]].sum() == 5000
    covered = np.zeros(interest.shape, int)
    for box in boxes:
        covered[box] += 1
    assert len(boxes) == 3 and covered.max() == 1 and covered.sum() == 3 * DETAIL**2
    panel = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    panels = {"input": panel, "mean": panel, "deviation": Deviation(interest, SR)}
    sheet = contact_sheet(panel, panels, interest, "where", [])
    for box in boxes:
        assert contains(sheet, panel[box].repeat(2, 0).repeat(2, 1))
        assert contains(
            sheet, np.asarray(to_image(panels["deviation"][box])).repeat(2, 0).repeat(2, 1)
        )


def test_places_may_touch():
    interest = torch.zeros(32, 64)
    interest[8:24, 16:48] = 1
    middle, left, right = slice(8, 24), slice(16, 32), slice(32, 48)
    assert busiest(interest, 16, 8, 2) == [(middle, left), (middle, right)]


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (257, 257), (100, 1000)])
def test_places_in_odd_shapes_lie_inside(size):
    for down, across in busiest(torch.ones(size), DETAIL, 32, 3):
        assert 0 <= down.start < down.stop <= size[0]
        assert 0 <= across.start < across.stop <= size[1]


def test_a_map_of_deviations_ends_at_the_white_of_its_task_and_says_so():
    """The scale beneath runs over the same colours as the map, whatever the deviations are."""
    for task in (SR, VESSELS):
        ramp = torch.linspace(0, white(task), 192).expand(4, 192)
        colours = np.asarray(to_image(Deviation(ramp, task)))
        assert colours[0, 0].max() < 5 and colours[0, -1].min() > 150
        beyond = to_image(Deviation(2 * ramp, task))
        assert np.array_equal(np.asarray(beyond)[:, -1], colours[:, -1])
        shown = compose([("", {"deviation": Deviation(0 * ramp, task)})], 192)
        assert contains(shown, colours[:1, 80:100])


def test_grey_and_transparent_panels_become_colour():
    grey = np.full((2 * CHECKERS, 2 * CHECKERS), 100, np.uint8)

    def seen(panel):
        return np.asarray(to_image(panel))

    assert (seen(grey) == 100).all() and seen(grey).shape == (*grey.shape, 3)
    assert (seen(torch.from_numpy(grey)[None]) == 100).all()
    alpha = np.zeros_like(grey)
    alpha[0] = 255
    found = seen(np.dstack([grey, grey, grey, alpha]))
    assert (found[0] == 100).all()
    assert set(np.unique(found[1:])) == {204, 255}
    assert np.array_equal(seen(np.dstack([grey, alpha])), found)
