"""The buttons at the top of a page: where it runs, what one can download, where it is edited.

- Without the repository's address in `_config.yml` there are no buttons that lead there.
- A page is edited in its Markdown, not in the executed notebook beside it.
- Both can be downloaded: the executed notebook and the Markdown.
"""

import shutil
from pathlib import Path
from typing import Any

from docutils.nodes import document
from sphinx.application import Sphinx
from sphinx.config import Config


def choose(app: Sphinx, config: Config) -> None:
    """Ask the theme for the buttons whose targets exist."""
    options = config.html_theme_options
    is_known = bool(options.get("repository_url"))
    for name in ("use_repository_button", "use_edit_page_button", "use_issues_button"):
        options[name] = is_known
    if not is_known:
        options.pop("launch_buttons", None)


def lead_to_markdown(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Let a notebook's buttons know of the Markdown that it was made from."""
    notebook = Path(app.srcdir, page).with_suffix(".ipynb")
    markdown = notebook.with_suffix(".md")
    if doctree is None or not notebook.exists() or not markdown.exists():
        return
    sources = Path(app.outdir, "_sources")
    sources.mkdir(exist_ok=True)
    shutil.copyfile(markdown, sources / f"{page}.md")
    for buttons in [group.get("buttons", []) for group in context["header_buttons"]]:
        for button in list(buttons):
            there = {"url": button.get("url", "").removesuffix(".ipynb") + ".md"}
            if button.get("label") == "source-edit-button":
                button |= there
            elif button.get("label") == "download-source-button":
                button["tooltip"] = "Download the executed notebook"
                said = {"text": ".md", "tooltip": "Download the page as people edit it"}
                buttons.insert(1, button | said | there | {"label": "download-markdown-button"})


def setup(app: Sphinx) -> None:
    app.connect("config-inited", choose)
    app.connect("html-page-context", lead_to_markdown, priority=600)
