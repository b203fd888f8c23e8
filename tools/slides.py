"""Slides of the lessons, from their built pages: one HTML file a lesson, opened without a network.

The site makes them when it is built: NN-name.html -> slides/NN-name.html.

Slides hold, in the order of the lesson: the title with its box `In short`, figures with their
captions, displayed equations with the sentence before them, lists, tables, boxes, visible code, and
the statements of the exercises. `slides.html` defines how slides look and move.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
HALF, WHOLE = 1, 2  # how much of a slide a block takes
SHORT = 9  # lines of code that fill half of a slide
OFF = ("equation-ties", "reading-time", "solution")  # classes of blocks that are left out
LONG = 26  # code of more lines is set in two columns


def parts() -> list[tuple[str, list[str]]]:
    """(caption, names of its pages) of the parts of the book, by its table of contents."""

    def names(entries: list[dict]) -> Iterator[str]:
        for entry in entries:
            yield Path(entry["file"]).stem
            yield from names(entry.get("sections", []))

    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
    return [(part["caption"], list(names(part["chapters"]))) for part in toc["parts"]]


def lessons() -> list[str]:
    """The pages of the numbered parts."""
    return [name for _, names in parts()[:5] for name in names]


def read_page(page: Path) -> BeautifulSoup:
    """A built page without links to headings, previews and drawings for phones. Content for readers
    without scripts is shown, except for the line that says what to drag."""
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    removed = ".headerlink, .bd-article script, .sd-summary-state-marker, template, .drawn .phone"
    for element in soup.select(removed):
        element.decompose()
    for noscript in soup.select(".bd-article noscript"):
        noscript.unwrap()
    for line in soup.select(".widget > p > b"):
        line.parent.replace_with(line)
        line.name = "p"
    return soup


def is_a(block: Tag, *names: str) -> bool:
    return bool({*names} & {*block.get("class", [])})


def sentences(paragraph: Tag) -> list[str]:
    """The HTML of the first and the last sentence."""
    html = paragraph.decode_contents().strip()
    parts_of_html = re.split(r"(?:(?<=[.?!])|(?<=[.?!]\)))\s+(?=[A-Z<\\])", html)
    return [parts_of_html[0], parts_of_html[-1]]


def lead(sentences_before: list[str], kind: str) -> str:
    """The sentence above a block, from the first and last sentence of the paragraph before it: the
    last one if it ends with a colon, and always for an equation; else, for code, the first."""
    if not sentences_before or (kind == "other" and not sentences_before[1].endswith(":")):
        return ""
    is_last = kind == "math" or sentences_before[1].endswith(":")
    return f"<p>{sentences_before[is_last]}</p>"


def piece(block: Tag) -> tuple[int, str, str] | None:
    """How much of a slide a block takes, its HTML and its kind; None if it is left out."""
    if block.name == "details" or is_a(block, *OFF):
        return None
    picture = block.find(["figure", "img", "svg"])
    if picture:
        return WHOLE, str(picture if picture.name == "figure" else block), "other"
    if block.find("pre"):
        if block.find("details"):
            return None
        lines = block.get_text().strip().count("\n") + 1
        columns = "two-columns" if lines > LONG else "code"
        return HALF if lines <= SHORT else WHOLE, f'<div class="{columns}">{block}</div>', "code"
    if block.name in ("ul", "ol") or is_a(block, "math"):
        return HALF, str(block), "math" if is_a(block, "math") else "other"
    if is_a(block, "exercise", "in-short") or block.find("table"):
        return WHOLE, str(block), "other"
    return (HALF, str(block), "other") if "admonition" in block.get("class", []) else None


def blocks(section: Tag) -> Iterator[tuple[int, str]]:
    """The blocks of a section that go on slides, each with the sentence that leads to it."""
    lead_sentences: list[str] = []
    for block in section.find_all(True, recursive=False):
        if block.name == "section":
            if block.find("h3", recursive=False):
                yield from blocks(block)
            continue
        if block.name == "p" and not is_a(block, "equation-ties"):
            lead_sentences = sentences(block)
        elif block_piece := piece(block):
            size, html, kind = block_piece
            yield size, lead(lead_sentences, kind) + html
            lead_sentences = []


def fill_slides(pieces: Iterator[tuple[int, str]]) -> Iterator[str]:
    """The content of slides: two blocks of half a slide, or one of a whole slide."""
    halves: list[str] = []
    for size, html in pieces:
        if halves and size == WHOLE:
            yield halves.pop()
        halves.append(html)
        if size == WHOLE or len(halves) == 2:
            yield "".join(halves)
            halves.clear()
    yield from halves


def slides(article: Tag) -> Iterator[tuple[str, str]]:
    """(heading, content) of every slide of a lesson."""
    for link in article.find_all("a"):
        link.unwrap()
    top = article.find("section")
    title = top.find("h1").extract().decode_contents()
    short = top.select_one(".in-short")
    yield title, str(short.extract()) if short else ""
    yield from ((title, html) for html in fill_slides(blocks(top)))
    for section in top.find_all("section", recursive=False):
        heading = section.find("h2")
        name = re.sub(r"<span class=.section-number.*?</span>", "", heading.decode_contents())
        yield from ((name, html) for html in fill_slides(blocks(section)))


def slides_page(page: Path, template: str) -> str:
    """The slides of a built page, as HTML for the folder beside it."""
    soup = read_page(page)
    links = soup.select("head link[rel=stylesheet], head link[rel~=icon]")
    head_elements = [str(link) for link in links]
    head_elements += [str(s) for s in soup.select("head script") if "mathjax" in str(s).lower()]
    slide_elements = [
        f'<section class="slide"><h{2 - (n == 0)}>{name}</h{2 - (n == 0)}>'
        f'<div class="inside">{html}</div></section>'
        for n, (name, html) in enumerate(slides(soup.select_one(".bd-article")))
    ]
    fields = {
        "title": soup.title.get_text(),
        "head": "\n".join(head_elements),
        "slides": "\n".join(slide_elements),
    }
    for name, text in fields.items():
        relative_text = re.sub(r'(src|href)="(?=_)', r'\1="../', text)
        template = template.replace(f"[[{name}]]", relative_text)
    return template.replace("[[page]]", page.name)


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the slides, once the pages of the site are built."""
    if error or app.builder.name != "html":
        return
    site, template = Path(app.outdir), Path(__file__).with_suffix(".html").read_text("utf-8")
    (site / "slides").mkdir(exist_ok=True)
    for name in lessons():
        text = slides_page(site / f"{name}.html", template)
        (site / "slides" / f"{name}.html").write_text(text, "utf-8")


def setup(app: Sphinx) -> None:
    app.connect("build-finished", write)
