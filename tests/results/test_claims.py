"""Claims stand on rows: a rule that does not hold voids a verdict."""

import re

import pytest
import yaml

from cnf.errors import ResultsError
from cnf.replication import results
from cnf.replication.results import claims
from tests.results.rows import PICTURE, row

CLAIM = {"id": "bits", "place": "a table", "says": "fewer bits", "tag": "confirmed"}
CLAIM |= {"source": "a copy", "verdict": "same", "cause": "measured"}
CLAIM |= {"would_change": "a longer run"}
FLOW = {"run": "flow", "metric": "bits_per_dim"}
CLAIM |= {"ours": [FLOW], "holds": ["#0 < 9"]}
BASE = {"run": "base", "metric": "bits_per_dim"}


NO_ROWS = {"ours": [], "holds": []}
TIMES = [["times.json", "sample"], ["times.json", "score"]]


@pytest.fixture
def judged(tmp_path):
    """A claim with changes, beside rows in which flow has 2.5 and base 4 bits."""
    rows = [("flow", 2.5, "test"), ("base", 4.0, "test"), ("flow", 9.0, "valid")]
    results.write([row(run=r, value=v, split=s) for r, v, s in rows], tmp_path)
    (tmp_path / "times.json").write_text('{"sample": [0.5, 1.5], "score": 2}')

    def read(**changes):
        (tmp_path / "claims.yml").write_text(yaml.safe_dump({"claims": [CLAIM | changes]}))
        return claims.read_claims(tmp_path)[0]

    return read


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("#0 < #1", True),
        ("#1 < #0", False),
        ("#0 + 1.4 < #1", True),
        ("#0 + 1.6 < #1", False),
        ("#1 - #0 < 1.4", False),
        ("2.4 < #0", True),
        ("#0 < 2.5", False),
        ("1.5 * #0 < #1", True),
        ("#1 < 1.5 * #0", False),
        ("2 * @0 < #0", True),
        ("@1 - @0 < 0.9", False),
        ("2.475 < low(#0)", True),  # 2.5 less 0.0246, and plus it
        ("2.476 < low(#0)", False),
        ("high(#0) < 2.525", True),
        ("high(#0) < 2.524", False),
        ("2 * low(#0) < #1 + 1", True),
        ("#1 - #0 < high(#0)", True),
    ],
)
def test_a_rule_holds_for_the_rows_or_voids_the_verdict(judged, rule, holds):
    ours = {"ours": [FLOW, BASE], "measured": TIMES, "holds": [rule]}
    for verdict in ("same", "could not"):
        if holds:
            assert judged(verdict=verdict, **ours).holds == (rule,)
            continue
        with pytest.raises(ResultsError, match="'bits': .* does not hold: judge the claim again"):
            judged(verdict=verdict, **ours)


def test_a_rule_of_the_cause_voids_its_words_and_is_no_verdict(judged):
    claim = judged(ours=[FLOW, BASE], cause_holds=["#0 < #1"])
    assert claim.rules == ("#0 < 9", "#0 < #1")
    with pytest.raises(ResultsError, match="'#1 < #0' is .* does not hold: write its cause again"):
        judged(ours=[FLOW, BASE], cause_holds=["#1 < #0"])
    with pytest.raises(ResultsError, match="'same' needs a rule that could have failed"):
        judged(ours=[FLOW, BASE], holds=[], cause_holds=["#0 < #1"])
    with pytest.raises(ResultsError, match="'#0 > #1' is no rule"):
        judged(ours=[FLOW, BASE], cause_holds=["#0 > #1"])


def test_a_number_that_is_no_row_is_found_in_its_file(judged, tmp_path):
    judged(ours=[], measured=TIMES, holds=["@0 < @1"])
    text = claims.text(tmp_path)
    assert "measured: 1 (times.json: sample)" in text and "measured: 2 (times.json: score)" in text
    for name in ("times.json", "times.toml"):
        with pytest.raises(ResultsError, match=f"'bits': {name} has no .'train'"):
            judged(measured=[[name, "train"]])


def test_undecided_is_what_neither_of_two_rules_decides(judged):
    rules = {"verdict": "undecided", "ours": [FLOW, BASE], "holds": []}
    neither = {"same_if": ["#0 < #1", "#1 < 3"], "different_if": ["#1 < #0"]}
    assert judged(**rules, **neither).verdict == "undecided"
    for missing in neither:
        with pytest.raises(ResultsError, match="'undecided' needs rules that decide"):
            judged(**rules, **{name: r for name, r in neither.items() if name != missing})
    for verdict in ("same", "different"):
        decided = neither | {f"{verdict}_if": ["#0 < #1", "3 < #1"]}
        with pytest.raises(ResultsError, match=f"all rules hold that make it '{verdict}'"):
            judged(**rules, **decided)
        assert judged(**rules | decided | {"verdict": verdict, "holds": ["#0 < #1"]})
    with pytest.raises(ResultsError, match="'#0 > #1' is no rule"):
        judged(**rules, **neither | {"same_if": ["#0 > #1"]})


def test_claims_that_are_only_recalled_are_counted_apart(judged):
    claim = judged()
    recalled = claim.model_copy(update={"tag": "unconfirmed"})
    other = claim.model_copy(update={"verdict": "open"})
    assert claims.counts([other, claim, recalled, claim]).split(". ") == [
        "Of confirmed claims (3): 2 same, 1 open",
        "Only recalled, *if the paper says so* (1): 1 same.",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "#0 < #2",
        "low(@0) < 1",
        "low(3) < #0",
        "mid(#0) < 3",
        "1 < 2",
        "#0 > #1",
        "#0 < #1 < 5",
        "flow < base",
        "#0 < @0",
        "2 * 3 < #0",
    ],
)
def test_what_is_no_rule_is_refused(judged, rule):
    with pytest.raises(ResultsError, match=f"'{re.escape(rule)}' (is no rule|needs rows)"):
        judged(ours=[FLOW, BASE], holds=[rule])


def test_a_verdict_needs_its_rows_and_one_that_could_not_be_given_does_not(judged):
    missing = {"run": "nobody", "metric": "bits_per_dim"}
    with pytest.raises(ResultsError, match="'bits' is judged but there is no row .*nobody"):
        judged(ours=[FLOW, missing], holds=["#1 < #0"])
    assert judged(ours=[FLOW, missing], holds=["#1 < #0"], verdict="could not").holds
    assert judged(ours=[{"run": ["nobody", "flow"], "metric": "bits_per_dim"}], holds=["#0 < 3"])


def test_a_row_that_is_made_again_is_judged_again(judged, tmp_path):
    judged(ours=[FLOW], holds=["#0 < 3"])
    assert "row `flow/tinyimagenet32-test/bits_per_dim`" in claims.text(tmp_path)
    results.write([row(run="flow", value=3.5)], tmp_path)
    with pytest.raises(ResultsError, match="'#0 < 3' is 3.5 < 3"):
        judged(ours=[FLOW], holds=["#0 < 3"])
    judged(ours=[FLOW], holds=["3 < #0"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tag": "probably"}, "tag"),
        ({"value": 1.0, "verdict": "open"}, "go together"),
        ({"verdict": "different"} | NO_ROWS, "'different' needs a row of ours"),
        ({"holds": []}, "'same' needs a rule that could have failed"),
        ({"value": 1.0, "unit": "F", "tag": "unconfirmed", "ours": [FLOW]}, "confirm it first"),
        ({"ours": ["nothing"]}, "ours"),
        ({"ours": [{"colour": "red"}]}, "rows have no field 'colour'"),
        ({"ours": [{"run": ["flow", "base"], "metric": "*", "split": "*"}]}, "2 rows have"),
        ({"cause": ""}, "cause"),
        ({"cause": 61 * "so "}, "at most 60 words"),
        ({"verdict": "different", "holds": []}, "'different' needs a rule that could have failed"),
        ({"would_change": None}, "would_change"),
        ({"certainty": 1}, "certainty"),
    ],
)
def test_a_claim_that_does_not_fit_is_refused(judged, changes, message):
    judged()
    with pytest.raises(ResultsError, match=message):
        judged(**changes)


def test_claims_are_named_once_and_say_what_would_change_them(tmp_path):
    short = {k: v for k, v in CLAIM.items() if k != "would_change"}
    for many, message in (([CLAIM] * 2, "claim 'bits' is there twice"), ([short], "would_change")):
        (tmp_path / "claims.yml").write_text(yaml.safe_dump({"claims": many}))
        with pytest.raises(ResultsError, match=message):
            claims.read_claims(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"set5": {"psrn": 30.0}}}, "psrn"),
        ({"values": {"set5": {"psnr": -1.0}}}, "psnr"),
        ({"source": ""}, "source"),
        ({"task": "faces"}, "task"),
    ],
)
def test_a_published_figure_that_does_not_fit_is_refused(tmp_path, changes, message):
    work = {"method": "A", "task": "sr", "setting": "x2", "source": "a table"}
    work |= {"values": {"set5": {"psnr": [30.0, 1.5]}}}
    path = tmp_path / "published.yml"
    path.write_text(yaml.safe_dump({"published": [work]}))
    (figure,) = claims.published(tmp_path)
    assert (figure.value, figure.deviation) == (30.0, 1.5)
    path.write_text(yaml.safe_dump({"published": [work | changes]}))
    with pytest.raises(ResultsError, match=message):
        claims.published(tmp_path)


@pytest.mark.parametrize(
    ("apart", "holds"),
    [
        ((0.009, 0.009, 0.009), True),
        ((0.011, 0.011, 0.011), False),
        ((0.005, 0.006, 0.007), True),
        ((0.001, 0.006, 0.011), False),  # the mean is within 0.01, but not with twice its error
        (None, False),  # values of pictures were not kept
    ],
)
def test_equal_is_by_the_registered_margin_in_pairs(tmp_path, judged, apart, holds):
    kept = {"one": (2.0, 2.5, 3.0)}
    kept["two"] = [v + d for v, d in zip(kept["one"], apart or (0, 0, 0), strict=True)]
    rows = [row(run=run, value=sum(v) / 3, num_images=3) for run, v in kept.items()]
    results.write(rows, tmp_path)
    for of, values in zip(rows, kept.values() if apart else (), strict=bool(apart)):
        lines = [f"{name},{value}" for name, value in zip("abc", values, strict=True)]
        path = tmp_path / of.run / "evaluations" / f"{of.file}.csv"
        path.write_text("\n".join(["image,bits_per_dim", *lines]) + "\n")
    ours = [{"run": run, "metric": "bits_per_dim"} for run in kept]
    if holds:
        assert judged(ours=ours, holds=["#0 = #1"])
        return
    with pytest.raises(ResultsError, match="'#0 = #1' is .* does not hold: judge the claim again"):
        judged(ours=ours, holds=["#0 = #1"])


@pytest.mark.parametrize(
    ("names", "values", "holds"),
    [
        ("cba", (3.0, 2.5, 2.0), True),  # the same pictures in another order
        ("cba", (2.0, 2.5, 3.0), False),
        ("abd", (2.0, 2.5, 3.0), False),  # other pictures, which happen to have the same values
        ("ab", (2.0, 2.5), False),
    ],
)
def test_values_are_paired_by_picture_and_not_by_order(tmp_path, judged, names, values, holds):
    kept = {"one": ("abc", (2.0, 2.5, 3.0)), "two": (names, values)}
    ours = [{"run": run, "metric": "bits_per_dim"} for run in kept]
    for run, (pictures, of_pictures) in kept.items():
        mean = sum(of_pictures) / len(of_pictures)
        (path,) = results.write([row(run=run, value=mean, num_images=len(of_pictures))], tmp_path)
        lines = [f"{name},{value}" for name, value in zip(pictures, of_pictures, strict=True)]
        path.with_suffix(".csv").write_text("\n".join(["image,bits_per_dim", *lines]) + "\n")
    if holds:
        assert judged(ours=ours, holds=["#0 = #1"])
        return
    with pytest.raises(ResultsError, match="'#0 = #1' is .* does not hold: judge the claim again"):
        judged(ours=ours, holds=["#0 = #1"])


def test_what_has_no_margin_is_not_called_equal(tmp_path, judged):
    results.write(
        [row(run=run, **PICTURE | {"metric": "psnr_rgb"}) for run in ("one", "two")], tmp_path
    )
    ours = [{"run": run, "metric": "psnr_rgb"} for run in ("one", "two")]
    with pytest.raises(ResultsError, match="no margin makes .* equal"):
        judged(ours=ours, holds=["#0 = #1"])


def test_what_a_rule_compares_is_told_in_pairs_and_over_seeds(tmp_path, judged):
    """By hand: differences 1, 2 and 3 have the mean 2 and the error 1 / sqrt(3)."""
    rows = [row(run=run, value=v, num_images=3) for run, v in (("flow-s0", 2.0), ("base-s0", 4.0))]
    rows.append(row(run="flow-s1", value=2.5, num_images=3))
    results.write(rows, tmp_path)
    kept = {"flow-s0": (1, 2, 3), "base-s0": (2, 4, 6)}
    for run, values in kept.items():
        lines = [f"{name},{value}" for name, value in zip("abc", values, strict=True)]
        path = tmp_path / run / "evaluations" / f"{rows[0].file}.csv"
        path.write_text("\n".join(["image,bits_per_dim", *lines]) + "\n")
    ours = [{"run": f"{run}-s0", "metric": "bits_per_dim"} for run in ("flow", "base")]
    claim = judged(ours=ours, holds=["#0 + 1 < #1", "#1 - #0 < 3", "#0 < 9"])
    rows = results.read_rows(tmp_path)
    assert claims.differences(claim, rows, tmp_path) == [
        "base-s0 less flow-s0: +2.000 ± 0.577 bits/dim (in pairs of 3 pictures, 1 and 2 seeds)"
    ]
    base = results.one(rows, run="base-s0")
    assert results.pictures(base, tmp_path) == {"a": 2.0, "b": 4.0, "c": 6.0}
    path.write_text("image,bits_per_dim\na,9\nb,4\nc,6\n")  # the mean is no longer the row's
    assert claims.differences(claim, rows, tmp_path) == [
        "base-s0 less flow-s0: +2.000 bits/dim (not in pairs, 1 and 2 seeds)"
    ]
