"""The page on trouble quotes messages that the code gives, and its words stand in headings, where
the site's search looks first."""

import re

import pytest

from tools.notebooks import ROOT

PAGE = (ROOT / "book/install-and-troubleshooting.md").read_text("utf-8")
SOURCES = "\n".join(path.read_text("utf-8") for path in (ROOT / "cnf").rglob("*.py"))


@pytest.mark.parametrize("word", ["install", "nan", "log-determinant"])
def test_words_that_readers_search_stand_in_a_heading(word):
    assert any(word in line.lower() for line in re.findall(r"^#+ .*$", PAGE, re.M))


@pytest.mark.parametrize(
    ("quoted", "source"),
    [
        ("`h is 16x16 but this level works at 8x8`", "but this level works at"),
        ("`cannot squeeze 15x16`", "cannot squeeze {height}x{width}"),
        ("`drive: nothing at ...`", "{self.name}: nothing at {where}"),
        ("`the loss of step ... is not finite`", "of step {step + 1} is not finite"),
    ],
)
def test_quoted_messages_are_those_of_the_code(quoted, source):
    assert quoted in PAGE and source in SOURCES


def test_options_that_it_names_exist():
    named = re.findall(r"`((?:training|model)\.\w+)`", PAGE)
    assert named
    for option in named:
        assert re.search(rf"^\s+{option.split('.')[1]}: ", SOURCES, re.M), option
