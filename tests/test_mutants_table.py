"""The table of planted mistakes fits the package of today (`make mutants` plants them)."""

import subprocess
import sys

import pytest

from tools.mutants import MUTANTS, ROOT


def test_every_mistake_can_be_planted():
    """In a process of its own, which they all spoil."""
    code = "from tools.mutants import MUTANTS, plant\nfor mutant in MUTANTS: plant(mutant)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tests", sorted({mutant.tests for mutant in MUTANTS}))
def test_the_tests_that_see_a_mistake_are_there(tests):
    file, _, test = tests.partition("::")
    assert f"def {test.partition('[')[0]}" in (ROOT / "tests" / file).read_text("utf-8")


def test_every_mistake_has_its_own_name():
    assert len(set(map(str, MUTANTS))) == len(MUTANTS) >= 100
