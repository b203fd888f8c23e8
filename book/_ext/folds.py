"""A folded cell says what its code makes, instead of "Show code cell source" over and over."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


def is_figure(node: nodes.Node) -> bool:
    """A picture, or a drawing by `figures`."""
    is_drawn = isinstance(node, nodes.raw) and node.astext().startswith('<div class="drawn"')
    return is_drawn or isinstance(node, nodes.image)


MADE = (
    (is_figure, "this figure"),
    (nodes.table, "this table"),
    (nodes.literal_block, "this output"),
)


def made(cell: nodes.container) -> str:
    """What the outputs of a cell show; "this cell" if they show nothing or are folded, too."""
    if cell["hide_mode"] == "all":
        return "this cell"
    for output in cell.children:
        if output.get("nb_element") == "cell_code_output":
            for kind, words in MADE:
                if next(output.findall(kind), None) is not None:
                    return words
    return "this cell"


class Folds(SphinxPostTransform):
    default_priority = 190  # outputs are chosen at 4, and folded by myst-nb at 199
    formats = ("html",)

    def run(self, **kwargs: object) -> None:
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") == "cell_code" and cell.get("hide_mode"):
                what = made(cell)
                cell["prompt_show"] = f"Show the code of {what}"
                cell["prompt_hide"] = f"Hide the code of {what}"


def setup(app: Sphinx) -> None:
    app.add_post_transform(Folds)
