"""The data of the small widgets of lessons 10 to 17 are those of their pages."""

import numpy as np
import pytest
from PIL import Image

from tools import experiments, widgets


@pytest.mark.parametrize("name", ["face", "observers", "marginals", "controls", "pieces"])
def test_what_a_widget_shows_is_made_of_the_pictures_and_rows_of_its_lesson(name):
    kept, made = widgets.read_widget(name), getattr(experiments, name)()
    if name in ("observers", "pieces"):  # a photograph in a file that is not exact: coders differ
        found, expected = (experiments.from_jpeg(data.pop("photograph")) for data in (kept, made))
        assert np.abs(found - expected).mean() < 2
    assert kept == made, f"run python -m tools.widgets {name}"


def test_the_means_are_those_of_the_samples_of_lesson_13():
    y, samples = experiments.cat_samples()
    kept, made = widgets.read_widget("means"), experiments.mean_errors(y, samples)
    # samples are float32, and numbers are rounded
    np.testing.assert_allclose(kept["psnr"], made["psnr"], atol=0.02)
    assert abs(kept["A"] - made["A"]) < 0.2 and abs(kept["V"] - made["V"]) < 0.2
    sheet = np.asarray(Image.open(widgets.STATIC / "stills/means.webp")).astype(float)
    tiles = sheet.reshape(3, 64, 6, 64, 3).swapaxes(1, 2).reshape(18, 64, 64, 3)
    off = np.abs(tiles[:17] - experiments.mean_tiles(y, samples)).mean((1, 2, 3))
    assert off.max() < 6 and off.argmax() == 0  # a lossy file, worst for the noise of one sample
