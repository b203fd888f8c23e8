"""How long a page takes: to read, under its title, and to run, there and in one table.

Reading time is counted in words as the site is built: running text, captions and the code that is
not folded, without solutions and outputs; an equation counts as twenty words. A lesson, which takes
longer than its words, states its own time instead. Run times are those that `make times` kept; the
directive `{run-times}` makes the table of them.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_exercise.nodes import solution_node

from tools import notebooks

WORDS_A_MINUTE = 200
WORDS_OF_AN_EQUATION = 20
SHORTEST = 150  # a page of fewer words is no page to read
LOOKED_UP = {"api", "bibliography", "equations", "glossary"}  # the first word of a page's name
PAGE = "run-times"
UNREAD = (solution_node, nodes.raw, nodes.comment, nodes.substitution_definition)


def words(node: nodes.Node) -> int:
    """Words of what one reads from top to bottom."""
    if isinstance(node, nodes.Text):
        return len(node.split())
    if isinstance(node, (nodes.math_block, nodes.math)):
        return WORDS_OF_AN_EQUATION if isinstance(node, nodes.math_block) else 1
    classes = node.get("classes", []) if isinstance(node, nodes.Element) else []
    is_folded = "cell_input" in classes and "tag_hide-input" in node.parent["classes"]
    if is_folded or "cell_output" in classes or isinstance(node, UNREAD):
        return 0
    return sum(map(words, node.children))


def recorded(app: Sphinx) -> dict[str, Any]:
    """What `make times` kept; no pages before it ran."""
    path = Path(app.srcdir).parent / notebooks.TIMES
    return json.loads(path.read_text("utf-8")) if path.exists() else {"pages": []}


def add_line(app: Sphinx, doctree: nodes.document) -> None:
    """About N minutes to read, M s to run: under the title. Not the first where the page says what
    it **Takes**."""
    docname = app.env.docname
    title = next(iter(doctree.findall(nodes.title)), None)
    count = words(doctree)
    if title is None or count < SHORTEST or docname.split("-")[0] in LOOKED_UP:
        return
    minutes = max(1, round(count / WORDS_A_MINUTE))
    line = nodes.paragraph(classes=["reading-time"])
    if all(strong.astext() != "Takes" for strong in doctree.findall(nodes.strong)):
        line += nodes.Text(f"About {minutes} minute{'s' if minutes > 1 else ''} to read")
    known = {entry["page"]: entry["seconds"] for entry in recorded(app)["pages"]}
    if docname in known:
        uri = app.builder.get_relative_uri(docname, PAGE)
        link = nodes.reference("", f"{known[docname]:.0f} s to run", internal=True, refuri=uri)
        line += [nodes.Text(", "), link] if len(line) else [nodes.Text("The code takes "), link]
    if len(line):
        title.parent.insert(title.parent.index(title) + 1, line)


class RunTimes(SphinxDirective):
    """The table of run times, with the budgets."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(Path(self.env.srcdir).parent / notebooks.TIMES))
        return self.parse_text_to_nodes(table(recorded(self.env.app)))


def table(known: dict[str, Any]) -> str:
    """The Markdown of the directive: the budgets, on what and when pages were timed, and each."""
    pages = known["pages"]
    if not pages:
        return "No times are kept yet: `make times`."
    slowest = max(pages, key=lambda entry: entry["seconds"])
    lines = ["| | seconds | budget |", "|---|---:|---:|"]
    said = f"| slowest page, {{doc}}`{slowest['page']}` | {slowest['seconds']:.0f} |"
    lines.append(f"{said} {notebooks.PAGE_BUDGET} |")
    if book := known.get("book"):
        said = f"| the book, {book['pages']} pages, {book['jobs']} at a time"
        lines.append(f"{said} | {book['seconds']:.0f} | {notebooks.BOOK_BUDGET} |")
    total = sum(entry["seconds"] for entry in pages)
    lines.append(f"| all pages, one after the other | {total:.0f} |  |")
    for group, number in Counter(map(conditions, pages)).items():
        lines += ["", f"{number} page{'s' if number > 1 else ''}: {group}."]
    lines += ["", "| page | seconds |", "|---|---:|"]
    lines += [f"| {{doc}}`{entry['page']}` | {entry['seconds']:.1f} |" for entry in pages]
    return "\n".join(lines)


def conditions(entry: dict[str, Any]) -> str:
    """On what, with what and when a page was timed."""
    at_once = f"{entry['jobs']} at a time" if entry["jobs"] > 1 else "one at a time"
    commit = f"commit `{entry['git'][:10]}`, " if entry["git"] else ""  # none outside of git
    return f"{entry['hardware']}, {at_once}, PyTorch {entry['torch']}, {commit}{entry['date']}"


def setup(app: Sphinx) -> None:
    app.add_directive("run-times", RunTimes)
    app.connect("doctree-read", add_line)
