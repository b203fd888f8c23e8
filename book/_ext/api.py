"""API pages from the docstrings, read with `ast`: nothing is imported.

```{api} cnf.layers.coupling
```

shows every public class and function of a module, or those named in the body, one a line: the
equations that its docstrings cite, its signature, its docstring, and its methods that have one.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from book._ext.equations import (
    CITED,
    METHODS,
    Definition,
    Equation,
    Source,
    Ties,
    formula,
    link,
    number,
)

INLINE = re.compile(r":eq:`(?P<label>[\w-]+)`|`{1,2}(?P<code>.+?)`{1,2}", re.DOTALL)


def public(source: Source) -> list[str]:
    """Names of the classes and functions of a module that do not begin with an underscore."""
    return [name for name in source.definitions if "." not in name and name[0] != "_"]


def source_of(ties: Ties, module: str) -> Source:
    """Raises KeyError for a module that is not there."""
    path = module.replace(".", "/")
    return ties.files.get(f"{path}.py") or ties.files[f"{path}/__init__.py"]


def said(text: str) -> nodes.paragraph:
    """Words, `code` and the numbers of equations."""
    line, end, text = nodes.paragraph(), 0, re.sub(r" {3,}", "  ", re.sub(r"\n\s*", " ", text))
    for match in INLINE.finditer(text):
        line += nodes.Text(text[end : match.start()])
        line += nodes.literal("", match["code"]) if match["code"] else number(match["label"])
        end = match.end()
    line += nodes.Text(text[end:])
    return line


def fields(pairs: Iterable[tuple[nodes.Node, str]], classes: str) -> nodes.field_list:
    """Names beside what is said of them."""
    found = nodes.field_list(classes=[classes])
    for name, text in pairs:
        body = nodes.field_body("", said(text.strip()))
        found += nodes.field("", nodes.field_name("", "", name), body)
    return found


def kind(entry: str) -> str:
    """Of a line of a docstring with what is indented below it."""
    name = entry.partition(":")[0].rstrip()
    if entry.startswith(("Args:\n", "Attributes:\n")):
        return name
    recipe = "api-recipe" if name in METHODS else "text"
    return "api-facts" if name in ("Shapes", "Raises", "Laws") else recipe


def rendered(doc: str) -> Iterator[nodes.Node]:
    """The blocks of a docstring: recipe, arguments, paragraphs, tables and examples."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(doc)):
        if block.startswith((" ", ">>>", "==")):
            yield nodes.literal_block(block, block, language="pycon" if ">>>" in block else "none")
            continue
        for classes, group in groupby(re.split(r"\n(?! )", block), kind):
            if classes == "text":
                yield said(" ".join(group))
            elif classes.startswith("api"):
                pairs = (entry.split(":", 1) for entry in group)
                yield fields(((nodes.Text(name.rstrip()), text) for name, text in pairs), classes)
            else:
                items = textwrap.dedent("\n".join(group).partition("\n")[2])
                pairs = (item.split(":", 1) for item in re.split(r"\n(?! )", items))
                yield nodes.rubric("", classes)
                yield fields(((nodes.literal("", name), text) for name, text in pairs), "api-items")


def signature(node: Definition, drop_self: bool = False) -> str:
    """The arguments as they are written, (a: int, b: str = "c")."""
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if getattr(n, "name", "") == "__init__"]
        if made:
            return signature(made[0], drop_self=True).partition(" -> ")[0]
        own = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        if not own or not any("dataclass" in ast.unparse(d) for d in node.decorator_list):
            return ""
        return f"({', '.join(ast.unparse(n) for n in own)})"
    text = ast.unparse(node.args)
    if drop_self:
        text = re.sub(r"^(self|cls)(, |$)", "", text)
    back = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({text}){back}"


class Api(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        module = self.arguments[0]
        try:
            source = source_of(self.env.app.cnf_ties, module)
            names = [name.strip() for name in self.content if name.strip()] or public(source)
            shown = [self.shown(module, source, name) for name in names]
        except KeyError as error:
            raise self.error(f"there is no {error} in {module}") from None
        self.env.note_dependency(str(self.env.app.cnf_ties.root / source.file))
        return shown

    def shown(self, module: str, source: Source, name: str) -> nodes.section:
        ties, node, key = self.env.app.cnf_ties, source.definitions[name], f"{module}.{name}"
        section = nodes.section("", nodes.title("", name), ids=[key], names=[key], classes=["api"])
        inner = node.body if isinstance(node, ast.ClassDef) else []
        methods = [at for at in inner if isinstance(at, Definition) and at.name[0] != "_"]
        methods = [at for at in methods if ast.get_docstring(at)]
        docs = [ast.get_docstring(at) or "" for at in (node, *methods)]
        section += self.head(source, name, module, signature(node))
        found = (ties.by_label.get(label) for label in CITED.findall("\n".join(docs)))
        alike: dict[str, Equation] = {}  # a later chapter may repeat what an earlier one derives
        for equation in filter(None, found):
            alike.setdefault(re.sub(r"\s|\\[,;]", "", equation.latex), equation)
        section += [formula(equation) for equation in alike.values()]
        section += rendered(docs[0])
        listing = nodes.definition_list(classes=["api-methods"])
        for at, doc in zip(methods, docs[1:], strict=True):
            head = self.head(source, f"{name}.{at.name}", "", signature(at, drop_self=True))
            term = nodes.term("", "", *head.children)
            body = nodes.definition("", *rendered(doc))
            listing += nodes.definition_list_item("", term, body)
        if methods:
            section += listing
        return section

    def head(self, source: Source, name: str, module: str, text: str) -> nodes.paragraph:
        """module.Name(arguments), the name a link to its lines."""
        line = nodes.paragraph(classes=["api-signature"])
        line += nodes.inline("", f"{module}." if module else "", classes=["api-module"])
        app, place = self.env.app, source.place(name)
        line += link(app, self.env.docname, place, name.rpartition(".")[2])
        line += nodes.literal("", text)
        return line


def setup(app: Sphinx) -> None:
    app.setup_extension("book._ext.equations")
    app.add_directive("api", Api)
