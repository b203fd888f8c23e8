"""The drawings of the two flows are those of the released models."""

import re

import pytest

from cnf.replication.run_folder import REPOSITORY
from tools import architecture


@pytest.mark.parametrize("name", architecture.PATCHES)
def test_committed_drawing_is_that_of_the_model(name):
    committed = (REPOSITORY / architecture.OUT.format(name)).read_text("utf-8")
    assert committed == architecture.draw(name), "run: python -m tools.architecture"


@pytest.mark.parametrize("name, channels", [("sr", 3), ("vessels", 1)])
def test_all_numbers_of_y_leave(name, channels):
    left = re.findall(r"([\d×]+) leave", architecture.draw(name))
    sizes = [c * h * w for c, h, w in (map(int, shape.split("×")) for shape in left)]
    assert sum(sizes) == channels * architecture.PATCHES[name] ** 2
