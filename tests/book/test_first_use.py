"""The first mention of a glossary term on a page leads to the glossary, and nothing else does."""

import re

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

GLOSSARY = """
```{glossary}
flow
  Not to be mistaken for a normalizing flow.

normalizing flow
  A chain of bijections.

coupling layer
  Changes one half.

bits per dimension
bits/dim
  Bits over $D$.

density
  Mass per volume.

squeeze
  Pixels to channels.
```
"""
LEFT_ALONE = """
(there)=
## A coupling layer

[a flow](glossary.md), [a **flow**](glossary.md), {ref}`there`, `flow`, $flow$

    flow = 1

| flow    |
|---------|
| density |

```{admonition} Normalizing flow
Nothing.
```

```{rubric} Density
```

```{figure} picture.png
:alt: flow

A density.
```

```{container} no-first-use
A flow.
```
"""
# name of the page: (its text, the terms it links, in order)
PAGES = {
    "only-the-first-mention": ("A density, and a density.\n\nA density.", ["density"]),
    "capitals-plurals-and-line-breaks-do-not-matter": (
        "Coupling\nlayers have no density. Normalizing Flows do.",
        ["coupling-layer", "density", "normalizing-flow"],
    ),
    "a-longer-term-wins": ("A normalizing flow is a flow.", ["normalizing-flow", "flow"]),
    "part-of-a-word-is-no-mention": ("An overflow; flow-like; flows/s; a_flow.", []),
    "headings-links-code-formulas-tables-titles-and-captions-are-left-alone": (LEFT_ALONE, []),
    "boxes-lists-and-emphasis-are-running-text": (
        "```{note}\nA *flow*.\n```\n\n- a **coupling layer**\n\n> a density\n",
        ["flow", "coupling-layer", "density"],
    ),
    "glossary": (GLOSSARY, []),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Every page as HTML, {name: body}, of one small book."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "picture.png").write_bytes(b"")
    for name, (text, _) in PAGES.items():
        (folder / f"{name}.md").write_text(f"# A flow\n\n{text}")
    (folder / "index.md").write_text("# Index\n\n```{toctree}\n" + "\n".join(PAGES) + "\n```\n")
    settings = {
        "extensions": ["myst_parser", "book._ext.first_use"],
        "myst_enable_extensions": ["dollarmath"],
    }
    with patch_docutils(folder), docutils_namespace():
        app = Sphinx(
            folder, None, folder / "html", folder / "trees", "html", settings,
            status=None, warningiserror=True,
        )  # fmt: skip
        app.build()
    pages = {name: (folder / f"html/{name}.html").read_text() for name in PAGES}
    return {name: page.split('role="main"')[1].split("sphinxs")[0] for name, page in pages.items()}


@pytest.mark.parametrize("name", PAGES)
def test_links_are_those_of_the_first_mentions(site, name):
    links = re.findall(r'<a class="first-use[^"]*" href="glossary.html#term-([^"]*)"', site[name])
    assert links == PAGES[name][1]
    assert site[name].count("first-use") == len(links) + ("no-first-use" in site[name])
