"""What is drawn of the released models is theirs."""

import json
import re

import pytest

from cnf.replication.places import REPOSITORY
from tools import architecture, eyes, front, house


def test_the_pictures_of_the_front_page_are_of_the_released_models():
    drawn_by = json.loads((front.OUT / front.DRAWN_BY).read_text("utf-8"))
    assert drawn_by == front.weights(), "run: python -m tools.front"


def test_the_samples_of_one_eye_are_of_the_flow_of_the_lesson():
    drawn_by = json.loads(eyes.DRAWN_BY.read_text("utf-8"))
    assert drawn_by == eyes.weights(), "run: python -m tools.eyes"


def test_the_rooms_of_the_code_are_drawn_from_the_contracts_and_none_are_joined():
    assert house.OUT.read_text("utf-8") == house.draw(), "run: python -m tools.house"
    rooms = [room for layer in house.layers("cnf.replication") for room in layer]
    assert {"answers", "scored", "training"} < set(rooms) and not any(":" in r for r in rooms)


def test_a_layer_whose_rooms_know_one_another_is_not_drawn(tmp_path, monkeypatch):
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    joined = text.replace('"figures | cards"', '"figures : cards"')
    assert joined != text
    (tmp_path / "pyproject.toml").write_text(joined, "utf-8")
    monkeypatch.setattr(house, "REPOSITORY", tmp_path)
    with pytest.raises(ValueError, match="join rooms by ':', which allows anything"):
        house.draw()


@pytest.mark.parametrize("name, channels", [("sr", 3), ("vessels", 1)])
def test_an_architecture_names_the_layers_of_its_model_and_all_numbers_of_y_leave(name, channels):
    committed = (REPOSITORY / architecture.OUT.format(name)).read_text("utf-8")
    words, now = (re.findall(r">([^<]*\w[^<]*)<", s) for s in (committed, architecture.draw(name)))
    assert words == now, "run: python -m tools.architecture"
    left = re.findall(r"([\d×]+) leave", committed)
    sizes = [c * h * w for c, h, w in (map(int, shape.split("×")) for shape in left)]
    assert sum(sizes) == channels * architecture.PATCHES[name] ** 2
