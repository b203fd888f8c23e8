"""A folded cell says what its code makes."""

import pytest
from docutils import nodes

from book._ext.folds import made


@pytest.mark.parametrize(
    "outputs, mode, words",
    [
        ([nodes.figure("", nodes.image(uri="a.png"))], "input", "this figure"),
        ([nodes.literal_block("1", "1"), nodes.image(uri="a.png")], "input", "this figure"),
        (
            [nodes.raw("", '<div class="drawn" role="img"></div>', format="html")],
            "input",
            "this figure",
        ),
        ([nodes.raw("", "<p>1</p>", format="html")], "input", "this cell"),
        ([nodes.table()], "input", "this table"),
        ([nodes.literal_block("1", "1")], "input", "this output"),
        ([nodes.image(uri="a.png")], "all", "this cell"),
        ([], "input", "this cell"),
    ],
)
def test_the_bar_of_a_folded_cell_names_what_its_code_makes(outputs, mode, words):
    code = nodes.container("", nodes.literal_block("x", "x"), nb_element="cell_code_source")
    shown = nodes.container("", *outputs, nb_element="cell_code_output")
    cell = nodes.container("", code, *([shown] if outputs else []))
    cell["hide_mode"] = mode
    assert made(cell) == words
