"""What a reader does with the site: search, unfold, walk by keyboard, move pictures."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINKS = """
chosen => [...document.querySelectorAll(chosen)]
    .map(link => link.href.split(/[?#]/)[0].split("/").pop())
"""
# What the Tab key should stop at, in order: it keeps the list, and says how long it is.
REACHABLE = """
() => (window.reachable = [...document.querySelectorAll(
        'a[href], button, summary, input, select, textarea, [tabindex]')]
    .filter(node => node.tabIndex >= 0 && !node.disabled
        && node.checkVisibility({visibilityProperty: true}))).length
"""
# (place in that list, whether the focus shows, what it is) of what has the focus
FOCUSED = """
() => {
    const node = document.activeElement;
    const place = window.reachable.indexOf(node);
    const seen = [node, ...node.querySelectorAll('*')].some(part => {
        const style = getComputedStyle(part);  // the theme marks a part of some
        return (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0)
            || style.boxShadow !== 'none';
    });
    return [node === document.body ? null : place, seen, node.outerHTML.slice(0, 120)];
}
"""


# Names of the icons that one sees and that are not a letter of the font, and of those whose name
# someone hears who listens.
NOT_DRAWN = """
() => [...document.querySelectorAll('i[class*=fa-]')]
    .filter(icon => icon.checkVisibility() && (getComputedStyle(icon, '::before').content === 'none'
                    || !document.fonts.check('900 16px "Font Awesome 6 Free"'))
                    || icon.getAttribute('aria-hidden') !== 'true')
    .map(icon => icon.className)
"""
# Bytes of the scripts of a page, without those of formulas.
SCRIPTS = """
() => performance.getEntriesByType('resource')
    .filter(file => file.initiatorType === 'script' && !file.name.includes('/mathjax/'))
    .reduce((sum, file) => sum + file.encodedBodySize, 0)
"""


def test_icons_are_letters_and_a_page_loads_the_scripts_that_it_needs(desktop):
    tab = desktop("binary-targets.html")
    tab.wait_for_function("document.fonts.status === 'loaded'")
    assert tab.locator("i[class*=fa-]:visible").count() > 3
    assert tab.evaluate(NOT_DRAWN) == []
    assert tab.evaluate(SCRIPTS) < 300e3  # 98 kB today; the index of the search alone has 343 kB


def test_menu_opens_and_the_theme_switches_on_a_phone(browser, url):
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="light")
    tab = context.new_page()
    tab.goto(f"{url}/index.html")
    reference = tab.locator("dialog[open] a", has_text="Reference")
    assert reference.count() == 0
    tab.locator("button.primary-toggle").click()
    reference.click()
    tab.wait_for_url("**/reference.html")
    seen = set()
    for _ in range(3):  # auto, light, dark
        tab.locator(".theme-switch-button").click()
        seen.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(seen) == 2
    context.close()


def test_search_finds_log_det_where_it_is_derived(desktop):
    tab = desktop("search.html?q=log-det")
    tab.wait_for_selector("#search-results li")
    found = tab.evaluate(LINKS, "#search-results li > a")
    assert {"change-of-variables.html", "coupling-layers.html"} & set(found), found


def test_folded_solutions_and_cells_open_by_click_and_by_keys(desktop):
    tab = desktop("coupling-layers.html")
    solutions, cells = tab.locator(".solution.dropdown"), tab.locator("details.hide")
    assert solutions.count() == 3

    def press(node, way):
        if way == "click":
            node.click()
        else:
            node.focus()
            tab.keyboard.press(way)

    for k, way in enumerate(["click", "Enter", "Space"]):
        solution, cell = solutions.nth(k), cells.nth(k)
        text, button = solution.locator("section p").first, solution.locator("button.toggle-button")
        for state in ("hidden", "visible", "hidden"):
            text.wait_for(state=state)  # it unfolds slowly
            assert button.get_attribute("aria-expanded") == str(state == "visible").lower()
            press(button, way)
        code = cell.locator("pre").first
        assert not code.is_visible()
        press(cell.locator("summary"), way)
        assert code.is_visible()


def test_the_keyboard_reaches_everything_in_order_and_one_sees_where_it_is(desktop):
    tab = desktop("change-of-variables.html")
    tab.evaluate("() => MathJax.startup.promise")
    expected = tab.evaluate(REACHABLE)
    tab.evaluate("() => document.activeElement.blur()")
    reached = []
    for _ in range(2 * expected):
        tab.keyboard.press("Tab")
        place, seen, name = tab.evaluate(FOCUSED)
        if place is None:
            break  # round once, into the browser's own buttons
        assert seen, f"nothing shows that the focus is on {name}"
        reached.append(place)
    assert reached == list(range(expected))


def test_the_first_stop_of_the_keyboard_leads_past_the_menu(desktop):
    tab = desktop("change-of-variables.html")
    tab.keyboard.press("Tab")
    link = tab.locator(":focus")
    assert link.inner_text() == "Skip to main content"
    # it slides in; one that stayed outside would run into the time limit
    tab.wait_for_function("document.activeElement.getBoundingClientRect().y >= 0")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("() => document.activeElement.closest('main') !== null")


def test_every_page_can_be_taken_along_executed_and_as_it_is_edited(desktop, url):
    tab = desktop("coupling-layers.html")
    links = tab.evaluate(LINKS, ".dropdown-download-buttons a")
    assert {"coupling-layers.ipynb", "coupling-layers.md"} <= set(links)
    for end in ("ipynb", "md"):
        name = f"coupling-layers.{end}"
        got = tab.request.get(f"{url}/_sources/{name}").text()
        assert got == (ROOT / "book" / name).read_text("utf-8")


def test_a_reader_sets_the_temperature_by_keyboard_and_by_pointer(desktop):
    tab = desktop("samples-means-and-psnr.html")
    box = tab.locator('[data-widget="temperature"]')
    slider, says = box.locator("input"), box.locator(".widget-says")
    tile = box.locator(".temperature-tile").first
    image = tile.evaluate("node => getComputedStyle(node).backgroundImage")
    assert tab.request.get(re.search(r'url\("(.*)"\)', image)[1]).ok
    assert tile.bounding_box()["width"] == tile.bounding_box()["height"] > 200
    numbers = tab.evaluate("TEMPERATURES")

    def check(k):
        assert f"PSNR {numbers[k]['psnr']:.1f} dB" in says.inner_text()
        assert slider.get_attribute("aria-valuetext") == f"{k / 10:.1f}"
        assert f"temperature {k / 10:.1f}" in tile.get_attribute("aria-label")
        return tile.evaluate("node => node.style.backgroundPosition")

    assert [row["tau"] for row in numbers] == [k / 10 for k in range(11)]
    tab.get_by_label("temperature τ").focus()
    tab.keyboard.press("Home")
    places = [check(0)]
    for k in range(1, 11):
        tab.keyboard.press("ArrowRight")
        places.append(check(k))
    assert len(set(places)) == 11
    slider.scroll_into_view_if_needed()
    area = slider.bounding_box()
    tab.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    check(5)


def test_a_reader_bends_a_density_by_keyboard_and_by_pointer(browser, url):
    size = {"width": 1280, "height": 1000}
    tab = browser.new_page(viewport=size, reduced_motion="reduce")
    tab.goto(f"{url}/change-of-variables.html")
    line = tab.locator('[data-widget="line"]')
    says = line.locator(".widget-says")
    assert "s = 2.00, t = 0.00." in says.inner_text()
    line.get_by_label("log₂ |s|").focus()
    tab.keyboard.press("Home")  # the smallest scale
    assert "s = 0.33, t = 0.00." in says.inner_text()
    tab.keyboard.press("Tab")
    tab.keyboard.press("ArrowRight")
    assert "s = 0.33, t = 0.01." in says.inner_text()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Space")  # mirrored
    assert "s = −0.33, t = 0.01." in says.inner_text()

    line.get_by_role("button", name="reset").click()
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

    tab.goto(f"{url}/coupling-layers.html")
    plane = tab.locator('[data-widget="plane"]')
    plane.locator("button", has_text="identity").click()
    assert "Area 0.25 of z, 0.25 of y;" in plane.locator(".widget-says").inner_text()
    tab.close()


def test_a_reader_without_scripts_sees_still_pictures(browser, url):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    for page, name in (("change-of-variables", "line"), ("multi-scale", "scales")):
        tab.goto(f"{url}/{page}.html")
        picture = tab.locator(f'[data-widget="{name}"] img')
        assert picture.bounding_box()["height"] > 100
        assert tab.request.get(f"{url}/_static/stills/{name}.svg").ok
    tab.goto(f"{url}/samples-means-and-psnr.html")
    assert tab.locator('[data-widget="temperature"] img').bounding_box()["height"] > 200
    assert tab.request.get(f"{url}/_static/stills/temperature.png").ok
    context.close()
