"""Worksheets have every exercise, no solution, and cells that mark what a program can mark."""

import pytest

from cnf.lessons.answers import read_answers
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
    yours = [f"your-flow-{number}"] if "## Your flow" in page.read_text("utf-8") else []
    assert len(asked) == 3 and marked == [*yours, *asked]
    for cell in sheet.cells:
        label = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        assert ("check(" in cell.source) == (label in read_answers()) or not label
    assert len({cell.id for cell in sheet.cells}) == len(sheet.cells)


PAGE = """# A

```{exercise} E · easy, 5 minutes
:label: ex-a

Ask.
```

```{dropdown} Hint
Look.
```

```{solution-start} ex-a
:class: dropdown
```

secret

```{code-cell} ipython3
secret()
```

secret

```{solution-end}
```

```{exercise} F · easy, 5 minutes
:label: ex-b

Ask again.
```

```{solution-start} ex-b
:class: dropdown
```

secret, without code

```{solution-end}
```

## After
"""


def test_a_solution_across_cells_goes_and_what_follows_it_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE, "utf-8")
    sheet = [cell.source for cell in worksheets.worksheet(page).cells]
    *_, exercise, answer, again, other, after = sheet
    assert "secret" not in "".join(sheet)
    assert exercise.endswith("Look.\n```") and answer.startswith("# ex-a") and after == "## After"
    assert again.endswith("Ask again.\n```") and other.startswith("# ex-b")
