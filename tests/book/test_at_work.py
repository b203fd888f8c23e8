"""What the lessons show of a reader's flow at work is computed by the files that a reader has."""

import json

import pytest
import torch

from book import at_work, my_flow_solution

NAMES = vars(my_flow_solution)
KEPT = json.loads(at_work.FILE.read_text())


def point(lesson, name, whose="yours"):
    return KEPT[whose][str(lesson)]["points"][name]


def test_every_lesson_has_pictures_and_numbers_of_both_flows():
    for whose in ("yours", "released"):
        assert sorted(map(int, KEPT[whose])) == list(at_work.LESSONS) == list(range(10, 18))
        assert all(each["pictures"] and each["points"] for each in KEPT[whose].values())


def test_the_captions_say_what_was_found():
    assert point(10, "bits") > point(11, "bits") > point(11, "bits", "released")
    draws = f"{at_work.DRAWS} draws"
    assert point(12, "one draw of noise") > point(12, draws) > point(12, draws, "released")
    assert point(13, "tau = 1") > point(13, "tau = 1", "released")
    assert point(15, "marginals at 1/2") > point(15, "a sample")
    assert point(16, "samples") < point(16, "shuffled") < 1.3 * point(16, "samples")
    assert abs(point(17, "its marginals alone") - point(17, "the flow")) < 0.03


@pytest.mark.parametrize("kind", at_work.STEPS)
def test_a_flow_trains_and_draws_any_size(kind):
    model = at_work.trained(kind, NAMES, steps=2)
    size = 24 if kind == "masks" else 12
    x = torch.full((2, 3, size, size + 4), 100.0)
    drawn = model.sample(x)
    assert drawn.shape == ((2, 1, size, size + 4) if kind == "masks" else (2, 3, 24, 32))
    assert torch.isfinite(model.log_prob(drawn, x)).all()


def test_a_lesson_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="lesson = 9: choose from 10 to 17"):
        at_work.show(9)
