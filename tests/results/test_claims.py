"""Claims stand on rows of the ledger: a rule that does not hold voids a verdict."""

import pytest
import yaml

from cnf.errors import LedgerError
from cnf.replication import claims
from cnf.replication import results as ledger
from tests.results.rows import GOOD

CLAIM = {"id": "bits", "place": "a table", "says": "fewer bits", "tag": "confirmed"}
CLAIM |= {"source": "a copy", "verdict": "same", "cause": "measured"}
CLAIM |= {"would_change": "a longer run"}
FLOW = {"run": "flow", "metric": "bits_per_dim"}
BASE = {"run": "base", "metric": "bits_per_dim"}


@pytest.fixture
def judged(tmp_path):
    """Claims of one claim with changes, beside a ledger in which flow has 2.5 and base 4 bits."""
    rows = [("flow", 2.5, "test"), ("base", 4.0, "test"), ("flow", 9.0, "valid")]
    ledger.append(
        [
            ledger.make_row(GOOD | {"id": f"{r}-{s}", "run": r, "value": v, "split": s})
            for r, v, s in rows
        ],
        tmp_path,
    )

    def read(**changes):
        (tmp_path / "claims.yml").write_text(yaml.safe_dump({"claims": [CLAIM | changes]}))
        return ledger.claims(tmp_path).claims[0]

    return read


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("#0 < #1", True),
        ("#1 < #0", False),
        ("#0 + 1.4 < #1", True),
        ("#0 + 1.6 < #1", False),
        ("#1 - #0 < 1.6", True),
        ("#1 - #0 < 1.4", False),
        ("2.4 < #0", True),
        ("#0 < 2.5", False),
    ],
)
def test_a_rule_holds_for_the_rows_or_voids_the_verdict(judged, rule, holds):
    for verdict in ("same", "could not"):
        if holds:
            assert judged(ours=[FLOW, BASE], holds=[rule], verdict=verdict).holds == (rule,)
            continue
        with pytest.raises(LedgerError, match="'bits': .* does not hold: judge the claim again"):
            judged(ours=[FLOW, BASE], holds=[rule], verdict=verdict)


@pytest.mark.parametrize("rule", ["#0 < #2", "1 < 2", "#0 > #1", "#0 < #1 < 5", "flow < base"])
def test_what_is_no_rule_is_refused(judged, rule):
    with pytest.raises(LedgerError, match=f"'{rule}' (is no rule|needs rows)"):
        judged(ours=[FLOW, BASE], holds=[rule])


def test_a_verdict_needs_its_rows_and_one_that_could_not_be_given_does_not(judged):
    missing = {"run": "nobody", "metric": "bits_per_dim"}
    with pytest.raises(LedgerError, match="'bits' is judged but there is no row .*nobody"):
        judged(ours=[FLOW, missing], holds=["#1 < #0"])
    assert judged(ours=[FLOW, missing], holds=["#1 < #0"], verdict="could not").holds
    assert judged(ours=[{"run": ["nobody", "flow"], "metric": "bits_per_dim"}], holds=["#0 < 3"])


def test_the_newest_row_stands_for_those_it_supersedes(judged, tmp_path):
    assert judged(ours=["flow-test"], holds=["#0 < 3"])
    newer = GOOD | {"id": "newer", "run": "flow", "value": 3.5, "supersedes": "flow-test"}
    ledger.append([ledger.make_row(newer)], tmp_path)
    for wanted in (FLOW, "flow-test"):
        with pytest.raises(LedgerError, match="'#0 < 3' is 3.5 < 3"):
            judged(ours=[wanted], holds=["#0 < 3"])
    judged(ours=["flow-test"], holds=["3 < #0"])
    assert "row `newer`" in claims.claims_text(tmp_path)


def test_every_claim_says_what_would_change_its_verdict(judged, tmp_path):
    assert judged().would_change == "a longer run"
    for changes in ({"would_change": ""}, {"would_change": None}):
        with pytest.raises(LedgerError, match="would_change"):
            judged(**changes)
    (tmp_path / "claims.yml").write_text(
        yaml.safe_dump({"claims": [{k: v for k, v in CLAIM.items() if k != "would_change"}]})
    )
    with pytest.raises(LedgerError, match="would_change"):
        claims.claims(tmp_path)
