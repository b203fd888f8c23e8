"""The lessons and what uses them as one PDF, from the built site, by Chromium's print: no LaTeX.

    python -m tools.pdf          _build/html -> _build/cnf.pdf
    python -m tools.pdf --find   only look for Chromium, and say what to do without one

Pages that stand below another in the table of contents, and the lists of them, are on the site
only; the bibliography is printed. One part at a time is printed (Chromium fails on all at once),
and they are joined in the order of the table of contents. Links inside the PDF lead to its own
pages: to the exact place if that was printed together with the link, else to the beginning of the
chapter. Folded code is left out, hints are open, and solutions stand at the end of their chapter.
Moving figures are replaced by still ones."""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, Error, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject

from tools.slides import ROOT, read_page

SITE = ROOT / "_build" / "html"
OUT = ROOT / "_build" / "cnf.pdf"
# --no-sandbox: Chromium refuses to run as root with it; the rest keep it from calling home.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
REMEDY = """\
no Chromium here to print with: install it (apt-get install chromium, brew install --cask chromium),
or set CHROMIUM to the path of Chromium, Chrome or Edge, or run
    {python} -m playwright install chromium"""
AWAY = "https://chapter.invalid/"  # target of links to other prints, until these are joined
# long lists, and lists of what is below them
ON_SITE = {"claims", "reproduce-a-number", "deeper", "laboratory-notes", "reference"}
AT_END = ["bibliography"]
LEFT_OUT = ".cell details.hide, .copybtn, .equation-ties, .reading-time, .prev-next-area, canvas"


def chromium() -> str | None:
    """The path of Chromium: $CHROMIUM, else the first of the usual names."""
    names = [os.environ.get("CHROMIUM"), *NAMES, MAC]
    return next((path for name in names if name and (path := shutil.which(name))), None)


def parts() -> list[tuple[str, list[str]]]:
    """(caption, names of its pages) of what is printed."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text("utf-8"))
    listed = [
        (part["caption"], [Path(page["file"]).stem for page in part["chapters"]])
        for part in toc["parts"]
    ]
    kept = [(caption, [n for n in names if n not in ON_SITE]) for caption, names in listed]
    return [*kept[:-1], (kept[-1][0], kept[-1][1] + AT_END)]


def resolved_link(target: str, page: str, printed_together: list[str], pages: set[str]) -> str:
    """The target of a link in the PDF: a place in the PDF if its target is in there, else an
    address of the web, else ""."""
    file, _, place = target.partition("#")
    name = file.removesuffix(".html") if file else page
    if name in printed_together:
        return f"#{name}--{place}" if place else f"#{name}"
    if name in pages:
        return AWAY + name
    return target if target.startswith(("http", "mailto:")) else ""


def chapter(path: Path, printed_together: list[str], pages: set[str]) -> Tag:
    """A built page as a chapter of the PDF; its ids get the name of the page as a prefix."""
    soup, page = read_page(path), path.stem
    article = soup.select_one(".bd-article")
    for element in article.select(LEFT_OUT):
        element.decompose()
    solutions = article.select(".solution")
    if solutions:
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
                node[key] = resolved_link(value, page, printed_together, pages)
                if not node[key]:
                    del node[key]
            elif isinstance(value, str) and "url(#" in value:
                node[key] = value.replace("url(#", f"url(#{page}--")
    article.name, article["id"], article["class"] = "div", page, ["bd-article", "chapter"]
    return article


def prints() -> Iterator[tuple[str, list[str], str]]:
    """(caption, names of chapters, HTML for the folder of the site) of each print."""
    front, book_parts = read_page(SITE / "index.html"), parts()
    pages = {"index", *(name for _, names in book_parts for name in names)}
    with_mathjax = read_page(SITE / f"{book_parts[0][1][0]}.html")
    head_elements = [str(link) for link in with_mathjax.select("head link[rel=stylesheet]")]
    head_elements += [
        str(s) for s in with_mathjax.select("head script") if "mathjax" in str(s).lower()
    ]
    text = (Path(__file__).parent / "pdf.html").read_text("utf-8")
    text = text.replace("[[title]]", front.h1.get_text()).replace(
        "[[head]]", "\n".join(head_elements)
    )
    before, front_matter, after = re.split("<!-- (?:front|chapters) -->", text)
    contents = []
    for caption, names in book_parts:
        contents.append(f"<p>{caption}</p>")
        for name in names:
            title = read_page(SITE / f"{name}.html").h1.decode_contents()
            contents.append(
                f'<div><a href="{AWAY}{name}">{re.sub("</?a.*?>", "", title)}</a></div>'
            )
    front_matter = front_matter.replace("[[contents]]", "\n".join(contents))
    for caption, names in [("", ["index"]), *book_parts]:
        body = f'<h1 class="part">{caption}</h1>' if caption else front_matter
        body += "\n".join(str(chapter(SITE / f"{name}.html", names, pages)) for name in names)
        yield caption, names, before + body + after


def join(printed: list[tuple[str, list[str], Path]], out: Path) -> None:
    """Join several PDFs into one, with their bookmarks, and with links from one to another."""
    writer, first = PdfWriter(), {}
    for caption, names, path in printed:
        reader = PdfReader(path)
        chapters = reader.outline[1] if caption else reader.outline
        chapters = [item for item in chapters if not isinstance(item, list)]
        for name, item in zip(names, chapters, strict=True):
            first[name] = len(writer.pages) + reader.get_destination_page_number(item)
        writer.append(reader)
    for page in writer.pages:
        for link in page.get("/Annots", []):
            action = link.get_object().get("/A", {})
            if str(action.get("/URI", "")).startswith(AWAY):
                target_page = writer.pages[
                    first[action["/URI"].removeprefix(AWAY)]
                ].indirect_reference
                goto = DictionaryObject({NameObject("/S"): NameObject("/GoTo")})
                goto[NameObject("/D")] = ArrayObject([target_page, NameObject("/Fit")])
                link.get_object()[NameObject("/A")] = goto
    writer.write(out)


def write_pdf(browser: Browser, out: Path) -> None:
    """The PDF of the pages that `parts` names."""
    source = SITE / "_print.html"  # beside the pages, whose pictures it shows
    with tempfile.TemporaryDirectory() as folder:
        printed = []
        try:
            for n, (caption, names, text) in enumerate(prints()):
                source.write_text(text, "utf-8")
                printed.append((caption, names, Path(folder, f"{n}.pdf")))
                tab = browser.new_page(color_scheme="light", reduced_motion="reduce")
                tab.set_default_timeout(0)  # the book has some thousand formulas
                tab.goto(source.as_uri(), wait_until="load")
                tab.evaluate("() => MathJax.startup.promise.then(() => true)")
                tab.pdf(
                    path=printed[-1][2],
                    format="A4",
                    margin={"top": "16mm", "bottom": "18mm", "left": "19mm", "right": "19mm"},
                    print_background=True,
                    outline=True,
                    tagged=True,
                )
                tab.close()
        finally:
            source.unlink(missing_ok=True)
        join(printed, out)


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
            write_pdf(browser, OUT)
            print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1e6:.1f} MB")
        browser.close()


if __name__ == "__main__":
    main()
