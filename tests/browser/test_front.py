"""The front page: a press shows the next sample, and samples differ."""

import numpy as np
import pytest
from PIL import Image

from tools import front


@pytest.mark.parametrize("name", list(front.MODELS))
def test_samples_of_the_front_page_differ(name):
    sheet = np.asarray(Image.open(front.OUT / f"{name}-samples.png").convert("RGB"), dtype=float)
    samples = np.split(sheet, front.SAMPLES, axis=1)
    for i, sample in enumerate(samples):
        for other in samples[:i]:
            assert np.abs(sample - other).mean() > 1, "one grey level is seen by nobody"


def test_a_press_shows_the_next_sample_and_comes_round(visit):
    tab, wrong, _ = visit("index.html", "light-desktop")
    panel = tab.locator(".second-answer").first
    button, says = panel.locator("button"), panel.locator("output")
    seen = []
    for n in range(front.SAMPLES):
        assert says.inner_text() == f"sample {n + 1} of {front.SAMPLES}"
        seen.append(button.screenshot())
        button.press("Enter")
    assert says.inner_text() == f"sample 1 of {front.SAMPLES}"
    assert len(set(seen)) == front.SAMPLES and not wrong
