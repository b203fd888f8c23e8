"""Exercises: enough of them, each with one folded solution, in which code is checked."""

import re

import pytest

from tools import notebooks

EXERCISE = re.compile(r"^`{3,}\{exercise\}[^\n]*\n(?::[^\n]*\n)*?:label: (ex-[\w-]+)$", re.M)
SOLUTION = re.compile(r"^`{3,}\{solution(?:-start)?\} (ex-[\w-]+)\n(:class: dropdown)?", re.M)
CHECKED = re.compile(r"^```\{solution-start\} (ex-[\w-]+)(.*?)\{solution-end\}", re.M | re.S)
# the chapters of Parts I and II
CHAPTERS = [page for page in notebooks.pages() if re.match(r"0[1-9]|1[01]", page.name)]


def test_parts_one_and_two_have_eleven_chapters_and_more_than_44_exercises():
    assert len(CHAPTERS) == 11
    assert sum(len(EXERCISE.findall(page.read_text("utf-8"))) for page in CHAPTERS) >= 44


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_a_chapter_has_four_exercises_and_checks_at_least_three_solutions_by_code(page):
    text = page.read_text("utf-8")
    assert len(EXERCISE.findall(text)) >= 4
    checked = [label for label, body in CHECKED.findall(text) if "```{code-cell}" in body]
    assert len(checked) >= 3


@pytest.mark.parametrize("page", notebooks.pages(), ids=lambda page: page.stem)
def test_every_exercise_has_one_folded_solution(page):
    text = page.read_text("utf-8")
    exercises, solutions = EXERCISE.findall(text), SOLUTION.findall(text)
    assert text.count("`{exercise}") == len(exercises), "an exercise without a label"
    assert sorted(exercises) == sorted(label for label, _ in solutions)
    assert all(folded for _, folded in solutions), "a solution that is not folded"
