"""Slides by keyboard and on paper, the self-test, and a PDF of two chapters, in Chromium."""

import re

import pytest
from pypdf import PdfReader

from tests.browser.conftest import SITE
from tools import pdf, slides


@pytest.fixture
def wrong():
    return []


@pytest.fixture
def opened(browser, wrong):
    """A function that opens a page from the disk, without a server, and waits for its formulas."""
    context = browser.new_context(viewport={"width": 1280, "height": 764})

    def open_page(page):
        tab = context.new_page()
        tab.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("requestfailed", lambda r: wrong.append(r.url))
        tab.goto((SITE / page).as_uri(), wait_until="load")
        return tab

    yield open_page
    context.close()


# all slides at once, as on paper; what does not fit on one is cut off there
CUT = """
() => [...document.querySelectorAll('.slide')].filter(slide => {
    slide.classList.add('shown');
    const isCut = slide.scrollHeight > slide.clientHeight + 1
        || slide.scrollWidth > slide.clientWidth + 1;
    slide.classList.remove('shown');
    return isCut;
}).map(slide => slide.innerText.slice(0, 80))
"""


@pytest.mark.parametrize("name", slides.lessons())
def test_every_slide_of_a_lesson_fits(opened, wrong, name):
    tab = opened(f"slides/{name}.html")
    tab.wait_for_selector(".deck")
    assert tab.locator(".slide").count() >= 10
    assert tab.evaluate(CUT) == []
    assert wrong == []


def test_slides_move_by_keyboard_and_keep_their_address(opened):
    tab = opened(f"slides/{slides.lessons()[0]}.html")
    tab.wait_for_selector(".deck")
    says = tab.locator(".says")
    last = tab.locator(".slide").count()
    keys = {"ArrowRight": 2, "PageDown": 3, "ArrowLeft": 2, "End": last, "Home": 1}
    for key, n in keys.items():
        tab.keyboard.press(key)
        assert says.inner_text() == f"{n} of {last}"
        assert tab.url.endswith(f"#{n}")
        assert tab.locator(".slide:visible").count() == 1
    tab.get_by_role("button", name="Next").click()
    assert says.inner_text() == f"2 of {last}"


def test_on_paper_a_slide_is_a_page(opened):
    tab = opened(f"slides/{slides.lessons()[0]}.html")
    tab.wait_for_selector(".deck")
    data = tab.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == tab.locator(".slide").count()


def test_an_answer_of_the_self_test_opens_by_keyboard_and_says_whether_it_is_right(opened, wrong):
    tab = opened("self-test.html")
    answers = tab.locator(".question").first.locator("details")
    assert tab.locator(".question").count() == 40 and answers.count() == 3
    for n, said in enumerate(["No.", "Right.", "No."]):
        answer = answers.nth(n)
        assert not answer.get_by_text(said).is_visible()
        answer.locator("summary").focus()
        tab.keyboard.press("Enter")
        assert answer.get_by_text(said, exact=True).is_visible()
    assert wrong == []


def test_two_prints_are_one_pdf_with_bookmarks_and_links(browser, monkeypatch, tmp_path):
    monkeypatch.setattr(pdf, "SITE", SITE)
    monkeypatch.setattr(pdf, "parts", lambda: [("Part", ["self-test"]), ("Other", ["teaching"])])
    pdf.write_pdf(browser, tmp_path / "two.pdf")
    reader = PdfReader(tmp_path / "two.pdf")
    titles = [item.title for item in reader.outline if not isinstance(item, list)]
    assert titles[-2:] == ["Part", "Other"] and len(reader.pages) > 8
    actions = [
        link.get_object()["/A"]
        for page in reader.pages
        for link in page.get("/Annots", [])
        if "/A" in link.get_object()
    ]
    assert not any(pdf.AWAY in str(action.get("/URI")) for action in actions)
    places = {action["/D"][0].get_object()["/Type"] for action in actions if "/D" in action}
    assert places == {"/Page"}
