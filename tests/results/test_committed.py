"""What is committed: the ledger, the claims, the README's table, the cards of the runs."""

import json
import re

import pytest
import yaml

from cnf.errors import LedgerError
from cnf.replication import publishing, run_folder
from cnf.replication import results as ledger

RUNS = sorted(p.parent for p in ledger.RESULTS.glob("*/weights.safetensors"))


def test_ledger_can_be_read():
    ledger.read()


def test_readme_shows_the_ledger():
    path = ledger.REPOSITORY / "README.md"
    assert path.read_text() == _rewritten(path), "run `python -m cnf results readme`"


def _rewritten(path):
    copy = path.read_text()
    try:
        return ledger.readme(path)
    finally:
        path.write_text(copy)


def test_rows_name_weights_that_are_there():
    for row in ledger.current(ledger.read()):
        if row.weights is not None:
            assert run_folder.file_sha256(ledger.REPOSITORY / row.weights) == row.weights_sha256


@pytest.mark.parametrize("folder", RUNS, ids=lambda p: p.name)
def test_committed_run_is_small_and_has_its_card(folder):
    assert (folder / "weights.safetensors").stat().st_size <= run_folder.MAX_BYTES
    assert (folder / "card.md").read_text() == publishing.card(folder), (
        'run python -c "from cnf import publishing; publishing.write_cards()"'
    )
    assert {"config.json", "history.jsonl", "history.png"} <= {p.name for p in folder.iterdir()}


def test_terms_of_weights_are_those_of_their_strictest_data():
    (imagenet,) = publishing.terms("tinyimagenet32")
    assert "non-commercial" in imagenet
    assert publishing.terms("tinyimagenet64+embedded-sr64") == [imagenet]
    assert publishing.terms("imagenet64-vandenoord+tinyimagenet64") == [imagenet]
    assert len(publishing.terms("drive+folder:mine")) == 2
    assert publishing.terms("embedded-sr+known-smooth") == publishing.terms("embedded-sr")
    assert "as you like" in publishing.terms("embedded-sr")[0]


def test_curves_are_of_the_weights_beside_them():
    for path in ledger.RESULTS.glob("*/scores/*-curves.json"):
        weights = path.parent.parent / "weights.safetensors"
        found = json.loads(path.read_text())["weights_sha256"]
        assert found == run_folder.file_sha256(weights), f"evaluate {path} again with --full"


def test_committed_results_name_no_machine():
    for path in ledger.RESULTS.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".md", ".yml", ".csv"):
            assert not re.search(
                r"(?<![\w.])/(?:home|root|work|tmp|opt|Users)/", path.read_text()
            ), path


def test_claims_are_valid():
    found = ledger.claims()
    tags = {claim.id: claim.tag for claim in found.claims}
    # no readable copy of the tables was found: figures are recollections until someone confirms
    assert all(c.tag == "unconfirmed" or "recollection" not in c.source for c in found.claims)
    assert {"bits-imagenet32-flow", "bits-imagenet32-factorised"} <= tags.keys()


def test_open_is_only_what_a_holder_of_the_pdf_can_close():
    """A figure that is recalled, and rows of ours that were compared with it."""
    for claim in ledger.claims().claims:
        if claim.verdict == "open":
            assert claim.tag == "unconfirmed" and claim.value is not None, claim.id
            assert claim.ours and claim.holds and "confirm" in claim.cause, claim.id


def test_what_a_cause_points_to_is_there():
    titles = set()
    for page in (ledger.REPOSITORY / "book").glob("*.md"):
        titles |= set(re.findall(r"^# (.+)$", page.read_text(), re.MULTILINE))
    for claim in ledger.claims().claims:
        for title in re.findall(r'chapter "([^"]+)"', claim.cause):
            assert title in titles, claim.id
        for path in re.findall(r"\b(?:tests|results|book)/[\w./-]*\w", claim.cause):
            assert (ledger.REPOSITORY / path).exists(), claim.id


def test_unconfirmed_claims_are_never_shown_as_facts():
    found = ledger.claims().claims
    lines = re.findall(r"^- \*\*.+$", ledger.claims_text(), re.MULTILINE)
    assert len(lines) == len(found)
    for claim in found:
        line = f"- **{claim.verdict}**: {ledger.told(claim)}"
        assert line in lines
        assert ("(recalled, unconfirmed)" in line) == (claim.tag == "unconfirmed")


def test_claims_show_rows_that_nothing_supersedes():
    shown = set(re.findall(r"row `([^`]+)`", ledger.claims_text()))
    assert shown and shown <= {row.id for row in ledger.current(ledger.read())}


def test_published_figures_are_well_formed():
    found = ledger.published()
    assert len({(f.method, f.data, f.metric, f.setting) for f in found}) == len(found)
    assert {f.experiment for f in found} == {"sr", "vessels"}
    (bicubic,) = ledger.published(method="bicubic", data="set5", metric="psnr")
    # with MATLAB's kernel 33.69 or 33.66, as Y is made: another unit or set would be far away
    assert abs(bicubic.value - 33.67) < 0.02 and bicubic.incomparable is None
    # bits of p(y) say nothing about bits of p(y|x); the paper's own numbers are claims, not context
    assert all(f.incomparable for f in found if f.metric == "bits_per_dim" or f.data == "div2k")
    assert not any("winkler" in (f.method + f.source).lower() for f in found)
    with pytest.raises(LedgerError, match="no field 'colour'"):
        ledger.published(colour="red")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"set5": {"psrn": 30.0}}}, "psrn"),
        ({"values": {"set5": {"psnr": "high"}}}, "psnr"),
        ({"values": {"set5": {"psnr": -1.0}}}, "psnr"),
        ({"source": ""}, "source"),
        ({"experiment": "faces"}, "experiment"),
        ({"year": 2017}, "year"),
    ],
)
def test_published_figure_that_does_not_fit_is_refused(tmp_path, changes, message):
    work = {"method": "A", "experiment": "sr", "setting": "x2", "source": "a table"}
    work |= {"values": {"set5": {"psnr": [30.0, 1.5]}}}
    path = tmp_path / "published.yml"
    path.write_text(yaml.safe_dump({"published": [work]}))
    (figure,) = ledger.published(tmp_path)
    assert (figure.value, figure.deviation) == (30.0, 1.5)
    path.write_text(yaml.safe_dump({"published": [work | changes]}))
    with pytest.raises(LedgerError, match=message):
        ledger.published(tmp_path)


def test_paper_figures_come_from_the_claims():
    figure = ledger.paper_figure("sr", "flow", "bits_per_dim", "tinyimagenet32", ledger.RESULTS)
    assert (figure.value, figure.tag) == (3.01, "unconfirmed")
    assert ledger.paper_figure("sr", "flow", "psnr", "set5", ledger.RESULTS) is None


CLAIM = {
    "id": "one",
    "place": "a table",
    "says": "a number",
    "tag": "unconfirmed",
    "source": "recollection",
    "verdict": "open",
    "cause": "not judged",
    "would_change": "a run",
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tag": "probably"}, "tag"),
        ({"verdict": "better"}, "verdict"),
        ({"value": 1.0}, "go together"),
        ({"value": 1.0, "unit": "F", "verdict": "different"}, "needs a row of ours"),
        ({"value": 1.0, "unit": "F", "verdict": "same", "ours": ["x"]}, "confirm it first"),
        ({"ours": ["nothing"]}, "names no row 'nothing'"),
        ({"cause": ""}, "cause"),
        ({"would_change": ""}, "would_change"),
        ({"certainty": 1}, "certainty"),
    ],
)
def test_claim_that_does_not_fit_is_refused(tmp_path, changes, message):
    path = tmp_path / "claims.yml"
    path.write_text(yaml.safe_dump({"claims": [CLAIM]}))
    ledger.claims(tmp_path)
    path.write_text(yaml.safe_dump({"claims": [CLAIM | changes]}))
    with pytest.raises(LedgerError, match=message):
        ledger.claims(tmp_path)


def test_claims_are_named_once(tmp_path):
    (tmp_path / "claims.yml").write_text(yaml.safe_dump({"claims": [CLAIM, CLAIM]}))
    with pytest.raises(LedgerError, match="claim 'one' is there twice"):
        ledger.claims(tmp_path)
