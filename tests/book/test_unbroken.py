"""A formula and the marks beside it stand on one line."""

import pytest
from docutils import nodes

from book._ext.unbroken import keep_together


@pytest.mark.parametrize(
    ("before", "behind", "together"),
    [
        ("so ", ".", "z."),
        ("(", "), and", "(z),"),
        ("the “", "” of", "“z”"),
        ("where ", " is", None),
    ],
)
def test_formula_keeps_what_may_not_stand_alone(before, behind, together):
    page, formula = nodes.document(None, None), nodes.math("z", "z")
    page += nodes.paragraph("", "", nodes.Text(before), formula, nodes.Text(behind))
    keep_together(None, page)
    assert page.astext() == f"{before}z{behind}"
    found = [span.astext() for span in page.findall(nodes.inline) if "unbroken" in span["classes"]]
    assert found == ([together] if together else [])
