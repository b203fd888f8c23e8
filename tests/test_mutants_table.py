"""The table of planted mistakes fits the source of today (`make mutants` plants them)."""

import ast

import pytest

from tools.mutants import MUTANTS, ROOT, Mutant, plant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.file}: {m.name}")
def test_a_mistake_can_be_planted_and_is_still_python(mutant):
    source = (ROOT / mutant.file).read_text()
    changed = plant(mutant, source)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    file, _, test = mutant.tests.partition("::")
    assert f"def {test}" in (ROOT / "tests" / file).read_text()


def test_every_mistake_has_its_own_name():
    assert len({(m.file, m.name) for m in MUTANTS}) == len(MUTANTS) >= 28


@pytest.mark.parametrize("source", ["b = 2", "a = 1; a = 1"])
def test_a_text_that_does_not_stand_there_once_is_named(source):
    mutant = Mutant("name", "file.py", "a = 1", "a = 2", "")
    with pytest.raises(ValueError, match=r"file.py, 'name': its text stands there \d times.*a = 1"):
        plant(mutant, source)
