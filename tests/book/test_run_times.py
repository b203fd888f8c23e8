"""The book keeps to its budgets of time: on the times that `make times` kept."""

import json
from types import SimpleNamespace

from docutils import nodes
from sphinx_exercise.nodes import solution_node

from book._ext import times
from tools import notebooks

KEPT = json.loads((notebooks.ROOT / notebooks.TIMES).read_text("utf-8"))


def test_times_taken_outside_of_git_name_no_commit():
    assert "commit" not in times.conditions(KEPT["pages"][0] | {"git": None})


def test_reading_time_counts_what_one_reads_from_top_to_bottom():
    folded = nodes.container(classes=["cell_input"])
    folded += nodes.literal_block("", "hidden = 1 + 1")
    page = nodes.document(None, None)
    page += nodes.paragraph("", "six words stand in this line")
    page += nodes.math_block("", "z = f(y)")
    page += nodes.container("", folded, classes=["cell", "tag_hide-input"])
    page += nodes.container("", nodes.literal_block("", "0.123 0.456"), classes=["cell_output"])
    page += solution_node("", nodes.paragraph("", "an answer"))
    assert times.words(page) == 6 + times.WORDS_OF_AN_EQUATION


def test_lesson_that_states_its_time_has_no_other(monkeypatch):
    monkeypatch.setattr(times, "recorded", lambda app: {"pages": []})
    app = SimpleNamespace(env=SimpleNamespace(docname="a-lesson"))
    for stated, said in (("Takes", []), ("Uses", ["About 1 minute to read"])):
        page, section = nodes.document(None, None), nodes.section()
        section += [nodes.title("", "A lesson"), nodes.paragraph("", "word " * 200)]
        section += nodes.paragraph("", "", nodes.strong("", stated), nodes.Text(" 40 minutes."))
        page += section
        times.add_line(app, page)
        lines = [p for p in page.findall(nodes.paragraph) if "reading-time" in p["classes"]]
        assert [line.astext() for line in lines] == said
