"""The box that finds a number, as a reader uses it."""

from cnf.replication import results

PAGE = "reproduce-a-number.html"


def test_a_reader_finds_a_number_by_address_by_value_and_by_keyboard(browser, url):
    rows = results.read_rows()
    wanted = results.one(rows, run="bicubic", data="set5", metric="psnr", protocol="standard")
    tab = browser.new_page(viewport={"width": 360, "height": 800})
    tab.goto(f"{url}/{PAGE}?row={wanted.id}")
    says, found = tab.locator(".finder-says"), tab.locator(".finder-list details")
    assert says.inner_text() == f"one row of {len(rows)}"
    assert found.evaluate("node => node.open")
    assert f"python -m cnf results audit {wanted.id}" in found.inner_text()

    printed = results.MEASURES["psnr"].write(wanted.value)
    tab.locator("#finder-text").fill(printed)
    assert printed in found.first.inner_text()
    tab.locator("#finder-text").fill("bicubic set5 psnr")
    assert found.count() > 1 and not found.first.evaluate("node => node.open")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert found.first.evaluate("node => node.open")

    tab.locator("#finder-text").fill("no such row")
    assert says.inner_text() == f"0 rows of {len(rows)}" and found.count() == 0
    tab.close()


def test_without_scripts_there_is_a_list_instead_of_the_box(browser, url):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{url}/{PAGE}")
    assert not tab.locator(".finder").is_visible()
    assert tab.locator("details.claim.found").first.is_visible()
    context.close()
