"""The map: a box of the figure has its line in the table, and the lines lead to what is there."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

BOOK = Path(__file__).resolve().parents[2] / "book"
SVG = "{http://www.w3.org/2000/svg}"
PAGES = {path.stem: path.read_text("utf-8") for path in BOOK.glob("*.md")}
LINE = re.compile(
    r'^\| <span id="map-(?P<box>\w+)"></span>[^|]+ \| (?P<term>[^|]+) \| {ref}`(?P<label>[\w-]+)` '
    r"\| \[[\w.]+\]\((?P<source>[\w./]+)\) \| \[(?P<test>\w+)\]\((?P<tests>[\w./]+)\) \|$",
    re.MULTILINE,
)
ROWS = {row["box"]: row for row in LINE.finditer(PAGES["map"])}
LINKS = list(ElementTree.parse(BOOK / "_static/map.svg").iter(f"{SVG}a"))
BOXES = {a.get("id").removeprefix("box-"): a for a in LINKS if "box" in a.get("class").split()}


def test_every_line_of_the_table_is_read():
    assert len(ROWS) == PAGES["map"].count('<span id="map-')


def test_boxes_and_lines_are_the_same():
    assert list(BOXES) and set(BOXES) == set(ROWS)


@pytest.mark.parametrize("box", BOXES)
def test_a_box_leads_to_the_chapter_of_its_line(box):
    page = BOXES[box].get("href").removesuffix(".html")
    assert f"({ROWS[box]['label']})=\n" in PAGES[page]


@pytest.mark.parametrize("box", ROWS)
def test_source_and_test_of_a_line_are_there(box):
    row = ROWS[box]
    assert (BOOK / row["source"]).is_file()
    tree = ast.parse((BOOK / row["tests"]).read_text("utf-8"))
    assert row["test"] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_circle_leads_to_a_line():
    circles = [a.get("href") for a in LINKS if "row" in a.get("class").split()]
    assert circles and {href.removeprefix("#map-") for href in circles} <= set(ROWS)


def test_every_link_of_the_figure_has_a_name_and_the_figure_a_description():
    root = ElementTree.parse(BOOK / "_static/map.svg").getroot()
    named = {root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")}
    assert set(root.get("aria-labelledby").split()) == named
    assert all(a.get("aria-label") for a in LINKS)
