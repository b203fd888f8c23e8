"""A formula stays on one line with the full stop behind it and the bracket before it.

A browser may break a line on either side of a formula, and would leave "." or "(" alone.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

BEFORE = re.compile(r"[(\[“‘]+\Z")
BEHIND = re.compile(r"[.,;:!?)\]”’]+\w*")


def keep_together(app: Sphinx, doctree: nodes.document) -> None:
    for formula in list(doctree.findall(nodes.math)):
        parent, together = formula.parent, [formula]
        at = parent.index(formula)
        if at + 1 < len(parent) and isinstance(text := parent[at + 1], nodes.Text):
            if found := BEHIND.match(text):
                together.append(nodes.Text(found[0]))
                parent[at + 1] = nodes.Text(text[found.end() :])
        if at and isinstance(text := parent[at - 1], nodes.Text):
            if found := BEFORE.search(text):
                together.insert(0, nodes.Text(found[0]))
                parent[at - 1] = nodes.Text(text[: found.start()])
        if len(together) > 1:
            parent[at] = nodes.inline("", "", *together, classes=["unbroken"])


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", keep_together)
