"""The built site in Chromium, as a reader without a network sees it."""

import functools
import http.server
import os
import threading
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright

from tools.pdf import FLAGS, chromium

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("SITE") or ROOT / "_build" / "html")
VIEWS = {
    "dark-phone": ("dark", 360, 740),
    "light-desktop": ("light", 1280, 800),
    "dark-desktop": ("dark", 1280, 800),
    "light-phone": ("light", 360, 740),
}

# no other name or address is found
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def site_pages() -> list[str]:
    """Every page of the built site, relative to its root; of those that show a source file one,
    since they differ in the code alone. Slides have tests of their own, as have old addresses."""
    found = (page.relative_to(SITE).as_posix() for page in SITE.rglob("*.html"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    moved = {f"{name}.html" for name in config["sphinx"]["config"]["redirects"]}
    apart = ("_", "slides/")
    return sorted(
        p
        for p in found
        if p not in moved and (not p.startswith(apart) or p == "_source/cnf/layers/coupling.html")
    )


def pytest_generate_tests(metafunc):
    if "page" in metafunc.fixturenames:
        pages = site_pages()
        if not pages:
            raise pytest.UsageError(f"no site in {SITE.relative_to(ROOT)}: run make book")
        metafunc.parametrize("page", pages)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many files

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
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, OFFLINE])
        yield browser
        browser.close()


def settle(tab, pending):
    """Wait until no request has been under way for 0.2 s; Chromium's own event of an idle
    network was once lost. Fails, naming the requests, after half a minute."""
    quiet = 0.0
    for _ in range(600):
        tab.wait_for_timeout(50)
        quiet = 0.0 if pending else quiet + 0.05
        if quiet >= 0.2:
            return
    pytest.fail(f"still loading after 30 s: {sorted(r.url for r in pending)}")


# The theme waits 300 ms after it was told of a new size, then looks what scrolls sideways. It is
# told before the next frame, which on a busy machine is late.
RESIZED = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 320)))"


def turn(tab, view):
    """Give the tab the colours and the size of a view."""
    theme, width, height = VIEWS[view]
    tab.emulate_media(color_scheme=theme, reduced_motion="reduce")
    tab.set_viewport_size({"width": width, "height": height})


@pytest.fixture(scope="session")
def reader(browser):
    """A reader who opens page after page, whose scripts are fetched and compiled once."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def visit(reader, url):
    """A function that opens a page in a view, in a browser that remembers nothing. It returns the
    tab, a list of all that goes wrong in it, and a function that turns it to another view and waits
    for what that loads."""
    tabs, wrong, pending = [], [], set()

    def asked(request):
        pending.add(request)
        if not request.url.startswith((url, "data:", "blob:")):
            wrong.append(f"asks the network for {request.url}")

    def open_page(page, view):
        tab = reader.new_page()
        tabs.append(tab)
        tab.on("console", lambda m: m.type == "error" and wrong.append(f"console: {m.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url} {r.failure}"))
        tab.on("response", lambda r: r.status >= 400 and wrong.append(f"{r.status}: {r.url}"))
        tab.on("request", asked)
        for end in ("requestfinished", "requestfailed"):
            tab.on(end, lambda r: pending.discard(r))
        turn(tab, view)
        tab.goto(f"{url}/{page}", wait_until="load")
        if tab.locator(".math").count():
            tab.evaluate("() => MathJax.startup.promise")
        settle(tab, pending)

        def turned(view):
            turn(tab, view)
            tab.evaluate(RESIZED)
            settle(tab, pending)

        return tab, wrong, turned

    yield open_page
    for tab in tabs:
        tab.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
        tab.close()


@pytest.fixture
def desktop(browser, url):
    """A function that opens a page on a desk; the tab is closed afterwards."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce")

    def open_page(page):
        tab = context.new_page()
        tab.goto(f"{url}/{page}")
        return tab

    yield open_page
    context.close()
