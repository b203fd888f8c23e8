"""Every page of the built site: nothing is missing, broken, cut off or out of a reader's reach."""

import os
import re
from pathlib import Path

import axe_playwright_python
import yaml

from tests.browser.conftest import ROOT, SITE

SCREENSHOTS = Path(__file__).resolve().parents[2] / "_build" / "screenshots"
TAKEN = os.environ.get("SCREENSHOTS") != "0"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
# What axe would look at a thousand times over: a formula is one letter of its colour (axe reads no
# MathML anyway), of the code one piece of each kind is left in its colour, names in a sentence are
# not cut into words, a drawing without letters, names and links is empty (its shapes are
# thousands), and the list of pages stays on one. Letters that have the name, the colour and the
# size of some before, in something of the same name and colour, on the same ground, are a twin,
# whose contrast is known: of this page, or of one opened earlier, of which `known` holds a number
# for every such style. Returns those of the styles that are new.
ONCE = """
([keepsPages, known]) => {
    if (!keepsPages) document.querySelector('.bd-sidebar-primary nav')?.replaceChildren();
    for (const formula of document.querySelectorAll('mjx-container')) {
        formula.replaceChildren('x');
        formula.removeAttribute('style');
    }
    const seen = new Set();
    for (const piece of document.querySelectorAll('.highlight span[class]'))
        if (seen.has(piece.className)) piece.replaceWith(...piece.childNodes);
        else seen.add(piece.className);
    for (const name of document.querySelectorAll('code.literal'))
        name.replaceChildren(name.textContent);
    for (const drawing of document.querySelectorAll('svg'))
        if (!drawing.querySelector('text, title, desc, a, foreignObject, [role], [tabindex]'))
            drawing.replaceChildren();
    const styles = new Set(known);
    const number = (text) => {
        let high = 7, low = 11;
        for (let k = 0; k < text.length; k++) {
            high = Math.imul(high ^ text.charCodeAt(k), 2654435761);
            low = Math.imul(low ^ text.charCodeAt(k), 1597334677);
        }
        return 2097152 * (high >>> 0) + ((low >>> 0) & 2097151);
    };
    const mark = (node, outside, ground) => {
        const look = getComputedStyle(node);
        const paint = look.backgroundImage === 'none' ? look.backgroundColor : look.backgroundImage;
        if (look.opacity !== '1') ground += look.opacity;
        if (paint.startsWith('rgb(')) ground = paint;
        else if (paint !== 'rgba(0, 0, 0, 0)') ground += paint;
        const row = node.tagName === 'TR' ? [...node.parentNode.children].indexOf(node) % 2 : '';
        const coloured = node.getAttribute('style')?.match(/[^;]*(color|background)[^;]*/g) ?? '';
        const own = `${node.tagName}${row}.${node.getAttribute('class')}[${coloured}]`
            + `${look.color} ${look.fontSize} ${look.fontWeight}`;
        const style = number(`${outside}/${own}/${ground}`);
        const reads = node.matches('input, select, textarea') || node instanceof HTMLElement
            && [...node.childNodes].some(part => part.nodeType === 3 && part.data.trim());
        const known = !reads || styles.has(style);
        if (reads) styles.add(style);
        const inside = [...node.children].filter(child => !mark(child, own, ground));
        node.toggleAttribute('data-twin', known && !inside.length);
        return known && !inside.length;
    };
    mark(document.body, '', '');
    return [...styles].slice(known.length);
}
"""
VIOLATIONS = """
async (ofColours) => {
    const options = {resultTypes: ['violations'], preload: false};
    const colours = ['color-contrast', 'link-in-text-block'];
    const others = Object.fromEntries(colours.map(rule => [rule, {enabled: false}]));
    const found = ofColours
        ? await axe.run({exclude: '[data-twin]'}, {...options, runOnly: colours})
        : await axe.run(document, {...options, rules: others});
    return found.violations.flatMap(rule => rule.nodes.map(node =>
        `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`));
}
"""
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
TWICE = """
() => [...document.querySelectorAll('[id]')].map(node => node.id)
    .filter((id, place, all) => all.indexOf(id) !== place)
"""
DEAD_ANCHORS = """
() => [...document.querySelectorAll('a[href^="#"]')]
    .map(link => decodeURIComponent(link.getAttribute('href').slice(1)))
    .filter(name => name && !document.getElementById(name))
"""


# where most goes wrong; what is styled as on no page before is seen on a desk in the light, too,
# and the front page in all four views
VIEW, OTHER = "dark-phone", "light-desktop"
FRONT_PAGE = (VIEW, OTHER, "dark-desktop", "light-phone")
known_styles: list[int] = []  # of all pages that this process has opened


def test_page_opens_without_network_and_shows_everything(visit, page):
    tab, wrong, turn = visit(page, VIEW)

    def look(view):
        if TAKEN:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", page.removesuffix(".html"))
            tab.screenshot(path=SCREENSHOTS / f"{name}-{view}.jpg", full_page=True, quality=85)
        assert tab.evaluate("document.documentElement.dataset.theme") == view.split("-")[0]
        assert tab.evaluate(BLANK_IMAGES) == [], f"{view}: pictures that do not load or lack alt"
        assert tab.evaluate(TOO_WIDE) == [], f"{view}: the page scrolls sideways"

    look(VIEW)
    assert tab.evaluate(UNRENDERED) == [], "formulas that MathJax did not render"
    assert tab.evaluate(DEAD_ANCHORS) == [], "links to places that are not on the page"
    assert tab.evaluate(TWICE) == [], "names that two places of the page have"

    new = tab.evaluate(ONCE, [page == "index.html", known_styles])
    tab.evaluate(AXE)
    assert tab.evaluate(VIOLATIONS, False) == [], "what axe finds in the way of some readers"
    known_styles.extend(new)
    for view in FRONT_PAGE if page == "index.html" else (VIEW, OTHER) if new or TAKEN else ():
        if view != VIEW:
            turn(view)
            look(view)
        assert tab.evaluate(VIOLATIONS, True) == [], f"{view}: letters that do not stand out"
    assert wrong == []


def test_old_addresses_lead_to_pages():
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    for old, new in config["sphinx"]["config"]["redirects"].items():
        assert f'"{new}"' in (SITE / f"{old}.html").read_text("utf-8")
        page = (SITE / new).read_text("utf-8")
        assert 'http-equiv="refresh"' not in page, f"{old} leads to another old address"
