"""Models by name: for `python -m cnf sample` and `cnf.load`."""

import doctest
import subprocess
import sys

import pytest
import torch

import cnf
from cnf import releases
from cnf.errors import CheckpointError
from cnf.replication.results import RESULTS


@pytest.fixture
def shelf(tmp_path):
    """A folder of results that has these runs."""

    def make(*names):
        for name in names:
            (tmp_path / name).mkdir()
            (tmp_path / name / "weights.safetensors").touch()
        return tmp_path

    return make


def test_a_name_is_the_first_of_its_folders_or_says_that_it_is_not(shelf, capsys):
    results = shelf("sr-flow-photos-s0", "sr-flow-cpu-s0")
    assert releases.find("sr", results) == results / "sr-flow-cpu-s0"
    assert capsys.readouterr().out == ""
    (results / "sr-flow-cpu-s0" / "weights.safetensors").unlink()
    assert releases.find("sr", results) == results / "sr-flow-photos-s0"
    assert "sr: sr-flow-cpu-s0 is not here, using sr-flow-photos-s0" in capsys.readouterr().out


def test_runs_go_by_their_own_name_and_by_path(shelf):
    results = shelf("other")
    assert releases.find("other", results) == results / "other"
    assert releases.find(str(results / "other"), RESULTS) == results / "other"
    assert releases.find(results / "other", RESULTS) == results / "other"


def test_what_is_not_there_is_named_with_what_is(shelf):
    results = shelf("mine")
    with pytest.raises(CheckpointError, match="'sr' is sr-flow-cpu-s0 or sr-flow-photos-s0, not"):
        releases.find("sr", results)
    with pytest.raises(CheckpointError, match="one of sr, sr-baseline, vessels, .*, mine$"):
        releases.find("yours", results)


@pytest.mark.parametrize("name", releases.RELEASES)
def test_every_released_name_loads(name):
    model, config = cnf.load(name)
    assert not model.training and config.experiment == name.split("-")[0]
    assert (config.model.kind == "flow") == (not name.endswith("baseline"))


def test_the_example_of_load_runs():
    torch.set_num_threads(1)
    found = doctest.DocTestFinder().find(cnf.load, globs={})
    assert sum(len(test.examples) for test in found) >= 9
    for test in found:
        assert doctest.DocTestRunner().run(test).failed == 0


def test_importing_the_package_imports_nothing_else():
    code = "import sys, cnf; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
