"""`evaluate --full` of vessels: what it says, in one pass, and that the audit finds it again."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from cnf import build, noise
from cnf.baselines import weighted_logit
from cnf.config import load_config
from cnf.errors import ConfigError, LedgerError
from cnf.replication import audit, evaluate
from cnf.replication import results as ledger
from cnf.replication import scored_model as subjects
from cnf.replication.data import Example, ImageSet
from cnf.replication.metrics import shapes, vessel_survey
from cnf.replication.metrics.vessels import (
    best_threshold,
    counts,
    f_score,
    histogram,
    pooled,
    pr_area,
    roc_area,
    vessel_scores,
)
from cnf.replication.scored_model import Options, Subject

BITS = {"bits_per_pixel", "second_bits"}
F = {"f_half", "f_valid", "f_sample", "f_likeliest"}
F |= {name + "_image" for name in F} | {"f_best", "auc", "ap"}
REST = {"calibration_error", "brier", "disagreement_auc", *vessel_survey.OF_SAMPLES}
REST |= {*vessel_survey.FORMS, *vessel_survey.OF_ONE}


def pictures(split, count, size=(16, 20)):
    """Pictures with thick lines for vessels, seen by two observers; the right edge is not in
    view."""
    examples = []
    for n in range(count):
        rng = np.random.default_rng([n, len(split)])
        y, second = (torch.zeros(1, *size, dtype=torch.uint8) for _ in range(2))
        y[0, 3 + n : 6 + n, :], y[0, :, 8] = 1, 1
        second[0, 4 + n : 6 + n, :] = 1
        x = torch.from_numpy(rng.integers(0, 60, (3, *size)).astype(np.uint8)) + 150 * y
        fov = torch.ones(size, dtype=torch.bool)
        fov[:, -4:] = False
        examples.append(Example(f"picture-{n}", y, x, fov, second))
    return ImageSet("embedded-vessels", split, "vessels", examples, "drawn", stand_in=True)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    def fake(name, split, root=None):
        return pictures(split, 3 if split == "test" else 2)

    for module in (audit, evaluate):
        monkeypatch.setattr(module, "load", fake)


@pytest.fixture
def run_of(make_run, tmp_path):
    """A run folder; "weighted" is a weighted baseline, and an end "-all" trained on all."""

    def make(name):
        kind, *all_ = name.split("-")
        source = make_run("vessels-" + ("flow" if kind == "flow" else "baseline"))
        if name in ("flow", "baseline"):
            return source
        model = build.load(source / "weights.safetensors")
        config = model.config
        if kind == "weighted":
            changes = ["model.kind=weighted", "model.beta=0.8"]
            config = load_config("vessels", "baseline", "smoke", changes)
            weighted = build.build(config)
            weighted.load_state_dict(model.state_dict())
            model = weighted
        if all_:
            data = dataclasses.replace(config.data, use_valid=True)
            config = dataclasses.replace(config, data=data)
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"seed": "0", "step": "0", "data": config.data.train}
        model.config = config
        model.save(folder / "weights.safetensors", metadata)
        return folder

    return make


@pytest.fixture
def surveyed(run_of, tmp_path):
    def survey(run="flow", **options):
        options = {"samples": 16, "publish": True, "full": True} | options
        results = options.pop("results", tmp_path / "results")
        return evaluate.evaluate(run_of(run), "embedded-vessels", results=results, **options)

    return survey


@pytest.fixture
def subject(loaded):
    def make(name="flow", **options):
        options = {"samples": 16, "full": True} | options
        return Subject(*loaded(f"vessels-{name}"), pictures("test", 3), Options(**options))

    return make


@pytest.fixture
def drawn(monkeypatch):
    """How many samples were drawn, counted."""
    found = []
    sample = subjects.sample

    def counted(*arguments):
        for one in sample(*arguments):
            found.append(len(one))
            yield one

    monkeypatch.setattr(subjects, "sample", counted)
    return found


@pytest.mark.parametrize("name", ["flow", "baseline", "weighted"])
def test_every_row_is_derived_again(surveyed, tmp_path, name):
    rows = surveyed(name)
    checks = audit.audit(results=tmp_path / "results")
    assert [c.status for c in checks] == ["same"] * len(rows), audit.report(checks)
    model = [row for row in rows if row.weights]
    weighted = {"f_p_half", "f_p_half_image"} if name == "weighted" else set()
    assert {row.metric for row in model} == BITS | F | REST | weighted
    for row in model:
        assert row.standard_error is not None and row.command.endswith("--samples 16 --full")
    bits = [row for row in model if row.metric in BITS]
    assert len(bits) == 4 and {row.is_bound for row in bits} == {name == "flow"}
    of = {row.metric: row for row in model}
    assert of["f_half"].samples == of["brier"].samples == of["cldice"].samples
    assert of["f_half"].samples == (16 if name == "flow" else 0)
    assert of["area_ratio"].samples == of["f_likeliest"].samples == 16
    assert of["f_sample"].samples == of["components_sample"].samples == 1
    others = {(row.model, row.metric) for row in rows if not row.weights}
    forms = set(vessel_survey.FORMS)
    assert others == {("truth", form) for form in forms - {"cldice"}} | {
        ("second observer", name) for name in forms | {"f_half", "f_half_image"}
    }


def test_all_comes_from_one_pass(subject, drawn):
    ours, valid = subject(), subject()
    valid.images = pictures("valid", 2)
    valid.indices = range(2)
    list(vessel_survey.scores(ours, valid))
    vessel_survey.curves(ours)
    vessel_survey.per_image(ours)
    assert sum(drawn) == 16 * 3 + 16 * 2


def test_parts_are_kept_and_nothing_is_drawn_twice(surveyed, tmp_path, drawn):
    kept = tmp_path / "kept"
    assert surveyed(keep=kept, part="1/2") == surveyed(keep=kept, part="2/2") == []
    assert sum(drawn) == 16 * 5
    assert not (tmp_path / "results" / "ledger.jsonl").exists()
    drawn.clear()
    rows = surveyed(keep=kept)
    assert drawn == []
    alone = surveyed(results=tmp_path / "other")
    assert [(r.id, r.value, r.standard_error) for r in rows] == [
        (r.id, r.value, r.standard_error) for r in alone
    ]
    drawn.clear()
    surveyed("flow-all", keep=kept, name="other")  # other weights: what is kept is not theirs
    assert sum(drawn) == 16 * 3


@pytest.mark.parametrize("part", ["0/2", "3/2", "half", "1/2/3"])
def test_a_part_that_is_none_is_refused(surveyed, tmp_path, part):
    with pytest.raises(ConfigError, match=f"--part {part}: give which of how many"):
        surveyed(keep=tmp_path / "kept", part=part)


def test_what_makes_no_sense_is_refused(surveyed, tmp_path, make_run):
    with pytest.raises(ConfigError, match="say with --keep"):
        surveyed(part="1/2")
    with pytest.raises(ConfigError, match="--keep and --part are for --full"):
        surveyed(keep=tmp_path, full=False)
    with pytest.raises(ConfigError, match="--threshold 1.5: give a probability"):
        surveyed(threshold=1.5)
    with pytest.raises(ConfigError, match="contradict each other"):
        surveyed(threshold=0.5, threshold_from=tmp_path)
    with pytest.raises(ConfigError, match="--full has temperatures of its own"):
        Options(full=True, temperature=0.5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_the_likeliest_sample_is_scored(subject, name):
    ours = subject(name)
    found = vessel_survey.likeliest(ours)
    x = ours.images[1].x.float()[None]
    samples = ours.model.sample(x, 16, 1.0, noise.keyed(0, [1], subjects.SAMPLES_DRAW))
    keyed = noise.keyed(0, [1], vessel_survey.LIKELIEST_DRAW)
    keyed = noise.repeated(keyed, 16)
    log_p = [ours.model.log_prob(samples[i], x, [keyed[i]]).item() for i in range(16)]
    look = vessel_survey.looks(ours, 16, 16)[1]
    # float32 sums over 320 pixels (some 300 nats, 1e-6 of it a rounding), one by one and together
    np.testing.assert_allclose(look.log_probs, log_p, atol=1e-3)
    best = samples[int(np.argmax(log_p)), 0]
    ours.indices = [1]
    assert counts(ours, [best], 0.5).tolist() == [found[1].tolist()]


@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_log_p_of_a_mask_is_that_of_the_truth(loaded, name, monkeypatch):
    """Also of a size that is padded, and in parts."""
    images = pictures("test", 2, (17, 21))
    ours = Subject(*loaded(f"vessels-{name}"), images)
    y, second = images[1].y, images[1].second
    found = ours.mask_log_probs(1, torch.stack([y, second, y]))
    # float32 sums of some 300 nats, together and alone
    assert found[0] == pytest.approx(ours.log_probs()[1], abs=1e-3)
    assert abs(found[1] - found[0]) > 0.1
    monkeypatch.setattr(subjects, "CHUNK", 1)
    again = ours.mask_log_probs(1, torch.stack([y, second, y]))
    np.testing.assert_allclose(again, found, atol=1e-3)
    # the noise of each is its own: two bounds of one mask differ, two exact figures do not
    assert (found[0] == found[2]) == (name == "baseline")


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.87])
def test_half_of_p_is_where_p_is_half(beta):
    q = torch.sigmoid(weighted_logit(torch.zeros(1, dtype=torch.float64), beta)).item()
    assert vessel_survey.half_of_p(beta) == pytest.approx(q)


@pytest.mark.parametrize("levels", [9, 10**6])
def test_binned_areas_are_those_of_sklearn(levels):
    rng = np.random.default_rng(levels)
    y = rng.random(20_000) < 0.15
    p = np.clip(0.5 * y + rng.normal(0.2, 0.2, len(y)), 0, 1)
    p = np.round(p * levels) / levels
    bins = histogram([y[:7000], y[7000:]], [p[:7000], p[7000:]])
    assert bins.sum() == len(y)
    # few values: the same; many: ties of bins of five pixels
    error = 1e-12 if levels == 9 else 2e-3
    assert roc_area(bins.sum(0)) == pytest.approx(roc_auc_score(y, p), abs=error)
    assert pr_area(bins.sum(0)) == pytest.approx(average_precision_score(y, p), abs=error)


def test_errors_of_areas_leave_out_one_image(subject):
    ours = subject()
    found = {s.metric: s for s in vessel_survey.scores(ours)}
    labels, p = vessel_survey._split(ours, vessel_survey.marginals(ours))
    for metric, area in (("auc", roc_auc_score), ("ap", average_precision_score)):
        without = [
            area(np.concatenate(np.delete(np.array(labels), i, 0)), np.delete(p, i, 0).ravel())
            for i in range(3)
        ]
        error = np.sqrt(2 / 3 * np.sum((without - np.mean(without)) ** 2))
        assert found[metric].standard_error == pytest.approx(error)


@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_scores_of_marginals_by_hand(subject, name):
    ours = subject(name)
    found = {s.metric: s.value for s in vessel_survey.scores(ours)}
    labels, p = (np.concatenate(part) for part in vessel_survey._split(ours, ours.means(16)))
    assert found["brier"] == pytest.approx(brier_score_loss(labels, p))
    differ = np.concatenate(
        [(e.y != e.second)[0].numpy()[e.fov.numpy()] for e in ours.images.examples]
    )
    # the closer to 1/2, the larger the deviation
    expected = roc_auc_score(differ, -np.abs(p - 0.5).round(9))
    assert found["disagreement_auc"] == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_joint_scores_are_of_every_sample(subject, name):
    ours = subject(name)
    found = {s.metric: s.value for s in vessel_survey.scores(ours)}
    samples = [masks[:, 0].numpy() > 0 for _, _, masks in ours.drawn(1.0, 16)]
    fov = ours.fov(0)
    area = np.mean([[mask[fov].mean() for mask in masks] for masks in samples])
    true = np.mean([(e.y[0].numpy() > 0)[fov].mean() for e in ours.images.examples])
    assert found["area_ratio"] == pytest.approx(area / true)
    pieces = [shapes.shape(masks[0], fov).components for masks in samples]
    assert found["components_sample"] == pytest.approx(np.mean(pieces))
    # the truth is one piece in each picture
    assert found["components_ratio_sample"] == pytest.approx(np.mean(pieces))
    first = [torch.from_numpy(masks[:1]).float() for masks in samples]
    expected = f_score(counts(ours, first, 0.5).sum(0))
    assert found["f_sample"] == pytest.approx(expected)


def test_a_threshold_comes_from_where_it_is_said(surveyed, run_of, tmp_path):
    results = tmp_path / "results"
    assert not [r for r in surveyed("flow-all") if r.metric.startswith("f_valid")]
    given = surveyed("flow-all", name="given", threshold=0.4375)
    (row,) = [r for r in given if r.metric == "f_valid"]
    assert row.threshold == 0.4375 and "--threshold 0.4375" in row.command
    sister = run_of("flow")
    ours = surveyed("flow-all", name="sister", threshold_from=sister)
    (row,) = [r for r in ours if r.metric == "f_valid"]
    model = build.load(sister / "weights.safetensors")
    config = model.config
    valid = Subject(model, config, pictures("valid", 2), Options(samples=16))
    assert row.threshold == best_threshold(*pooled(valid, valid.means(16)))
    assert f"--threshold-from {sister.parent.name}/{sister.name} --full" in row.command
    checks = audit.audit(results=results)
    assert {c.status for c in checks} == {"same"}, audit.report(checks)


def test_a_sister_is_of_the_same_kind_and_saw_no_validation_picture(surveyed, run_of):
    with pytest.raises(ConfigError, match="is a vessels bernoulli, the run a vessels flow"):
        surveyed(threshold_from=run_of("baseline"))
    with pytest.raises(ConfigError, match="trained on the validation split"):
        surveyed(threshold_from=run_of("flow-all"))


def test_rows_take_the_place_of_those_of_fewer_samples(surveyed, tmp_path, monkeypatch):
    plain = surveyed(full=False, samples=None)
    half = next(r for r in plain if r.metric == "f_half")
    assert half.samples == 32 and half.id == "vessels-flow-embedded-vessels-test-f-half"
    with pytest.raises(LedgerError, match="already in the ledger"):
        surveyed(samples=64)
    rows = surveyed(samples=64, supersede=True)
    of = {r.metric: r for r in rows if r.weights}
    assert (of["f_half"].id, of["f_half"].supersedes) == (half.id + "-v2", half.id)
    assert of["f_likeliest"].id == "vessels-flow-embedded-vessels-test-f-likeliest"
    assert of["components"].id == "vessels-flow-embedded-vessels-test-components"
    assert surveyed(samples=64) == []  # all are there
    now = ledger.current(ledger.read(tmp_path / "results"))
    assert sum(r.metric == "f_half" and r.weights is not None for r in now) == 1


def test_curves_lie_beside_the_scores(surveyed, tmp_path):
    rows = {r.metric: r for r in surveyed() if r.weights}
    folder = tmp_path / "results" / "vessels-flow" / "scores"
    found = json.loads((folder / "embedded-vessels-test-curves.json").read_text())
    head = (folder / "embedded-vessels-test.csv").read_text().splitlines()[0]
    assert head == "image,bits_per_pixel,f_half,f_sample,f_likeliest"
    assert found["weights_sha256"] == rows["f_half"].weights_sha256
    assert np.mean(found["f_half"]) == pytest.approx(rows["f_half_image"].value, abs=1e-4)
    chosen = [
        f[int(np.argmin(b))] for b, f in zip(found["sample_bits"], found["sample_f"], strict=True)
    ]
    assert chosen == found["f_likeliest"]
    pieces = np.array(found["drawn"]["components"])
    assert pieces.shape == (3, 16)
    assert pieces[:, 0].tolist() == found["forms"]["sample"]["components"]
    assert found["forms"]["truth"]["components"] == [1, 1, 1]
    assert set(found["forms"]) == {"truth", "sample", "half", "second observer"}
    ratio = pieces.mean() / np.mean(found["forms"]["truth"]["components"])
    assert found["joint"]["components"]["ratio"] == pytest.approx(ratio, rel=1e-3)
    curve = found["m_curve"]
    assert curve["sizes"][0] == 1 and curve["bits"][-1] < curve["bits"][0]
    recall = found["precision_recall"]["recall"]
    assert recall == sorted(recall, reverse=True) and recall[0] == 1
    assert len(found["reliability"]["all"]["p"]) == len(found["reliability"]["all"]["share"])
    assert len(found["second_observer"]["bits_per_pixel"]) == 3


def test_without_samples_there_are_bits_alone(surveyed):
    rows = surveyed(samples=0)
    assert {r.metric for r in rows if r.weights} == BITS


def test_without_a_second_observer_nothing_is_said_of_one(subject):
    ours = subject()
    alone = [dataclasses.replace(e, second=None) for e in ours.images.examples]
    ours.images = ImageSet("embedded-vessels", "test", "vessels", alone, "drawn")
    found = list(vessel_survey.scores(ours))
    assert not {s.metric for s in found} & {"second_bits", "disagreement_auc"}
    assert {s.model for s in found} == {None, "truth"}
    assert "second_observer" not in vessel_survey.curves(ours)


def test_a_run_is_evaluated_in_its_place(run_of, tmp_path):
    """A folder of results, without publishing."""
    results = tmp_path / "results"
    shutil.copytree(run_of("flow"), results / "mine")
    rows = evaluate.evaluate(
        results / "mine", "embedded-vessels", full=True, samples=16, limit=2, results=results
    )
    assert {r.id[-3:] for r in rows} == {"-n2"}
    assert not (results / "mine" / "scores").exists()


@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_where_there_is_no_vessel_the_area_is_told(subject, name):
    """F and ROC are undefined there: 1 or 0 by convention, and of no use."""
    one = subject(name)
    bare = [dataclasses.replace(e, y=torch.zeros_like(e.y)) for e in one.images]
    one.images = ImageSet("embedded-vessels", "test", "vessels", bare, "drawn", stand_in=True)
    found = {s.metric: s for s in vessel_scores(one)}
    assert set(found) == {"area", "area_sample"}
    fov = [e.fov for e in bare]
    for metric, maps in (
        ("area", vessel_survey.marginals(one)),
        ("area_sample", one.singles(1.0)),
    ):
        by_hand = [float((m[0][f] >= 0.5).float().mean()) for m, f in zip(maps, fov, strict=True)]
        assert found[metric].value == pytest.approx(np.mean(by_hand), abs=1e-9)
    row = SimpleNamespace(metric="area", divided_by=None, weights_sha256="0" * 64)
    assert vessel_survey.again(one, row) == pytest.approx(found["area"].value)
