"""What is measured is declared where nothing is computed, and bound to functions by name."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from cnf.errors import ConfigError
from cnf.replication import metrics, plugs
from cnf.replication.measures import MEASURES, Setting, declared
from cnf.replication.metrics.masks import LIKELIEST
from cnf.replication.places import EXPERIMENTS
from cnf.replication.scored.model import ScoredModel

ENTRY = "darkness: {title: dark pixels, unit: '1', digits: 2, of: mean"


def computed(module):
    """The names of the functions of a module that give the value of a scored model at a setting."""
    names = set()
    for name, function in inspect.getmembers(module, inspect.isfunction):
        signature = inspect.signature(function)
        takes = [parameter.annotation for parameter in signature.parameters.values()]
        gives = signature.return_annotation in (metrics.Value, metrics.Value | None)
        is_own = function.__module__ == module.__name__
        if is_own and takes == [ScoredModel, Setting] and gives:
            names.add(name)
    return names


def test_every_measure_has_a_function_and_every_function_a_measure():
    wanted = {}
    for measure in MEASURES.values():
        module = (measure.owner, measure.file)
        wanted.setdefault(module, set()).add(measure.function)
    found = {}
    for path in Path(metrics.__file__).parent.glob("[a-z]*.py"):
        names = computed(import_module(f"{metrics.__name__}.{path.stem}"))
        found |= {(None, path.stem): names} if names else {}
    for path in (*EXPERIMENTS.glob("*/metrics.py"), *EXPERIMENTS.glob("*/plug.py")):
        names = computed(plugs.module(path.parent.name, path.stem))
        found |= {(path.parent.name, path.stem): names} if names else {}
    assert found == wanted


def test_reading_rows_runs_no_code_and_loads_no_model():
    """Of every row, of a task in a plug as well."""
    code = """
import sys
from cnf.replication import results
from cnf.replication.results import claims, how, report
rows = results.read_rows()
assert any(row.task == "colourisation" for row in rows)
print(how.text(results.find_rows("0.0546", rows)[:1]))
report.README.write(rows)
claims.read_claims()
heavy = {"torch", "pandas", "scipy", "skimage", "matplotlib", "safetensors"} & sys.modules.keys()
plugs = [name for name in sys.modules if "cnf_experiments" in name or ".tasks" in name]
assert not heavy and not plugs, (heavy, plugs)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_measure_of_two_settings_is_two_with_a_name_each():
    mean, sample = MEASURES["psnr"], MEASURES["psnr_sample"]
    assert (mean.of, sample.of) == ("mean", "sample") and sample.function == "psnr"
    assert mean.title == "PSNR of the point estimate" and sample.title == "PSNR of one sample"
    assert mean.references == ("bicubic",) and sample.references == ()


def test_titles_say_how_many_samples_are_compared():
    assert f"of {LIKELIEST} samples" in MEASURES["f_likeliest"].title
    assert not [measure for measure in MEASURES.values() if "{" in measure.title]


def test_a_tolerance_is_a_unit_of_the_last_digit_or_says_why(tmp_path):
    table = tmp_path / "measures.yml"
    table.write_text(f"any:\n  {ENTRY}}}\n")
    (measure,) = declared(table)
    assert measure.tolerance == 0.01 and measure.agree(0.5, 0.509) and not measure.agree(0.5, 0.52)
    for wrong in ("tolerance: 0.1", "factor: 1.1", "because: no reason", "digits: null"):
        table.write_text(f"any:\n  {ENTRY}, {wrong}}}\n")
        with pytest.raises(ConfigError, match="darkness: .*tolerance"):
            declared(table)


@pytest.mark.parametrize("text", ["", "darkness", "any: 3", "any: {a: [}"])
def test_a_table_that_is_none_says_so(tmp_path, text):
    (tmp_path / "measures.yml").write_text(text)
    with pytest.raises(ConfigError, match="measures.yml(: name a file| is no YAML)"):
        declared(tmp_path / "measures.yml")


@pytest.mark.parametrize(
    ("wrong", "said"), [("colour: 1", "colour"), ("tag: fast", "tag"), ("each_x: 3", "each_x")]
)
def test_a_field_that_is_wrong_is_named(tmp_path, wrong, said):
    table = tmp_path / "measures.yml"
    table.write_text(f"any:\n  {ENTRY}, {wrong}}}\n")
    with pytest.raises(ConfigError, match=f"measures.yml, darkness: {said} "):
        declared(table)
