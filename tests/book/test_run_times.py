"""The book keeps to its budgets of time: on the times that `make times` kept."""

import json
from types import SimpleNamespace

import pytest
from docutils import nodes

from book._ext import times
from tools import notebooks

KEPT = json.loads((notebooks.ROOT / notebooks.TIMES).read_text("utf-8"))


def test_every_page_was_timed():
    missing = {p.stem for p in notebooks.pages()} - {entry["page"] for entry in KEPT["pages"]}
    assert not missing, f"run: make times PAGES='{' '.join(sorted(missing))}'"


@pytest.mark.parametrize("entry", KEPT["pages"], ids=lambda entry: entry["page"])
def test_page_keeps_to_its_budget(entry):
    assert 0 < entry["seconds"] <= notebooks.PAGE_BUDGET


def test_book_keeps_to_its_budget():
    assert KEPT["book"]["jobs"] == 2, "the budget is for two cores"
    assert KEPT["book"]["seconds"] <= notebooks.BOOK_BUDGET


def test_book_keeps_to_its_budget_with_the_pages_that_came_or_changed_since():
    book = {key: KEPT["book"][key] for key in ("git", "date", "hardware")}
    later = [e["seconds"] for e in KEPT["pages"] if any(e[key] != book[key] for key in book)]
    # the longest may run alone at the end
    more = (sum(later) + max(later)) / 2 if later else 0.0
    assert KEPT["book"]["seconds"] + more <= notebooks.BOOK_BUDGET


def test_times_taken_outside_of_git_name_no_commit():
    assert "commit" not in times.conditions(KEPT["pages"][0] | {"git": None})


def test_lesson_that_states_its_time_has_no_other(monkeypatch):
    monkeypatch.setattr(times, "recorded", lambda app: {"pages": []})
    metadata = {"a-lesson": {"wordcount": {"words": 200, "minutes": 1}}}
    app = SimpleNamespace(env=SimpleNamespace(docname="a-lesson", metadata=metadata))
    for stated, said in (("Takes", []), ("Uses", ["About 1 minute to read"])):
        page, section = nodes.document(None, None), nodes.section()
        section += [nodes.title("", "A lesson"), nodes.paragraph("", "Words.")]
        section += nodes.paragraph("", "", nodes.strong("", stated), nodes.Text(" 40 minutes."))
        page += section
        times.add_line(app, page)
        lines = [p for p in page.findall(nodes.paragraph) if "reading-time" in p["classes"]]
        assert [line.astext() for line in lines] == said
