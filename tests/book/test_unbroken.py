"""A formula and the marks beside it stand on one line, and so does a number with its error."""

import pytest
from docutils import nodes

from book._ext.unbroken import keep_numbers, keep_together


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


def test_number_keeps_its_bound_and_error():
    page = nodes.document(None, None)
    page += nodes.paragraph("", "", nodes.Text("so ≤ 2.51 ± 0.01 bits, ≤ y or "))
    page[0] += nodes.literal("", "1 ± 2")
    keep_numbers(None, page)
    shown = "so ≤~2.51~±~0.01 bits, ≤ y or 1 ± 2"
    assert page.astext() == shown.replace("~", "\u00a0")
