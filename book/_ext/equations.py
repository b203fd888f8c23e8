"""Every equation with the lines that compute it and the test that checks it.

- Under a tied equation (see `ties`) stands a line with links to its code and its tests.
- The directive `{equations}` lists all of them, chapter by chapter.
- A file of `cnf/` or `tests/` to which a page links has a page of its own in the site, with an
  anchor for every definition and a link back to each equation.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from book._ext import ties as tied
from book._ext.ties import Equation, Place, Ties

FOLDER = "_source"  # the search does not read what stands in there
LABEL = re.compile(r"eq-[\w-]+")
logger = logging.getLogger(__name__)


def collect(app: Sphinx) -> None:
    """Read the sources once a build; what does not hold together is a warning."""
    app.cnf_ties = tied.collect(Path(app.srcdir).parent)
    app.env.cnf_linked = getattr(app.env, "cnf_linked", set())  # the files that have a page
    for problem in app.cnf_ties.problems():
        logger.warning("%s", problem)


def find_template(app: Sphinx, config: Config) -> None:
    config.templates_path = [*config.templates_path, str(Path(__file__).parent)]


def page_of(file: str) -> str:
    """Name of the page that shows a source file."""
    return f"{FOLDER}/{file.removesuffix('.py')}"


def uri(app: Sphinx, docname: str, file: str) -> str:
    """From a page to that of a source file, which there will be."""
    app.env.cnf_linked.add(file)
    return app.builder.get_relative_uri(docname, page_of(file))


def link(app: Sphinx, docname: str, place: Place, text: str | None = None) -> nodes.reference:
    """To the lines of a definition in the page of its file."""
    there = f"{uri(app, docname, place.file)}#{place.name}"
    said = f"{place.file}, lines {place.first} to {place.last}"
    name = nodes.literal("", text or place.name)
    return nodes.reference("", "", name, internal=True, refuri=there, reftitle=said)


def places(app: Sphinx, docname: str, ties: Ties, label: str) -> nodes.paragraph:
    """Code: ... Test: ..."""
    line = nodes.paragraph(classes=["equation-ties", "no-first-use"])
    for word, found in (("Code: ", ties.code), (" \N{MIDDLE DOT} Test: ", ties.tests)):
        for place in found.get(label, []):
            line += nodes.Text(word)
            line += link(app, docname, place)
            word = ", "
    return line


def number(label: str) -> addnodes.pending_xref:
    """The number of an equation, as a link to it."""
    return addnodes.pending_xref(
        "", nodes.literal("", label), refdomain="math", reftype="eq", reftarget=label, refwarn=True
    )


def formula(equation: Equation) -> nodes.container:
    """The equation once more; its number is a link to where it is derived."""
    latex = nodes.math_block("", equation.latex, nowrap=False, number=None, label=None)
    named = nodes.paragraph("", "", number(equation.label))
    return nodes.container("", latex, named, classes=["equation-again"])


class Equations(SphinxDirective):
    """All tied equations: for each chapter a section, for each equation its formula and links."""

    def run(self) -> list[nodes.Node]:
        ties = self.env.app.cnf_ties
        for file in (*ties.files, *{f"book/{e.page}.md" for e in ties.equations}):
            self.env.note_dependency(str(ties.root / file))
        found, page = [], None
        for equation in ties.tied:
            if equation.page != page:
                page = equation.page
                text = (ties.root / "book" / f"{page}.md").read_text("utf-8")
                title = re.search(r"^# (.+)$", text, re.MULTILINE)[1]
                found.append(nodes.section(ids=[f"of-{page}"], names=[f"of-{page}"]))
                found[-1] += nodes.title("", title)
            found[-1] += formula(equation)
            found[-1] += places(self.env.app, self.env.docname, ties, equation.label)
        return found


def lead_to_the_source(app: Sphinx, doctree: nodes.document) -> None:
    """A link to a file of ours leads to its page, and to a definition if it bears its name. Comes
    before Sphinx counts the downloads."""
    ties, docname = app.cnf_ties, app.env.docname
    for node in list(doctree.findall(addnodes.download_reference)):
        file = Path(app.env.relfn2path(node["reftarget"], docname)[1]).resolve()
        file = file.relative_to(ties.root).as_posix() if file.is_relative_to(ties.root) else ""
        if file in ties.files:
            there = uri(app, docname, file)
            if (name := node.astext()) in ties.files[file].definitions:
                there += f"#{name}"
            node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=there))


def tie_equations(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the line of links under every tied equation of a page."""
    ties = app.cnf_ties
    for node in list(doctree.findall(nodes.math_block)):
        label = node.get("label")
        if label in ties.code or label in ties.tests:
            parent = node.parent
            parent.insert(parent.index(node) + 1, places(app, docname, ties, label))


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, context, template) of the page of every source file to which a link leads."""
    domain, formatter = app.env.get_domain("math"), HtmlFormatter(nowrap=True)
    for file in sorted(app.env.cnf_linked & app.cnf_ties.files.keys()):
        page, source = page_of(file), app.cnf_ties.files[file]

        def home(match: re.Match[str], page: str = page) -> str:
            """A label in the source as a link to its equation."""
            if match[0] not in domain.equations:
                return match[0]
            there = app.builder.get_relative_uri(page, domain.equations[match[0]][0])
            return f'<a href="{there}#equation-{match[0]}">{match[0]}</a>'

        code = highlight(source.text, PythonLexer(stripnl=False), formatter)
        rows = [
            f'<span class="line-number">{number}</span>{line}\n'
            for number, line in enumerate(LABEL.sub(home, code).rstrip("\n").split("\n"), 1)
        ]
        for place in map(source.place, source.definitions):
            opened = f'<span class="definition" id="{place.name}">'
            rows[place.first - 1] = opened + rows[place.first - 1]
            rows[place.last - 1] += "</span>"
        yield page, {"file": file, "code": "".join(rows)}, "source.html"


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("equations", Equations)
    app.connect("config-inited", find_template)
    app.connect("builder-inited", collect)
    app.connect("doctree-read", lead_to_the_source, priority=100)
    app.connect("doctree-resolved", tie_equations)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": False, "parallel_write_safe": False}  # pages say what they link
