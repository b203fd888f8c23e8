"""The bibliography holds what the pages cite, and nothing else."""

import re

from tools.notebooks import ROOT

BOOK = ROOT / "book"
ENTRIES = re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "refs.bib").read_text("utf-8"), re.M)
CITED = {
    key.strip()
    for page in BOOK.glob("*.md")
    for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text("utf-8"))
    for key in keys.split(",")
}


def test_every_entry_is_cited_and_every_citation_has_an_entry():
    assert len(ENTRIES) == len(set(ENTRIES))
    assert set(ENTRIES) == CITED
