"""What a term means and what an equation says is shown beside its link: on hover, focus and tap."""

import pytest

from tests.browser.conftest import SITE

PAGE = (SITE / "dequantization.html").as_uri()  # from the disk, without a server
TERM = ".bd-article a.first-use:visible >> nth=0"  # on a phone the box In short is folded
EQUATION = ".bd-article a.reference[href*='#equation-'] >> nth=0"


@pytest.fixture
def opened(browser):
    """A function that opens the page with a mouse or with a finger."""
    contexts = []

    def open_page(**how):
        contexts.append(browser.new_context(reduced_motion="reduce", **how))
        tab = contexts[-1].new_page()
        tab.goto(PAGE, wait_until="load")
        tab.evaluate("() => MathJax.startup.promise")
        return tab

    yield open_page
    for context in contexts:
        context.close()


def inside(tab):
    """Whether the box lies within the width of the screen."""
    box = tab.locator(".preview").bounding_box()
    return box["x"] >= 0 and box["x"] + box["width"] <= tab.viewport_size["width"]


def test_the_mouse_shows_a_term_and_reaches_its_box(opened):
    tab = opened()
    box = tab.locator(".preview")
    assert box.is_hidden()
    tab.hover(TERM)
    box.wait_for(state="visible")
    assert len(box.inner_text()) > 40 and inside(tab)
    box.hover()
    tab.wait_for_timeout(500)
    assert box.is_visible()
    tab.mouse.move(0, 0)
    box.wait_for(state="hidden")


def test_the_keyboard_shows_an_equation_and_closes_it(opened):
    tab = opened()
    link, box = tab.locator(EQUATION), tab.locator(".preview")
    link.focus()
    box.locator("mjx-container").first.wait_for(state="visible")
    assert link.get_attribute("aria-describedby") == box.get_attribute("id")
    tab.keyboard.press("Escape")
    assert box.is_hidden() and link.get_attribute("aria-describedby") is None
    assert tab.url == PAGE


def test_a_tap_shows_and_a_second_one_follows(opened):
    tab = opened(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    box = tab.locator(".preview")
    tab.tap(TERM)
    box.wait_for(state="visible")
    assert inside(tab) and tab.url == PAGE
    tab.tap(".bd-article h1")
    box.wait_for(state="hidden")
    tab.tap(TERM)
    box.wait_for(state="visible")
    tab.tap(TERM)
    tab.wait_for_url("**/glossary.html#term-*")
