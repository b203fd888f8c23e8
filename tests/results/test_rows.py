"""Rows: how they are named, kept in files, looked up and printed."""

import csv
import dataclasses
import json
import os
import subprocess
import sys

import pytest

from cnf.errors import ResultsError, UnwritableError
from cnf.replication import results
from cnf.replication.results import report, rows
from cnf.replication.results.rows import FEW, Row
from tests.results.rows import EYE, GOOD, PICTURE, reference, row

WEIGHTED = {"bound": "uniform dequantization, importance-weighted", "draws": 8}


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "sr-flow-cpu/tinyimagenet32-test/bits_per_dim"),
        (WEIGHTED, "sr-flow-cpu/tinyimagenet32-test/bits_per_dim-iw8"),
        ({"draws": 4, "split": "valid"}, "sr-flow-cpu/tinyimagenet32-valid/bits_per_dim-d4"),
        ({"rounded_x": True, "limit": 5}, "sr-flow-cpu/tinyimagenet32-test-x8-n5/bits_per_dim"),
        ({"noise_seed": 3}, "sr-flow-cpu/tinyimagenet32-test-noise3/bits_per_dim"),
        ({"data": "folder:mine"}, "sr-flow-cpu/folder-mine-test/bits_per_dim"),
        (EYE, "sr-flow-cpu/drive-test/f_half-s64"),
        (EYE | {"samples": 0}, "sr-flow-cpu/drive-test/f_half"),
        (
            EYE | {"metric": "bits_per_pixel", "divided_by": "field of view", "samples": None},
            "sr-flow-cpu/drive-test/bits_per_pixel-view",
        ),
        (
            PICTURE | {"samples": 1, "temperature": 0.8, "protocol": "released"},
            "sr-flow-cpu/tinyimagenet32-test/psnr-t0.8-released",
        ),
    ],
)
def test_the_name_of_a_row_says_what_is_not_usual(changes, name):
    assert row(**changes).id == name


# -- files -----------------------------------------------------------------------------------------


def test_rows_survive_their_file_which_others_can_read(tmp_path):
    rows = [
        row(),
        row(**WEIGHTED, git=None, dirty=True, command="python -m cnf evaluate runs/b --on c"),
        row(**PICTURE, samples=0, version=3),
    ]
    (path,) = results.write(rows, tmp_path)
    assert path == tmp_path / "sr-flow-cpu" / "evaluations" / "tinyimagenet32-test.json"
    assert results.read_rows(tmp_path) == results.read_file(path) == rows
    content = json.loads(path.read_text())
    assert content["run"] == "sr-flow-cpu" and content["made"][0]["git"] == "c" * 40
    assert ["command" in made for made in content["made"]] == [False, True]
    # what is shared is said once; what does not matter to a value is not there
    assert content["values"][2].keys() == {"metric", "value", "standard_error", "samples"} | {
        *("version", "made")
    }


def test_a_run_has_a_file_for_each_set_and_each_way_to_look_at_it(tmp_path):
    rows = [row(), row(rounded_x=True), row(run="other"), row(data="set5"), row(limit=2)]
    assert len(results.write(rows, tmp_path)) == 5
    assert {r.id for r in results.read_rows(tmp_path)} == {r.id for r in rows}
    (tmp_path / "other" / "evaluations" / "set5-test.curves.json").write_text("{}")
    assert len(results.read_rows(tmp_path)) == 5


def test_values_of_the_same_weights_and_pictures_are_merged_and_others_replaced(tmp_path):
    results.write([row(), row(**WEIGHTED)], tmp_path)
    newer, more = row(value=2.4, date="2026-02-01"), row(**PICTURE, samples=0)
    results.write([newer, more], tmp_path)
    assert results.read_rows(tmp_path) == [newer, row(**WEIGHTED), more]
    others = {"weights_sha256": "e" * 64}, {"data_sha256": "f" * 64}, {"variant": "of/it=0.4"}
    for changed in (*others, {"variant": "of/it=0.9"}):
        results.write([row(), row(**WEIGHTED)], tmp_path)
        other = row(value=2.3, **changed)
        results.write([other], tmp_path)
        assert results.read_rows(tmp_path) == [other]


def test_where_there_are_no_results_it_says_who_has_them(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "RESULTS", tmp_path / "none")
    with pytest.raises(ResultsError, match="no results here: the repository has all, clone it; "):
        results.read_rows(tmp_path / "none")


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    (path,) = results.write([row(), row(**WEIGHTED)], tmp_path)
    good = path.read_text()
    content = json.loads(good)
    first = content["values"][0]
    bad = {
        good[:-20]: "Expecting",
        "[]": "not an evaluation",
        json.dumps({k: v for k, v in content.items() if k != "made"}): "'made'",
        json.dumps(content | {"colour": "red"}): "colour",
        json.dumps(content | {"values": [first | {"hue": 1}]}): "hue",
        json.dumps(content | {"values": [first | {"value": "high"}]}): "not an evaluation",
        json.dumps(content | {"values": [first | {"value": float("nan")}]}): "is nan",
        json.dumps(content | {"values": [first, first]}): "bits_per_dim' is there twice",
        json.dumps(content | {"values": [first | {"metric": "bpd"}]}): "no measure 'bpd'",
        json.dumps(content | {"values": [first | {"bound": None}]}): "are a bound",
        json.dumps(content | {"values": [first | {"samples": "16"}]}): "samples Input should be",
        json.dumps(content | {"values": [first | {"temperature": "0.8"}]}): "temperature Input",
        json.dumps(content | {"data": 5}): "data Input should be",
    }
    for text, message in bad.items():
        path.write_text(text)
        with pytest.raises(ResultsError) as error:
            results.read_rows(tmp_path)
        assert str(path) in str(error.value) and message in str(error.value), text
        assert "\n" not in str(error.value)


def test_rows_of_a_renamed_folder_take_its_name(tmp_path):
    old = row(), row(**WEIGHTED)
    results.write(old, tmp_path)
    (tmp_path / old[0].run).rename(tmp_path / "new")
    moved = {"run": "new", "weights": "results/new/weights.safetensors"}
    again = dataclasses.replace(old[0], value=1.0, **moved)
    results.write([again], tmp_path)
    assert results.read_rows(tmp_path) == [again, dataclasses.replace(old[1], **moved)]


@pytest.mark.parametrize("changes", [{"bound": None}, {"metric": "psnr"}])
def test_a_row_that_could_not_be_read_again_is_not_written(tmp_path, changes):
    with pytest.raises(ResultsError, match="only bits, are a bound: declare another `of`"):
        results.write([row(**changes)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / row().run).write_text("a file of this name")
    with pytest.raises(UnwritableError, match="cannot be written .*: make room, give yourself"):
        results.write([row()], tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ResultsError, match=f"bits_per_dim of sr-flow-cpu on .* is {value}"):
        row(value=value)


def test_every_field_of_a_row_but_those_of_a_value_is_required():
    needed = {f.name for f in dataclasses.fields(Row) if f.default is dataclasses.MISSING}
    assert needed == set(GOOD) - {"standard_error", "bound", "divided_by", "draws"}


def test_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    (path,) = results.write([row()], tmp_path)
    before = path.read_bytes()

    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        results.write([row(value=1.0)], tmp_path)
    assert path.read_bytes() == before


def test_files_are_utf_8_whatever_the_locale_is(tmp_path):
    code = r"from cnf.replication.results.rows import *; write_text(Path('a'), '\u2264')"
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=os.environ | plain)
    assert (tmp_path / "a").read_bytes() == "\u2264".encode()


# -- words and tables ------------------------------------------------------------------------------


def test_bounds_and_stand_ins_are_marked():
    text = results.table([row()], ("model", "data", "value"))
    assert text.splitlines()[-1] == "| flow | tinyimagenet32 test (stand-in) | ≤ 2.505 ± 0.012 |"
    exact = row(model="logistic", bound="exact", stand_in=False, standard_error=None)
    text = results.table([exact], ("model", "data", "value"))
    assert text.splitlines()[-1] == "| logistic | tinyimagenet32 test | 2.505 |"
    wide = row(bound="two cells for each grey level: no likelihood")  # no bound of anything
    assert results.value(wide) == "2.505 ± 0.012"
    assert results.value(row(standard_error=0.0)) == "≤ 2.505"  # all pictures alike
    assert results.cells(wide)["how"] == f"{wide.bound}, x not rounded"


def test_table_says_how_the_number_was_made():
    def how(row):
        return results.cells(row)["how"]

    def metric(row):
        return results.cells(row)["metric"]

    assert how(row()) == "bound: uniform dequantization, x not rounded"
    assert how(row(bound="exact", rounded_x=True)) == "exact, x rounded to 8 bits"
    assert how(row(**PICTURE, samples=16, temperature=1.0)) == (
        "x not rounded, 16 samples, temperature 1"
    )
    standard = row(**PICTURE, samples=1, temperature=0.8, rounded_x=True, protocol="standard")
    assert how(standard) == "standard protocol, x rounded to 8 bits, 1 sample, temperature 0.8"
    chosen = row(**EYE | {"metric": "f_valid", "threshold": 0.375})
    assert how(chosen) == "64 samples, temperature 1, threshold 0.375"
    assert metric(row(**WEIGHTED)) == "bits/dim (8 importance samples)"
    inside = row(metric="bits_per_pixel", divided_by="field of view")
    assert metric(inside) == "bits/pixel inside the field of view"
    assert metric(standard) == "PSNR of the point estimate"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ["bound: uniform dequantization, x not rounded; sr-flow-cpu after 6,000 steps; "]),
        ({}, ["2000 test pictures of tinyimagenet32, a stand-in"]),
        ({"steps": FEW - 1}, ["sr-flow-cpu after only 1,999 steps; "]),
        ({"steps": 1}, ["sr-flow-cpu fitted in one pass; "]),
        (
            {"metric": "bits_per_pixel", "divided_by": "field of view"},
            ["inside the field of view, bound: "],
        ),
    ],
)
def test_words_say_what_a_value_is_of_and_mark_stand_ins_and_short_trainings(changes, words):
    text = results.describe(row(**changes))
    assert all(part in text for part in words)
    assert "stand-in" not in results.describe(row(**changes, stand_in=False))
    assert "; bicubic; " in results.describe(reference("bicubic", **PICTURE))
    assert results.value_with_unit(row()) == "≤ 2.505 ± 0.012 bits/dim"
    ssim = row(**PICTURE | {"metric": "ssim"}, value=0.5)
    assert results.value_with_unit(ssim) == "0.5000 ± 0.0123"


# -- looking rows up -------------------------------------------------------------------------------


def test_select_finds_rows_by_their_fields():
    usual, rounded, other = row(), row(rounded_x=True), row(run="sr-flow-cpu-s1")
    picture = row(**PICTURE, data="set5", protocol="standard", rounded_x=True)
    rows = [usual, rounded, other, picture]
    assert results.select(rows, run="sr-flow-cpu", rounded_x=False) == [usual]
    assert results.select(rows, run="sr-flow-cpu-*") == [other]
    assert results.select(rows, protocol=None, rounded_x=True) == [rounded]
    # alternatives: the first that has rows counts, not all of them
    assert results.select(rows, data=["imagenet32-*", "set5", "tinyimagenet32"]) == [picture]
    assert results.select(rows, metric="ssim") == []
    with pytest.raises(ResultsError, match="no field 'colour'"):
        results.select(rows, colour="red")


def test_one_row_is_one_or_says_what_tells_them_apart():
    rows = [row(), row(rounded_x=True), row(data="set5")]
    part = row(data="set5", num_images=5)
    assert results.one([part, *rows], data="set5") == rows[2]
    assert results.one([part, *rows], data="set5", num_images=5) == part
    with pytest.raises(ResultsError, match=r"2 rows .*-test/bits_per_dim.*; choose by rounded_x$"):
        results.one(rows, data="tinyimagenet32")
    with pytest.raises(ResultsError, match=r"2 rows .*; choose by data"):  # not the larger set
        results.one([part, row()], rounded_x=False)
    with pytest.raises(ResultsError, match="no row has data='set14'"):
        results.one(rows, data="set14")


def test_words_choose_rows_of_the_table():
    bits, psnr = row(), row(**PICTURE, data="set5", protocol="standard")
    assert results.find_by_words([bits, psnr], ["PSNR", "set5", "Standard"]) == [psnr]
    assert results.find_by_words([bits, psnr], []) == [bits, psnr]
    assert results.find_by_words([bits, psnr], ["uniform"]) == [bits]
    with pytest.raises(ResultsError, match="no row has 'set5' and 'bits'"):
        results.find_by_words([bits, psnr], ["set5", "bits"])


# -- the tables of the README ----------------------------------------------------------------------


@pytest.fixture
def readme(tmp_path):
    """The text of a README of these rows."""
    path = tmp_path / "README.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    def write(*rows):
        results.write(rows, tmp_path)
        text = report.readme(path, tmp_path)
        assert path.read_text() == text
        return text

    return write


def test_readme_is_rewritten_between_its_markers(readme, tmp_path):
    ours = {"run": "sr-flow-cpu-s0"}
    text = readme(
        row(**ours),
        row(**ours, split="valid", value=9.0),
        row(**ours, limit=50, num_images=50, value=8.0),
        row(**ours, rounded_x=True, value=2.775),
        row(**ours | WEIGHTED, value=7.0),
    )
    assert text.startswith(f"before\n{report.BEGIN}\n|  | coupling flow |\n")
    assert text.endswith("\nafter\n") and "old" not in text
    assert "a stand-in) | ≤ 2.775 ± 0.012 |" in text and "not rounded | ≤ 2.505 ± 0.012 |" in text
    # fewer pictures; another split; importance samples
    assert not any(value in text for value in ("8.0", "9.0", "7.0"))
    assert "factorised" not in text and "DRIVE" not in text  # no row, no column, no line
    claim = {k: "a" for k in ("id", "place", "says", "source", "cause", "would_change")}
    claims = {"claims": [claim | {"tag": "confirmed", "verdict": "could not"}]}
    (tmp_path / "claims.yml").write_text(json.dumps(claims))  # which is YAML, too
    assert "by verdict. Of confirmed claims (1): 1 could not.\n" in readme()
    (tmp_path / "README.md").write_text("no markers")
    with pytest.raises(ResultsError, match="must hold"):
        readme()


def test_the_readme_says_how_many_samples_and_what_range(readme):
    """A standard error of 0.0123 misleads about a calibration error: its range stands instead."""
    eye = EYE | {"run": "vessels-flow-lambda0-s0"}
    error = eye | {"metric": "calibration_error", "value": 0.02}
    text = readme(row(**eye, value=0.8), row(**error))
    assert "threshold 0.5 | 0.800 ± 0.012 (n = 64) |" in text
    assert "calibration error | 0.0200 (n = 64) |" in text  # no range was computed
    ends = {"calibration_low": 0.01, "calibration_high": 0.031, "calibration_floor": 0.0034}
    text = readme(*(row(**error | {"metric": name, "value": v}) for name, v in ends.items()))
    assert "| 0.0200 (n = 64; 95 %: 0.0100 to 0.0310; floor 0.0034) |" in text
    limit = PICTURE | {"metric": "psnr_limit", "data": "bsd100", "rounded_x": True, "samples": 2}
    text = readme(row(run="sr-flow-ar-photos-s0", **limit, value=31.73, temperature=1.0))
    assert "BSD100, dB |  | 31.73 ± 0.01 (n → ∞, from 2 samples) |" in text


@pytest.mark.parametrize(
    ("apart", "shown"), [(0.0, "0.000"), (0.001, "0.001"), (0.0003, "0.0003"), (1e-5, "0.00001")]
)
def test_a_deviation_over_seeds_is_not_rounded_to_nothing(readme, apart, shown):
    values = (2.0 - apart, 2.0, 2.0 + apart)
    text = readme(*(row(run=f"sr-flow-cpu-s{s}", value=v) for s, v in enumerate(values)))
    assert f"; 3 seeds ± {shown} |" in text


def test_the_report_tells_vessels_by_model_and_camera():
    flow, base = {"run": "vessels-flow-cpu-s0"}, {"run": "vessels-baseline-cpu-s0"}
    pieces = {"metric": "components_ratio_sample", "samples": 1}
    weighted = {"run": "vessels-weighted-087-s1", "model": "weighted"}
    rows = [
        row(**EYE | flow | {"samples": 32}, value=0.5),
        row(**EYE | flow, value=0.8301),
        row(**EYE | flow | pieces, value=1.54),
        row(**EYE | base | {"samples": 0}, model="bernoulli", value=0.8202),
        row(**EYE | weighted),
        row(**EYE | flow | {"data": "stare@drive"}, value=0.7007),
    ]
    text = "\n".join(grid.write(rows) for grid in report.REPORT)
    assert "per-pixel loss added | 0.830 ± 0.012 | 1.54 ± 0.01 |" in text  # 64 samples, not 32
    assert "AdamW | 0.820 ± 0.012 |  |" in text
    assert "|  | STARE, F |" in text and "per-pixel loss added | 0.701 ± 0.012 |" in text
    assert "weighted" not in text and "CHASE" not in text  # another seed; no row


def test_readme_tells_the_deviation_over_seeds(readme):
    """By hand: 2, 3 and 4 have the deviation 1. Other splits, noise and variants are no seeds."""
    ours = {"rounded_x": True, "bound": "uniform dequantization"}
    runs = [f"sr-flow-cpu-s{seed}" for seed in range(3)]
    rows = [row(**ours, run=run, value=v) for run, v in zip(runs, (2.0, 3.0, 4.0), strict=True)]
    rows += [
        row(**ours, run=runs[0], value=9.0, **other)
        for other in ({"split": "valid"}, {"noise_seed": 1})
    ]
    both = [row(**ours, run=f"{run}-oriented", variant="a/oriented", value=9.0) for run in runs[:2]]
    assert results.seeds_of(both[0], rows + both) == both
    assert "| ≤ 2.000 ± 0.012; 3 seeds ± 1.000 |" in readme(*rows, both[0])


def test_readme_refuses_to_choose_between_rows(readme):
    ours = {"run": "sr-flow-cpu-s0"}
    with pytest.raises(ResultsError, match="2 rows .* choose by draws"):
        readme(row(**ours), row(**ours, draws=8))


def test_a_table_of_the_report_is_csv_too(tmp_path):
    """By its name; any other words choose rows. By hand: 2, 3 and 4 have the deviation 1."""
    ours = {"rounded_x": True, "bound": "uniform dequantization"}
    rows = [row(**ours, run=f"sr-flow-cpu-s{n}", value=2.0 + n) for n in range(3)]
    results.write(rows, tmp_path)
    text = report.table(["super-resolution-bits"], as_csv=True, results=tmp_path)
    (line,) = csv.DictReader(text.splitlines())
    assert (line["model"], line["value"], line["seeds"]) == ("coupling flow", "2.0", "3")
    assert line["deviation_over_seeds"] == "1.0" and line["row"] == rows[0].id
    text = report.table(["sr-flow-cpu-s1"], as_csv=True, results=tmp_path)
    (line,) = csv.DictReader(text.splitlines())
    assert line["id"] == rows[1].id and line["run"] == "sr-flow-cpu-s1"


def test_a_grid_says_how_long_a_model_was_trained():
    """So that nobody compares a model that has learned with one that has not."""
    rows = [row(steps=600), row(steps=13500, **PICTURE)]
    lines = {"flow": {"run": GOOD["run"]}, "nobody": {"run": "no-run"}}
    columns = {"bits": {"metric": "bits_per_dim"}}
    written = report.Grid("Title", {}, lines, columns, steps=True).write(rows)
    assert " ± 0.012 | 600 or 13,500 |" in written and "nobody" not in written
    assert "steps" not in report.Grid("Title", {}, lines, columns).write(rows)
