"""What the theme's HTML lacks for those who listen to a page, or walk through it by keyboard."""

import re
from typing import Any

from sphinx.application import Sphinx

MENDED = [
    # the corner of a table with names in its first column heads nothing
    (re.compile(r'<th(?: class="[^"]*")?>(?:<p></p>)?</th>'), "<td></td>"),
    # a deprecated role, and not one of what a list may hold
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
    # the same name for every exercise and solution of a page
    (re.compile(r'<section id="(?:exercise|solution)-content">'), "<section>"),
]
ARXIV = re.compile(r"\barXiv:(\d{4}\.\d{4,5})\b(?!</a>)")  # in the bibliography


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    for wrong, right in MENDED:
        context["body"] = wrong.sub(right, context.get("body", ""))
    if page == "bibliography":
        link = r'<a class="reference external" href="https://arxiv.org/abs/\1">\g<0></a>'
        context["body"] = ARXIV.sub(link, context["body"])
    menu = context["generate_toctree_html"]

    def named_menu(*args: Any, **options: Any) -> str:
        """The menu, where what unfolds a part of it has a name."""
        text = str(menu(*args, **options))
        return text.replace("<summary>", '<summary aria-label="Pages below">')

    context["generate_toctree_html"] = named_menu


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", mend, priority=900)  # after the theme has made its menu
