"""Each lesson opens with a small widget, and what the widgets show of trained models is theirs."""

import re

import numpy as np
import pytest

from tests.book.test_spine import BOOK, SPINE
from tools import widgets

OPENS = re.compile(
    r'```\{raw\} html\n<div class="widget" data-widget="(\w+)".*?>\n<p>.+?</p>\n'
    r'<noscript><img src="(_static/stills/[\w.]+)" alt="[^"]{40,}"></noscript>\n</div>',
)
LINES = 800


@pytest.mark.parametrize("name", SPINE)
def test_a_lesson_opens_with_a_widget_and_its_still_twin(name):
    text = (BOOK / f"{name}.md").read_text("utf-8")
    found = OPENS.match(text.split("**Needs** ")[1].split("\n\n", 1)[1])
    assert found, "no widget under the line of what the lesson needs"
    assert (BOOK / found[2]).is_file()
    assert text.count("data-widget=") == 1


def test_library_and_widgets_stay_small():
    parts = [widgets.STATIC / name for name in ("widgets.js", "widgets.css", "lessons.js")]
    assert sum(len(part.read_text("utf-8").splitlines()) for part in parts) <= LINES


def test_the_vessels_are_those_that_the_models_of_results_draw():
    kept, made = widgets.read("vessels"), widgets.vessels(which=[2])  # one draw: it takes seconds
    for model in kept["models"]:
        model["draws"], model["pieces"] = model["draws"][2:3], model["pieces"][2:3]
    assert kept == made, "run python -m tools.widgets vessels"


def test_pieces_are_counted_from_the_draws():
    for name in ("strokes", "vessels"):
        kept = widgets.read(name)
        for model in kept["models"]:
            masks = [widgets.unpacked(t, kept["height"], kept["width"]) for t in model["draws"]]
            assert len(masks) == widgets.COUNT and np.ptp(np.stack(masks), 0).any()
            assert [*map(widgets.pieces, masks)] == model["pieces"]
