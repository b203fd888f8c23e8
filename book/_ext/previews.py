"""Previews: what a glossary term means or an equation says, shown where a link to it stands.

Every page bears, in `<template>`s that nothing shows by itself, the definitions and equations to
which it links; `previews.js` shows them on hover, focus and tap. So it works from files, without a
network, and without scripts the links are links.
"""

import re
from functools import partial
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from book._ext.first_use import entries

LINKS = re.compile(r'class="[^"]*\breference internal" href="[\w./-]*#((?:term|equation)-[\w-]+)"')


def definitions(app: Sphinx) -> dict[str, str]:
    """{anchor: HTML without links} of every term of the book's glossaries."""
    found = {}
    read = partial(app.env.get_and_resolve_doctree, builder=app.builder)
    for _, terms, definition in entries(app.env, read):
        title = nodes.paragraph("", "", nodes.strong("", terms[0].astext()))
        html = "".join(rendered(app, node) for node in [title, *definition.children])
        found |= {anchor: html for term in terms for anchor in term["ids"]}
    return found


def rendered(app: Sphinx, node: nodes.Node) -> str:
    return re.sub(r"</?a\b[^>]*>", "", str(app.builder.render_partial(node)["fragment"]))


def equation(app: Sphinx, anchor: str) -> str | None:
    """The equation of this anchor as HTML, without its number."""
    if known := app.cnf_ties.by_label.get(anchor.removeprefix("equation-")):
        return rendered(app, nodes.math_block("", known.latex, nowrap=False, number=None))
    return None


def add_previews(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if doctree is None:
        return
    if not hasattr(app, "cnf_definitions"):
        app.cnf_definitions = definitions(app)
    for anchor in dict.fromkeys(LINKS.findall(context["body"])):
        if html := app.cnf_definitions.get(anchor) or equation(app, anchor):
            context["body"] += f'<template data-preview="{anchor}">{html}</template>\n'


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", add_previews)
