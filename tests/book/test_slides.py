"""What of a built lesson goes on slides and into the PDF of the book."""

import pytest

from tools import pdf, slides

PAGE = """<html><head><title>3. Layers</title><link rel="stylesheet" href="_static/a.css">
<script>window.MathJax = {}</script><script src="_static/other.js"></script></head><body>
<article class="bd-article"><section id="layers">
<h1><span class="section-number">3. </span>Layers<a class="headerlink" href="#layers">#</a></h1>
<div class="in-short admonition"><p>In short</p><ul><li>One.</li></ul></div>
<section id="first"><h2><span class="section-number">3.1. </span>First</h2>
<p>Not this. (Nor this.) See <a href="b.html#there">that</a>. The rule of \\(f(x) \\dot y\\) is</p>
<div class="math" id="equation-rule">a = b</div><p class="equation-ties">Code: x</p>
<div class="cell tag_hide-input"><details class="hide"><pre>plot()</pre></details>
<figure id="fig-a"><img src="_images/a.png"><figcaption>A caption.</figcaption></figure></div>
<div class="cell tag_hide-input"><details><pre>secret()</pre></details><pre>42</pre></div>
<div class="cell"><pre>visible()</pre></div>
<div class="widget"><p><b>Mass, moved.</b> Drag it.</p>
<noscript><img src="_static/still.svg"></noscript></div></section>
<section id="exercises"><h2>Exercises</h2>
<div class="exercise admonition" id="ex-a"><p>Find it.</p></div>
<details class="sd-dropdown"><summary>Hint</summary>Look there.</details>
<div class="solution dropdown admonition"><p>Found.</p><pre>solve()</pre></div></section>
</section></article></body></html>"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "a.html").write_text(PAGE, "utf-8")
    return tmp_path / "a.html"


@pytest.fixture
def deck(page):
    return list(slides.slides(slides.read_page(page).select_one("article")))


def test_an_equation_stands_below_the_sentence_before_it(deck):
    (html,) = [html for _, html in deck if "a = b" in html]
    rule = r"The rule of \(f(x) \dot y\) is"  # no sentence ends inside a formula
    assert html.index(rule) < html.index("a = b") and "Not this" not in html
    assert deck[1][0] == "First"


@pytest.mark.parametrize(
    "said",
    ["A caption.", "visible()", "still.svg", "Find it.", "Mass, moved."],
)
def test_on_a_slide(deck, said):
    assert sum(said in html for _, html in deck) == 1


@pytest.mark.parametrize(
    "said",
    ["plot()", "secret()", "42", "Code: x", "Hint", "Found.", "solve()", "Drag it"],
)
def test_off_the_slides(deck, said):
    assert not any(said in html for _, html in deck)


@pytest.mark.parametrize(
    ("target", "there"),
    [
        ("#x", "#a--x"),
        ("b.html", "#b"),
        ("b.html#x", "#b--x"),
        ("c.html#x", "https://chapter.invalid/c"),
        ("_source/cnf/flow.html#run", ""),
        ("https://arxiv.org/abs/1912.00042", "https://arxiv.org/abs/1912.00042"),
    ],
)
def test_links_between_pages_are_links_inside_the_pdf(target, there):
    assert pdf.resolved_link(target, "a", ["a", "b"], {"a", "b", "c"}) == there


def test_the_pdf_has_the_lessons_and_no_page_that_stands_below_another():
    printed = [name for _, names in pdf.parts() for name in names]
    assert {*slides.lessons(), "bibliography"} <= set(printed)
    assert not any(name.startswith(("deeper", "api")) for name in printed)


def test_a_chapter_of_the_pdf_hides_code_that_is_folded_and_ends_with_its_solutions(page):
    chapter = pdf.chapter(page, ["a", "b"], {"a", "b"})
    text = chapter.get_text()
    assert "plot()" not in text and "visible()" in text and "Look there." in text
    assert text.index("Find it.") < text.index("Solutions") < text.index("Found.")
    assert not chapter.find("h1")  # the parts are above the chapters
    assert chapter.select_one("#a--equation-rule") and chapter.select_one('a[href="#b--there"]')
