"""The front page says what is so of the models that drew its pictures."""

import json

from cnf import build
from cnf.replication import results, run_folder
from tools import front


def test_the_pictures_are_of_the_released_models():
    drawn_by = json.loads((front.OUT / front.DRAWN_BY).read_text("utf-8"))
    assert drawn_by == front.weights(), "run: python -m tools.front"


def test_each_model_was_trained_for_about_an_hour_on_one_core():
    page = (run_folder.REPOSITORY / "book/index.md").read_text("utf-8")
    assert "trained for about an hour on one CPU core" in page
    rows = results.read()
    for name in ("sr", "vessels"):
        found = results.select(rows, run=build.find(name).parent.name)
        trained = {(row.wall_s, row.hardware) for row in found}
        assert len(trained) == 1
        (seconds, hardware) = trained.pop()
        assert 45 * 60 < seconds < 75 * 60  # "about an hour", to a quarter
        assert hardware.endswith(", 1 threads")
