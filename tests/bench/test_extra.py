"""The libraries of the bench are an extra: the package runs without them."""

import re

from tools.notebooks import ROOT


def test_package_imports_no_library_of_the_bench():
    for path in (ROOT / "cnf").rglob("*.py"):
        found = re.search(r"(?:import|from) (FrEIA|nflows|normflows|zuko)", path.read_text("utf-8"))
        assert not found, f"{path.name}: {found[0]}"
