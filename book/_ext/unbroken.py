"""A formula stays on one line with the full stop behind it and the bracket before it, and so does a
number with its bound and its error.

A browser may break a line on either side of a formula, and would leave "." or "(" alone.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

BEFORE = re.compile(r"[(\[“‘]+\Z")
BEHIND = re.compile(r"[.,;:!?)\]”’]+\w*")
INSIDE = re.compile(r"(?<=≤) (?=\d)|(?<=\d) (?=± ?\d)|(?<=±) (?=\d)")  # of "≤ 2.51 ± 0.01"
VERBATIM = nodes.FixedTextElement, nodes.literal, nodes.math, nodes.math_block, nodes.raw


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


def keep_numbers(app: Sphinx, doctree: nodes.document) -> None:
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, VERBATIM) and INSIDE.search(text):
            text.parent.replace(text, nodes.Text(INSIDE.sub("\u00a0", text)))


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", keep_together)
    app.connect("doctree-read", keep_numbers)
