"""Every equation with the lines that compute it and the test that checks it.

An equation is `$$ ... $$ (eq-label)` in a page. Code cites it in a docstring, with :eq:`eq-label`;
a test says that it checks it with @pytest.mark.equation("eq-label"). Everything is read with `ast`
from the sources: nothing is imported, nothing runs.

- Under such an equation stands a line with links to its code and its tests.
- The directive `{equations}` lists all of them, chapter by chapter.
- A file of `cnf/`, `experiments/` or `tests/` to which a page links has a page of its own in the
  site, with an anchor for every definition and a link back to each equation.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from tools.notebooks import ROOT, in_order

FOLDER = "_source"  # the search does not read what stands in there
LABEL = re.compile(r"eq-[\w-]+")
CITED = re.compile(r":eq:`([\w-]+)`")
EQUATION = re.compile(r"^\$\$\n((?:(?!\$\$).)+)\n\$\$ \((eq-[\w-]+)\)$", re.DOTALL | re.MULTILINE)
# the line of a class's docstring in which an equation stands says which method computes it
METHODS = {
    "Forward": ("forward",),
    "Inverse": ("inverse",),
    "log|det|": ("log_det", "forward"),
    "-log q": ("forward",),
    "Sample": ("sample",),
    "Restore": ("restore",),
}
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
logger = logging.getLogger(__name__)


# -- what the sources say --------------------------------------------------------------------------


class Place(NamedTuple):
    """A definition: its file, its dotted name in there, and its lines."""

    file: str
    name: str
    first: int
    last: int


class Equation(NamedTuple):
    label: str
    page: str  # its name without .md
    latex: str


@dataclass(frozen=True)
class Source:
    """One Python file."""

    file: str
    text: str

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Dotted name -> definition, in the order of the file; of two with one name, the last."""
        return dict(walk(ast.parse(self.text, self.file), ""))

    def place(self, name: str) -> Place:
        node = self.definitions[name]
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        return Place(self.file, name, first, node.end_lineno)


def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Classes and functions, and those inside classes."""
    for child in getattr(node, "body", []):
        if isinstance(child, Definition):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")


def cited(source: Source) -> Iterator[tuple[str, str]]:
    """(label, dotted name of the definition that computes it) of every citation in a docstring."""
    for name, node in source.definitions.items():
        there = name
        for line in (ast.get_docstring(node) or "").splitlines():
            if not line.startswith(" "):  # what is indented goes on with the line above
                methods = (f"{name}.{m}" for m in METHODS.get(line.split(":")[0].rstrip(), ()))
                there = next((m for m in methods if m in source.definitions), name)
            yield from ((label, there) for label in CITED.findall(line))


def marked(source: Source) -> Iterator[tuple[str, str]]:
    """(label, dotted name) of every @pytest.mark.equation("label", ...)."""
    for name, node in source.definitions.items():
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                yield from ((ast.literal_eval(label), name) for label in mark.args)


@dataclass(frozen=True)
class Ties:
    """The equations in the order of the pages, for each label the places in the code (of
    `cnf/` and `experiments/`) and in `tests/`, and all files of these."""

    root: Path
    equations: list[Equation]
    code: dict[str, list[Place]] = field(default_factory=dict)
    tests: dict[str, list[Place]] = field(default_factory=dict)
    files: dict[str, Source] = field(default_factory=dict, repr=False)

    @cached_property
    def by_label(self) -> dict[str, Equation]:
        return {equation.label: equation for equation in self.equations}

    @property
    def tied(self) -> list[Equation]:
        return [e for e in self.equations if e.label in self.code or e.label in self.tests]

    def problems(self) -> list[str]:
        """What does not hold together, a sentence each."""
        found, code, tests = [], self.code, self.tests
        for label in self.by_label:
            pages = [e.page for e in self.equations if e.label == label]
            if len(pages) > 1:
                found.append(f"{label} labels {len(pages)} equations, in {', '.join(pages)}")
        for labels, said in (
            ({*code, *tests} - self.by_label.keys(), "names {}, which no page has"),
            (code.keys() - tests.keys(), "cites {}, which no test is marked with"),
            (tests.keys() - code.keys(), "checks {}, which no docstring cites"),
        ):
            firsts = ((label, (tests | code)[label][0]) for label in sorted(labels))
            found += [f"{p.file}: {p.name} {said.format(label)}" for label, p in firsts]
        for place in sorted({p for places in tests.values() for p in places}):
            if not place.name.rpartition(".")[2].startswith("test_"):
                found.append(f"{place.file}: {place.name} is marked with an equation, but no test")
        return found


def collect(root: Path = ROOT) -> Ties:
    """Read the pages and sources of a repository."""
    ties = Ties(root, [])
    for page in in_order((root / "book").glob("*.md")):
        text = page.read_text("utf-8")
        ties.equations.extend(Equation(n, page.stem, x) for x, n in EQUATION.findall(text))
    for folder, found, read in (
        ("cnf", ties.code, cited),
        ("experiments", ties.code, cited),
        ("tests", ties.tests, marked),
    ):
        for path in sorted((root / folder).rglob("*.py")):
            source = Source(path.relative_to(root).as_posix(), path.read_text("utf-8"))
            ties.files[source.file] = source
            for label, name in dict.fromkeys(read(source)):
                found.setdefault(label, []).append(source.place(name))
    return ties


# -- what the site shows ---------------------------------------------------------------------------


def begin(app: Sphinx) -> None:
    """Read the sources once a build; what does not hold together is a warning."""
    app.cnf_ties = collect(Path(app.srcdir).parent)
    app.env.cnf_linked = getattr(app.env, "cnf_linked", set())  # the files that have a page
    for problem in app.cnf_ties.problems():
        logger.warning("%s", problem)


def page_of(file: str) -> str:
    """Name of the page that shows a source file."""
    return f"{FOLDER}/{file.removesuffix('.py')}"


def uri(app: Sphinx, docname: str, file: str) -> str:
    """From a page to that of a source file, which there will be."""
    app.env.cnf_linked.add(file)
    return app.builder.get_relative_uri(docname, page_of(file))


def link(app: Sphinx, docname: str, place: Place, text: str = "") -> nodes.reference:
    """To the lines of a definition in the page of its file."""
    there = f"{uri(app, docname, place.file)}#{place.name}"
    said = f"{place.file}, lines {place.first} to {place.last}"
    name = nodes.literal("", text or place.name)
    return nodes.reference("", "", name, internal=True, refuri=there, reftitle=said)


def places(app: Sphinx, docname: str, label: str) -> nodes.paragraph:
    """Code: ... Test: ..."""
    line, ties = nodes.paragraph(classes=["equation-ties", "no-first-use"]), app.cnf_ties
    for word, found in (("Code: ", ties.code), (" \N{MIDDLE DOT} Test: ", ties.tests)):
        for place in found.get(label, []):
            line += [nodes.Text(word), link(app, docname, place)]
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
        app, found = self.env.app, {}
        ties = app.cnf_ties
        for file in (*ties.files, *{f"book/{e.page}.md" for e in ties.equations}):
            self.env.note_dependency(str(ties.root / file))
        for equation in ties.tied:
            if (page := equation.page) not in found:
                text = (ties.root / "book" / f"{page}.md").read_text("utf-8")
                title = nodes.title("", re.search(r"^# (.+)$", text, re.MULTILINE)[1])
                found[page] = nodes.section("", title, ids=[f"of-{page}"], names=[f"of-{page}"])
            found[page] += [formula(equation), places(app, self.env.docname, equation.label)]
        return list(found.values())


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
    for node in list(doctree.findall(nodes.math_block)):
        if (line := places(app, docname, node.get("label"))).children:
            node.parent.insert(node.parent.index(node) + 1, line)


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

        code = LABEL.sub(home, highlight(source.text, PythonLexer(stripnl=False), formatter))
        rows = [
            f'<span class="line-number">{number}</span>{line}\n'
            for number, line in enumerate(code.rstrip("\n").split("\n"), 1)
        ]
        for place in map(source.place, source.definitions):
            opened = f'<span class="definition" id="{place.name}">'
            rows[place.first - 1] = opened + rows[place.first - 1]
            rows[place.last - 1] += "</span>"
        yield page, {"file": file, "code": "".join(rows)}, "source.html"


def setup(app: Sphinx) -> None:
    app.add_directive("equations", Equations)
    app.connect("builder-inited", begin)
    app.connect("doctree-read", lead_to_the_source, priority=100)
    app.connect("doctree-resolved", tie_equations)
    app.connect("html-collect-pages", source_pages)
