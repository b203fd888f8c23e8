"""First-use links: on every page the first mention of a glossary term leads to its definition.

Only running text counts: paragraphs outside tables, glossaries and what cells show, and in them
no link, code or formula; headings, captions and titles of boxes are no paragraphs. A term is found
whatever its capitals, in its simple plural, and as a whole; a longer term wins over a shorter one
inside it. Several terms over one definition are one term. The class `no-first-use` keeps a part of
a page as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

APART = (addnodes.glossary, nodes.table, nodes.footnote, nodes.citation, nodes.topic)
APART_CLASSES = {"cell_input", "cell_output", "no-first-use"}
ALSO_A_VERB = "squeeze"  # in the plural, which is then no mention
INLINE = (nodes.emphasis, nodes.strong)  # what is looked into inside a paragraph


def entries(env: BuildEnvironment, read: Callable) -> Iterator[tuple[str, list, nodes.definition]]:
    """(page, terms, definition) of all that the book's glossaries define; `read` opens a page."""
    for docname in sorted({docname for docname, _ in env.get_domain("std")._terms.values()}):
        for item in read(docname).findall(nodes.definition_list_item):
            if isinstance(item.parent.parent, addnodes.glossary):
                yield docname, list(item.findall(nodes.term)), next(item.findall(nodes.definition))


def pattern(terms: Iterable[str]) -> re.Pattern[str]:
    """Any of the terms, the longest first; the group is the term without its plural."""
    names = sorted(terms, key=len, reverse=True)
    words = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in names)
    plural = rf"(?:(?<!{ALSO_A_VERB})(?:s|es))?"
    return re.compile(rf"(?<![\w/-])({words}){plural}(?![\w/-])", re.IGNORECASE)


def plain(node: nodes.Element) -> Iterator[nodes.Text]:
    """The pieces of text in a paragraph or in what is emphasised there, each over all its lines."""
    whole: list[nodes.Node] = []
    for is_text, group in groupby(node.children, lambda child: isinstance(child, nodes.Text)):
        found = list(group)
        whole += [nodes.Text("".join(found))] if is_text else found
    node[:] = whole
    for child in whole:
        if isinstance(child, nodes.Text):
            yield child
        elif isinstance(child, INLINE):
            yield from plain(child)


def is_apart(node: nodes.Element | None) -> bool:
    """Whether a node lies in something that is not running text."""
    if node is None:
        return False
    is_here = isinstance(node, APART) or APART_CLASSES & set(node["classes"])
    return bool(is_here) or is_apart(node.parent)


def link_first_uses(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the links of one page."""
    terms: dict[str, tuple[str, str]] = {}  # in lower case: page, anchor
    for page, names, _ in entries(app.env, app.env.get_doctree):
        place = page, names[0]["ids"][0]
        terms |= {" ".join(name.astext().lower().split()): place for name in names}
    if not terms:
        return
    anywhere, used = pattern(terms), set()
    paragraphs = [p for p in doctree.findall(nodes.paragraph) if not is_apart(p)]
    for text in [text for paragraph in paragraphs for text in plain(paragraph)]:
        pieces, end, string = [], 0, text.astext()
        for match in anywhere.finditer(string):
            page, anchor = terms[" ".join(match[1].lower().split())]
            if anchor in used:
                continue
            used.add(anchor)
            uri = app.builder.get_relative_uri(docname, page) + "#" + anchor
            link = nodes.reference("", match[0], internal=True, refuri=uri, classes=["first-use"])
            pieces += [nodes.Text(string[end : match.start()]), link]
            end = match.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(string[end:])])


def setup(app: Sphinx) -> None:
    app.connect("doctree-resolved", link_first_uses)
