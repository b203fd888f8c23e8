"""On a phone: cards, hints, links to neighbours; and formulas in search results."""

import pytest

from tests.browser.conftest import ROOT

STATIC = ROOT / "book" / "_static"
TABLE = "<thead><tr>{}</tr></thead><tbody><tr>{}</tr></tbody>"
NEIGHBOURS = """
<div class="prev-next-area">
<a class="left-prev"><div class="prev-next-info"><p class="prev-next-title">
Conditioning</p></div></a>
<a class="right-next"><div class="prev-next-info"><p class="prev-next-title">
<span>Dequantization</span></p></div></a></div>
"""


def table(*columns):
    heads, cells = ("".join(f"<{tag}>{c}</{tag}>" for c in columns) for tag in ("th", "td"))
    inside = TABLE.format(heads, cells)
    return f'<div class="pst-scrollable-table-container"><table>{inside}</table></div>'


@pytest.fixture(scope="module")
def phone(browser):
    """A function that shows HTML on a phone, with the styles and scripts of the book."""
    tab = browser.new_page(viewport={"width": 390, "height": 740})

    def show(html):
        css, *js = (
            (STATIC / name).read_text("utf-8")
            for name in ("cnf.css", "cards.js", "search.js", "folded.js")
        )
        scripts = "".join(f"<script>{script}</script>" for script in js)
        head = f"<!DOCTYPE html><html lang='en'><head><style>{css}</style>{scripts}</head>"
        tab.set_content(f'{head}<body><article class="bd-article">{html}</article></body></html>')
        return tab

    yield show
    tab.close()


def test_a_card_says_the_name_of_the_column_before_what_stands_there(phone):
    tab = phone(f'<div class="stacked">{table("what", "unit", "better")}</div>')
    said = "nodes => nodes.map(node => getComputedStyle(node, '::before').content)"
    assert tab.locator("td").evaluate_all(said) == ["none", '"unit: "', '"better: "']


def test_a_table_that_scrolls_fades_until_it_is_scrolled_to_its_end(phone):
    tab = phone(table("narrow") + table(*("x" * 40 for _ in range(4))))
    fade = "node => parseFloat(getComputedStyle(node).getPropertyValue('--fade'))"
    narrow, wide = tab.locator(".pst-scrollable-table-container").all()
    assert narrow.evaluate(fade) == 0 < wide.evaluate(fade)
    wide.evaluate("node => { node.scrollLeft = node.scrollWidth; }")
    tab.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    assert wide.evaluate(fade) == pytest.approx(0, abs=0.1)


def test_no_word_of_the_links_to_neighbours_breaks(phone):
    word = phone(NEIGHBOURS).locator("span")
    assert word.evaluate("node => node.getClientRects().length") == 1


def test_a_formula_in_a_search_result_is_plain_text(phone):
    tab = phone("")
    tex = r"\\(\\begin{split}\\log p(y \\mid x) \\ge \\mathbb{E}[\\sigma_k]\\end{split}\\)"
    shown = tab.evaluate(f"PLAIN_TEX('{tex}')")
    assert "".join(shown.split()) == "logp(y|x)≥E[σ_k]"


def test_in_short_is_folded_until_it_is_tapped(phone):
    title = '<p class="admonition-title">In short</p>'
    tab = phone(f'<div class="admonition in-short">{title}<ul><li>One.</li></ul></div>')
    assert not tab.get_by_text("One.").is_visible()
    tab.get_by_text("In short").click()
    assert tab.get_by_text("One.").is_visible()


def test_a_link_to_a_folded_note_opens_it(phone):
    tab = phone(
        '<a href="#note">A</a><span id="note"></span>'
        "<details><summary>Q?</summary><p>An answer.</p></details>"
    )
    assert not tab.get_by_text("An answer.").is_visible()
    tab.get_by_text("A", exact=True).click()
    tab.wait_for_function("document.querySelector('details').open", timeout=5000)
