"""The ledger: what a row may say, and how it is kept and printed."""

import json

import pytest

from cnf.errors import LedgerError
from cnf.replication import results as ledger
from tests.results.rows import GOOD

PICTURE = {"metric": "psnr", "unit": "dB", "bound": None, "divided_by": None}


def row(**changes):
    return ledger.make_row(GOOD | changes)


def test_row_survives_the_file(tmp_path):
    ledger.append([row(), row(id="b")], tmp_path)
    ledger.append([row(id="c")], tmp_path)
    assert [r.id for r in ledger.read(tmp_path)] == [GOOD["id"], "b", "c"]
    assert ledger.read(tmp_path)[0] == row()
    assert json.loads((tmp_path / "ledger.jsonl").read_text().splitlines()[0]) == GOOD
    released = row(id="d", **PICTURE, protocol="released")
    ledger.append([released], tmp_path)
    assert ledger.read(tmp_path)[-1] == released


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": float("nan")}, "value = nan"),
        ({"value": float("inf")}, "value = inf"),
        ({"standard_error": -1.0}, "standard_error = -1.0"),
        ({"num_images": 0}, "num_images = 0"),
        ({"colour": "red"}, "colour"),
        ({"metric": "bpd"}, "metric 'bpd' is unknown"),
        ({"unit": "nats"}, "bits_per_dim is in bits/dim, not nats"),
        ({"bound": None}, "bits, and only bits, need `bound` and `divided_by`"),
        ({"divided_by": "pixels"}, "divided_by = 'pixels'"),
        ({"data_sha256": "12"}, "data_sha256 = '12'"),
        ({"protocol": "standard"}, "bits_per_dim has no protocol"),
        ({**PICTURE, "protocol": "standard"}, "the standard protocol rounds x"),
        ({**PICTURE, "protocol": "released", "rounded_x": True}, "the released one does not"),
        ({**PICTURE, "protocol": "ours"}, "protocol = 'ours'"),
        ({"weights_sha256": None}, "a trained model needs `weights_sha256`"),
        ({"id": "Upper Case"}, "id = 'Upper Case'"),
        ({"date": "today"}, "date = 'today'"),
        ({"split": "validation"}, "split = 'validation'"),
        ({"paper": {"table": None, "value": 1.0, "tag": "sure"}}, "paper.tag = 'sure'"),
    ],
)
def test_row_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(LedgerError) as error:
        row(**changes)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("field", sorted(GOOD))
def test_every_field_is_required(field):
    with pytest.raises(LedgerError, match=field):
        ledger.make_row({k: v for k, v in GOOD.items() if k != field})


def test_append_is_all_or_nothing(tmp_path):
    ledger.append([row()], tmp_path)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    with pytest.raises(LedgerError, match="already in the ledger and rows are never edited"):
        ledger.append([row(id="new"), row()], tmp_path)
    with pytest.raises(LedgerError, match="already in the ledger"):
        ledger.append([row(id="new"), row(id="new")], tmp_path)
    with pytest.raises(LedgerError, match="supersedes 'nothing', which is not a row"):
        ledger.append([row(id="new", supersedes="nothing")], tmp_path)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_full_disk_leaves_the_ledger_as_it_was(tmp_path, monkeypatch):
    ledger.append([row()], tmp_path)
    before = (tmp_path / "ledger.jsonl").read_bytes()

    def full(self, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        ledger.append([row(id="new")], tmp_path)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_damaged_line_is_named(tmp_path):
    ledger.append([row()], tmp_path)
    path = tmp_path / "ledger.jsonl"
    good = path.read_text()
    for bad in ('{"id": "x"', json.dumps(GOOD | {"value": "high", "id": "y"}), good.strip()):
        path.write_text(good + bad + "\n")
        with pytest.raises(LedgerError, match="ledger.jsonl line 2"):
            ledger.read(tmp_path)


def test_bounds_stand_ins_and_recollections_are_marked():
    text = ledger.table([row()], ("model", "data", "value", "paper"))
    assert text.splitlines()[-1] == (
        "| flow | tinyimagenet32 test (stand-in) | ≤ 2.505 ± 0.012 "
        "| (3.01, recalled, unconfirmed) |"
    )
    exact = row(model="logistic", bound="exact", stand_in=False, standard_error=None)
    text = ledger.table([exact], ("model", "data", "value"))
    assert text.splitlines()[-1] == "| logistic | tinyimagenet32 test | 2.505 |"


def test_table_says_how_the_number_was_made():
    how = ledger.COLUMNS["how"][1]
    assert how(row()) == "bound: uniform dequantization, x not rounded"
    assert how(row(bound="exact", rounded_x=True)) == "exact, x rounded to 8 bits"
    assert how(row(**PICTURE, samples=16, temperature=1.0)) == (
        "x not rounded, 16 samples, temperature 1"
    )
    standard = row(**PICTURE, samples=1, temperature=0.8, rounded_x=True, protocol="standard")
    assert how(standard) == ("standard protocol, x rounded to 8 bits, 1 sample, temperature 0.8")
    metric = ledger.COLUMNS["metric"][1]
    weighted = row(bound="uniform dequantization, importance-weighted", draws=8)
    assert metric(weighted) == "bits/dim (8 importance samples)"
    inside = row(metric="bits_per_pixel", unit="bits/pixel", divided_by="field of view")
    assert metric(inside) == "bits/pixel inside the field of view"


def test_words_say_what_a_value_is_of_and_mark_stand_ins_and_short_trainings():
    assert ledger.valued(row()) == "≤ 2.505 ± 0.012 bits/dim"
    assert ledger.described(row()) == (
        "bound: uniform dequantization, x not rounded; sr-flow-cpu after 6,000 steps; "
        "2000 test pictures of tinyimagenet32, a stand-in"
    )
    short = row(steps=ledger.FEW - 1, stand_in=False, data="set5")
    assert "sr-flow-cpu after only 1,999 steps; " in ledger.described(short)
    assert "stand-in" not in ledger.described(short)
    inside = {"metric": "bits_per_pixel", "unit": "bits/pixel", "divided_by": "field of view"}
    assert ledger.described(row(**inside)).startswith("inside the field of view, bound: ")
    untrained = {"model": "bicubic", "run": "x", "weights_sha256": None, "steps": None}
    assert "; bicubic; " in ledger.described(row(**PICTURE, **untrained))
    unitless = {"metric": "ssim", "unit": "1", "bound": None, "divided_by": None, "value": 0.5}
    assert ledger.valued(row(**unitless)) == "0.5000 ± 0.0123"


def test_superseded_rows_are_not_shown():
    old, new = row(id="old"), row(id="new", supersedes="old", value=2.4)
    text = ledger.table([old, new])
    assert "`new`" in text and "`old`" not in text


def test_unknown_column_and_row_are_named(tmp_path):
    with pytest.raises(LedgerError, match="no column 'colour'"):
        ledger.table([row()], ("colour",))
    with pytest.raises(LedgerError, match="no row 'nothing'"):
        ledger.show("nothing", tmp_path)


def test_show_prints_every_field(tmp_path):
    ledger.append([row()], tmp_path)
    text = ledger.show(GOOD["id"], tmp_path)
    assert all(field in text for field in GOOD)


def test_readme_is_rewritten_between_its_markers(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{ledger.BEGIN}\nold\n{ledger.END}\nafter\n")
    ours = {"run": "sr-flow-cpu-s0"}
    standard = {"data": "set5", "protocol": "standard", "rounded_x": True}
    standard |= {"samples": 32, "temperature": 1.0}
    rows = [
        row(**ours),
        row(id="valid", **ours, split="valid", value=9.0),
        row(id="few", **ours, num_images=50, value=8.0),
        row(id="rounded", **ours, rounded_x=True, value=2.775),
        row(id="weighted", **ours, bound="a dequantization, importance-weighted", draws=64),
        row(id="psnr", **ours, **PICTURE, **standard, value=37.2),
    ]
    ledger.append(rows, tmp_path)
    text = ledger.readme(path, tmp_path)
    assert path.read_text() == text
    assert text.startswith(f"before\n{ledger.BEGIN}\n**Super-resolution x2, bits/dim")
    assert text.endswith("\nafter\n") and "old" not in text
    assert "| flow | ≤ 2.505 ± 0.012 | ≤ 2.775 ± 0.012 |" in text
    assert "8.0" not in text and "9.0" not in text  # fewer pictures; another split
    assert "| flow, mean of 8 samples or more | 37.20 ± 0.01 |" in text
    assert "baseline" not in text and "DRIVE" not in text  # no row, no line
    claim = {k: "a" for k in ("id", "place", "says", "source", "cause", "would_change")}
    claim |= {"tag": "confirmed"}
    text = json.dumps({"claims": [claim | {"verdict": "could not"}]})  # which is YAML, too
    (tmp_path / "claims.yml").write_text(text)
    text = ledger.readme(path, tmp_path)
    assert "by verdict: 0 same, 0 different, 1 could not, 0 open." in text
    path.write_text("no markers")
    with pytest.raises(LedgerError, match="must hold"):
        ledger.readme(path, tmp_path)


def test_readme_tells_vessels_by_model_and_camera(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"{ledger.BEGIN}\n{ledger.END}\n")
    eye = {"experiment": "vessels", "data": "drive", "stand_in": False, "bound": None}
    eye |= {"metric": "f_half", "unit": "1", "divided_by": None, "temperature": 1.0}
    flow, base = {"run": "vessels-flow-cpu-s0"}, {"run": "vessels-baseline-cpu-s0"}
    pieces = {"metric": "components_ratio_sample", "samples": 1}
    rows = [
        row(id="few", **eye | flow, samples=32, value=0.5),
        row(id="many", **eye | flow, samples=64, value=0.8301),
        row(id="pieces", **eye | flow | pieces, value=1.54),
        row(id="own", **eye | base, model="bernoulli", samples=0, value=0.8202),
        row(id="other", **eye | base, model="weighted", samples=0, value=0.7),
        row(id="seed", **eye | {"run": "vessels-weighted-087-s1"}, model="weighted"),
        row(id="far", **eye | flow | {"data": "stare"}, samples=64, value=0.7007),
    ]
    ledger.append([r for r in rows if r.id != "other"], tmp_path)
    text = ledger.readme(path, tmp_path)
    assert "| flow | 6,000 | 0.830 ± 0.012 | 1.54 ± 0.01 |" in text  # 64 samples, not 32
    assert "| factorised baseline | 6,000 | 0.820 ± 0.012 |  |" in text
    assert "| STARE, F at 0.5 |\n| --- | --- |\n| flow | 0.701 ± 0.012 |" in text
    assert "weighted" not in text and "CHASE" not in text  # another seed; no row
    ledger.append([r for r in rows if r.id == "other"], tmp_path)
    with pytest.raises(LedgerError, match="2 rows .* choose by model"):
        ledger.readme(path, tmp_path)


def test_select_finds_the_newest_rows_by_their_fields():
    rows = [
        row(id="old"),
        row(id="new", supersedes="old"),
        row(id="rounded", rounded_x=True),
        row(id="other", run="sr-flow-cpu-s1"),
        row(id="picture", **PICTURE, data="set5", protocol="standard", rounded_x=True),
    ]

    def ids(**wanted):
        return [r.id for r in ledger.select(rows, **wanted)]

    assert ids(run="sr-flow-cpu", rounded_x=False) == ["new"]
    assert ids(run="sr-flow-cpu-*") == ["other"]
    assert ids(protocol=None, rounded_x=True) == ["rounded"]
    # alternatives: the first that has rows counts, not all of them
    assert ids(data=["imagenet32-*", "set5", "tinyimagenet32"]) == ["picture"]
    assert ids(metric="ssim") == []
    with pytest.raises(LedgerError, match="no field 'colour'"):
        ledger.select(rows, colour="red")


def test_one_row_is_one_or_says_what_tells_them_apart():
    rows = [row(id="a"), row(id="b", rounded_x=True), row(id="c", data="set5")]
    assert ledger.one(rows, data="set5").id == "c"
    part = row(id="part", data="set5", num_images=5)
    assert ledger.one([part, *rows], data="set5").id == "c"
    assert ledger.one([part, *rows], data="set5", num_images=5).id == "part"
    with pytest.raises(LedgerError, match=r"2 rows .*: a, b; choose by rounded_x$"):
        ledger.one(rows, data="tinyimagenet32")
    with pytest.raises(LedgerError, match="no row has data='set14'"):
        ledger.one(rows, data="set14")


def test_readme_refuses_to_choose_between_rows(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"{ledger.BEGIN}\n{ledger.END}\n")
    ours = {"run": "sr-flow-cpu-s0"}
    ledger.append([row(id="a", **ours), row(id="b", **ours, draws=8)], tmp_path)
    with pytest.raises(LedgerError, match="2 rows .* choose by draws"):
        ledger.readme(path, tmp_path)


def test_words_choose_rows_of_the_table():
    rows = [row(id="a"), row(id="b", **PICTURE, data="set5"), row(id="c", supersedes="a")]
    assert [r.id for r in ledger.matching(rows, ["PSNR", "set5"])] == ["b"]
    assert [r.id for r in ledger.matching(rows, [])] == ["b", "c"]
    assert [r.id for r in ledger.matching(rows, ["bits"])] == ["c"]
    with pytest.raises(LedgerError, match="no row has 'set5' and 'bits'"):
        ledger.matching(rows, ["set5", "bits"])


def test_a_grid_says_how_long_a_model_was_trained():
    """So that nobody compares a model that has learned with one that has not."""
    rows = [row(steps=600), row(id="b", steps=13500, **PICTURE)]
    lines = {"flow": {"run": GOOD["run"]}, "nobody": {"run": "no-run"}}
    columns = {"bits": {"metric": "bits_per_dim"}}
    written = ledger.Grid("Title", {}, lines, columns, steps=True).write(rows)
    assert "| flow | 600 or 13,500 |" in written and "nobody" not in written
    assert "steps" not in ledger.Grid("Title", {}, lines, columns).write(rows)
