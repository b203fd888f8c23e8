"""PSNR, SSIM, F: by hand on small pictures."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from cnf import noise
from cnf.replication import evaluate
from cnf.replication import scored_model as subjects
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.metrics.pictures import MAX_PSNR, quality
from cnf.replication.metrics.vessels import (
    best_threshold,
    counts,
    f_score,
    pooled,
    pooled_f,
    vessel_scores,
)
from cnf.replication.scored_model import Options, Subject


def picture_subject(loaded, y):
    images = ImageSet("toy", "test", "sr", [Example("one", y)], "made up")
    return Subject(*loaded("sr-baseline"), images)


def test_psnr_is_that_of_the_rounded_y_channel_without_border(loaded):
    y = torch.full((3, 20, 20), 100, dtype=torch.uint8)
    subject = picture_subject(loaded, y)
    shifted = y.float() + 10.4  # is rounded to 10
    shifted[:, :2] = 255  # the border does not count
    psnr, _ = quality(subject, [shifted])
    # Y weighs equal channels with (65.481 + 128.553 + 24.966) / 255 = 219 / 255
    assert psnr[0] == pytest.approx(20 * np.log10(255 / (10 * 219 / 255)), abs=1e-6)


def test_equal_pictures_have_finite_psnr_and_ssim_one(loaded):
    y = load("embedded-sr", "test")[0].y
    psnr, ssim = quality(picture_subject(loaded, y), [y.float()])
    assert (psnr[0], ssim[0]) == (MAX_PSNR, pytest.approx(1.0))


def test_ssim_falls_with_blur_more_than_with_brightness(loaded):
    y = load("embedded-sr", "test")[5].y.float()
    subject = picture_subject(loaded, y.to(torch.uint8))
    blurred = torch.nn.functional.avg_pool2d(y, 5, 1, 2)
    _, blur = quality(subject, [blurred])
    _, bright = quality(subject, [y + 4])
    assert blur[0] < bright[0] < 1


@pytest.mark.skipif("CNF_DATA" not in os.environ, reason="Set5 is not here: CNF_DATA is not set")
def test_bicubic_row_of_set5(loaded):
    subject = Subject(*loaded("sr-baseline"), load("set5", "test"), Options(round_x=True))
    psnr, ssim = (s.value for s in evaluate.reference_scores(subject))
    assert psnr == pytest.approx(33.68, abs=0.005)  # two printed digits; see `pictures.luma`
    assert ssim == pytest.approx(0.9305, abs=5e-5)


@pytest.mark.equation("eq-retina-f")
def test_f_by_hand():
    found = np.array([[3, 1, 2], [0, 0, 0], [0, 4, 0]])
    np.testing.assert_allclose(f_score(found), [6 / 9, 1.0, 0.0])
    value, _ = pooled_f(found)
    assert value == pytest.approx(6 / 13)


def test_error_of_pooled_f_is_the_jackknife():
    found = np.array([[3, 1, 2], [5, 2, 1], [4, 0, 6]])
    value, error = pooled_f(found)
    without = [pooled_f(np.delete(found, i, 0))[0] for i in range(3)]
    assert error == pytest.approx(np.sqrt(2 / 3 * np.sum((without - np.mean(without)) ** 2)))
    assert pooled_f(found[:1])[1] is None


def test_best_threshold_beats_every_other():
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.2
    p = np.clip(0.4 * labels + rng.normal(0.3, 0.2, 500), 0, 1).astype(np.float32)
    best = best_threshold(labels, p)
    f = f1_score(labels, p >= best)
    assert all(f >= f1_score(labels, p >= t) for t in p)


def vessel_subject(loaded, y, fov, **options):
    x = torch.zeros(3, *y.shape[-2:], dtype=torch.uint8)
    second = torch.zeros_like(y)
    examples = [Example("one", y, x, fov, second)]
    images = ImageSet("toy", "test", "vessels", examples, "made up")
    return Subject(*loaded("vessels-flow"), images, Options(**options))


def test_pixels_outside_the_field_of_view_never_count(loaded):
    y = torch.zeros(1, 4, 4, dtype=torch.uint8)
    y[0, 0], y[0, 3] = 1, 1
    fov = torch.ones(4, 4, dtype=torch.bool)
    fov[3] = False
    subject = vessel_subject(loaded, y, fov)
    p = torch.zeros(1, 4, 4)
    p[0, 0, :3], p[0, 1, 0], p[0, 3] = 0.5, 0.9, 0.1
    assert counts(subject, [p], 0.5).tolist() == [[3, 1, 1]]  # at least 0.5 is vessel
    labels, inside = pooled(subject, [p])
    assert labels.sum() == 4 and len(inside) == 12


def test_marginal_is_the_mean_of_keyed_samples(loaded, vessels):
    model, config = loaded("vessels-flow")
    images = vessels(16, 20)
    subject = Subject(model, config, images, Options(limit=1, samples=3))
    x = images[0].x.float()[None]
    generator = noise.keyed(0, [0], subjects.SAMPLES_DRAW)
    expected = model.sample(x, 3, 1.0, generator).mean(0)[0]
    torch.testing.assert_close(subject.means(3)[0], expected)
    torch.testing.assert_close(
        subject.singles(1.0)[0],
        model.sample(x, 1, 1.0, noise.keyed(0, [0], subjects.SAMPLES_DRAW))[0, 0],
    )


def test_samples_come_a_few_at_a_time_and_stay_the_same(loaded, monkeypatch):
    model, config = loaded("sr-flow")
    images = load("embedded-sr", "test")
    together = Subject(model, config, images, Options(limit=2)).means(5)
    monkeypatch.setattr(subjects, "CHUNK", 2 * 2 * 3 * 32 * 32)
    apart = Subject(model, config, images, Options(limit=2)).means(5)
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b)


def test_few_whole_pictures_are_in_memory_at_once(loaded, vessels, monkeypatch):
    """Also where all pictures have one size, as those of DRIVE."""
    subject = Subject(*loaded("vessels-flow"), vessels(16, 20, 5))
    monkeypatch.setattr(subjects, "CHUNK", 2 * 16 * 20)
    assert [len(indices) for indices, *_ in subject.batches("")] == [2, 2, 1]
    monkeypatch.setattr(subjects, "CHUNK", 10)
    assert [len(indices) for indices, *_ in subject.batches("")] == [1] * 5


def test_samples_of_padded_pictures_are_cropped_back(loaded):
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.integers(0, 2, (1, 17, 21)).astype(np.uint8))
    subject = vessel_subject(loaded, y, torch.ones(17, 21, dtype=torch.bool))
    assert subject.singles(1.0)[0].shape == (1, 17, 21)
    assert subject.means(2)[0].shape == (1, 17, 21)


def test_temperature_reaches_the_single_sample(loaded):
    model, config = loaded("sr-flow")
    images = load("embedded-sr", "test")
    subject = Subject(model, config, images, Options(limit=1))
    spread = {}
    for tau in (0.0, 0.5, 1.0):
        (one,) = subject.singles(tau)
        spread[tau] = (one - subject.singles(0.0)[0]).abs().mean()
    assert spread[0.0] == 0 < spread[0.5] < spread[1.0]


def test_validation_split_chooses_the_threshold(loaded, vessels):
    model, config = loaded("vessels-baseline")
    subject = Subject(model, config, vessels(16, 16, 3))
    on_valid = Subject(model, config, vessels(16, 16, 2, "valid"))
    scores = {s.metric: s for s in vessel_scores(subject, on_valid)}
    chosen = best_threshold(*pooled(on_valid, on_valid.means(0)))
    assert scores["f_valid"].threshold == chosen
    assert scores["f_half"].threshold == 0.5
    assert scores["f_best"].value >= max(scores["f_valid"].value, scores["f_half"].value)


def test_second_observer_is_scored_against_the_first(loaded):
    y = torch.ones(1, 4, 4, dtype=torch.uint8)
    subject = vessel_subject(loaded, y, torch.ones(4, 4, dtype=torch.bool))
    (whole, image) = evaluate.reference_scores(subject)
    assert (whole.model, whole.metric, whole.value) == ("second observer", "f_half", 0.0)
    assert image.metric == "f_half_image"


def test_no_threshold_is_chosen_on_pictures_that_were_trained_on(loaded, vessels, monkeypatch):
    model, config = loaded("vessels-baseline")
    monkeypatch.setattr(evaluate, "load", lambda name, split, root: vessels(16, 16, 2, split))
    images = vessels(16, 16, 3)
    assert evaluate.validation(Subject(model, config, images), None) is not None
    used = dataclasses.replace(config, data=dataclasses.replace(config.data, use_valid=True))
    assert evaluate.validation(Subject(model, used, images), None) is None
