"""What is committed: the evaluations, the claims, the README's tables, the cards of the runs."""

import csv
import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from pydantic import ConfigDict, create_model

from cnf.errors import ResultsError
from cnf.replication import results, run_folder
from cnf.replication.cards import card
from cnf.replication.data import inventory
from cnf.replication.measures import MEASURES
from cnf.replication.places import REPOSITORY
from cnf.replication.results import claims, report
from cnf.replication.results.rows import REFERENCES, RESULTS, Row
from cnf.replication.run_folder import publishing
from cnf.replication.tasks.task import find_task

RUNS = sorted(p.parent for p in RESULTS.glob("*/weights.safetensors"))
ROWS = results.read_rows()


def test_evaluations_are_well_formed():
    types = {field.name: (field.type, ...) for field in dataclasses.fields(Row)}
    strict = create_model("Row", __config__=ConfigDict(strict=True), **types)
    for row in ROWS:
        strict.model_validate(vars(row))
        assert row.standard_error is None or 0 <= row.standard_error < np.inf, row.id
        assert 0 < row.num_images <= (row.limit or row.num_images), row.id
        hashes = [row.data_sha256, row.weights_sha256, row.config_sha256]
        assert all(h is None or re.fullmatch("[0-9a-f]{64}", h) for h in hashes), row.id
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row.date) and row.split in ("valid", "test"), row.id
        assert MEASURES[row.metric].task in (None, row.task), row.id
        assert (row.model in REFERENCES) == (row.weights_sha256 is None), row.id
        if row.protocol is not None:  # the standard one rounds x
            assert row.metric.startswith(("psnr", "ssim")), row.id
            assert (row.protocol == "standard") == row.rounded_x, row.id
        assert (row.rounded_x is None) != find_task(row.task).has_low_resolution, row.id
        if row.model in REFERENCES:
            assert row.model in MEASURES[row.metric].references, row.id
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_rows_lie_where_they_say():
    paths = [p for p in RESULTS.glob("*/evaluations/*.json") if not p.stem.endswith(".curves")]
    for path in paths:
        for row in results.read_file(path):
            assert path == RESULTS / row.run / "evaluations" / f"{row.file}.json"
    assert len(ROWS) > 1000  # nobody lost them


def test_results_and_book_are_a_quick_clone():
    folders = RESULTS, REPOSITORY / "book"
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    committed = [path for path in files if "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in committed) <= 60_000_000


def test_rows_name_weights_that_are_there():
    named = {(row.weights, row.weights_sha256) for row in ROWS if row.weights is not None}
    for path, sha256 in named:
        assert run_folder.file_sha256(REPOSITORY / path) == sha256
    assert {path for path, _ in named} == {
        str((run / "weights.safetensors").relative_to(REPOSITORY)) for run in RUNS
    }


def test_curves_are_of_the_weights_of_their_row():
    for path in RESULTS.glob("*/evaluations/*.curves.json"):
        found = json.loads(path.read_text())["weights_sha256"]
        row = results.read_file(path.with_name(path.name.replace(".curves", "")))[0]
        assert found == row.weights_sha256, f"evaluate {path} again with --full"


def test_values_an_image_have_the_mean_of_their_row():
    """Bits and F, whose rows are means over images, where the file holds all of them."""
    checked = 0
    for path in RESULTS.glob("*/evaluations/*.csv"):
        with path.open(newline="") as file:
            lines = list(csv.DictReader(file))
        run, of = path.parent.parent.name, {}
        for row in ROWS:
            if row.run == run and row.file == path.stem and row.divided_by != "field of view":
                of.setdefault(row.metric, row)
        for column, metric in (("f_half", "f_half_image"), ("bits_per_pixel", "bits_per_pixel")):
            if column in lines[0] and metric in of:
                mean = np.mean([float(line[column]) for line in lines])
                assert mean == pytest.approx(of[metric].value, abs=2e-6), (run, path.stem)
                checked += 1
    assert checked > 10


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: p.name)
def test_committed_run_is_small_and_has_its_card(folder):
    assert (folder / "weights.safetensors").stat().st_size <= publishing.MAX_BYTES
    text = (folder / "card.md").read_text()
    assert text == card.card(folder), "run `python -m cnf results readme`"
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "history.jsonl"} <= names and "history.png" not in names  # drawn from it


def test_readme_shows_the_rows(tmp_path):
    path = tmp_path / "README.md"
    text = (REPOSITORY / "README.md").read_text()
    path.write_text(text)
    assert report.readme(path) == text, "run `python -m cnf results readme`"


def test_committed_results_name_no_machine():
    for path in RESULTS.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".md", ".yml", ".csv"):
            found = re.search(r"(?<![\w.])/(?:home|root|work|tmp|opt|Users)/", path.read_text())
            assert not found, path


# -- claims ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged():
    """All claims, whose rules are checked by reading them."""
    return claims.read_claims()


def test_claims_hold(judged):
    found = {claim.id: claim for claim in judged}
    # no readable copy of the tables was found: figures are recollections until someone confirms
    assert all(c.tag == "unconfirmed" or "recollection" not in c.source for c in found.values())
    assert {"bits-imagenet32-flow", "bits-imagenet32-factorised"} <= found.keys()


def test_every_row_that_a_claim_names_is_there(judged):
    """A missing row would leave the rules of its claim unchecked."""
    for claim in judged:
        for wanted in claim.ours:
            assert results.select(ROWS, **({"split": "test"} | wanted)), (claim.id, wanted)


def test_open_is_only_what_a_holder_of_the_pdf_can_close(judged):
    """A figure that is recalled, and rows of ours that were compared with it."""
    for claim in judged:
        if claim.verdict == "open":
            assert claim.tag == "unconfirmed" and claim.value is not None, claim.id
            assert claim.ours and claim.holds and "confirm" in claim.cause, claim.id


def test_what_a_cause_points_to_is_there(judged):
    pages = [page.read_text("utf-8") for page in (REPOSITORY / "book").glob("*.md")]
    titles = {title for page in pages for title in re.findall(r"^# (.+)$", page, re.MULTILINE)}
    for claim in judged:
        assert set(re.findall(r'chapter "([^"]+)"', claim.cause)) <= titles, claim.id
        for path in re.findall(r"\b(?:tests|results|book|experiments)/[\w./-]*\w", claim.cause):
            assert (REPOSITORY / path).exists(), claim.id


def test_unconfirmed_claims_are_never_shown_as_facts(judged):
    text, found = claims.text(), judged
    lines = re.findall(r"^- \*\*.+$", text, re.MULTILINE)
    assert len(lines) == len(found)
    for claim in found:
        line = f"- **{claim.verdict}**: {claims.statement(claim)}"
        assert line in lines
        assert ("(unconfirmed)" in line) == (claim.tag == "unconfirmed")
    shown = set(re.findall(r"row `([^`]+)`", text))
    assert shown and shown <= {row.id for row in ROWS}


@pytest.mark.parametrize("data", ["drive", "chasedb1-all"])
def test_published_scores_of_vessels_are_of_our_photographs(data):
    """The second annotator of the source is ours, in the mean and in how far photographs differ."""
    (theirs,) = claims.published(method="second annotator", data=data)
    ours = pd.read_csv(RESULTS / "second-observer" / "evaluations" / f"{data}-test.csv")["f_half"]
    # three digits are printed, and the source cuts a few columns off CHASE_DB1; the mean over its
    # subjects 08 to 10 alone would be off by 0.012
    assert ours.mean() == pytest.approx(theirs.value, abs=1e-3)
    assert ours.std() == pytest.approx(theirs.deviation, abs=1e-3)
    assert theirs.incomparable is None


def test_the_published_confusion_matrix_of_laddernet_is_of_our_views():
    """It has the pixels and the vessels of the twenty test photographs of DRIVE inside the field of
    view, as they were counted by a third party, and gives the published F."""
    negative, false_positive, false_negative, positive = 3885433, 75061, 123839, 453810
    counts, tests = inventory.label_counts("drive"), [f"{n:02d}" for n in range(1, 21)]
    view, vessel = (
        sum(counts[kind][n] for n in tests) for kind in ("in view", "1st_manual in view")
    )
    assert negative + false_positive == view - vessel
    assert positive + false_negative == vessel
    (f,) = claims.published(method="LadderNet")
    found = 2 * positive / (2 * positive + false_positive + false_negative)
    assert f"{found:.4f}" == f"{f.value:.4f}" and f.incomparable is None


def test_published_figures_are_well_formed():
    found = claims.published()
    assert len({(f.method, f.data, f.metric, f.setting) for f in found}) == len(found)
    assert {f.task for f in found} == {"sr", "vessels"}
    (bicubic,) = claims.published(method="bicubic", data="set5", metric="psnr")
    # with MATLAB's kernel 33.69 or 33.66, as Y is made: another unit or set would be far away
    assert abs(bicubic.value - 33.67) < 0.02 and bicubic.incomparable is None
    # bits of p(y) say nothing about bits of p(y|x); the paper's own numbers are claims, not context
    assert all(f.incomparable for f in found if f.metric == "bits_per_dim" or f.data == "div2k")
    assert not any("winkler" in (f.method + f.source).lower() for f in found)
    with pytest.raises(ResultsError, match="no field 'colour'"):
        claims.published(colour="red")
