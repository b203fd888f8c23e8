"""Experiments: what their READMEs say is read from rows, and no folder of results is forgotten."""

import fnmatch
import itertools
import json
import math
import re
import statistics

import pandas as pd
import pytest

from cnf.replication import config, results
from cnf.replication.places import REPOSITORY
from cnf.replication.results.claims import paired_differences, published
from cnf.replication.results.rows import COMPARABLE, RESULTS

EXPERIMENTS = REPOSITORY / "experiments"
READMES = sorted(EXPERIMENTS.glob("*/README.md"))
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
ROWS = {row.id: row for row in results.read_rows()}
OWNERS = "|".join(["sr", "vessels", *(path.parent.name for path in EXPERIMENTS.glob("*/plug.py"))])
RUN = re.compile(rf"`((?:{OWNERS})-[a-z0-9*-]+-[a-z0-9*-]+)`")
CELL = re.compile(r"\| (-?[\d.]+) \| `([^`]+)` \|$", re.MULTILINE)
LABEL = re.compile(rf"^(.*){CELL.pattern}", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")
DECIMAL = re.compile(r"(?<![\w.:])(\d+\.\d+)(?:\s±\s(\d+\.\d+))?(?!\.?\d)")


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
    for link in LINK.findall(text):
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


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_numbers_of_the_prose_are_held(path):
    """See `unheld`. Write the value into a table, name its row or link its file in the paragraph,
    or leave the number out."""
    assert unheld(path, path.read_text()) == []


def test_numbers_of_the_index_are_held():
    """By the rows of the note, and by all files that it links."""
    index = (EXPERIMENTS / "README.md").read_text()
    for answer, folder in re.findall(r"^\| .+\? \| (.+) \| \[(\w+)\]", index, re.MULTILINE):
        path = EXPERIMENTS / folder / "README.md"
        note, _, _ = path.read_text().partition("\n## Runs")
        head, _, found = note.partition("\n## Found\n")
        files = " ".join(f"[]({link})" for link in LINK.findall(found))
        rows = "\n".join(line for line in found.splitlines() if CELL.search(line))
        text = f"{head}\n## Found\n{rows}\n\n{answer} {files}"
        assert unheld(path, text) == [], answer


@pytest.mark.parametrize(
    "sentence,bad",
    [
        ("It rises from 0.825 to 0.8285, by 0.0038.", []),
        ("It rises by 0.0039.", ["0.0039"]),
        ("In pairs it rises by 0.0038 ± 0.0004.", []),
        ("In pairs it rises by 0.0038 ± 0.0005.", ["0.0038"]),
        ("The prior over signs needed 0.0417 ([trials](vessel-forms.jsonl)).", []),
        ("The prior over signs needed 0.0418 ([trials](vessel-forms.jsonl)).", ["0.0418"]),
        ("The prior over signs needed 0.0417.", ["0.0417"]),
        ("We had expected at least 0.83.", []),
    ],
)
def test_an_unheld_number_is_found(sentence, bad):
    runs = "vessels-flow-ar-cpu-s0", "vessels-flow-ar-cpu-s0-oriented"
    rows = "\n".join(f"| F | 0.8 | `{run}/drive-test/f_half-s32` |" for run in runs)
    text = f"0.83 is expected.\n## Found\n\n{rows}\n\n{sentence}\n\n## Runs\n\n0.123"
    assert unheld(EXPERIMENTS / "autoregressive_priors" / "README.md", text) == bad


def unheld(path, text):
    """The decimals of a note, outside of its tables of rows and after "Found", that nothing holds.
    What may hold a number:
    - a row that a table of the note or the paragraph names: its value or threshold, or its value
      and error;
    - the difference of two such rows, in pairs of pictures if it is given with its error;
    - a file that the paragraph links, see `numbers_of`; a note that it links holds by its rows;
    - "Expected" and the labels of rows, where limits and settings are."""
    before, _, found = text.partition("\n## Runs")[0].partition("\n## Found\n")
    labels = [label for label, *_ in LABEL.findall(found)]
    free = {number for number, _ in DECIMAL.findall("\n".join([before, *labels]))}
    bad = []
    for paragraph in re.split(r"\n\n(?!\|)", LABEL.sub("", found)):  # a table belongs to its text
        links = [path.parent / link for link in LINK.findall(paragraph)]
        notes = [link.read_text() for link in links if link.name == "README.md"]
        rows = rows_named(found + "".join(notes))
        numbers = [n for link in links for n in numbers_of(link)]
        for number, error in DECIMAL.findall(re.sub(r"`[^`]*`|\]\([^)]*\)", "", paragraph)):
            if error:
                held = any(fits(number, n) and fits(error, e) for n, e in with_errors(rows))
            else:
                candidates = itertools.chain(numbers, without_errors(rows))
                held = number in free or any(fits(number, n) for n in candidates)
            if not held:
                bad.append(number)
    return bad


def rows_named(text):
    return [ROWS[name] for name in dict.fromkeys(re.findall(r"`([^`\s]+)`", text)) if name in ROWS]


def comparable(rows):
    for a, b in itertools.combinations(rows, 2):
        if all(getattr(a, field) == getattr(b, field) for field in COMPARABLE):
            yield a, b


def without_errors(rows):
    yield from (row.value for row in rows)
    yield from (row.threshold for row in rows if row.threshold is not None)
    yield from (a.value - b.value for a, b in comparable(rows))


def with_errors(rows):
    yield from ((row.value, row.standard_error or 0) for row in rows)
    for a, b in comparable(rows):
        if found := paired_differences(a, b, RESULTS):
            yield statistics.mean(found), statistics.stdev(found) / math.sqrt(len(found))


def numbers_of(path):
    """The numbers of a file; of its lists the means; of the columns of a .jsonl the means and
    deviations as well; of published.yml the values; of a page, what its cells print."""
    if path.name == "published.yml":
        return [figure.value for figure in published(path.parent)]
    twin = path.with_suffix(".ipynb")
    if path.suffix == ".md" and twin.exists():
        cells = json.loads(twin.read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        return floats("".join("".join(output.get("text", [])) for output in outputs))
    if path.suffix == ".jsonl":
        columns = pd.read_json(path, lines=True).select_dtypes("number")
        return [*floats(path.read_text()), *columns.mean(), *columns.std()]
    if path.suffix in (".json", ".yml"):
        lists, text = re.compile(r"\[[-\d.,\se]+\]"), path.read_text()
        means = [statistics.mean(floats(found)) for found in lists.findall(text)]
        return floats(lists.sub("", text)) + means
    return []


def floats(text):
    return [float(number) for number in re.findall(r"\d+\.?\d*(?:e[-+]?\d+)?", text)]


def fits(shown, number):
    """Whether a number is shown so, to its digits and without its sign."""
    half = 0.5001 * 10 ** -len(shown.partition(".")[2])
    return math.isclose(abs(number), float(shown), rel_tol=0, abs_tol=half)


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
