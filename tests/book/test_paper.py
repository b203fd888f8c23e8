"""The paper names only what is there, judges as its rules do, and is typeset."""

import dataclasses
import json
import math

import pytest

from cnf.errors import ResultsError
from cnf.replication import results
from cnf.replication.results import claims
from tools import paper, paper_claims

TEXT = paper.TEMPLATE.read_text("utf-8")


def test_every_number_of_the_paper_is_there():
    found = paper.content(TEXT)
    assert len(found["rows"]) >= 40 and len(found["pairs"]) >= 5 and len(found["runs"]) >= 10
    json.dumps(found)


@pytest.mark.parametrize(
    "text, said",
    [
        ('row("no-run/drive-test/f_half")', "names no-run/drive-test/f_half"),
        ('paired("no-run/drive-test/f_half", "b")', "names no-run/drive-test/f_half"),
        ('run("no-run")', "names the run no-run"),
        ('image("/results/no-run/figures/none.png")', "shows results/no-run/figures/none.png"),
    ],
)
def test_a_name_that_is_not_there_is_an_error(text, said):
    with pytest.raises(ResultsError, match=said):
        paper.content(text)


def test_no_picture_of_a_photograph_that_may_not_be_shown_is_in_the_paper():
    """Of DRIVE, whose photographs may not be spread, only our own masks and marginals."""
    shown = {name.rpartition("/")[2] for name in paper.PICTURE.findall(TEXT)}
    assert shown <= {"drive-test-joint.png", "drive-test.png", "set5-test-models.png"}


def test_a_value_is_the_mean_over_seeds():
    rows = results.read_rows()
    row = results.one(rows, run="vessels-flow-lambda0-s0", metric="f_half", data="drive")
    seeds = [other.value for other in results.seeds_of(row, rows)]
    shown = paper.number(row, rows)
    assert len(seeds) == 3 and shown["value"] == pytest.approx(sum(seeds) / 3, rel=1e-12)
    assert shown["low"] == min(seeds) < shown["value"] < max(seeds) == shown["high"]


def test_a_run_of_one_seed_is_paired_with_every_seed_of_the_other():
    """The difference is that of the means in the tables, and no seed is left out."""
    rows = results.read_rows()
    seeds = [f"sr-flow-cpu-s{s}/tinyimagenet32-test-x8/bits_per_dim" for s in (0, 1, 2)]
    control = "sr-control-mixture-x8/tinyimagenet32-test-x8/bits_per_dim"
    by_id = {row.id: row for row in rows}
    shown = paper.pair(by_id[seeds[0]], by_id[control], rows)
    mean = sum(by_id[name].value for name in seeds) / 3
    assert shown["seeds"] == 3
    assert shown["value"] == pytest.approx(by_id[control].value - mean, abs=1e-6)
    back = paper.pair(by_id[control], by_id[seeds[0]], rows)
    assert back["value"] == pytest.approx(-shown["value"], rel=1e-9)


def test_a_limit_has_the_day_on_which_it_was_written_down():
    """Margins of 28 November; limits of a claim's own rule; none where it was chosen after rows."""
    rows, found = results.read_rows(), {claim.id: claim for claim in claims.read_claims()}
    days = {
        name: {
            line["registered"] for line in paper_claims.lines(found[name], rows, results.RESULTS)
        }
        for name in (
            "competitive-in-f-with-its-twin",
            "no-unstable-training",
            "calibrated-probabilities",
        )
    }
    assert days["competitive-in-f-with-its-twin"] == {"28 Nov"}
    assert days["no-unstable-training"] == {"1 Dec", ""}
    assert days["calibrated-probabilities"] == {"2 Dec"}


@pytest.mark.parametrize(
    "number, text", [(0.00004, "0.00004"), (0.0123, "0.012"), (0.000099, "0.0001"), (0.0, "0")]
)
def test_a_deviation_has_a_digit_that_is_not_zero(number, text):
    assert paper.significant(number) == text


def test_effects_of_claims_are_on_the_side_that_their_rules_say():
    """Each line of the table of claims is beyond its limit, as its rule holds."""
    rows = results.read_rows()
    judged = [c for c in claims.read_claims() if c.verdict in claims.JUDGED and c.holds]
    assert len(judged) > 5
    for claim in judged:
        ours, numbers = claims.rows_of(claim, rows), claims.measured_numbers(claim)
        names = ["a name"] * len(numbers)
        for rule in claim.holds:
            assert paper_claims.effect(rule, ours, numbers, names).slack > 0, (claim.id, rule)


@pytest.mark.parametrize(
    "rule, value, limit, is_upper",
    [
        ("#0 + 1 < #1", 2.0, 1.0, False),
        ("#1 < #0 + 3", 2.0, 3.0, True),
        ("1.5 * #0 < #1", 3.0, 1.5, False),
        ("0.5 < #0", 1.0, 0.5, False),
        ("#1 < 4", 3.0, 4.0, True),
        ("@0 < 0.5 * @1", 4.0, 2.0, False),
        ("3 * @0 < @1", 4.0, 3.0, False),
    ],
)
def test_a_rule_is_an_effect_and_a_limit(rule, value, limit, is_upper, monkeypatch):
    row = next(row for row in results.read_rows() if row.metric == "bits_per_pixel")
    rows = [dataclasses.replace(row, value=value) for value in (1.0, 3.0)]
    monkeypatch.setattr(claims, "paired_differences", lambda a, b, folder: [])
    monkeypatch.setattr(results, "pictures", lambda row: {})
    found = paper_claims.effect(rule, rows, [1.0, 4.0], ["a", "b"])
    assert math.isclose(found.value, value) and math.isclose(found.limit, limit)
    assert found.is_upper == is_upper


@pytest.mark.slow("the paper, typeset, has no more pages than it may have")
def test_the_paper_is_typeset(monkeypatch):
    pytest.importorskip("typst", reason="the paper was NOT typeset: pip install -e '.[paper]'")
    monkeypatch.setattr(paper, "OUT", paper.OUT.with_name("paper-of-a-test.pdf"))
    try:
        assert paper.main() == 0 and paper.OUT.stat().st_size > 50_000
    finally:
        paper.OUT.unlink(missing_ok=True)
