"""Questions with answers to choose from: the directive `{questions}` and `questions.yml`.

Each answer is a box that unfolds its feedback, by mouse, touch or keyboard, without scripts.
"""

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FILE = Path(__file__).parents[1] / "questions.yml"


def markdown(number: int, question: dict[str, Any]) -> str:
    """A question as MyST Markdown."""
    lines = [":::::{container} question", f"**{number}.** {question['ask'].strip()}", ""]
    for answer in question["answers"]:
        is_right = "right" in answer
        feedback = f"**Right.** {answer['right']}" if is_right else f"**No.** {answer['wrong']}"
        lines += [
            f"::::{{dropdown}} {answer['say']}",
            f":class-body: {'right' if is_right else 'wrong'}-answer",
            "",
            feedback.strip() + ("" if is_right else f" See {{ref}}`{question['read']}`."),
            "::::",
            "",
        ]
    return "\n".join([*lines, ":::::", ""])


class Questions(SphinxDirective):
    required_arguments = 1  # the part, a key of questions.yml

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        parts = yaml.safe_load(FILE.read_text("utf-8"))
        if self.arguments[0] not in parts:
            raise self.error(f"{FILE.name} has no {self.arguments[0]}, but {', '.join(parts)}")
        asked = parts[self.arguments[0]]
        text = "\n".join(markdown(n, question) for n, question in enumerate(asked, 1))
        box = nodes.container(classes=["no-first-use"])
        self.state.nested_parse(StringList(text.splitlines(), str(FILE)), 0, box)
        return box.children


def setup(app: Sphinx) -> None:
    app.add_directive("questions", Questions)
