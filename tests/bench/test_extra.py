"""The libraries of the bench are an extra: the package runs without them."""

import importlib
import re

import pytest

from cnf import testing
from cnf.replication.places import REPOSITORY

LINES = re.findall(
    r"^    (check_bijection\(lambda: (\w+)((?:\.[a-z]+)*)\..*)$", testing.__doc__, re.MULTILINE
)


@pytest.mark.parametrize(
    ("line", "library", "module"), LINES, ids=[library for _, library, _ in LINES]
)
def test_layers_of_other_libraries_are_understood_as_they_are(line, library, module):
    found = pytest.importorskip(library, reason=f"no {library}: its layers were not checked")
    importlib.import_module(library + module)
    eval(line, vars(testing) | {library: found}).assert_ok()


def test_package_imports_no_library_of_the_bench():
    for path in (REPOSITORY / "cnf").rglob("*.py"):
        found = re.search(r"(?:import|from) (FrEIA|nflows|normflows|zuko)", path.read_text("utf-8"))
        assert not found, f"{path.name}: {found[0]}"
