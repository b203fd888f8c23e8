"""Worksheets of the lessons: notebooks without solutions, with a cell for each answer.

The site makes them when it is built: worksheets/NAME.ipynb. Cells that a program can mark call
`check` (a number) or `check_lesson` (a class of my_flow.py). All are marked as nbgrader reads them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from sphinx.application import Sphinx

from cnf.lessons.answers import read_answers
from tools import notebooks
from tools.slides import ROOT, lessons

SOLUTION = re.compile(r"^(`{3,})\{solution\} .*?^\1$\n?", re.M | re.S)
PAIR = re.compile(r"^```\{solution-start\} .*?^```\{solution-end\}\n```$\n?", re.M | re.S)
BEGIN = re.compile(r"^```\{solution-start\} .*", re.M | re.S)
END = re.compile(r"\A.*^```\{solution-end\}\n```$\n?", re.M | re.S)
SITE_ONLY = re.compile(r"^```\{(?:raw|recall)\}.*?^```$\n?", re.M | re.S)
EXERCISE = re.compile(
    r"^(`{3,})\{exercise\}[^\n]*\n:label: (?P<label>ex-[\w-]+)\n.*?^\1$\n"
    r"(?:\n```\{dropdown\} Hint\n.*?^```$\n?)?",
    re.M | re.S,
)
YOURS = re.compile(r"(so_far|at_work)\.show\((\d+)\)")
CHECKED = re.compile(
    r"^## Your flow$.*?`python -m cnf check\smy_flow\.py --lesson (\d+)`", re.M | re.S
)


def worksheet(page: Path) -> NotebookNode:
    """The notebook of a lesson, its solutions replaced by cells to fill in."""
    book = notebooks.read_page(page)
    alone = not any(YOURS.search(cell.source) for cell in book.cells)
    cells = without_solutions(book.cells)
    book.cells = [cell for kept in cells for cell in with_answers(kept, alone)]
    return book


def without_solutions(cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    inside = False
    for cell in cells:
        if cell.cell_type != "markdown":
            if not inside:
                yield cell
            continue
        source = PAIR.sub("", cell.source)
        text = END.sub("", source)
        inside = inside and text == source
        text = SITE_ONLY.sub("", SOLUTION.sub("", text))
        if inside or not text.strip():
            continue
        inside = bool(BEGIN.search(text))
        cell.source = BEGIN.sub("", text).strip()
        yield cell


def with_answers(cell: NotebookNode, alone: bool) -> Iterator[NotebookNode]:
    """The cell and those that answer it; `alone`: no cell of the page shows the reader's flow."""
    if found := YOURS.search(cell.source):
        yield cell
        show, lesson = found.groups()
        code = checking(lesson) if show == "so_far" else "%run my_flow.py\n"
        code += f"# in a minute: {show}.show({lesson}, globals())"
        yield graded(new_code_cell(code), f"your-flow-{lesson}", points=3)
        return
    if cell.cell_type != "markdown":
        yield cell
        return
    place = 0
    if alone and (yours := CHECKED.search(cell.source)):
        place = cell.source.index("\n\n", yours.end())
        yield new_markdown_cell(cell.source[:place])
        yield graded(new_code_cell(checking(yours[1]).strip()), f"your-flow-{yours[1]}", points=3)
    for exercise in EXERCISE.finditer(cell.source, place):
        yield new_markdown_cell(cell.source[place : exercise.end()].strip())
        yield answer(exercise["label"])
        place = exercise.end()
    if rest := cell.source[place:].strip():
        yield new_markdown_cell(rest)


def checking(lesson: str) -> str:
    """What marks the class of a lesson."""
    return (
        "from cnf.lessons import check_lesson\n\n"
        f"%run my_flow.py\ncheck_lesson({lesson}, globals())\n"
    )


def answer(label: str) -> NotebookNode:
    """The cell under an exercise: a line for each number or formula, or room for other answers."""
    if exercise := read_answers().get(label):
        asked = [f'# check("{label}", ...)  # {part["asks"]}' for part in exercise["parts"]]
        code = "\n".join(["from cnf.lessons import check", "", *asked])
        return graded(new_code_cell(code), label, points=len(asked))
    return graded(new_code_cell(f"# {label}: your code, and a sentence"), label)


def graded(cell: NotebookNode, label: str, points: int = 1) -> NotebookNode:
    """The cell with what nbgrader reads: an answer, to be marked by a person unless it passes."""
    cell.metadata["nbgrader"] = {
        "grade": True,
        "grade_id": label,
        "locked": False,
        "points": points,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }
    return cell


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the worksheets, once the pages of the site are built."""
    if error or app.builder.name != "html":
        return
    folder = Path(app.outdir) / "worksheets"
    folder.mkdir(exist_ok=True)
    for name in lessons():
        nbformat.write(worksheet(ROOT / "book" / f"{name}.md"), folder / f"{name}.ipynb")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write)
