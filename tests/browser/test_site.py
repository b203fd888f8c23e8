"""Every page of the built site in Chromium, as a reader without a network sees it."""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
SCREENSHOTS = ROOT / "_build" / "screenshots"
VIEWS = {
    "light-desktop": ("light", 1280, 800),
    "dark-desktop": ("dark", 1280, 800),
    "light-phone": ("light", 360, 740),
    "dark-phone": ("dark", 360, 740),
}
UNRENDERED = """
() => [...document.querySelectorAll('.math')]
    .filter(node => node.querySelectorAll('mjx-container').length !== 1
                    || node.querySelector('mjx-merror, [data-mjx-error]'))
    .map(node => node.textContent.slice(0, 80))
"""
TOO_WIDE = """
() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
    [...document.querySelectorAll('body *')]
        .filter(node => node.getBoundingClientRect().right > window.innerWidth + 1)
        .map(node => node.tagName + '.' + node.className + ': '
                     + node.textContent.trim().slice(0, 40))
"""
BLANK_IMAGES = """
() => [...document.querySelectorAll('.bd-article img')]
    .filter(image => !image.naturalWidth || !image.alt).map(image => image.src)
"""
DEAD_ANCHORS = """
() => [...document.querySelectorAll('a[href^="#"]')]
    .map(link => decodeURIComponent(link.getAttribute('href').slice(1)))
    .filter(name => name && !document.getElementById(name))
"""
# --no-sandbox: Chromium refuses to run as root with it; the rest keep it from calling home.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """The path of Chromium: $CHROMIUM, else the first of the usual names."""
    names = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def site_pages() -> list[str]:
    """Every page of the built site, relative to its root."""
    found = (page.relative_to(SITE) for page in SITE.rglob("*.html"))
    return sorted(page.as_posix() for page in found if page.parts[0][0] != "_")


def pytest_generate_tests(metafunc):
    if "page" in metafunc.fixturenames:
        pages = site_pages()
        if not pages:
            raise pytest.UsageError(f"no site in {SITE.relative_to(ROOT)}: run make book")
        metafunc.parametrize("page", pages)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def url():
    """The address of the site, served on a free port of the loopback interface."""
    handler = functools.partial(QuietHandler, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    path = chromium()
    if path is None:
        raise pytest.UsageError("no Chromium here: install it, or set CHROMIUM to its path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def settle(tab, pending):
    """Wait until no request has been under way for half a second, which is what Chromium calls an
    idle network; its own event was once lost. Fails, naming the requests, after half a minute."""
    quiet = 0.0
    for _ in range(300):
        tab.wait_for_timeout(100)
        quiet = 0.0 if pending else quiet + 0.1
        if quiet >= 0.5:
            return
    pytest.fail(f"still loading after 30 s: {sorted(r.url for r in pending)}")


@pytest.fixture(params=VIEWS)
def visit(request, browser, url):
    """Open a page in one view; yields (tab, list of everything that went wrong while loading)."""
    theme, width, height = VIEWS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce"
    )
    wrong = []

    def only_this_site(route):
        if route.request.url.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            wrong.append(f"asks the network for {route.request.url}")
            route.abort()

    def open_page(page):
        context.route("**/*", only_this_site)
        tab = context.new_page()
        tab.on("console", lambda m: m.type == "error" and wrong.append(f"console: {m.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url} {r.failure}"))
        tab.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status}: {r.url}"))
        pending = set()
        tab.on("request", pending.add)
        for end in ("requestfinished", "requestfailed"):
            tab.on(end, pending.discard)
        tab.goto(f"{url}/{page}", wait_until="load")
        if tab.locator(".math").count():
            tab.evaluate("() => MathJax.startup.promise")
        settle(tab, pending)
        return tab, wrong

    open_page.view = request.param
    yield open_page
    context.close()


def test_page_opens_without_network_and_shows_everything(visit, page):
    tab, wrong = visit(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", page.removesuffix(".html"))
    tab.screenshot(path=SCREENSHOTS / f"{name}-{visit.view}.png", full_page=True)

    assert wrong == []
    assert tab.evaluate("document.documentElement.dataset.theme") == visit.view.split("-")[0]
    assert tab.evaluate(UNRENDERED) == [], "formulas that MathJax did not render"
    assert tab.evaluate(BLANK_IMAGES) == [], "pictures that do not load or have no alt text"
    assert tab.evaluate(DEAD_ANCHORS) == [], "links to places that are not on the page"
    assert tab.evaluate(TOO_WIDE) == [], "wider than the screen: the page scrolls sideways"


def test_menu_opens_and_the_theme_switches_on_a_phone(browser, url):
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="light")
    tab = context.new_page()
    tab.goto(f"{url}/index.html", wait_until="networkidle")
    bibliography = tab.locator("dialog[open] a", has_text="Bibliography")
    assert bibliography.count() == 0
    tab.locator("button.primary-toggle").click()
    bibliography.click()
    tab.wait_for_url("**/bibliography.html")
    seen = set()
    for _ in range(3):  # auto, light, dark
        tab.locator(".theme-switch-button").click()
        seen.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(seen) == 2
    context.close()


def test_search_finds_a_word_without_network(browser, url):
    tab = browser.new_page()
    tab.goto(f"{url}/search.html?q=likelihood", wait_until="networkidle")
    tab.wait_for_selector("#search-results li")
    assert tab.locator("#search-results li a").count() > 0
    tab.close()


def test_a_reader_bends_a_density_by_keyboard_and_by_pointer(browser, url):
    tab = browser.new_page(viewport={"width": 1280, "height": 1000})
    tab.goto(f"{url}/02-change-of-variables.html", wait_until="networkidle")
    line = tab.locator('.bend[data-bend="line"]')
    says = line.locator(".bend-says")
    assert "s = 2.00, t = 0.00." in says.inner_text()
    line.locator("#bend-log-s").focus()
    tab.keyboard.press("Home")  # the smallest scale
    assert "s = 0.33, t = 0.00." in says.inner_text()
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowRight")
    assert "s = 0.33, t = 0.01." in says.inner_text()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")  # mirrored
    assert "s = −0.33, t = 0.01." in says.inner_text()

    line.locator("button").click()
    line.evaluate("node => node.scrollIntoView({block: 'center', behavior: 'instant'})")
    outer, inner = (line.locator(name).bounding_box() for name in (".dot:not(.inner)", ".inner"))
    middle = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in (outer, inner)]
    tab.mouse.move(*middle[0])
    tab.mouse.down()
    # as far on the other side of the inner dot: the mirror image
    tab.mouse.move(2 * middle[1][0] - middle[0][0], middle[0][1], steps=5)
    tab.mouse.up()
    assert re.search(r"s = −(1\.9|2\.0)\d, t = .?0\.0\d\.", says.inner_text())
    assert "Shaded mass: 0.34 in z, 0.34 in y." in says.inner_text()

    plane = tab.locator('.bend[data-bend="plane"]')
    plane.locator("button", has_text="identity").click()
    assert "Area 0.25 of z, 0.25 of y;" in plane.locator(".bend-says").inner_text()
    tab.close()


def test_a_reader_without_scripts_sees_still_pictures(browser, url):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{url}/02-change-of-variables.html", wait_until="networkidle")
    for name in ("line", "plane"):
        picture = tab.locator(f'.bend[data-bend="{name}"] img')
        assert picture.bounding_box()["height"] > 100
        assert tab.request.get(f"{url}/_static/bend-{name}.svg").ok
    context.close()
