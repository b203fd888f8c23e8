"""The whole book as one PDF, from the built site, by Chromium's print: no LaTeX.

    python -m tools.pdf          _build/html -> _build/cnf.pdf
    python -m tools.pdf --find   only look for Chromium, and say what to do without one

The pages are joined in the order of the table of contents into one page with links inside it, so
that the links and bookmarks of the PDF lead to its own pages. Folded code stays out; hints are
open; solutions stand at the end of their chapter. What moves on the site is its still twin.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, Error, sync_playwright

from tools.slides import ROOT, opened, parts

SITE = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "cnf.pdf"
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
NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
REMEDY = """\
no Chromium here to print with: install it (apt-get install chromium, brew install --cask chromium),
or set CHROMIUM to the path of Chromium, Chrome or Edge, or run
    {python} -m playwright install chromium"""
LEFT_OUT = ".cell details.hide, .copybtn, .equation-ties, .reading-time, .prev-next-area, canvas"


def chromium() -> str | None:
    """The path of Chromium: $CHROMIUM, else the first of the usual names."""
    names = [os.environ.get("CHROMIUM"), *NAMES, MAC]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def own(target: str, page: str, pages: set[str]) -> str:
    """Where a link of a page leads: into the PDF, if what it leads to is in there."""
    file, _, place = target.partition("#")
    name = file.removesuffix(".html") if file else page
    if name in pages:
        return f"#{name}--{place}" if place else f"#{name}"
    return target if target.startswith(("http", "mailto:")) else ""


def chapter(path: Path, pages: set[str]) -> Tag:
    """A built page as a part of the book: its places have names that no other page has."""
    soup, page = opened(path), path.stem
    article = soup.select_one(".bd-article")
    for extra in article.select(LEFT_OUT):
        extra.decompose()
    if solutions := article.select(".solution"):
        end = soup.new_tag("section")
        end.append(BeautifulSoup("<h2>Solutions</h2>", "html.parser"))
        end.extend(solution.extract() for solution in solutions)
        article.find("section").append(end)
    for folded in article.find_all("details"):
        folded["open"] = ""
    for node in article.find_all(True):
        if re.fullmatch("h[1-5]", node.name):  # the parts are above the chapters
            node.name = f"h{int(node.name[1]) + 1}"
        for key, value in list(node.attrs.items()):
            if key in ("id", "name", "for", "aria-labelledby"):
                node[key] = f"{page}--{value}"
            elif key in ("href", "xlink:href"):
                node[key] = own(value, page, pages)
                if not node[key]:
                    del node[key]
            elif isinstance(value, str) and "url(#" in value:
                node[key] = value.replace("url(#", f"url(#{page}--")
    article.name, article["id"], article["class"] = "div", page, ["bd-article", "chapter"]
    return article


def book() -> str:
    """The HTML of the whole book, for the folder of the site."""
    front = opened(SITE / "index.html")
    found = [("", ["index"]), *parts()]
    pages = {name for _, names in found for name in names}
    head = [str(link) for link in front.select("head link[rel=stylesheet]")]
    with_mathjax = opened(SITE / f"{found[1][1][0]}.html")
    head += [str(s) for s in with_mathjax.select("head script") if "mathjax" in str(s).lower()]
    contents, body = [], []
    for caption, names in found:
        body.append(f'<h1 class="part">{caption}</h1>' if caption else "")
        contents.append(f"<p>{caption}</p><ul>" if caption else "<ul>")
        for name in names:
            there = chapter(SITE / f"{name}.html", pages)
            title = there.find("h2").decode_contents()
            contents.append(f'<li><a href="#{name}">{re.sub("</?a.*?>", "", title)}</a></li>')
            body.append(str(there))
        contents.append("</ul>")
    text = (Path(__file__).parent / "pdf.html").read_text("utf-8")
    said = {"title": front.h1.get_text(), "head": head, "contents": contents, "body": body}
    for name, lines in said.items():
        text = text.replace(f"[[{name}]]", "\n".join(lines) if isinstance(lines, list) else lines)
    return text


def printed(browser: Browser, source: Path, out: Path) -> None:
    """Print a page once its formulas are set."""
    foot = '<div style="font-size: 8px; width: 100%; text-align: center" class="pageNumber"></div>'
    tab = browser.new_page(color_scheme="light", reduced_motion="reduce")
    tab.set_default_timeout(0)  # the book has some thousand formulas
    tab.goto(source.as_uri(), wait_until="load")
    tab.evaluate("() => MathJax.startup.promise.then(() => true)")
    tab.pdf(
        path=out,
        format="A4",
        margin={"top": "16mm", "bottom": "18mm", "left": "19mm", "right": "19mm"},
        print_background=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=foot,
        outline=True,
        tagged=True,
    )
    tab.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--find", action="store_true", help="only look for Chromium")
    only_find = parser.parse_args().find
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Error:
            sys.exit(REMEDY.format(python=os.path.relpath(sys.executable)))
        if not only_find:
            source = SITE / "_book.html"  # beside the pages, whose pictures it shows
            source.write_text(book(), "utf-8")
            printed(browser, source, OUT)
            source.unlink()
            print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1e6:.1f} MB")
        browser.close()


if __name__ == "__main__":
    main()
