"""Metrics of vessels: what an evaluation says, from which samples, and by hand."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cnf import noise
from cnf.errors import ConfigError
from cnf.factorised import weighted_logit
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.data.catalogue import has_learned
from cnf.replication.measures import MEASURES, Setting
from cnf.replication.metrics import calibration, shapes, vessels
from cnf.replication.metrics.masks import LIKELIEST_DRAW, Masks, counts, pooled, split
from cnf.replication.metrics.overlap import best_threshold, f_score
from cnf.replication.scored import model as scored_model
from cnf.replication.scored import thresholds
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from tests.evaluation.toys import eyes, told, value

BITS = {"bits_per_pixel", "second_bits"}
MARGINALS = {"f_half", "f_half_image", "f_best", "auc"}
CONFORMAL = {name for name, measure in MEASURES.items() if measure.owner == "conformal_repair"}
OTHERS = {"f_valid", "f_p_half"} | CONFORMAL  # not of every model
EVERY = BITS | {name for name, measure in MEASURES.items() if measure.task == "vessels"} - OTHERS


@pytest.fixture
def m(scored):
    def make(name="flow", images=None, **options):
        options = {"samples": 16, "full": True} | options
        return scored(f"vessels-{name}", images or eyes(), **options)

    return make


@pytest.fixture
def passes(monkeypatch):
    """(temperature, samples, pictures) of every pass over samples."""
    found = []
    drawn = ScoredModel.draw_samples

    def counted(self, temperature, n):
        found.append((temperature, n, len(self.indices)))
        return drawn(self, temperature, n)

    monkeypatch.setattr(ScoredModel, "draw_samples", counted)
    return found


@pytest.mark.parametrize("name", ["flow", "baseline", "weighted"])
def test_an_evaluation_tells_what_its_pictures_and_samples_allow(m, name):
    basic = {"bits_per_pixel"} | MARGINALS | {"f_sample"}
    coverage = {name for name in EVERY if name.endswith("_coverage")}
    full = EVERY - coverage | ({"f_p_half"} if name == "weighted" else set())
    both = "basic", "full"
    assert told(m(name, full=False), "basic") == basic
    assert told(m(name), *both) == full
    assert len(coverage) == 3 and told(m(name, samples=19), *both) == full | coverage
    assert told(m(name, samples=15), *both) == full - {"f_likeliest", "own_bits_ratio"}
    assert told(m(name, samples=0), *both) == BITS
    # what one sample, and a model's own marginals, allow
    few = {"bits_per_pixel"} | {"f_sample"} | (MARGINALS if name != "flow" else set())
    assert told(m(name, samples=0, full=False), "basic") == few
    alone = told(m(name, eyes(seconds=False)), *both)
    of_two = {"energy_distance", "energy_distance_mask", "matched_iou"}
    assert alone == full - of_two - {"second_bits", "disagreement_auc"}


@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_where_there_is_no_vessel_the_area_is_told(m, name):
    """F and ROC are undefined there: 1 or 0 by convention, and of no use."""
    one = m(name, eyes(bare=True), full=False)
    assert told(one, "basic") == {"bits_per_pixel", "area"}
    assert not any(told(one.reference_of(r), "basic") for r in ("truth", "second observer"))
    pairs = zip(one.means(16), one.images, strict=True)
    by_hand = [float((p[0][e.fov] >= 0.5).float().mean()) for p, e in pairs]
    assert value(one, "area").value == pytest.approx(np.mean(by_hand), abs=1e-9)
    one = m(name, eyes(bare=True))
    no_sense = ("f_", "auc", "components_ratio")
    assert not {n for n in told(one, "basic", "full") if n.startswith(no_sense)}
    assert vessels.curves(one) == vessels.per_image(one) == {}


def test_pieces_are_not_counted_where_there_is_no_vessel(m, monkeypatch):
    monkeypatch.setattr(Masks, "shapes_of_answers", None)
    one = m(images=eyes(bare=True))
    assert vessels.components_ratio_sample(one, Setting(1.0, 1)) is None


def test_vessels_out_of_view_are_none(m):
    unseen = [
        dataclasses.replace(e, y=torch.where(e.fov, 0, 1).byte()[None]) for e in eyes(bare=True)
    ]
    one = m(images=ImageSet("toy", "test", "labelled", unseen, "made up"), full=False)
    assert told(one, "basic") == {"bits_per_pixel", "area"}


@pytest.mark.filterwarnings("error")
def test_an_error_that_needs_the_only_picture_with_vessels_is_none(m):
    images = ImageSet("toy", "test", "labelled", [eyes()[0], eyes(bare=True)[1]], "made up")
    one = m(images=images)
    for name in ("auc", "components_ratio_sample"):
        assert np.isfinite(value(one, name).value) and value(one, name).standard_error is None
    assert value(one, "f_half").standard_error is not None


def test_nothing_is_told_of_doubtful_pixels_where_there_is_none(m, monkeypatch):
    one = m(samples=1)  # of which the marginals are 0 and 1
    assert vessels.curves(one)["reliability"] == vessels.per_image(one) == {}
    one = m("baseline")
    certain = [torch.where(e.y > 0, 0.99, 0.01) for e in one.images]
    monkeypatch.setattr(one, "means", lambda samples: certain)
    assert value(one, "calibration_error") is None


def test_references_are_the_second_observer_and_the_truth(m):
    one, both = m(), ("basic", "full")
    forms = {"area", "components"}
    people = forms | {"f_half", "f_half_image", "energy_distance_first", "sample_diversity"}
    people |= {"components_error", "holes_error", "sensitivity", "specificity", "accuracy"}
    plain = m(full=False).reference_of("second observer")
    assert told(plain, "basic") == {"f_half", "f_half_image"}
    assert told(one.reference_of("second observer"), *both) == people
    assert told(one.reference_of("truth"), *both) == forms
    assert told(one.reference_of("bicubic"), *both) == set()
    assert told(m(images=eyes(seconds=False)).reference_of("second observer"), *both) == set()


def test_samples_are_drawn_once(m, passes):
    ours = m()
    told(ours, "basic", "full")
    vessels.curves(ours)
    vessels.per_image(ours)
    assert passes == [(1.0, 16, 3)]


# -- F ---------------------------------------------------------------------------------------------


def test_pixels_outside_the_field_of_view_never_count(scored):
    y = torch.zeros(1, 4, 4, dtype=torch.uint8)
    y[0, 0], y[0, 3] = 1, 1
    fov = torch.ones(4, 4, dtype=torch.bool)
    fov[3] = False
    x = torch.zeros(3, 4, 4, dtype=torch.uint8)
    images = ImageSet("toy", "test", "labelled", [Example("one", y, x, fov, 0 * y)], "made up")
    m = scored("vessels-flow", images)
    p = torch.zeros(1, 4, 4)
    p[0, 0, :3], p[0, 1, 0], p[0, 3] = 0.5, 0.9, 0.1
    assert counts(m, [p], 0.5).tolist() == [[3, 1, 1]]  # at least 0.5 is vessel
    labels, inside = pooled(m, [p])
    assert labels.sum() == 4 and len(inside) == 12
    assert value(m.reference_of("second observer"), "f_half").value == 0.0


def test_f_of_pictures_is_a_mean_and_f_of_pixels_is_pooled(m, monkeypatch):
    outcomes = np.array([[1, 0, 0], [1, 3, 3]])  # F is 1 and 1/4; of both together 4/10
    monkeypatch.setattr(vessels, "outcomes_at_half", lambda m, s: outcomes)
    assert value(m(), "f_half_image").value == pytest.approx(0.625)
    assert value(m(), "f_half").value == pytest.approx(0.4)


def test_a_marginal_of_one_half_makes_a_pixel_of_the_mask(m, monkeypatch):
    masks, p = m().statistics(Masks), torch.zeros(1, 16, 20)
    p[0, 3, :4] = 0.5
    monkeypatch.setattr(masks, "answers_if_any", lambda s: [p] * 3)
    areas = [one["area"] for one in masks.shapes_of_answers(Setting(1.0, 16))]
    assert areas == [4 / 256] * 3  # 16 x 16 pixels are in view


def test_validation_split_chooses_the_threshold(m):
    ours = m("baseline", full=False)
    assert value(ours, "f_valid") is None
    valid = m("baseline", eyes(split="valid", count=2))
    ours.valid = [valid]
    found = {name: value(ours, name) for name in ("f_valid", "f_half", "f_best")}
    assert found["f_valid"].also["threshold"] == best_threshold(*pooled(valid, valid.means(0)))
    assert found["f_half"].also["threshold"] == 0.5
    assert found["f_best"].value >= max(found["f_valid"].value, found["f_half"].value)
    ours.valid = [m("baseline", eyes(split="valid", bare=True))]
    assert value(ours, "f_valid") is None
    ours.valid = [*ours.valid, valid]  # one of several may be without
    assert 0 < value(ours, "f_valid").also["threshold"] < 1
    # one that is given, by an option or by the setting of a row, goes before
    given = vessels.f_valid(ours, Setting(1.0, 0, threshold=0.25))
    assert given.also["threshold"] == 0.25
    assert value(m("baseline", threshold=0.75), "f_valid").also["threshold"] == 0.75


def test_no_threshold_is_chosen_on_pictures_that_were_trained_on(loaded, monkeypatch):
    model, config = loaded("vessels-baseline")
    monkeypatch.setattr(thresholds, "load", eyes)
    assert len(thresholds.validation(ScoredModel(model, eyes()), "drive")) == 1
    assert thresholds.validation(ScoredModel(model, eyes(split="valid")), "drive") == []
    used_valid = {"use_valid": True, "train": "embedded-vessels+drive"}
    for used in (used_valid, {"train": "embedded-vessels+drive-fold1"}):
        data = dataclasses.replace(config.data, **used)
        model.config = dataclasses.replace(config, data=data)
        assert thresholds.validation(ScoredModel(model, eyes()), "drive") == []
    assert len(thresholds.validation(ScoredModel(model, eyes()), "chasedb1")) == 1
    # child 7 is for validation in the one and learned from in the other
    data = dataclasses.replace(config.data, train="chasedb1-half1")
    model.config = dataclasses.replace(config, data=data)
    assert thresholds.validation(ScoredModel(model, eyes()), "chasedb1@drive") == []
    # a run with whose weights it began has learned from them
    model.config = dataclasses.replace(config, data=dataclasses.replace(config.data, train="stare"))
    for before in ({"train": "drive", "use_valid": True}, {"train": "drive-fold1"}):
        assert thresholds.validation(ScoredModel(model, eyes()), "drive", [before]) == []
    before = {"train": "drive", "use_valid": False}
    assert len(thresholds.validation(ScoredModel(model, eyes()), "drive", [before])) == 1
    assert has_learned([before], "drive-fold1")  # whose validation pictures it may have learned


def test_a_threshold_is_chosen_on_all_validation_pictures_however_few_are_scored(
    loaded, monkeypatch
):
    monkeypatch.setattr(thresholds, "load", eyes)
    m = ScoredModel(loaded("vessels-baseline")[0], eyes(), Options(limit=1))
    (valid,) = thresholds.validation(m, "drive")
    assert (len(m.indices), len(valid.indices)) == (1, 3)


def test_a_sister_is_of_the_same_kind_and_saw_no_validation_picture(loaded, make_run):
    for name, message in (
        ("vessels-baseline", "is a vessels bernoulli, the run a vessels flow"),
        ("vessels-flow-all", "trained on the validation split"),
    ):
        m = ScoredModel(
            loaded("vessels-flow")[0], eyes(), Options(threshold_from=str(make_run(name)))
        )
        with pytest.raises(ConfigError, match=message):
            thresholds.validation(m, "embedded-vessels")


def test_a_sister_chooses_on_no_picture_that_is_scored(loaded, make_run):
    options = Options(threshold_from=str(make_run("vessels-flow")))
    m = ScoredModel(loaded("vessels-flow")[0], load("embedded-vessels", "valid"), options)
    with pytest.raises(ConfigError, match="would choose on pictures of embedded-vessels valid"):
        thresholds.validation(m, "embedded-vessels")


@torch.no_grad()
@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_the_likeliest_sample_is_scored(m, name):
    ours = m(name)
    x = ours.images[1].x.float()[None]
    samples = ours.model.sample(x, 16, 1.0, noise.keyed(0, [1], scored_model.SAMPLES_DRAW))
    keyed = noise.repeated(noise.keyed(0, [1], LIKELIEST_DRAW), 16)
    log_p = [ours.model.log_prob(samples[i], x, [keyed[i]]).item() for i in range(16)]
    # float32 sums over 320 pixels (some 300 nats, 1e-6 of it a rounding), one by one and together
    masks = ours.statistics(Masks)
    np.testing.assert_allclose(masks.scores(16)[1].log_probs, log_p, atol=1e-3)
    found = masks.likeliest(16)[1]
    ours.indices = [1]
    best = samples[int(np.argmax(log_p)), 0]
    assert counts(ours, [best], 0.5).tolist() == [found.tolist()]


@pytest.mark.parametrize("beta", [0.3, 0.5, 0.87])
def test_half_of_p_is_where_p_is_half(beta):
    q = torch.sigmoid(weighted_logit(torch.zeros(1, dtype=torch.float64), beta)).item()
    assert vessels.half_of_p(beta) == pytest.approx(q)


def test_f_of_a_sample_is_at_the_temperature_that_is_asked_for(m):
    ours = m(full=False, temperature=0.25)
    cool, usual = (counts(ours, ours.single_samples(t), 0.5).sum(0) for t in (0.25, 1.0))
    assert value(ours, "f_sample").value == f_score(cool) != f_score(usual)


# -- marginals, joint statements -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_scores_of_marginals_by_hand(m, name):
    ours = m(name)
    labels, p = split(ours, ours.means(16))
    every = np.concatenate(labels), np.concatenate(p)
    found = value(ours, "auc")
    assert found.value == pytest.approx(roc_auc_score(*every))
    without = [
        roc_auc_score(np.concatenate(np.delete(np.array(labels), i, 0)), np.delete(p, i, 0).ravel())
        for i in range(3)
    ]
    # binned, where there are more than 4096 values
    error = np.sqrt(2 / 3 * np.sum((without - np.mean(without)) ** 2))
    assert found.standard_error == pytest.approx(error)
    differ = np.concatenate([(e.y != e.second)[0].numpy()[e.fov.numpy()] for e in ours.images])
    # the closer to 1/2, the larger the deviation
    expected = roc_auc_score(differ, -np.abs(every[1] - 0.5).round(9))
    assert value(ours, "disagreement_auc").value == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_joint_scores_are_of_every_sample(m, name):
    ours = m(name)
    samples = [masks[:, 0].numpy() > 0 for _, _, masks in ours.draw_samples(1.0, 16)]
    fov = ours.fov(0)
    pieces = [shapes.shape(masks[0], fov).components for masks in samples]
    found = {
        "components_sample": np.mean(pieces),
        "components_ratio_sample": np.mean(pieces),  # the truth is one piece in each picture
        "f_sample": f_score(
            counts(ours, [torch.from_numpy(s[:1]).float() for s in samples], 0.5).sum(0)
        ),
    }
    for metric, expected in found.items():
        assert value(ours, metric).value == pytest.approx(expected), metric


@pytest.mark.parametrize("name", ["flow", "baseline"])
def test_a_sample_in_the_place_of_the_truth_by_hand(m, name):
    ours = m(name)
    samples = [masks[:, 0].numpy() > 0 for _, _, masks in ours.draw_samples(1.0, 16)]
    errors, fov = [], ours.fov(0)
    for j in range(vessels.HELD_OUT):
        others = [np.delete(masks, j, 0).mean(0) for masks in samples]
        if name == "baseline":  # its own marginals
            others = [p[0].numpy() for p in ours.means(0)]
        pairs = [(p[fov], masks[j][fov]) for p, masks in zip(others, samples, strict=True)]
        errors.append(calibration.calibration_error(*map(np.concatenate, zip(*pairs, strict=True))))
    assert value(ours, "calibration_floor").value == pytest.approx(np.mean(errors))
    low, found, high = (value(ours, f"calibration_{end}").value for end in ("low", "error", "high"))
    assert low < found < high
    halves = [(masks[:8].mean(0), masks[8:].mean(0)) for masks in samples]
    if name == "baseline":
        halves = [(p[0].numpy(), p[0].numpy()) for p in ours.means(0)]
    a, b = (np.concatenate([pair[k][fov] for pair in halves]) for k in (0, 1))
    y = np.concatenate([ours.mask(i)[fov] for i in range(3)])
    by_hand = (np.cov(a, y)[0, 1] + np.cov(b, y)[0, 1]) / 2 / np.cov(a, b)[0, 1]
    assert value(ours, "calibration_slope").value == pytest.approx(by_hand)
    own = np.mean([-scores.log_probs.mean() for scores in ours.statistics(Masks).scores(16)])
    expected = own / -ours.log_probs(1).mean()  # all pictures have one size
    assert value(ours, "own_bits_ratio").value == pytest.approx(expected)


def test_values_of_each_image_are_those_of_the_rows(m):
    ours = m()
    each, scores = vessels.per_image(ours), ours.statistics(Masks).scores(16)
    assert each["f_half"].mean() == pytest.approx(value(ours, "f_half_image").value)
    assert each["calibration_error"].mean() == pytest.approx(value(ours, "calibration_error").value)
    expected = [f_score(one.outcomes)[one.log_probs.argmax()] for one in scores]
    assert each["f_likeliest"].tolist() == expected


def test_curves_hold_what_plots_need(m):
    ours = m()
    found = json.loads(json.dumps(vessels.curves(ours)))
    bits = value(ours, "bits_per_pixel", divided_by="all pixels", importance=False).value
    assert np.mean(found["bits_per_pixel"]) == pytest.approx(bits, rel=1e-4)
    masks = ours.statistics(Masks)
    nats = masks.scores(16)[1].log_probs
    pixels = ours.sizes()[1]
    np.testing.assert_allclose(found["sample_bits"][1], -nats / pixels / np.log(2), rtol=1e-4)
    pieces = np.array(found["drawn"]["components"])
    assert pieces.shape == (3, 16)
    assert pieces[:, 0].tolist() == [
        f["components"] for f in masks.shapes_of_answers(Setting(1.0, 1))
    ]
    assert found["forms"]["truth"]["components"] == [1, 1, 1]
    assert set(found["forms"]) == {"truth", "second observer"}
    assert len(found["reliability"]["middle"]["p"]) == len(found["reliability"]["middle"]["share"])
    assert "second observer" not in vessels.curves(m(images=eyes(seconds=False)))["forms"]
