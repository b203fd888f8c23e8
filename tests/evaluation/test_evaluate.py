"""From a run folder to rows, files and back: `evaluate`, `publish`, `audit`."""

import json
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from cnf import build
from cnf.config import config_sha256
from cnf.errors import CheckpointError, DataError, LedgerError, TrainingError
from cnf.replication import audit, evaluate, publishing, run_folder
from cnf.replication import results as ledger
from cnf.replication.data import load

RUNS = ("sr-flow", "sr-baseline", "vessels-flow", "vessels-baseline")


@pytest.fixture
def small(monkeypatch, vessels):
    """Embedded vessels replaced by three small random pictures: nothing else is slow."""

    def fake(name, split, root=None):
        images = vessels(16, 20, 3 if split == "test" else 2, split)
        images.name = name
        return images if name == "embedded-vessels" else load(name, split, root)

    for module in (audit, evaluate):
        monkeypatch.setattr(module, "load", fake)


@pytest.fixture
def published(make_run, small, tmp_path):
    """Evaluate and publish a run into an empty results folder."""

    def publish(run, **options):
        data = "embedded-sr" if run.startswith("sr") else "embedded-vessels"
        options = {"limit": 3, "samples": 2, "publish": True} | options
        return evaluate.evaluate(make_run(run), data, results=tmp_path / "results", **options)

    return publish


@pytest.mark.parametrize("name", RUNS)
def test_every_row_is_derived_again_from_the_published_weights(published, tmp_path, name):
    rows = published(name, importance=2)
    results = tmp_path / "results"
    assert ledger.read(results) == rows
    checks = audit.audit(results=results)
    assert [c.status for c in checks] == ["same"] * len(rows), audit.report(checks)
    metrics = {row.metric for row in rows}
    if name.startswith("sr"):
        assert metrics == {"bits_per_dim", "psnr", "ssim", "psnr_sample", "ssim_sample"}
    else:
        assert metrics >= {"bits_per_pixel", "f_half", "f_valid", "f_best", "f_sample", "auc", "ap"}


def test_rows_say_what_they_are(published, make_run, tmp_path):
    rows = {row.metric: row for row in published("sr-flow") if row.model == "flow"}
    row = rows["bits_per_dim"]
    config = build.load(make_run("sr-flow") / "weights.safetensors").config
    weights = tmp_path / "results" / "sr-flow" / "weights.safetensors"
    assert row.weights == "results/sr-flow/weights.safetensors"
    assert row.weights_sha256 == run_folder.file_sha256(weights)
    assert row.weights_sha256 != run_folder.file_sha256(make_run("sr-flow") / weights.name)
    assert row.config_sha256 == config_sha256(config)
    assert row.data_sha256 == load("embedded-sr", "test").sha256
    assert (row.bound, row.divided_by) == ("uniform dequantization", "sub-pixels")
    assert (row.num_images, row.stand_in, row.rounded_x) == (3, True, False)
    assert row.command.startswith(
        "python -m cnf evaluate results/sr-flow --on embedded-sr --limit 3"
    )
    assert (rows["psnr"].samples, rows["psnr"].temperature) == (2, 1.0)
    assert (rows["psnr_sample"].samples, rows["psnr_sample"].temperature) == (1, 0.8)


def test_audit_sees_another_value_other_weights_and_other_data(published, tmp_path, monkeypatch):
    published("sr-flow", samples=0)
    results = tmp_path / "results"
    path = results / "ledger.jsonl"
    (line,) = path.read_text().splitlines()
    row = json.loads(line)

    def audited(**changes):
        path.write_text(json.dumps(row | changes) + "\n")
        (check,) = audit.audit(results=results)
        return check

    assert audited().status == "same"
    # 2e-4 is twice the tolerance of bits: the smallest change that must be seen
    assert audited(value=row["value"] + 2e-4).status == "differs"
    assert "other weights" in audited(weights_sha256="0" * 64).reason
    check = audited(data_sha256="0" * 64)
    assert check.status == "differs" and "other pictures" in check.reason
    check = audited(weights="results/sr-flow/none.safetensors")
    assert check.status == "differs" and "named but not there" in check.reason


def test_audit_says_why_it_could_not(published, make_run, small, tmp_path, monkeypatch):
    results = tmp_path / "results"
    monkeypatch.delenv("CNF_DATA", raising=False)
    published("sr-flow", samples=0)
    evaluate.evaluate(
        make_run("sr-flow"), "embedded-sr", name="elsewhere", limit=2, results=results
    )
    (first, second) = ledger.read(results)
    assert second.weights is None
    missing = json.loads(json.dumps(ledger.to_dict(first))) | {"id": "set5", "data": "set5"}
    newer = ledger.to_dict(first) | {"id": "newer", "supersedes": first.id}
    with (results / "ledger.jsonl").open("a") as file:
        file.write(json.dumps(missing) + "\n" + json.dumps(newer) + "\n")
    reasons = {c.row.id: (c.status, c.reason) for c in audit.audit(tmp_path, results)}
    assert reasons[first.id] == ("not checked", "superseded by newer")
    assert reasons[second.id] == ("not checked", "its weights are not in the repository")
    status, reason = reasons["set5"]
    assert status == "not checked" and reason.startswith("its data are not here: set5")
    assert reasons["newer"][0] == "same"


def test_second_evaluation_needs_supersede(published, tmp_path):
    (first,) = published("sr-flow", samples=0)
    with pytest.raises(LedgerError, match="already in the ledger and rows are never edited"):
        published("sr-flow", samples=0)
    (second,) = published("sr-flow", samples=0, supersede=True)
    (third,) = published("sr-flow", samples=0, supersede=True)
    assert (second.id, second.supersedes) == (f"{first.id}-v2", first.id)
    assert (third.id, third.supersedes) == (f"{first.id}-v3", second.id)
    assert ledger.current(ledger.read(tmp_path / "results")) == [third]


def test_reference_rows_are_written_once(published, tmp_path):
    first, second = published("sr-flow"), published("sr-baseline")
    assert [r.id for r in first if r.model == "bicubic"] == [
        "bicubic-embedded-sr-test-psnr-xfloat-n3",
        "bicubic-embedded-sr-test-ssim-xfloat-n3",
    ]
    assert not [r for r in second if r.model == "bicubic"]
    assert all(r.weights is None and r.config_sha256 is None for r in first if r.model == "bicubic")


def test_published_folder_names_no_machine(make_run, tmp_path):
    run = tmp_path / "runs" / "mine"
    shutil.copytree(make_run("sr-flow"), run)
    record = {
        "seed": 3,
        "steps": 9,
        "device": "cpu",
        "threads": 1,
        "command": "python -m cnf train sr --out /srv/me/deep.er/runs/mine --preset a/b",
        "data": {"train": {"images": 5}, "stand_in": True},
    }
    (run / "config.json").write_text(json.dumps(record))
    lines = [json.dumps({"step": n, "seconds": n / 2.0}) for n in range(1000)]
    (run / "history.jsonl").write_text("\n".join(lines) + "\n")
    results = tmp_path / "results"
    (row,) = evaluate.evaluate(run, "embedded-sr", limit=1, publish=True, results=results)
    text = (results / "mine" / "config.json").read_text()
    assert "/home" not in text and "--out mine --preset a/b" in text
    assert (row.seed, row.steps, row.wall_s) == (3, 999, 499.5)
    assert row.hardware == f"{run_folder.processor()}, 1 threads"
    history = (results / "mine" / "history.jsonl").read_text().splitlines()
    assert len(history) == run_folder.MAX_LINES and history[0] == lines[0]
    assert history[-1] == lines[-1]
    card = (results / "mine" / "card.md").read_text()
    assert card == publishing.card(results / "mine", results)
    for text in (ledger.value(row), "5 pictures of `embedded-sr`", "stand-in"):
        assert text in card
    for heading in ("What it saw", "How it scores", "Where it fails", "Licence"):
        assert f"## {heading}" in card


def test_published_weights_are_half_precision_and_score_alike(published, make_run, tmp_path):
    (half,) = published("sr-flow", samples=0)
    path = tmp_path / "results" / "sr-flow" / "weights.safetensors"
    tensors = safetensors.torch.load_file(path)
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float16}
    (full,) = evaluate.evaluate(
        make_run("sr-flow"), "embedded-sr", name="full", limit=3, results=tmp_path / "other"
    )
    # rounding 16 thousand weights to 11 bits moves the bits a little, and never by nothing
    assert 0 < abs(half.value - full.value) < 0.02


def test_publishing_refuses_large_weights_and_another_run(
    published, make_run, tmp_path, monkeypatch
):
    published("sr-flow", samples=0)
    results = tmp_path / "results"
    with pytest.raises(LedgerError, match="holds other weights: give another --name"):
        published("sr-baseline", name="sr-flow")
    monkeypatch.setattr(publishing, "MAX_BYTES", 1000)
    with pytest.raises(LedgerError, match="MB, more than 0: evaluate without --publish"):
        published("sr-baseline")
    assert not (results / "sr-baseline" / "weights.safetensors").exists()
    assert not list(results.rglob("*.new")) and not list(results.rglob("*.tmp"))


def test_bad_names_are_refused(make_run, tmp_path):
    with pytest.raises(LedgerError, match="'My Run' cannot name a run"):
        evaluate.evaluate(
            make_run("sr-flow"), "embedded-sr", name="My Run", results=tmp_path / "results"
        )


def test_missing_run_set_and_device_are_named(make_run, tmp_path):
    run, results = make_run("sr-flow"), tmp_path / "results"
    with pytest.raises(CheckpointError, match="nowhere"):
        evaluate.evaluate(tmp_path / "nowhere", "embedded-sr", results=results)
    with pytest.raises(DataError, match="set5: nothing at"):
        evaluate.evaluate(run, "set5", root=tmp_path, results=results)
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="no CUDA GPU here"):
            evaluate.evaluate(run, "embedded-sr", device="cuda", results=results)
    with pytest.raises(DataError, match="temperature = -1"):
        evaluate.evaluate(run, "embedded-sr", temperature=-1, results=results)
    assert not results.exists()


def test_scores_file_gives_the_mean_again(published, tmp_path):
    rows = published("vessels-baseline", limit=None)
    path = tmp_path / "results" / "vessels-baseline" / "scores" / "embedded-vessels-test.csv"
    head, *lines = (line.split(",") for line in path.read_text().splitlines())
    assert head == ["image", "bits_per_pixel", "f_half"]
    mean = np.mean([float(line[1]) for line in lines])
    bits = next(r for r in rows if r.metric == "bits_per_pixel" and r.divided_by == "all pixels")
    assert mean == pytest.approx(bits.value, abs=1e-6)  # six printed digits
    assert "it does worst on `picture-" in (path.parent.parent / "card.md").read_text()
