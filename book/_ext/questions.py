"""Questions with answers to choose from, of `questions.yml`.

`{questions}` asks all of a part. `{recall}`, at the start of a lesson, asks some about earlier
ones, each named by the label of its section and its number among the questions about that. Each
answer is a box that unfolds its feedback, by mouse, touch or keyboard, without scripts.
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


class Recall(SphinxDirective):
    has_content = True  # lines such as `ch-why 2`: the second question that sends readers to ch-why

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        try:
            asked = [recalled(line) for line in self.content]
        except LookupError as error:
            raise self.error(str(error)) from error
        lines = ["::::::{dropdown} Three questions about earlier lessons", ":icon: history", ""]
        lines += "\n".join(markdown(n, q) for n, q in enumerate(asked, 1)).splitlines()
        box = nodes.container(classes=["no-first-use"])
        self.state.nested_parse(StringList([*lines, "::::::"], str(FILE)), 0, box)
        return box.children


def recalled(line: str) -> dict[str, Any]:
    """The question of a line `label number`. Raises LookupError."""
    label, number = line.split()
    parts = yaml.safe_load(FILE.read_text("utf-8"))
    about = [q for questions in parts.values() for q in questions if q["read"] == label]
    if not 0 < int(number) <= len(about):
        raise LookupError(f"{line}: {FILE.name} has {len(about)} questions about {label}")
    return about[int(number) - 1]


def setup(app: Sphinx) -> None:
    app.add_directive("recall", Recall)
    app.add_directive("questions", Questions)
