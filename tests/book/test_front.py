"""The front page says what is so of the models that drew its pictures."""

import json
import re

import yaml

from cnf.replication import releases, results, run_folder
from tools import front


def test_the_pictures_are_of_the_released_models():
    drawn_by = json.loads((front.OUT / front.DRAWN_BY).read_text("utf-8"))
    assert drawn_by == front.weights(), "run: python -m tools.front"


def test_each_model_was_trained_for_about_an_hour_on_one_core():
    page = (run_folder.REPOSITORY / "book/index.md").read_text("utf-8")
    assert "trained for about an hour on one CPU core" in page
    rows = results.read()
    for name in ("sr", "vessels"):
        found = results.select(rows, run=releases.find(name).parent.name)
        trained = {(row.wall_s, row.hardware) for row in found}
        assert len(trained) == 1
        (seconds, hardware) = trained.pop()
        assert 45 * 60 < seconds < 75 * 60  # "about an hour", to a quarter
        assert hardware.endswith(", 1 threads")


def test_no_number_of_the_paper_is_confirmed_as_the_page_says():
    page = (run_folder.REPOSITORY / "book/index.md").read_text("utf-8")
    assert "so its numbers are marked as unconfirmed" in " ".join(page.split())
    claims = yaml.safe_load((run_folder.REPOSITORY / "results/claims.yml").read_text("utf-8"))
    numbers = [claim for claim in claims["claims"] if "value" in claim]
    assert numbers and all(claim["tag"] == "unconfirmed" for claim in numbers)


def test_next_from_the_front_is_the_first_lesson():
    toc = (run_folder.REPOSITORY / "book/_toc.yml").read_text("utf-8")
    first = re.search(r"file: (\S+)\.ipynb", toc)
    assert first[1] == "01-why-likelihoods"
    assert toc.index(first[0]) == toc.index("file:")


def test_the_graph_of_routes_has_nine_lessons():
    graph = (run_folder.REPOSITORY / "book/_static/routes.svg").read_text("utf-8")
    assert sorted(re.findall(r">(\d) ", graph)) == [str(n) for n in range(1, 10)]
