"""Laboratory notes: every experiment has one, and its links lead somewhere."""

import re

from book._ext import notes


def test_every_experiment_has_a_note():
    folders = {path.parent.name for path in notes.EXPERIMENTS.glob("*/README.md")}
    labels = set(re.findall(r"^\(note-([\w-]+)\)=$", "\n".join(notes.notes()), re.M))
    assert labels == {name.replace("_", "-") for name in folders}


def test_links_of_notes_lead_somewhere():
    text = "\n".join(notes.notes())
    targets = re.findall(r"\]\((?!\w+:)([^)]+)\)", text)
    assert len(targets) > 30
    for target in targets:
        if target.startswith("#"):
            assert f"({target[1:]})=" in text, target
        else:
            assert (notes.BOOK / target).exists(), target


def test_headings_do_not_break_the_contents_of_the_page():
    assert not re.search(r"^#", "\n".join(notes.notes()), re.M)
