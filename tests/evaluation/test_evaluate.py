"""From a run folder to rows, files and back: `evaluate`, `publish`, `audit`."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from cnf.errors import CheckpointError, ConfigError, DataError, ResultsError
from cnf.replication import audit, plugs, releases, results, run_folder
from cnf.replication.cards import card
from cnf.replication.config import config_sha256, model_name
from cnf.replication.data import load
from cnf.replication.data.catalogue import origin
from cnf.replication.evaluation import evaluate
from cnf.replication.evaluation.scoring import command_of, settings_of, with_other_rounding
from cnf.replication.measures import MEASURES, declared
from cnf.replication.metrics import compute, likelihood, masks, mean_se, superresolution
from cnf.replication.metrics.overlap import best_threshold
from cnf.replication.results.rows import REFERENCES
from cnf.replication.run_folder import publishing
from cnf.replication.scored import own_pictures
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from tests.evaluation.toys import eyes, patches, photographs

prediction_sets = plugs.module("conformal_repair", "metrics")

SETS = {"embedded-sr": photographs, "patches": patches, "far-sr": patches}
SETS |= {"embedded-vessels": eyes, "far-vessels": eyes}
SETS |= {"bare": lambda name, split: eyes(name, split, bare=True)}


def fake(name, split, root=None):
    """Small sets under the names of those that come with the package."""
    if name not in SETS:
        return load(name, split, root)
    return SETS[name](name, split)


@pytest.fixture(autouse=True, scope="module")
def small():
    with pytest.MonkeyPatch.context() as patch:
        for module in (own_pictures, audit):
            patch.setattr(module, "load", fake)
        yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run in an empty folder, without data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CNF_DATA", raising=False)


# -- every metric ----------------------------------------------------------------------------------

FULL = {"full": True, "samples": 19}  # as coverage of 90 % needs
EVALUATIONS = {  # run: set and options
    "sr-flow": [
        ("embedded-sr", {"full": True, "samples": 3}),
        ("embedded-sr", {"samples": 2, "importance": 2, "draws": 2, "round_x": True, "seed": 1}),
        ("embedded-sr", {"samples": 2, "limit": 2, "temperature": 0.5}),
        ("patches", {}),
        ("patches", {"full": True, "samples": 2, "round_x": True}),
        (None, {"stress": True, "samples": 20}),
    ],
    "sr-baseline": [("embedded-sr", FULL)],
    "vessels-flow": [
        ("embedded-vessels", FULL),
        ("embedded-vessels", {"samples": 2, "importance": 2, "seed": 2}),
        ("bare", {"samples": 2}),
        (None, {"stress": True, "samples": 20}),
    ],
    "vessels-baseline": [("embedded-vessels", {})],
    "vessels-weighted": [("embedded-vessels", FULL)],
    "vessels-flow-all": [("embedded-vessels", {"samples": 2, "threshold": 0.375})],
}


@pytest.fixture(scope="module")
def everything(make_run, tmp_path_factory, small):
    """(rows that were made, folder of results, their audit by id) of EVALUATIONS."""
    folder, rows = tmp_path_factory.mktemp("all") / "results", []
    for name, many in EVALUATIONS.items():
        for on, options in many:
            options = {"publish": True, "results": folder} | options
            rows += evaluate.evaluate(make_run(name), on, **options)
    checks = audit.audit(results=folder)
    return rows, folder, {check.row.id: check for check in checks}


# ends of an interval, and what a calibrated model would have
WITHOUT_ERROR = {"calibration_low", "calibration_high", "calibration_floor"}


def test_every_metric_is_evaluated_and_the_audit_gives_it_again(everything):
    made, _, checks = everything
    tasks = {row.task for row in made}
    for name, of in MEASURES.items():
        if of.task not in (None, *tasks) or of.owner == "conformal_repair":
            continue  # of an experiment, or of more photographs held out: see test_prediction_sets
        rows = [row for row in made if row.metric == name]
        assert rows and {row.task for row in rows} <= {of.task or row.task for row in rows}, name
        assert {row.model for row in rows} >= set(of.references), name
        has_error = of.tag != "stress" and name not in WITHOUT_ERROR
        several = [row for row in rows if row.num_images > 1 and has_error]
        assert all(row.standard_error is not None for row in several), name
    differs = {i: check.reason for i, check in checks.items() if check.status != "same"}
    assert differs == {} and {row.id for row in made} == set(checks)


def test_files_hold_the_rows_that_were_returned(everything):
    made, folder, _ = everything
    kept = {row.id: row for row in results.read_rows(folder)}
    assert kept == {row.id: row for row in made}  # the last of an id, if it was made again
    for row in made:
        path = folder / row.run / "evaluations" / f"{row.file}.json"
        assert row.id in {one.id for one in results.read_file(path)}
    counted = {(row.run, row.data) for row in made if MEASURES[row.metric].tag == "stress"}
    assert counted >= {("sr-flow", "embedded-sr"), ("sr-flow", "far-sr")}


def asked(command, models):
    """The models that a command scores, x as it was trained and the other kind, and its flags."""
    words = command.split()
    given = dict(zip(words, words[1:], strict=False))
    flags = {word for word in words if word.startswith("--")}
    numbers = {
        name: kind(given[f"--{name}"])
        for kind, names in (
            (int, ("limit", "seed", "draws", "samples", "importance")),
            (float, ("temperature", "threshold")),
        )
        for name in names
        if f"--{name}" in flags
    }
    round_x = {"--round-x": True, "--no-round-x": False}
    round_x = next((round_x[flag] for flag in flags & round_x.keys()), None)
    options = Options(full="--full" in flags, round_x=round_x, **numbers)
    folder, images = words[4], fake(given["--on"], "test")
    reference = folder.replace("-", " ") if folder.replace("-", " ") in REFERENCES else None
    model = None if reference else models(folder.removeprefix("results/"))
    m = ScoredModel(model, images, options, reference=reference)
    return [one for one in (m, with_other_rounding(m)) if one is not None], flags


def test_the_command_of_a_row_asks_for_it(everything, loaded):
    """Its options take the metric at the setting of the row, of these weights and pictures."""
    models = functools.cache(lambda name: loaded(name)[0])
    for row in everything[0]:
        scored, flags = asked(row.command, models)
        (m,) = (one for one in scored if one.rounded_x == row.rounded_x)
        wanted = dataclasses.replace(row.setting, threshold=None)
        assert m is scored[0] or MEASURES[row.metric].each_x
        found = list(settings_of(MEASURES[row.metric], m))
        if row.metric == "f_likeliest":  # of the first samples, however many are drawn
            wanted = dataclasses.replace(wanted, samples=m.samples)
        assert wanted in found, (row.id, row.command)
        assert ("--stress" in flags) == (MEASURES[row.metric].tag == "stress")
        assert len(m.indices) == row.num_images
        assert row.model == (m.reference or model_name(m.config))
        assert m.options.seed == row.noise_seed
        if row.threshold_from == "given":
            assert m.options.threshold == row.threshold


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0, "full": True}, "--full --samples 0"),
        ({"temperature": 0.0}, "--temperature 0.0"),
        ({"threshold": 0.0}, "--threshold 0.0"),
        ({"seed": 0, "importance": 0, "full": False}, ""),
        ({"round_x": False}, "--no-round-x"),
    ],
)
def test_a_command_has_the_options_that_are_zero(options, words):
    said = command_of("runs/x", "drive", "test", Options(**options))
    assert sorted(said.removeprefix("python -m cnf evaluate runs/x --on drive").split()) == sorted(
        words.split()
    )


def test_x_is_told_both_ways_by_full_and_references_are_of_the_same_x(everything):
    rows = [row for row in everything[0] if row.limit is None and row.noise_seed == 0]

    def kinds(run, name):
        found = [
            row for row in rows if (row.run, row.data, row.metric) == (run, "embedded-sr", name)
        ]
        return {(row.rounded_x, row.protocol) for row in found}

    for run in ("sr-baseline", "bicubic"):
        assert kinds(run, "psnr") >= {(True, "standard"), (False, "released")}
        assert kinds(run, "consistency") == {(False, None)}
    assert kinds("sr-baseline", "bits_per_dim") == {(True, None), (False, None)}


def test_a_measure_that_no_function_computes_is_named(tmp_path):
    table = tmp_path / "measures.yml"
    table.write_text("shapes:\n  girth: {title: girth, unit: '1', digits: 2, of: sample}\n")
    (measure,) = declared(table)
    with pytest.raises(ConfigError, match=r"girth is declared, but cnf.*shapes has no function"):
        compute(measure, None, None)


def test_adding_a_metric_is_an_entry_and_a_function(make_run, tmp_path, monkeypatch):
    table = tmp_path / "measures.yml"
    entry = "darkness: {title: share of dark pixels, unit: '1', digits: 2, of: sample}"
    table.write_text(f"superresolution:\n  task: sr\n  {entry}\n")

    def darkness(m, s):
        found = [(one < 128).double().mean().item() for one in m.single_samples(s.temperature)]
        return mean_se(np.array(found))

    (measure,) = declared(table)
    monkeypatch.setitem(MEASURES, measure.name, measure)
    monkeypatch.setattr(superresolution, "darkness", darkness, raising=False)
    options = {"full": True, "samples": 2, "publish": True, "results": tmp_path / "results"}
    rows = evaluate.evaluate(make_run("sr-flow"), "embedded-sr", **options)
    rows = [row for row in rows if row.metric == "darkness"]
    assert [row.temperature for row in rows] == [0.0, 0.5, 0.7, 0.8, 1.0]
    assert all(0 <= row.value <= 1 and row.version == 1 for row in rows)
    checks = audit.audit(results=tmp_path / "results", only=[row.id for row in rows])
    assert {check.status for check in checks} == {"same"}


def test_a_number_of_an_older_version_of_its_metric_says_so(everything, monkeypatch, tmp_path):
    old = next(row for row in everything[0] if row.metric == "bits_per_dim")
    newer = dataclasses.replace(MEASURES["bits_per_dim"], version=2)
    assert "†" not in results.value(old) and "version" not in results.describe(old)
    monkeypatch.setitem(MEASURES, "bits_per_dim", newer)
    assert "†" in results.value(old)
    assert "version 1 of the metric" in results.describe(old)
    options = {"results": tmp_path / "results", "limit": 1}
    (row,) = evaluate.evaluate(everything[1] / "sr-flow", "patches", publish=True, **options)
    (kept,) = results.read_rows(tmp_path / "results")
    assert (row.version, kept) == (2, row) and not row.is_old


# -- audit -----------------------------------------------------------------------------------------


@pytest.fixture
def published(make_run, tmp_path):
    """The rows of a run that is published into an empty folder of results."""

    def publish(run="sr-flow", on=None, **options):
        on = on or ("patches" if run.startswith("sr") else "embedded-vessels")
        options = {"publish": True, "results": tmp_path / "results"} | options
        return evaluate.evaluate(make_run(run), on, **options)

    return publish


def test_audit_sees_another_value_other_weights_and_other_data(published, tmp_path):
    published()
    path = tmp_path / "results" / "sr-flow" / "evaluations" / "patches-test.json"
    content = json.loads(path.read_text())

    def audited(more=0.0, **changes):
        values = [v | {"value": v["value"] + more} for v in content["values"]]
        path.write_text(json.dumps(content | changes | {"values": values}))
        (check,) = audit.audit(results=tmp_path / "results")
        return check.status, check.reason

    assert audited()[0] == "same"
    # 2e-4 is twice the tolerance of bits: the smallest change that must be seen
    assert audited(2e-4)[0] == "differs"
    for changes, why in (
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"data_sha256": "0" * 64}, "other pictures"),
        ({"weights": "results/sr-flow/none.safetensors"}, "named but not there"),
        ({"num_images": 2}, "has 1 pictures"),
    ):
        status, reason = audited(**changes)
        assert status == "differs" and why in reason
    status, reason = audited(data="set5")
    assert status == "not checked" and reason.startswith("its data are not here: set5")
    assert audited(weights=None) == ("not checked", "its weights are not in the repository")
    value = content["values"][0] | {"metric": "coverage_90", "bound": None, "divided_by": None}
    content["values"] = [value | {"draws": None, "samples": 2, "temperature": 1.0}]  # too few
    assert audited() == ("differs", "this code computes no coverage_90 on patches")


def test_an_error_of_a_metric_is_no_lack_of_data(published, tmp_path, monkeypatch):
    (row,) = published()

    def broken(*_):
        raise DataError("labels are all alike")

    monkeypatch.setattr(likelihood, row.metric, broken)
    (check,) = audit.audit(results=tmp_path / "results")
    assert (check.status, check.reason) == ("differs", "labels are all alike")


def test_without_time_nothing_is_checked_unless_it_is_named(everything):
    made, folder, _ = everything
    checks = audit.audit(results=folder, minutes=0)
    late = {("not checked", "no time left: --minutes, or --all")}
    assert {(check.status, check.reason) for check in checks} == late
    ours = sum(check.row.run == "vessels-weighted" for check in checks)
    text = audit.report(checks)
    assert f"vessels-weighted embedded-vessels test: {ours} not checked" in text
    assert text.endswith(f"\n{len(checks)} not checked")
    (check,) = audit.audit(results=folder, only=[made[0].id], minutes=0)
    assert check.status == "same"
    assert f"same  {made[0].id}: " in audit.report([check], named=True)


def test_the_audit_computes_embedded_pictures_first_and_then_what_needs_few_samples(everything):
    made, _, _ = everything
    far = [dataclasses.replace(row, data="set5") for row in made if row.data == "embedded-sr"]
    order = [rows for _, rows in audit._passes([*far, *made])]
    assert {row.id for rows in order for row in rows} == {row.id for row in [*far, *made]}
    assert all(len({(row.run, row.file, row.samples) for row in rows}) == 1 for rows in order)
    firsts = [rows[0] for rows in order]
    is_embedded = [row.data.startswith("embedded") for row in firsts]
    assert is_embedded == sorted(is_embedded, reverse=True) and len(set(is_embedded)) == 2
    cost = [
        (row.samples or 1) * row.num_images
        for row in firsts
        if row.data == "embedded-vessels" and MEASURES[row.metric].tag != "stress"
    ]
    assert cost == sorted(cost) and len(set(cost)) > 2


# -- rows and files --------------------------------------------------------------------------------


def test_rows_say_what_they_are(published, make_run, tmp_path):
    rows = published(on="embedded-sr", samples=2, limit=2)
    of = {row.metric: row for row in rows if row.model == "flow"}
    row = of["bits_per_dim"]
    config = releases.load(make_run("sr-flow") / "weights.safetensors").config
    weights = tmp_path / "results" / "sr-flow" / "weights.safetensors"
    assert row.weights == "results/sr-flow/weights.safetensors"
    assert row.weights_sha256 == run_folder.file_sha256(weights)
    assert row.weights_sha256 != run_folder.file_sha256(make_run("sr-flow") / weights.name)
    assert row.config_sha256 == config_sha256(config)
    assert row.data_sha256 == photographs().sha256
    assert (row.bound, row.divided_by) == ("uniform dequantization", "sub-pixels")
    assert (row.num_images, row.limit, row.stand_in, row.rounded_x) == (2, 2, True, False)
    assert (of["psnr"].samples, of["psnr"].temperature, of["psnr"].protocol) == (2, 1.0, None)
    assert (of["psnr_sample"].samples, of["psnr_sample"].temperature) == (1, 0.8)
    assert [row.id for row in rows if row.model == "bicubic"] == [
        "bicubic/embedded-sr-test-n2/psnr",
        "bicubic/embedded-sr-test-n2/ssim",
    ]
    for row in rows:
        if row.model in REFERENCES:
            nothing = {"weights", "weights_sha256", "config_sha256", "seed", "steps", "preset"}
            assert all(getattr(row, name) is None for name in nothing)


def test_another_evaluation_takes_the_place_of_the_first_and_keeps_what_it_does_not_make(
    published, tmp_path
):
    (first,) = published()
    (weighted,) = [r for r in published(importance=2) if r.draws == 2]
    again, _ = published(importance=3)
    assert again.value == first.value
    ids = [row.id for row in results.read_rows(tmp_path / "results")]
    base = "sr-flow/patches-test/bits_per_dim"
    assert ids == [base, f"{base}-iw2", f"{base}-iw3"]
    assert published(importance=2)[1].value == weighted.value


def test_values_of_other_weights_go(make_run, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(make_run("sr-flow"), runs / "mine")
    evaluate.evaluate(runs / "mine", "patches", importance=2)
    path = runs / "mine" / "evaluations" / "patches-test.json"
    assert len(results.read_file(path)) == 2
    shutil.copyfile(
        make_run("sr-baseline") / "weights.safetensors", runs / "mine" / "weights.safetensors"
    )
    rows = evaluate.evaluate(runs / "mine", "patches")
    assert results.read_file(path) == rows and rows[0].model == "logistic"


def test_a_damaged_evaluation_is_told_of_before_anything_is_scored(
    published, tmp_path, monkeypatch
):
    published()
    path = tmp_path / "results/sr-flow/evaluations/patches-test.json"
    path.write_text("{")
    monkeypatch.setattr(evaluate, "score", None)
    with pytest.raises(ResultsError, match="patches-test.json: not an evaluation"):
        published()


def test_only_publish_writes_into_results(published, make_run, tmp_path, capsys):
    published()
    folder = tmp_path / "results"
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    rows = evaluate.evaluate(folder / "sr-flow", "patches", results=folder, seed=3)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert "results/ is left as it is: written to runs/sr-flow" in capsys.readouterr().out
    written = results.read_rows(tmp_path / "runs")
    assert written == rows and rows[0].weights == "results/sr-flow/weights.safetensors"
    # a run elsewhere keeps its rows itself, without those of references
    run = tmp_path / "deep" / "mine"
    shutil.copytree(make_run("sr-flow"), run)
    rows = evaluate.evaluate(run, "embedded-sr", samples=2, results=folder)
    assert results.read_rows(run.parent) == [row for row in rows if row.model == "flow"]
    assert {row.model for row in rows} == {"flow", "bicubic"}
    assert {row.weights for row in rows} == {None}
    assert rows[0].command.startswith("python -m cnf evaluate runs/mine --on embedded-sr ")


def test_a_run_is_evaluated_where_one_stands_and_by_its_name(make_run, tmp_path, monkeypatch):
    mine = shutil.copytree(make_run("sr-flow"), tmp_path / "mine")
    shutil.copytree(mine, tmp_path / "results" / "ours")
    (row,) = evaluate.evaluate("ours", "patches", results=tmp_path / "results")
    assert row.run == "ours" and row.weights == "results/ours/weights.safetensors"
    assert (tmp_path / "runs" / "ours" / "evaluations" / "patches-test.json").exists()
    monkeypatch.chdir(mine)
    (row,) = evaluate.evaluate(".", "patches")
    assert row.run == "mine" and (mine / "evaluations" / "patches-test.json").exists()


def test_a_reference_alone_is_told_for_both_kinds_of_x(tmp_path):
    folder = tmp_path / "results"
    rows = evaluate.evaluate("bicubic", "embedded-sr", full=True, publish=True, results=folder)
    assert {(r.metric, r.protocol) for r in rows} >= {("psnr", "standard"), ("psnr", "released")}
    assert {row.id for row in results.read_rows(folder)} == {row.id for row in rows}
    checks = audit.audit(results=folder)
    assert {check.status for check in checks} == {"same"}
    (row,) = results.select(rows, metric="psnr", protocol="standard")
    kept = results.pictures(row, folder)  # so its difference to a model's is one in pairs
    assert len(kept) == row.num_images and np.mean(list(kept.values())) == pytest.approx(row.value)
    rows = evaluate.evaluate("second-observer", "embedded-vessels", results=folder)
    assert [row.metric for row in rows] == ["f_half", "f_half_image"]
    assert results.read_rows(tmp_path / "runs") == rows
    rows = evaluate.evaluate("second-observer", "embedded-vessels", full=True, out=tmp_path / "all")
    (row,) = results.select(rows, metric="f_half_image")
    kept = results.pictures(row, tmp_path / "all")
    assert len(kept) == row.num_images and np.mean(list(kept.values())) == pytest.approx(row.value)
    with pytest.raises(ConfigError, match="bicubic is no model and draws nothing"):
        evaluate.evaluate("bicubic", "embedded-sr", figures=True)
    with pytest.raises(ConfigError, match="second-observer answers on any image set: name one"):
        evaluate.evaluate("second-observer")
    with pytest.raises(ConfigError, match="no metric .* has a value for truth on patches"):
        evaluate.evaluate("truth", "patches")


def test_a_name_is_looked_for_where_releases_are_even_without_results(monkeypatch, tmp_path):
    monkeypatch.setattr(
        evaluate.releases, "find_weights", lambda run, results: tmp_path / "there/weights"
    )
    assert evaluate.folder_of(Path("vessels"), tmp_path / "results") == tmp_path / "there"


def test_a_folder_of_pictures_leaves_its_last_part_alone(make_run, tmp_path):
    from PIL import Image

    folder = tmp_path / "secret" / "mine" / "test"
    folder.mkdir(parents=True)
    Image.fromarray(photographs()[0].y.permute(1, 2, 0).numpy()).save(folder / "a.png")
    run = tmp_path / "runs" / "mine"
    shutil.copytree(make_run("sr-flow"), run)
    rows = evaluate.evaluate(run, f"folder:{folder.parent}", samples=0)
    assert {row.data for row in rows} == {"folder:mine"}
    files = sorted((run / "evaluations").iterdir())
    assert [path.name for path in files] == ["folder-mine-test.csv", "folder-mine-test.json"]
    assert all("secret" not in path.read_text() for path in files)


def test_a_folder_s_own_validation_pictures_choose_its_threshold(make_run, tmp_path, capsys):
    from PIL import Image

    for split in ("valid", "test"):
        for eye in eyes(split=split):
            for kind, pixels in (("images", eye.x.permute(1, 2, 0)), ("labels", 255 * eye.y[0])):
                folder = tmp_path / "far" / "mine" / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.numpy()).save(folder / f"{eye.name}.png")
    for run in ("vessels-baseline", "vessels-flow-all"):  # the second trained on another valid/
        rows = evaluate.evaluate(make_run(run), f"folder:{tmp_path / 'far' / 'mine'}", samples=2)
        (row,) = [row for row in rows if row.metric == "f_valid"]
        assert (row.data, row.threshold_from) == ("folder:mine", "validation")
    next((tmp_path / "far" / "mine" / "valid" / "labels").iterdir()).unlink()
    rows = evaluate.evaluate(make_run("vessels-baseline"), f"folder:{tmp_path / 'far' / 'mine'}")
    assert "f_valid" not in {row.metric for row in rows}
    assert "no threshold from validation: " in capsys.readouterr().out


def test_all_forms_of_a_set_have_one_origin():
    assert {origin(name) for name in ("chasedb1", "chasedb1-all@drive")} == {"chasedb1"}
    assert origin("folder:/of/mine") == "folder"


def test_thresholds_come_from_where_it_is_said(published, make_run, tmp_path):
    def f_valid(run, **options):
        rows = published(run, samples=2, **options)
        return [row for row in rows if row.metric == "f_valid"]

    assert f_valid("vessels-flow-all") == []
    (own,) = f_valid("vessels-flow")
    assert own.threshold_from == "validation" and "--threshold" not in own.command
    (given,) = f_valid("vessels-flow-all", threshold=0.4375)
    assert (given.threshold, given.threshold_from) == (0.4375, "given")
    assert given.command.endswith("--samples 2 --threshold 0.4375")
    sister = make_run("vessels-flow")
    (row,) = f_valid("vessels-flow-all", threshold_from=sister)
    model = releases.load(sister / "weights.safetensors")
    valid = ScoredModel(model, eyes(split="valid"), Options(samples=2))
    assert row.threshold == best_threshold(*masks.pooled(valid, valid.means(2)))
    assert row.threshold_from == f"{sister.parent.name}/vessels-flow"
    assert row.command.endswith(f"--threshold-from {row.threshold_from}")
    (both,) = f_valid("vessels-flow-all", threshold_from=f"{sister},{sister}")
    assert both.threshold == row.threshold  # all pixels twice
    assert both.threshold_from == f"{row.threshold_from},{row.threshold_from}"
    (row,) = f_valid("vessels-flow-all", threshold_from=sister)
    checks = audit.audit(results=tmp_path / "results")
    assert {check.status for check in checks} == {"same"}


def test_values_an_image_give_the_mean_again_and_curves_lie_beside(published, tmp_path):
    for run, on, head in (
        ("vessels-baseline", "embedded-vessels", "bits_per_pixel,f_half"),
        ("sr-baseline", "patches", "bits_per_dim"),
        ("sr-baseline", "embedded-sr", "bits_per_dim,psnr,ssim"),
    ):
        row = published(run, on)[0]
        path = tmp_path / "results" / run / "evaluations" / f"{on}-test.csv"
        first, *lines = path.read_text().splitlines()
        assert first == f"image,{head}"
        mean = np.mean([float(line.split(",")[1]) for line in lines])
        assert mean == pytest.approx(row.value, abs=1e-6)  # six printed digits
        assert not path.with_suffix(".curves.json").exists()
        assert "it does worst on `" in (tmp_path / "results" / run / "card.md").read_text()


def test_another_name_does_not_write_into_another_run(make_run, tmp_path):
    other = make_run("sr-flow").with_name("other")
    shutil.copytree(make_run("sr-baseline"), other)
    with pytest.raises(ConfigError, match="other holds another run: give another --name or --out"):
        evaluate.evaluate(other.with_name("sr-flow"), "patches", name="other")
    (row,) = evaluate.evaluate(make_run("sr-flow"), "patches", name="other", out=tmp_path)
    assert row.run == "other" and (tmp_path / "other" / "evaluations").is_dir()
    with pytest.raises(ConfigError, match="other holds values of other weights: give another"):
        evaluate.evaluate(make_run("sr-baseline"), "patches", name="other", out=tmp_path)


def test_the_card_of_a_run_that_is_not_published_shows_its_own_values(make_run):
    folder = make_run("sr-baseline")
    assert "not been evaluated" in card.card(folder)
    (row,) = evaluate.evaluate(folder, "patches")
    text = card.card(folder)
    assert f"| {results.value(row)}" in text
    assert f'cnf.load("runs/{folder.name}")' in text and "results table" not in text


def test_where_nothing_can_be_written_nothing_is_scored(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "score", None)
    (tmp_path / "out").write_text("a file of this name")
    with pytest.raises(ConfigError, match="cannot be written .*no folder"):
        evaluate.evaluate(make_run("sr-flow"), "patches", out=tmp_path / "out")


def test_files_of_one_evaluation_share_their_name(published, tmp_path):
    """Another seed, or another x, takes the place of nothing."""
    for options in ({}, {"seed": 3}, {"round_x": True}, {"limit": 1, "on": "embedded-sr"}):
        published(**options)
    names = {path.name for path in (tmp_path / "results/sr-flow/evaluations").iterdir()}
    stems = {"patches-test", "patches-test-noise3", "patches-test-x8"}
    assert names == {s + e for s in stems for e in (".csv", ".json")} | {"embedded-sr-test-n1.json"}


def test_full_writes_what_curves_are_drawn_from(everything):
    _, folder, _ = everything
    heads = {
        "sr-baseline/evaluations/embedded-sr-test": "image,bits_per_dim,psnr_released,ssim_released"
        ",bits_per_dim_xrounded,psnr_standard,ssim_standard",
        "vessels-weighted/evaluations/embedded-vessels-test": "image,bits_per_pixel,f_half,"
        "calibration_error,f_sample,f_likeliest",
    }
    for stem, head in heads.items():
        assert (folder / f"{stem}.csv").read_text().splitlines()[0] == head
        curves = json.loads((folder / f"{stem}.curves.json").read_text())
        row = results.read_file(folder / f"{stem}.json")[0]
        assert curves["weights_sha256"] == row.weights_sha256
        assert curves["data_sha256"] == row.data_sha256


# -- publishing ------------------------------------------------------------------------------------


def test_published_folder_names_no_machine(make_run, tmp_path):
    run = tmp_path / "runs" / "mine"
    shutil.copytree(make_run("sr-flow"), run)
    record = {
        "seed": 3,
        "steps": 9,
        "hardware": "Some Processor, 1 threads",
        "command": "python -m cnf train sr --out /srv/me/deep.er/runs/mine --preset a/b",
        "data": {"train": {"images": 5}, "stand_in": True},
    }
    (run / "config.json").write_text(json.dumps(record))
    lines = [json.dumps({"step": n, "seconds": n / 2.0}) for n in range(1000)]
    (run / "history.jsonl").write_text("\n".join(lines) + "\n")
    folder = tmp_path / "results"
    (row,) = evaluate.evaluate(run, "patches", publish=True, results=folder)
    text = (folder / "mine" / "config.json").read_text()
    assert "/srv" not in text and "--out mine --preset a/b" in text
    assert (row.seed, row.steps, row.wall_s) == (3, 999, 499.5)
    assert row.hardware == "Some Processor, 1 threads"
    history = (folder / "mine" / "history.jsonl").read_text().splitlines()
    assert len(history) == publishing.MAX_LINES
    assert (history[0], history[-1]) == (lines[0], lines[-1])
    written = (folder / "mine" / "card.md").read_text()
    assert written == card.card(folder / "mine", folder)
    for text in (results.value(row), "5 pictures of `embedded-sr`", "stand-in", "999 steps"):
        assert text in written


def test_published_weights_are_half_precision_and_score_alike(published, make_run, tmp_path):
    (half,) = published()
    path = tmp_path / "results" / "sr-flow" / "weights.safetensors"
    tensors = safetensors.torch.load_file(path)
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    shutil.copytree(make_run("sr-flow"), tmp_path / "whole")
    (whole,) = evaluate.evaluate(tmp_path / "whole", "patches")
    # rounding 16 thousand weights to 11 bits moves the bits a little, and never by nothing
    assert 0 < abs(half.value - whole.value) < 0.02


def test_publishing_refuses_large_weights_and_another_run(published, tmp_path, monkeypatch):
    published()
    with pytest.raises(ResultsError, match="holds other weights: give another --name"):
        published("sr-baseline", name="sr-flow")
    monkeypatch.setattr(publishing, "MAX_BYTES", 1000)
    with pytest.raises(ResultsError, match="MB, more than 0: evaluate without --publish"):
        published("sr-baseline")
    folder = tmp_path / "results"
    assert not (folder / "sr-baseline" / "weights.safetensors").exists()
    assert not list(folder.rglob("*.new")) and not list(folder.rglob("*.tmp"))


def test_what_is_wrong_is_named_and_nothing_is_written(make_run, tmp_path, monkeypatch):
    monkeypatch.setenv("CNF_DATA", str(tmp_path))
    folder = tmp_path / "results"
    wrong = [
        (ResultsError, "'My Run' cannot name a run", {"name": "My Run"}),
        (ConfigError, "--batch-size 0: give 1 or more", {"batch_size": 0}),
        (
            *(ConfigError, "vessels has no x that is rounded"),
            {"run": "vessels-flow", "on": "bare", "round_x": True},
        ),
        (ConfigError, "--importance is a bound and", {"run": "sr-baseline", "importance": 2}),
        (DataError, "set5: nothing at", {"on": "set5"}),
        (ConfigError, "'embedded-vessels' is a set of labelled", {"on": "embedded-vessels"}),
        *(
            (ConfigError, "--stress has metrics, draws and temp", {"stress": True} | more)
            for more in (
                *({"full": True}, {"figures": True}, {"draws": 2}, {"importance": 2}),
                {"temperature": 0.0},
            )
        ),
    ]
    for kind, message, options in wrong:
        options = {"on": "patches", "results": folder} | options
        options["run"] = make_run(options.get("run", "sr-flow"))
        for publish in (False, True):
            with pytest.raises(kind, match=message):
                evaluate.evaluate(**options, publish=publish)
    with pytest.raises(ConfigError, match="is a file: give its folder"):
        evaluate.evaluate(make_run("sr-flow") / "weights.safetensors", "patches", results=folder)
    with pytest.raises(CheckpointError, match="nowhere"):
        evaluate.evaluate(tmp_path / "nowhere", "patches", results=folder)
    assert list(tmp_path.iterdir()) == []
    assert not (make_run("sr-flow") / "evaluations" / "set5-test.json").exists()
