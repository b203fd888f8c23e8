"""The form of the book's pages: what a machine can see of them without executing anything.

    python -m tools.lint_book            a line a fault: page, what is wrong; exit status 1 if any
    python -m tools.lint_book --counts   also words, equations, lines, exercises, kB of every page

The assertions of a page and the tests check whether it is true. This script checks its form: the
length and order of lessons, solutions of exercises, links and citations, and whether executed twins
belong to their pages and can be published. Equations are checked by `book/_ext/equations.py`.
"""

import argparse
import ast
import base64
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

import nbformat
import yaml
from PIL import Image

from book._ext import equations, questions
from tools import notebooks, slides

BOOK = notebooks.ROOT / "book"
LABEL = re.compile(r"^\(([\w-]+)\)=|:label: ([\w-]+)|^ *:?name: ([\w-]+)", re.M)
REFERENCE = re.compile(r"\{(?:num)?ref\}`(?:[^`<]*<)?([\w-]+)>?`")
SPINE = 2  # parts whose lessons are held to WORDS and begin with a widget
# of a lesson: what a reader sees without unfolding anything; captions, hints, solutions apart
WORDS, LONG, EQUATIONS, LINES, EXERCISES, ITEMS = 1800, 2000, 8, 100, 3, 3
TWIN_MB, BOOK_MB = 1, 25
# folders of one machine, addresses in memory: they differ elsewhere, so they prove nothing
FOREIGN = re.compile(
    r"(?<![\w.:/])/(?:home|root|tmp|usr|work|Users|opt)/|0x[0-9a-f]{6,}|site-packages"
)
NETWORK = re.compile(r"""(?:src|href)=["']?(?:https?:)?//""")

HEAD = re.compile(r"\A---\n.*?\n---\n", re.S)
FENCE = r"^(?P<fence>`{3,}|:{3,})"
CELL = re.compile(FENCE + r"\{code-cell\}[^\n]*\n(?P<body>.*?)^(?P=fence)$", re.M | re.S)
OPTIONS = re.compile(r"\A(?:---\n.*?\n---\n|(?::[^\n]*\n)+)", re.S)
FOLDED = re.compile(r"^(?::tags:|tags:).*(?:hide|remove)-(?:input|cell)", re.M)
DRAWN = re.compile(
    r"^  figure:|^:{3,}\{(?:raw|figure|image)\}|^`{3,}\{(?:raw|figure|image)\}", re.M
)
SOLVED = re.compile(
    r"^`{3,}\{solution-start\} (?P<a>\S+)\n.*?^`{3,}\{solution-end\}\n`{3,}$"
    r"|^(?P<b>`{3,})\{solution\} (?P<c>\S+)\n.*?^(?P=b)$",
    re.M | re.S,
)
HINT = r"```\{dropdown\} Hint\n.+?\n```\n"
EXERCISE = re.compile(
    r"^`{3,}\{exercise\}(?P<title>[^\n]*)\n(?::[^\n]*\n)*?:label: (?P<label>ex-[\w-]+)\n"
    r".*?^`{3,}\n",
    re.M | re.S,
)
SOLUTION = re.compile(r"^`{3,}\{solution(?:-start)?\} (ex-[\w-]+)\n(:class: dropdown)?", re.M)
ANSWERED = re.compile(
    rf"\n{HINT}\n```\{{solution(?:-start)?\}} (?P<label>\S+)\n:class: dropdown\n", re.S
)
MARK = re.compile(r" · (?:easy|medium|hard), \d+ minutes$")
SHORT = re.compile(
    r"^# [^\n]+\n\n```\{admonition\} In short\n:class: in-short\n(?P<body>.*?)^```$", re.M | re.S
)
WIDGET = re.compile(
    r'```\{raw\} html\n<div class="widget" data-widget="(\w+)".*?>\n<p>.+?</p>\n'
    r'<noscript><img src="(_static/stills/[\w.]+)" alt="[^"]{40,}"></noscript>\n</div>',
)
MAP_LINE = re.compile(
    r'^\| <span id="map-(?P<box>\w+)"></span>[^|]+ \| (?P<term>[^|]+) \| {ref}`(?P<label>[\w-]+)` '
    r"\| \[[\w.]+\]\((?P<source>[\w./]+)\) \| \[(?P<test>\w+)\]\((?P<tests>[\w./]+)\) \|$",
    re.MULTILINE,
)
SVG = "{http://www.w3.org/2000/svg}"

Faults = Iterator[str]


# -- counts of one page ----------------------------------------------------------------------------


def words(text: str) -> int:
    """Words of running text: no cells, formulas, options of directives, or what is folded."""
    text = re.sub(rf"^{HINT}", "", SOLVED.sub("", HEAD.sub("", text)), flags=re.M | re.S)
    text = re.sub(FENCE + r"\{raw\}.*?^(?P=fence)$", "", CELL.sub("", text), flags=re.M | re.S)
    text = re.sub(
        r"\$\$.*?\$\$(?: \(eq-[\w-]+\))?|^:\w+:[^\n]*$|^\([\w-]+\)=$", "", text, flags=re.M | re.S
    )
    text = re.sub(r"^[`:]{3,}(?:\{[\w-]+\})?", "", text, flags=re.M)  # a title of a box is read
    return len(re.findall(r"\S*[^\W_]\S*", re.sub(r"\$[^$]*\$|`[^`]*`", "x", text)))


def displayed(text: str) -> int:
    """Displayed equations outside of solutions."""
    return SOLVED.sub("", text).count("$$") // 2


def lines(text: str) -> int:
    """Lines of code that a reader sees."""
    bodies = [cell["body"] for cell in CELL.finditer(SOLVED.sub("", text))]
    visible = [OPTIONS.sub("", body) for body in bodies if not FOLDED.search(body)]
    return sum(bool(line.strip()) for body in visible for line in body.splitlines())


# -- pages as they are written ---------------------------------------------------------------------


def exercises(text: str) -> Faults:
    """Faults of the exercises of a page: each needs one folded solution."""
    labels = [match["label"] for match in EXERCISE.finditer(text)]
    solved = SOLUTION.findall(text)
    if text.count("`{exercise}") != len(labels):
        yield "an exercise has no label"
    if sorted(labels) != sorted(label for label, _ in solved):
        yield f"exercises {labels} have the solutions {[label for label, _ in solved]}"
    if not all(folded for _, folded in solved):
        yield "a solution is not folded: give it `:class: dropdown`"


def lesson(text: str, of_spine: bool) -> Faults:
    """Rules for lessons that this one breaks."""
    text = HEAD.sub("", text)
    for name, count, limit in (
        ("words", words(text), WORDS if of_spine else LONG),
        ("equations", displayed(text), EQUATIONS),
        ("visible lines of code", lines(text), LINES),
    ):
        if count > limit:
            yield f"{count} {name}, the limit is {limit}"
    short = SHORT.search(text)
    if not short or len(re.findall(r"^- ", short["body"], re.M)) != ITEMS:
        yield f"no box `In short` of {ITEMS} lines under the title"
    figure = DRAWN.search(text)
    if not figure or figure.start() > (text.find("$$") if "$$" in text else len(text)):
        yield "no figure before the first equation"
    exercises_of_page = list(EXERCISE.finditer(text))
    if len(exercises_of_page) != EXERCISES:
        yield f"{len(exercises_of_page)} exercises, not {EXERCISES}"
    for exercise in exercises_of_page:
        if not MARK.search(exercise["title"]):
            yield f"{exercise['label']}: no difficulty and minutes at the end of its title"
        answer = ANSWERED.match(text, exercise.end())
        if not answer or answer["label"] != exercise["label"]:
            yield f"{exercise['label']}: no folded hint with a folded solution under it"
    if not any("{code-cell}" in solution[0] for solution in SOLVED.finditer(text)):
        yield "no solution is checked by code"
    opening = text.partition("**Needs** ")[2].partition("\n\n")[2]
    if not of_spine:
        return
    widget = WIDGET.match(opening)
    if not widget or text.count("data-widget=") != 1 or not (BOOK / widget[2]).is_file():
        yield "no widget with a still twin under the line of what the lesson needs"


# -- executed twins --------------------------------------------------------------------------------


def cells_of(nb: nbformat.NotebookNode) -> list[tuple]:
    return [(c.id, c.cell_type, c.source, dict(c.metadata)) for c in nb.cells]


def twin(page) -> Faults:
    """Faults of the executed twin of a page."""
    nb, written = notebooks.read_twin(page), notebooks.read_page(page)
    if nb is None:
        yield f"no twin: run make notebooks PAGES={page.stem}"
        return
    if cells_of(nb) != cells_of(written):
        yield f"its twin has other cells: run make notebooks PAGES={page.stem}"
    if set(nb.metadata) != {"kernelspec", "language_info", "cnf"} or (
        "version" in nb.metadata.language_info
    ):
        yield "its twin keeps metadata of a time or a version"
    if notebooks.twin(page).stat().st_size > TWIN_MB * 2**20:
        yield f"its twin is larger than {TWIN_MB} MB"
    code = [c for c in nb.cells if c.cell_type == "code" and c.source.strip()]
    ran = [c.execution_count for c in code if "skip-execution" not in c.metadata.get("tags", [])]
    if ran != list(range(1, len(ran) + 1)):
        yield "the execution counts of its twin have a gap"
    if any("results" in c.source for c in code) and not nb.metadata.cnf.get("reads"):
        yield "it reads results: name them under `cnf: reads:` in its front matter"
    for number, cell in enumerate(code, 1):
        yield from (f"cell {number} {fault}" for fault in outputs(cell))


def outputs(cell: nbformat.NotebookNode) -> Faults:
    """Faults of one executed cell: its tags, what it shows, its figures."""
    tags = set(cell.metadata.get("tags", []))
    if ("skip-execution" in tags) != ("nbval-skip" in tags):
        yield "has one of the tags skip-execution and nbval-skip: give it both"
    if "skip-execution" in tags and cell.outputs:
        yield "is not executed and has an output"
    if "nbval-ignore-output" in tags:
        yield "is tagged nbval-ignore-output: then nothing compares its output"
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "error" or output.get("name") == "stderr":
            yield "has an error or writes to stderr"
        texts = [str(v) for kind, v in data.items() if not kind.startswith("image/")]
        for text in (output.get("text", ""), *texts):
            if found := FOREIGN.search(text):
                yield f"shows what other machines have not: {found[0]}"
            if NETWORK.search(text):
                yield "loads something from the network"
        if "image/png" in data:
            yield "shows a PNG: call plotting.use_style()"
        if "image/svg+xml" in data:
            yield from figure(cell, data["image/svg+xml"])


def figure(cell: nbformat.NotebookNode, svg: str) -> Faults:
    settings = cell.metadata.get("mystnb", {})
    if not settings.get("figure", {}).get("caption", "").strip():
        yield "has a figure without a caption"
    if not settings.get("image", {}).get("alt", "").strip():
        yield "has a figure without a text for those who do not see it"
    if 'class="phone"' not in svg:
        yield "has a figure without a drawing for phones"
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(p))) for p in notebooks.EMBEDDED.findall(svg)
    ]
    if "<metadata" in svg or any(picture.info for picture in pictures):
        yield "has a figure with metadata, which changes with every library version"


# -- the book as a whole ---------------------------------------------------------------------------


def contents(pages: list) -> Faults:
    toc_names = re.findall(r"file: (\S+)\.ipynb", (BOOK / "_toc.yml").read_text("utf-8"))
    if toc_names != [page.stem for page in pages]:
        yield "_toc.yml: does not name every executed page once"
    if orphans := {path.stem for path in BOOK.glob("*.ipynb")} - {page.stem for page in pages}:
        yield f"{sorted(orphans)}: notebooks without a page"
    made = {"_build", "__pycache__"}
    files = (p for p in BOOK.rglob("*") if p.is_file() and not made.intersection(p.parts))
    size = sum(p.stat().st_size for p in files)
    if size > BOOK_MB * 2**20:
        yield f"book/: {size / 2**20:.0f} MB, the limit is {BOOK_MB}"


def numbers(texts: dict[str, str]) -> Faults:
    """The number of a chapter is that of its place in `_toc.yml`: {ref} and {numref} know it."""
    for name, text in texts.items():
        if match := re.search(r"\b[Cc]hapters? \d", text):
            yield f"{name}: names a chapter by its number: {match[0]}"


def formulas(text: str) -> Faults:
    """A plus or a dash at the start of a line begins a list, and ends a formula there."""
    for paragraph in re.split(r"\n\s*\n|^[`:]{3,}[^\n]*$", CELL.sub("", text), flags=re.M):
        for formula in re.findall(r"(?<!\$)\$([^$]+)\$", paragraph):
            if re.search(r"\n *[-+*] ", formula):
                yield f"a formula is cut by what reads as a list: {formula!r}"


def citations(texts: dict[str, str]) -> Faults:
    entries = re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "refs.bib").read_text("utf-8"), re.M)
    keys = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "".join(texts.values()))
    cited_keys = {key.strip() for names in keys for key in names.split(",")}
    for key, count in Counter(entries).items():
        if count > 1 or key not in cited_keys:
            yield f"refs.bib: {key} is there {count} times, and cited: {key in cited_keys}"
    for key in cited_keys - set(entries):
        yield f"refs.bib: has no {key}, which a page cites"


def references(texts: dict[str, str]) -> Faults:
    """Where a label is missing in a caption, the builder prints its name and says nothing."""
    labels = LABEL.findall("\n".join(texts.values()))
    known = {label for found in labels for label in found if label}
    for name, text in texts.items():
        for label in REFERENCE.findall(text):
            if label not in known and not label.startswith("note-"):  # the laboratory notes
                yield f"{name}: refers to {label}, which no page has"


def the_map(texts: dict[str, str]) -> Faults:
    """Faults of the map: each box needs a line in the table, and links of lines need a target."""
    rows = {row["box"]: row for row in MAP_LINE.finditer(texts["map"])}
    links = list(ElementTree.parse(BOOK / "_static/map.svg").iter(f"{SVG}a"))
    boxes = {a.get("id").removeprefix("box-"): a for a in links if "box" in a.get("class").split()}
    if not set(boxes) == set(rows) or len(rows) != texts["map"].count('<span id="map-'):
        yield f"map: boxes and lines differ: {sorted(set(boxes) ^ set(rows))}"
    for box, row in rows.items():
        page = boxes[box].get("href").removesuffix(".html") if box in boxes else ""
        if f"({row['label']})=\n" not in texts.get(page, ""):
            yield f"map: box {box} does not lead to {row['label']}"
        if not (BOOK / row["source"]).is_file():
            yield f"map: {row['source']} is not there"
        tests = BOOK / row["tests"]
        defined = ast.parse(tests.read_text("utf-8")).body if tests.is_file() else []
        if row["test"] not in {getattr(node, "name", "") for node in defined}:
            yield f"map: {row['tests']} has no {row['test']}"
    circle_targets = {
        a.get("href").removeprefix("#map-") for a in links if "row" in a.get("class").split()
    }
    if not circle_targets <= set(rows):
        yield f"map: circles lead to no line: {sorted(circle_targets - set(rows))}"
    if not all(a.get("aria-label") for a in links):
        yield "map: a link of the figure has no name"


def self_test(texts: dict[str, str]) -> Faults:
    parts = yaml.safe_load(questions.FILE.read_text("utf-8"))
    if re.findall(r"\{questions\} (\S+)", texts["self-test"]) != list(parts):
        yield "self-test: does not ask every part of questions.yml"
    for part, questions_of_part in parts.items():
        places = []
        for number, question in enumerate(questions_of_part, 1):
            right = [place for place, a in enumerate(question["answers"]) if "right" in a]
            places += right
            feedback = [a.get("right") or a.get("wrong") or "" for a in question["answers"]]
            if len(right) != 1 or len(feedback) < 3 or not all(feedback):
                yield f"questions.yml: {part} {number} needs one right answer, all with feedback"
        if len(questions_of_part) != 10 or min(places.count(place) for place in range(3)) < 2:
            yield f"questions.yml: {part} needs ten questions, right answers in every place"


def slide_links(texts: dict[str, str]) -> Faults:
    links = re.findall(r'href="slides/([\w-]+)\.html"[^>]*>([^<]+)<', texts["teaching"])
    if [name for name, _ in links] != slides.lessons():
        yield "teaching: does not link the slides of every lesson"
    sheets = re.findall(r'href="worksheets/([\w-]+)\.ipynb" download>([^<]+)<', texts["teaching"])
    if sheets != links:
        yield "teaching: does not link the worksheet of every lesson"
    for name, title in links:
        if f"\n# {title}\n" not in texts.get(name, ""):
            yield f"teaching: {name} has another title than {title}"


def times(pages: list) -> Faults:
    """Pages, or a book, that take longer than their budgets, by the times that `make times`
    kept."""
    recorded = json.loads((notebooks.ROOT / notebooks.TIMES).read_text("utf-8"))
    seconds = {entry["page"]: entry["seconds"] for entry in recorded["pages"]}
    for page in pages:
        if page.stem not in seconds:
            yield f"{page.stem}: was not timed: run make times PAGES={page.stem}"
        elif seconds[page.stem] > notebooks.PAGE_BUDGET:
            yield f"{page.stem}: takes {seconds[page.stem]} s, the limit is {notebooks.PAGE_BUDGET}"
    if recorded["book"]["jobs"] != 2 or recorded["book"]["seconds"] > notebooks.BOOK_BUDGET:
        yield f"book/: takes {recorded['book']['seconds']} s, the limit is {notebooks.BOOK_BUDGET}"


def faults() -> Faults:
    """Every fault, a line each, with the page or file it is in."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted(BOOK.glob("*.md"))}
    pages = notebooks.pages()
    yield from contents(pages)
    yield from numbers(texts)
    yield from citations(texts)
    yield from references(texts)
    yield from equations.collect().problems()
    yield from the_map(texts)
    yield from self_test(texts)
    yield from slide_links(texts)
    yield from times(pages)
    for name, text in texts.items():
        yield from (f"{name}: {fault}" for fault in exercises(text))
        yield from (f"{name}: {fault}" for fault in formulas(text))
    for n, (_, names) in enumerate(part for part in slides.parts() if part[0][0] in "IV"):
        for name in names:
            yield from (f"{name}: {fault}" for fault in lesson(texts[name], n < SPINE))
    for page in pages:
        yield from (f"{page.stem}: {fault}" for fault in twin(page))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--counts", action="store_true", help="print the counts of every page")
    if parser.parse_args().counts:
        print(f"{'page':<32}{'words':>7}{'equations':>11}{'lines':>7}{'exercises':>11}{'kB':>7}")
        for path in notebooks.in_order(BOOK.glob("*.md")):
            text, nb = path.read_text("utf-8"), notebooks.twin(path)
            counts = words(text), displayed(text), lines(text), len(EXERCISE.findall(text))
            size = nb.stat().st_size // 1000 if nb.exists() else 0
            print("{:<32}{:>7}{:>11}{:>7}{:>11}{:>7}".format(path.stem, *counts, size))
    all_faults = list(faults())
    print(*all_faults, sep="\n", end="\n" if all_faults else "")
    print(
        f"book/: {len(all_faults)} faults of form"
        if all_faults
        else "book/: its pages keep their form"
    )
    return 1 if all_faults else 0


if __name__ == "__main__":
    sys.exit(main())
