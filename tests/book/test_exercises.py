"""Exercises: enough of them, each with one folded solution, in which code is checked."""

import re

import pytest

from tools import notebooks

EXERCISE = re.compile(r"^`{3,}\{exercise\}[^\n]*\n(?::[^\n]*\n)*?:label: (ex-[\w-]+)$", re.M)
SOLUTION = re.compile(r"^`{3,}\{solution(?:-start)?\} (ex-[\w-]+)\n(:class: dropdown)?", re.M)
CHECKED = re.compile(r"^```\{solution-start\} (ex-[\w-]+)(.*?)\{solution-end\}", re.M | re.S)
# the lessons and the Deeper pages: what the one has no room for, the other keeps
TAUGHT = [page for page in notebooks.pages() if re.match(r"0[1-9]-|1[01]-|deeper-", page.name)]


def test_lessons_and_deeper_pages_have_62_exercises_and_check_most_solutions_by_code():
    texts = [page.read_text("utf-8") for page in TAUGHT]
    checked = [body for text in texts for _, body in CHECKED.findall(text)]
    assert sum(len(EXERCISE.findall(text)) for text in texts) >= 62
    assert sum("```{code-cell}" in body for body in checked) >= 55


@pytest.mark.parametrize("page", notebooks.pages(), ids=lambda page: page.stem)
def test_every_exercise_has_one_folded_solution(page):
    text = page.read_text("utf-8")
    exercises, solutions = EXERCISE.findall(text), SOLUTION.findall(text)
    assert text.count("`{exercise}") == len(exercises), "an exercise without a label"
    assert sorted(exercises) == sorted(label for label, _ in solutions)
    assert all(folded for _, folded in solutions), "a solution that is not folded"
