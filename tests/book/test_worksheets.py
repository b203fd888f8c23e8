"""Worksheets have every exercise, no solution, and cells that mark what a program can mark."""

import pytest

from cnf.lessons.answers import read
from tools import lint_book, worksheets
from tools.slides import ROOT, lessons


@pytest.mark.parametrize("name", lessons())
def test_a_worksheet_has_each_exercise_and_a_cell_for_its_answer_and_no_solution(name):
    page = ROOT / "book" / f"{name}.md"
    sheet = worksheets.worksheet(page)
    text = "\n".join(cell.source for cell in sheet.cells)
    assert "{solution" not in text and "{raw}" not in text and "{recall}" not in text
    asked = [m["label"] for m in lint_book.EXERCISE.finditer(page.read_text("utf-8"))]
    marked = [c.metadata["nbgrader"]["grade_id"] for c in sheet.cells if "nbgrader" in c.metadata]
    number = lessons().index(name) + 1
    assert len(asked) == 3 and marked == [f"your-flow-{number}", *asked]
    for cell in sheet.cells:
        label = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        assert ("check(" in cell.source) == (label in read()) or not label
    assert len({cell.id for cell in sheet.cells}) == len(sheet.cells)


def test_a_solution_across_cells_goes_and_what_follows_it_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```{exercise} E · easy, 5 minutes\n:label: ex-a\n\nAsk.\n```\n\n"
        "```{dropdown} Hint\nLook.\n```\n\n```{solution-start} ex-a\n:class: dropdown\n```\n\nsecret"
        "\n\n```{code-cell} ipython3\nsecret()\n```\n\nsecret\n\n```{solution-end}\n```\n\n## After\n"
    )
    text = [cell.source for cell in worksheets.worksheet(page).cells]
    assert "secret" not in "".join(text)
    assert (
        text[-3].endswith("Look.\n```") and text[-2].startswith("# ex-a") and text[-1] == "## After"
    )
