"""Figures of the pages as SVG inside the page, so that lines and letters follow its theme.

A figure comes from its cell as one SVG with a narrow drawing inside (`cnf/replication/svg.py`).
Here it becomes two, of which `figures.css` shows the one that fits the screen. A grey becomes a mix
of the page's letters, which are #222222 in the figure, and the page's ground, which is white there.
Letters in a colour take two fifths of the page's, so that they can be read on its ground. What is
drawn over a picture keeps its colours. A PNG stays an image.
"""

import re
from copy import deepcopy
from html import escape
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
GREY = re.compile(r"#([0-9a-f]{2})\1\1\b")
INK = 0x22
GROUND = "var(--pst-color-background, #fff)"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def themed(grey: re.Match[str]) -> str:
    """A grey in the colours of the page."""
    share = min(1, (255 - int(grey[1], 16)) / (255 - INK))
    if share in (0, 1):
        return "currentColor" if share else GROUND
    return f"color-mix(in srgb, currentColor {share:.0%}, {GROUND})"


def readable(colour: re.Match[str]) -> str:
    """A colour of letters, darker on a light page and lighter on a dark one."""
    return f"color-mix(in srgb, currentColor 40%, {colour[0]})"


def recolour(element: ElementTree.Element, pictured: bool = False) -> None:
    """What lies below, apart from what is drawn over a picture; black is written nowhere in SVG. An
    image outside of a panel with a picture is a cloud of points."""
    for child in element:
        if child.get("id") == "picture":
            child.set("fill", "#000")
            continue
        if child.tag == f"{SVG}image" and not pictured:
            child.set("class", "cloud")
        if style := child.get("style"):
            style = GREY.sub(themed, style)
            if "scale(" in child.get("transform", ""):  # letters
                style = COLOUR.sub(readable, style)
            child.set("style", style)
        recolour(child, pictured or child.get("id") == "pictured")


def without_ground(svg: ElementTree.Element) -> None:
    """The white behind the figure and behind its panels goes."""
    for group in svg.iter(f"{SVG}g"):
        if re.match("figure_|axes_|pictured", group.get("id", "")):
            first = group[0].find(f"{SVG}path") if len(group) else None
            if first is not None and "fill: #ffffff" in first.get("style", ""):
                group.remove(group[0])


def rename(svg: ElementTree.Element, prefix: str) -> None:
    """Of the ids stay those that are referred to, with a prefix that makes them unique."""
    text = ElementTree.tostring(svg, "unicode")
    used = {*re.findall(r'href="#([^"]+)"', text), *re.findall(r"url\(#([^)]+)\)", text)}
    for element in svg.iter():
        if name := element.attrib.pop("id", None):
            if name in used:
                element.set("id", prefix + name)
        for key, value in element.attrib.items():
            if key == LINK and value.startswith("#"):
                element.set(key, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}"))


def complete(narrow: ElementTree.Element, wide: ElementTree.Element) -> None:
    """Give the narrow drawing the pictures and letters of which it holds only the names."""
    known = {element.get("id"): element for element in wide.iter()}
    own = {element.get("id") for element in narrow.iter()}
    defs = ElementTree.SubElement(narrow, f"{SVG}defs")
    for element in list(narrow.iter()):
        name = element.get(LINK, "").removeprefix("#")
        if name in known and element.tag == f"{SVG}image":
            element.set(LINK, known[name].get(LINK))
        elif name in known and name not in own:
            own.add(name)
            defs.append(deepcopy(known[name]))


def drawings(text: str, name: str) -> list[str]:
    """The SVG of a cell as the drawings that it holds, to stand in an HTML page."""
    wide = ElementTree.fromstring(text)
    narrow = wide.findall(f"{SVG}svg[@class='phone']")
    for svg in narrow:
        wide.remove(svg)
        del svg.attrib["display"]
        complete(svg, wide)
    found = []
    for n, svg in enumerate([wide, *narrow]):
        without_ground(svg)
        recolour(svg)
        rename(svg, f"{name}-{n}-")
        for style in svg.findall(f"{SVG}defs[{SVG}style]"):  # would hold for the whole page
            svg.remove(style)
        found.append(ElementTree.tostring(svg, "unicode"))
    return found


def draw(app: Sphinx, doctree: nodes.document) -> None:
    """Put the SVGs of cells into the page, before Sphinx collects its images."""
    found = [i for i in doctree.findall(nodes.image) if "jupyter_execute" in i["uri"]]
    for n, image in enumerate(i for i in found if i["uri"].endswith(".svg")):
        file = Path(app.env.relfn2path(image["uri"], app.env.docname)[1])
        svgs = "\n".join(drawings(file.read_text("utf-8"), f"drawn-{n}"))
        label = escape(" ".join(image.get("alt", "").split()))
        html = f'<div class="drawn" role="img" aria-label="{label}">\n{svgs}\n</div>'
        image.replace_self(nodes.raw("", html, format="html"))


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", draw, priority=100)
