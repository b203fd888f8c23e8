"""A formula stays on one line with the full stop behind it and the bracket before it, and so does a
number with its bound, its error and its unit.

A browser may break a line on either side of a formula, and would leave "." or "(" alone.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

BEFORE = re.compile(r"[(\[“‘]+\Z")
BEHIND = re.compile(r"[.,;:!?)\]”’]+\w*")
UNITS = r"(?:%|×|dB|bits?|nats?|bits/\w+|nats/\w+|ms|s|GB|MB|KB|GiB|MiB|kB|px|F)(?!\w)"
# of "≤ 2.51 ± 0.01 bits": behind a sign, and before an error or a unit
INSIDE = re.compile(
    rf"(?<=[≤≥<>≈=]) (?=[−+]?\d)|(?<=\d) (?=± ?\d|{UNITS})|(?<=±) (?=\d)|(?<=seeds) (?=±)"
)
PRINTED = re.compile(r'<div class="highlight-myst-ansi.*?</pre>', re.S)
OPTION = re.compile(r"(?<=[\s`(])--[a-z][\w-]*")
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


def keep_options(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """No line that a cell printed breaks inside of `--option`: a browser may, behind a hyphen."""

    def mend(printed: re.Match[str]) -> str:
        return OPTION.sub(r'<span class="pre">\g<0></span>', printed[0])

    context["body"] = PRINTED.sub(mend, context.get("body", ""))


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", keep_together)
    app.connect("doctree-read", keep_numbers)
    app.connect("html-page-context", keep_options)
