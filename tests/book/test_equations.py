"""Equation, lines and test are tied by name, and the pages show the ties."""

import inspect
import re
import sys

import pytest

import cnf.factorised
from book._ext import api, equations

TIES = equations.collect()
PUBLIC = [getattr(cnf, name) for name in cnf.__all__]
LAYERS = [one for one in PUBLIC if getattr(one, "__module__", "").startswith("cnf.layers.")]
PAGE = """# A page

$$
a = b
$$ (eq-one)

See [the code](../cnf/one.py), [Layer](../cnf/one.py).
"""
CODE = '''
class Layer:
    """Does it.

    Forward:  b    :eq:`eq-one`
    """

    def forward(self):
        return "zyzzyva"
'''
TEST = """
import pytest

@pytest.mark.equation("eq-one")
def test_it():
    assert True
"""


def planted(root, page=PAGE, code=CODE, test=TEST):
    for name, text in (("book/index.md", page), ("cnf/one.py", code), ("tests/test_one.py", test)):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return equations.collect(root)


def test_the_rules_hold_for_a_small_book(tmp_path):
    found = planted(tmp_path)
    assert found.problems() == []
    assert [(p.name, p.first, p.last) for p in found.code["eq-one"]] == [("Layer.forward", 8, 9)]
    assert [p.name for p in found.tests["eq-one"]] == ["test_it"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"page": "# No equation\n"}, "cnf/one.py: Layer.forward names eq-one, which no page has"),
        ({"page": PAGE + PAGE}, "eq-one labels 2 equations"),
        ({"test": ""}, "cites eq-one, which no test is marked with"),
        ({"code": CODE.replace(":eq:", "")}, "test_it checks eq-one, which no docstring cites"),
        ({"test": TEST.replace("eq-one", "eq-two")}, "test_it names eq-two, which no page has"),
        ({"test": TEST.replace("test_it", "it")}, "it is marked with an equation, but no test"),
    ],
)
def test_a_broken_tie_is_named(tmp_path, change, said):
    assert any(said in problem for problem in planted(tmp_path, **change).problems())


def test_the_api_pages_show_every_layer_and_every_factorised_model():
    shown = set()
    directive = re.compile(r"^```\{api\} ([\w.]+)\n((?:[\w.]+\n)*)```$", re.MULTILINE)
    for page in (TIES.root / "book").glob("*.md"):
        for module, names in directive.findall(page.read_text("utf-8")):
            names = names.split() or api.public(api.source_of(TIES, module))
            shown |= {f"{module}.{name}" for name in names}
    modules = [cnf.factorised, *(sys.modules[layer.__module__] for layer in LAYERS)]
    wanted = {
        f"{module.__name__}.{name}"
        for module in modules
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__ == module.__name__ and name[0] != "_"
    }
    assert len(wanted) > 20
    missing = sorted(wanted - shown)
    assert not missing, f"{missing} stand in no {{api}} block of book/api-*.md: add them"
    for name in shown:
        module, _, name = name.rpartition(".")
        assert name in api.source_of(TIES, module).definitions
