"""Experiments: what their READMEs say is read from rows, and no folder of results is forgotten."""

import fnmatch
import re

import pytest

from cnf.replication import config, results
from cnf.replication.results.rows import RESULTS
from cnf.replication.run_folder import REPOSITORY

EXPERIMENTS = REPOSITORY / "experiments"
READMES = sorted(EXPERIMENTS.glob("*/README.md"))
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
ROWS = {row.id: row for row in results.read()}
OWNERS = "|".join(["sr", "vessels", *(path.parent.name for path in EXPERIMENTS.glob("*/plug.py"))])
RUN = re.compile(rf"`((?:{OWNERS})-[a-z0-9*-]+-[a-z0-9*-]+)`")
CELL = re.compile(r"\| (-?[\d.]+) \| `([^`]+)` \|$", re.MULTILINE)


def test_every_folder_of_experiments_has_a_readme_and_a_line_of_the_index():
    folders = {path.name for path in EXPERIMENTS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {path.parent.name for path in READMES}
    index = (EXPERIMENTS / "README.md").read_text()
    assert sorted(re.findall(r"\]\((\w+)/README\.md\) \|$", index, re.MULTILINE)) == sorted(folders)


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_a_readme_names_what_is_there(path):
    text = path.read_text()
    for run in RUN.findall(text):
        assert fnmatch.filter(FOLDERS, run), f"results/ has no {run}"
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_numbers_of_a_readme_are_those_of_rows(path):
    """A table says a value and its row; the value is the row's, to the digits that are shown."""
    text = path.read_text()
    cells = CELL.findall(text)
    assert len(cells) == len(re.findall(r"^\|.*`[^`]+/[^`]+/[^`]+` \|$", text, re.MULTILINE))
    for shown, name in cells:
        digits = len(shown.partition(".")[2])
        assert shown == f"{ROWS[name].value:.{digits}f}", name


def test_every_folder_of_results_is_named():
    """By a table, a claim, a page or the README of an experiment; else it can go."""
    tables = REPOSITORY / "cnf" / "replication" / "results" / "tables.yml"
    pages = (REPOSITORY / "book").glob("*.md")
    files = [tables, RESULTS / "claims.yml", EXPERIMENTS / "README.md", *READMES, *pages]
    text = "\n".join(path.read_text() for path in files)
    named = set(re.findall(r"[\w*-]+", text))
    patterns = [name for name in named if "*" in name and name.startswith(("sr-", "vessels-"))]
    for folder in FOLDERS:
        fits = any(fnmatch.fnmatchcase(folder, pattern) for pattern in patterns)
        assert folder in named or fits, f"nothing names results/{folder}: delete it"


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*/runs/*.yml")), ids=lambda p: f"{p.parents[1].name}-{p.stem}"
)
def test_runs_of_an_experiment_build_a_model(path):
    assert config.build(config.load_config(str(path))).config.preset == str(path)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*/plug.py")), ids=lambda p: p.parent.name)
def test_a_plug_is_short(path):
    lines = path.read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 150
