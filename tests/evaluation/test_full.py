"""`evaluate --full`: what it says, in one pass, and that the audit finds it again."""

import json
import math

import numpy as np
import pytest
import torch

from cnf import noise
from cnf.errors import ConfigError, LedgerError
from cnf.replication import audit, evaluate, publishing
from cnf.replication import results as ledger
from cnf.replication import scored_model as subjects
from cnf.replication.data import ImageSet, examples, load
from cnf.replication.metrics import pictures, survey, textures, uncertainty
from cnf.replication.scored_model import Options, Subject
from cnf.resample import imresize_half


@pytest.fixture(autouse=True)
def patches_are_photographs(monkeypatch):
    monkeypatch.setattr(examples, "PATCH", 16)


@pytest.fixture
def published(make_run, tmp_path):
    def publish(run="sr-flow", **options):
        options = {"limit": 3, "samples": 3, "publish": True, "full": True} | options
        return evaluate.evaluate(
            make_run(run), "embedded-sr", results=tmp_path / "results", **options
        )

    return publish


@pytest.fixture
def subject(loaded):
    images = load("embedded-sr", "test")
    return Subject(*loaded("sr-flow"), images, Options(limit=3, samples=3, full=True))


@pytest.mark.parametrize("name", ["sr-flow", "sr-baseline"])
def test_every_row_is_derived_again(published, tmp_path, name):
    rows = published(name)
    checks = audit.audit(results=tmp_path / "results")
    assert [c.status for c in checks] == ["same"] * len(rows), audit.report(checks)
    model = [row for row in rows if row.weights]
    both = {name + end for name in survey.FIDELITY + survey.TEXTURES for end in ("", "_sample")}
    assert {row.metric for row in model} == {"bits_per_dim", *both, *survey.UNCERTAINTY}
    for row in model:
        assert row.standard_error is not None and "--full" in row.command
        if row.metric.endswith("_sample"):
            assert row.samples == 1 and row.temperature in survey.TEMPERATURES
    one = [r for r in model if r.metric == "psnr_sample"]
    assert {(r.protocol, r.rounded_x) for r in one} == {("standard", True), ("released", False)}
    assert len(one) == 2 * len(survey.TEMPERATURES)
    means = [r for r in model if r.metric in ("psnr", "consistency")]
    assert {r.samples for r in means} == {3 if name == "sr-flow" else 0}
    assert {r.temperature for r in model if r.metric == "coverage_90"} == {0.5, 0.7, 0.8, 1.0}
    truth = {r.metric for r in rows if r.model == "truth"}
    assert truth == {"gradient", "gradient_kurtosis"}


def test_bits_are_those_of_both_inputs(published, make_run, tmp_path):
    rows = {r.id.removesuffix("-n3"): r for r in published(samples=0, importance=2)}
    base = "sr-flow-embedded-sr-test-bits-per-dim"
    assert set(rows) == {base + end for end in ("", "-iw2", "-xrounded", "-iw2-xrounded")}
    other = tmp_path / "other"
    weights = tmp_path / "results" / "sr-flow"
    (alone, weighted) = evaluate.evaluate(
        weights, "embedded-sr", limit=3, round_x=True, importance=2, samples=0, results=other
    )
    assert rows[f"{base}-xrounded"].value == alone.value
    assert rows[f"{base}-iw2-xrounded"].value == weighted.value
    assert rows[base].value != alone.value
    assert rows[f"{base}-xrounded"].command.endswith("--full --round-x")


def test_rows_that_are_there_are_left_as_they_are(published, tmp_path):
    (plain,) = published(full=False, samples=0)
    rows = published()
    assert plain.id not in [row.id for row in rows]
    assert published() == []
    again = published(supersede=True)
    assert plain.id in [row.supersedes for row in again]
    assert len(ledger.read(tmp_path / "results")) > len(rows) + 1


def test_rows_of_other_weights_that_were_superseded_do_not_count(published, tmp_path):
    published(samples=0)
    ledger_file = tmp_path / "results" / "ledger.jsonl"
    lines = [json.loads(line) for line in ledger_file.read_text().splitlines()]
    for line in lines:
        line["weights_sha256"] = "0" * 64  # as if an earlier run of this name had written them
    ledger_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(LedgerError, match="already in the ledger"):
        published(samples=0)
    assert len(published(samples=0, supersede=True)) == len(lines)
    assert published(samples=0) == []  # the newest are of these weights


def test_all_comes_from_one_pass_a_temperature(subject, monkeypatch):
    passes = []
    drawn = Subject.drawn

    def counted(self, temperature, n):
        passes.append((temperature, n))
        return drawn(self, temperature, n)

    monkeypatch.setattr(Subject, "drawn", counted)
    list(survey.scores(subject))
    survey.curves(subject)
    survey.per_image(subject)
    assert passes == [(0.0, 1), (0.5, 3), (0.7, 3), (0.8, 3), (1.0, 3)]


@torch.no_grad()
def test_looks_are_at_keyed_samples_and_their_mean(subject):
    images = load("embedded-sr", "test")
    y = images[1].y
    x = imresize_half(y[None].float())
    samples = subject.model.sample(x, 3, 1.0, noise.keyed(0, [1], subjects.SAMPLES_DRAW))[:, 0]
    found = survey.drawn(subject, 1.0, 3)
    expected = pictures.fidelity(y, samples[0], "released")
    assert found.first[1].fidelity == pytest.approx(expected, abs=1e-6)
    expected = pictures.fidelity(y, samples.mean(0), "released")
    assert found.mean[1].fidelity == pytest.approx(expected, abs=1e-6)
    keyed = noise.keyed(0, [1], uncertainty.TIES_DRAW)
    expected = uncertainty.spread(y, samples, keyed)
    assert all(np.array_equal(a, b) for a, b in zip(found.spread[1], expected, strict=True))
    alone = survey.drawn(subject, 1.0, 1)
    assert alone.first[1].fidelity == found.first[1].fidelity  # however many are drawn


def test_consistency_of_a_shift_is_the_shift():
    y = load("embedded-sr", "test")[5].y
    x = imresize_half(y.double())
    assert survey.consistency(y.float(), x) == pictures.MAX_PSNR
    # the kernel sums to one; borders are not left out, nothing is rounded
    assert survey.consistency(y.float() + 3, x) == pytest.approx(20 * math.log10(255 / 3))
    rounded = survey.consistency(y.float(), x.round())
    assert rounded == pytest.approx(10 * math.log10(255**2 * 12), abs=0.5)  # 768 uniform errors


def test_what_is_like_the_truth_scores_like_the_truth(subject):
    truth = [
        survey.look(subject, i, subject.images[i].y.float(), survey.half(subject, i))
        for i in subject.indices
    ]
    found = {s.metric: s.value for s in survey._of_looks(subject, truth, "", "", True)}
    assert found["psnr"] == found["psnr_rgb"] == found["consistency"] == pictures.MAX_PSNR
    assert found["ssim"] == pytest.approx(1) and found["gradient_distance"] == 0
    assert all(found[f"power_{band}"] == 0 for band in textures.BANDS)


def test_bicubic_lacks_what_halving_took(subject):
    found = {s.metric: s.value for s in survey.references(subject) if s.model == "bicubic"}
    assert found["power_high"] < found["power_mid"] < -0.1
    assert abs(found["power_low"]) < 0.5


def test_patches_have_no_psnr_and_all_the_rest(subject, monkeypatch):
    monkeypatch.setattr(examples, "PATCH", 64)
    found = {s.metric for s in survey.scores(subject)}
    assert not any(metric.startswith(("psnr", "ssim")) for metric in found)
    assert {"coverage_90", "consistency", "power_high_sample"} <= found


def test_curves_lie_beside_the_scores(make_run, tmp_path, monkeypatch):
    whole = load("embedded-sr", "test")
    images = ImageSet(whole.name, "test", "sr", whole.examples[:2], whole.source, True)
    monkeypatch.setattr(evaluate, "load", lambda *_: images)
    results = tmp_path / "results"
    evaluate.evaluate(
        make_run("sr-flow"), "embedded-sr", publish=True, full=True, samples=3, results=results
    )
    folder = results / "sr-flow" / "scores"
    curves = json.loads((folder / "embedded-sr-test-curves.json").read_text())
    head = (folder / "embedded-sr-test.csv").read_text().splitlines()[0]
    assert head == (
        "image,bits_per_dim,psnr_released,ssim_released,bits_per_dim_xrounded,"
        "psnr_standard,ssim_standard"
    )
    assert len(curves["uncertainty"]["0.8"]["ranks"]) == 4
    assert sum(curves["uncertainty"]["1"]["ranks"]) == pytest.approx(1, abs=1e-4)  # five digits
    assert set(curves["spectrum_dB"]) >= {"truth", "bicubic", "mean", "sample 0", "sample 1"}
    for kind in ("truth", "sample 0.8"):
        share, edges = (curves["gradient_share"][k] for k in (kind, "edges"))
        assert len(edges) == len(share) + 1 and sum(share) == pytest.approx(1, abs=1e-3)
        middle = (np.array(edges[1:]) + edges[:-1]) / 2
        # symmetric to first order: no side of the histogram was cut off or shifted
        assert abs(np.sum(middle * share)) < 1
    card = (results / "sr-flow" / "card.md").read_text()
    assert "it does worst on `chelsea-0-" in card
    assert card == publishing.card(results / "sr-flow", results)
    assert "released protocol" not in card and "standard protocol" in card


def test_full_is_refused_where_it_makes_no_sense(loaded):
    with pytest.raises(ConfigError, match="thresholds are for vessels"):
        Subject(*loaded("sr-flow"), load("embedded-sr", "test"), Options(threshold=0.5))
    with pytest.raises(ConfigError, match="--full has temperatures of its own"):
        Options(full=True, temperature=0.5)


def test_no_spread_is_told_of_one_sample(loaded):
    images = load("embedded-sr", "test")
    subject = Subject(*loaded("sr-flow"), images, Options(limit=2, samples=1, full=True))
    found = {s.metric for s in survey.scores(subject) if s.model is None}
    assert not found & set(survey.UNCERTAINTY) and "psnr" not in found and "psnr_sample" in found
    assert torch.isfinite(torch.tensor([s.value for s in survey.scores(subject)])).all()
