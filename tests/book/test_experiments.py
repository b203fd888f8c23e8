"""The data of the small widgets of lessons 10 to 17 are those of their pages."""

import numpy as np
import pytest

from tools import experiments, widgets


@pytest.mark.parametrize("name", ["face", "observers", "marginals", "controls"])
def test_what_a_widget_shows_is_made_of_the_pictures_and_rows_of_its_lesson(name):
    kept, made = widgets.read_widget(name), getattr(experiments, name)()
    if name == "observers":  # a photograph in a file that is not exact: coders differ
        found, expected = (experiments.from_jpeg(data.pop("photograph")) for data in (kept, made))
        assert np.abs(found - expected).mean() < 2
    assert kept == made, f"run python -m tools.widgets {name}"
