"""Buttons that lead away from the site are there once they lead somewhere."""

from types import SimpleNamespace

import pytest

from book._ext import buttons

BUTTONS = {"use_repository_button", "use_edit_page_button", "use_issues_button"}


@pytest.mark.parametrize("url", ["", "https://github.com/someone/flows"])
def test_buttons_need_an_address(url):
    options = {"repository_url": url, "launch_buttons": {"colab_url": "https://colab"}}
    buttons.choose(None, SimpleNamespace(html_theme_options=options))
    assert {options[name] for name in BUTTONS} == {bool(url)}
    assert ("launch_buttons" in options) == bool(url)


def test_edits_and_downloads_lead_to_the_markdown_too(tmp_path):
    for end in ("md", "ipynb"):
        (tmp_path / f"01-a.{end}").write_text(end)
    app = SimpleNamespace(srcdir=tmp_path, outdir=tmp_path / "site")
    app.outdir.mkdir()
    edit = {
        "label": "source-edit-button",
        "url": "https://github.com/a/b/edit/main/book/01-a.ipynb",
    }
    load = {"label": "download-source-button", "url": "_sources/01-a.ipynb", "text": ".ipynb"}
    groups = [
        {"label": "source-buttons", "buttons": [edit]},
        {"label": "download-buttons", "buttons": [load]},
    ]
    buttons.lead_to_markdown(app, "01-a", "page.html", {"header_buttons": groups}, object())
    assert edit["url"].endswith("/book/01-a.md")
    assert [button["url"] for button in groups[1]["buttons"]] == [
        "_sources/01-a.ipynb",
        "_sources/01-a.md",
    ]
    assert (app.outdir / "_sources/01-a.md").read_text() == "md"
