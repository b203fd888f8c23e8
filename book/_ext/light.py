"""What the theme loads on every page, nearly two megabytes, and no page here needs.

- A script that draws the icons, which the font of the theme's own styles draws as well. Like the
  script, this hides them from those who listen to a page: each is beside a name, or in a button
  that has one.
- The index of the search, which only the page of its results reads.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ICONS = re.compile(r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>')
ICON = re.compile(r'<i (?=class="[^"]*\bfa-)(?![^>]*aria-hidden)')
SEARCH = re.compile(
    r'\s*<script src="[^"]*\b(searchtools|language_data|searchindex)\.js"></script>'
)


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Take the scripts out of the pages that were written."""
    if exception is not None or app.builder.format != "html":
        return
    results = Path(app.outdir, "search.html")
    for page in Path(app.outdir).rglob("*.html"):
        html = page.read_text("utf-8")
        light = ICON.sub('<i aria-hidden="true" ', ICONS.sub("", html))
        if page != results:
            light = SEARCH.sub("", light)
        if light != html:
            page.write_text(light, "utf-8")
    for script in Path(app.outdir, "_static/scripts").glob("fontawesome.js*"):
        script.unlink()


def setup(app: Sphinx) -> None:
    app.connect("build-finished", lighten)
