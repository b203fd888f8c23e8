"""Which lines of the package and which tests stand by which equation of the book.

An equation is `$$ ... $$ (eq-label)` in a page. Code cites it in a docstring, with :eq:`eq-label`;
a test says that it checks it with @pytest.mark.equation("eq-label"). Everything is read with `ast`
from the sources: nothing is imported, nothing runs.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tools.notebooks import in_order

ROOT = Path(__file__).resolve().parents[2]
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


@dataclass(frozen=True)
class Place:
    """A definition: its file, its dotted name in there, and its lines."""

    file: str
    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Equation:
    label: str
    page: str  # its name without .md
    latex: str


@dataclass(frozen=True)
class Source:
    """One Python file: its text and its definitions, in the order of the file."""

    file: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.file)

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Dotted name -> definition; of two with the same name, the last."""
        return dict(walk(self.tree, ""))

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


def sources(root: Path, folder: str) -> list[Source]:
    files = sorted((root / folder).rglob("*.py"))
    return [Source(f.relative_to(root).as_posix(), f.read_text("utf-8")) for f in files]


def equations(root: Path) -> list[Equation]:
    """Every labelled equation of the pages, in the order of the pages."""
    found = []
    for page in in_order((root / "book").glob("*.md")):
        text = page.read_text("utf-8")
        found += [Equation(label, page.stem, latex) for latex, label in EQUATION.findall(text)]
    return found


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
    """The equations, and for each label the places in `cnf/` and in `tests/`."""

    root: Path
    equations: list[Equation]
    code: dict[str, list[Place]]
    tests: dict[str, list[Place]]
    files: dict[str, Source] = field(repr=False)

    @cached_property
    def by_label(self) -> dict[str, Equation]:
        return {equation.label: equation for equation in self.equations}

    @property
    def tied(self) -> list[Equation]:
        return [e for e in self.equations if e.label in self.code or e.label in self.tests]

    def problems(self) -> list[str]:
        """What does not hold together, a sentence each."""
        pages: dict[str, list[str]] = {}
        for equation in self.equations:
            pages.setdefault(equation.label, []).append(equation.page)
        twice = ((label, where) for label, where in pages.items() if len(where) > 1)
        found = [f"{label} labels {len(w)} equations, in {', '.join(w)}" for label, w in twice]
        code, tests = self.code, self.tests
        for labels, said in (
            ({*code, *tests} - pages.keys(), "names {}, which no page has"),
            (code.keys() - tests.keys(), "cites {}, which no test is marked with"),
            (tests.keys() - code.keys(), "checks {}, which no docstring cites"),
        ):
            firsts = ((label, (tests | code)[label][0]) for label in sorted(labels))
            found += [f"{p.file}: {p.name} {said.format(label)}" for label, p in firsts]
        for place in sorted({p for places in tests.values() for p in places}, key=str):
            if not place.name.rpartition(".")[2].startswith("test_"):
                found.append(f"{place.file}: {place.name} is marked with an equation, but no test")
        return found


def collect(root: Path = ROOT) -> Ties:
    package, tests = sources(root, "cnf"), sources(root, "tests")
    ties = Ties(root, equations(root), {}, {}, {s.file: s for s in package + tests})
    for group, found, read in ((package, ties.code, cited), (tests, ties.tests, marked)):
        for source in group:
            for label, name in dict.fromkeys(read(source)):
                found.setdefault(label, []).append(source.place(name))
    return ties
