"""The paper that `make paper` typesets: a link to it on a page, if it was built before the site.

```{paper} Its text.
```
"""

import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PDF = Path(__file__).parents[2] / "_build" / "paper.pdf"


class Paper(SphinxDirective):
    """A paragraph: the link, or how the PDF is made."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        paragraph, text = nodes.paragraph(), self.arguments[0]
        if PDF.exists():
            paragraph += nodes.reference("", text, refuri=PDF.name)
            return [paragraph]
        paragraph += [nodes.Text(f"{text}: "), nodes.literal("", "make paper"), nodes.Text(".")]
        return [paragraph]


def copy(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and PDF.exists() and app.builder.format == "html":
        shutil.copyfile(PDF, Path(app.outdir, PDF.name))


def setup(app: Sphinx) -> None:
    app.add_directive("paper", Paper)
    app.connect("build-finished", copy)
