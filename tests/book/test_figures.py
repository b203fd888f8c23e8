"""The figures of a page take its colours, pictures keep theirs, and every name is unique."""

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from book._ext import figures
from cnf.replication import plotting, svg


@pytest.fixture(scope="module")
def text():
    with plt.rc_context(plotting.STYLE):
        fig, (ax, bx) = plt.subplots(1, 2, figsize=(6.5, 3))
        ax.imshow(np.eye(4))
        ax.text(1, 1, "white over it", color="white")
        bx.plot([0, 1], color="#999999")
        bx.set_title("ink")
        bx.text(0, 1, "in a colour", color="#cc78bc")
        found = svg.to_svg(fig)
    plt.close(fig)
    return found


@pytest.fixture(scope="module")
def drawn(text):
    return figures.drawings(text, "a")


def test_a_figure_is_two_drawings_and_each_stands_alone(drawn):
    wide, narrow = map(ElementTree.fromstring, drawn)
    assert "class" not in wide.attrib
    assert (narrow.get("class"), narrow.get("display")) == ("phone", None)
    for svg_ in drawn:
        names = re.findall(r'\bid="([^"]+)"', svg_)
        used = {*re.findall(r'href="#([^"]+)"', svg_), *re.findall(r"url\(#([^)]+)\)", svg_)}
        assert len(names) == len(set(names)) and used == set(names)
        assert "data:image/png" in svg_


def test_no_name_is_in_two_drawings(text, drawn):
    every = [*drawn, *figures.drawings(text, "b")]
    names = [name for svg_ in every for name in re.findall(r'\bid="([^"]+)"', svg_)]
    assert len(names) == len(set(names)) > 20


def test_ink_and_greys_follow_the_page_and_what_is_over_a_picture_does_not(drawn):
    for svg_ in drawn:
        assert "#222222" not in svg_ and "fill: currentColor" in svg_
        assert re.search(r"stroke: color-mix\(in srgb, currentColor 46%", svg_)  # #999999
        assert svg_.count("fill: #ffffff") == 1  # the words over the picture
        assert svg_.count("fill: color-mix(in srgb, currentColor 40%, #cc78bc)") == 1
