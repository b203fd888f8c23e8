"""Laboratory notes: the READMEs of `experiments/`, a folded box for each question of its index.

```{notes}
```
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

BOOK = Path(__file__).parents[1]
EXPERIMENTS = BOOK.parent / "experiments"
LINE = re.compile(r"^\| (?P<question>[^|]+\?) \| (?P<answer>[^|]+) \| \[(?P<folder>\w+)\]", re.M)
LINK = re.compile(r"\]\((?!\w+:|#)(?P<path>[^)#]+)\)")


def readdressed(text: str, folder: Path) -> str:
    """The text of a README with its links as a page of the book needs them: to a page, to the note
    of another question, or to a file of the repository."""

    def address(match: re.Match[str]) -> str:
        path = (folder / match["path"]).resolve()
        if path.parent == BOOK:
            return f"]({path.name})"
        if path.name == "README.md" and path.parent.parent == EXPERIMENTS:
            return f"](#note-{path.parent.name.replace('_', '-')})"
        if path.is_dir():
            return "]()"
        return f"]({os.path.relpath(path, BOOK)})"

    return LINK.sub(address, text).replace("]()", "]")


def notes() -> Iterator[str]:
    """MyST of every question: its answer, and folded below it what its README says."""
    for line in LINE.finditer((EXPERIMENTS / "README.md").read_text("utf-8")):
        folder = EXPERIMENTS / line["folder"]
        text = readdressed((folder / "README.md").read_text("utf-8"), folder)
        body = re.sub(r"^## (.+)$", r"**\1.**", text.partition("\n")[2], flags=re.M)
        yield "\n".join(
            [
                f"(note-{line['folder'].replace('_', '-')})=",
                f"::::{{dropdown}} {line['question']}",
                "",
                f"*{line['answer'].strip()}*",
                body.strip(),
                "::::",
                "",
            ]
        )


class Notes(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        for path in [EXPERIMENTS / "README.md", *EXPERIMENTS.glob("*/README.md")]:
            self.env.note_dependency(str(path))
        box = nodes.container(classes=["no-first-use"])
        lines = "\n".join(notes()).splitlines()
        self.state.nested_parse(StringList(lines, str(EXPERIMENTS / "README.md")), 0, box)
        return box.children


def setup(app: Sphinx) -> None:
    app.add_directive("notes", Notes)
