"""The paper of eight pages names only rows and cells that are there, and is typeset."""

import json

import pytest

from cnf.errors import ResultsError
from tools import paper

TEXT = paper.TEMPLATE.read_text("utf-8")


def test_every_number_of_the_paper_is_there():
    found = paper.content(TEXT)
    assert len(found["rows"]) >= 15 and found["table"] and found["runs"]
    json.dumps(found)
    used = {name for _, panels in paper.FIGURES.values() for name, *_ in panels}
    assert used <= {grid.name for grid in paper.report.REPORT}
    assert all(f'"/_build/paper/{name}.svg"' in TEXT for name in paper.FIGURES)


@pytest.mark.parametrize(
    "text, said",
    [
        ('row("no-run/drive-test/f_half")', "names no-run/drive-test/f_half"),
        ('cell("vessel-bits", "no model", "bits/pixel")', "no cell 'no model', 'bits/pixel'"),
        ('cell("no-table", "coupling flow", "F")', "in table 'no-table'"),
    ],
)
def test_a_name_that_is_not_there_is_an_error(text, said):
    with pytest.raises(ResultsError, match=said):
        paper.content(text)


@pytest.mark.slow("the paper, typeset, has at most eight pages")
def test_the_paper_is_typeset(tmp_path, monkeypatch):
    pytest.importorskip("typst", reason="the paper was NOT typeset: pip install -e '.[paper]'")
    monkeypatch.setattr(paper, "OUT", paper.OUT.with_name("paper-of-a-test.pdf"))
    try:
        assert paper.main() == 0 and paper.OUT.stat().st_size > 50_000
    finally:
        paper.OUT.unlink(missing_ok=True)
