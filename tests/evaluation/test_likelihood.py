"""Bits: the right log P, the right D, the right noise."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cnf import noise
from cnf.errors import ConfigError, DataError, LedgerError
from cnf.replication import scored_model as subjects
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.metrics import mean_se
from cnf.replication.metrics.likelihood import likelihoods
from cnf.replication.scored_model import Options, Subject
from cnf.resample import low_resolution


def bits(subject, **fields):
    """The one score in bits with these fields."""
    found = [s for s in likelihoods(subject)]
    (one,) = [s for s in found if all(getattr(s, k) == v for k, v in fields.items())]
    return one


def test_bits_per_dim_divide_by_all_sub_pixels(loaded):
    model, config = loaded("sr-flow")
    images = load("embedded-sr", "test")
    subject = Subject(model, config, images, Options(limit=3, seed=5))
    y = torch.stack([images[i].y for i in range(3)]).float()
    x = low_resolution(y, config.data.round_x)
    log_p = model.log_prob(y, x, noise.keyed(5, range(3)))
    expected = (-log_p / (3 * 32 * 32 * math.log(2))).mean().item()
    # float32 log-probabilities: 1e-6 relative
    assert bits(subject).value == pytest.approx(expected, rel=1e-6)
    assert bits(subject).bound == "uniform dequantization"


@pytest.mark.parametrize("name", ["sr-flow", "sr-baseline"])
def test_batch_size_changes_no_number(loaded, name):
    model, config = loaded(name)
    images = load("embedded-sr", "test")
    one, many = (
        bits(Subject(model, config, images, Options(limit=7), batch_size=size)).value
        for size in (1, 5)
    )
    assert one == pytest.approx(many, rel=1e-5)  # float32 sums in another order


def test_noise_is_keyed_by_seed_image_and_draw(loaded):
    model, config = loaded("sr-flow")
    images = load("embedded-sr", "test")
    first, again, other = (
        Subject(model, config, images, Options(limit=4, seed=seed)).log_probs(1)
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    alone = Subject(model, config, images, Options(limit=1)).log_probs(1)
    assert alone[0] == pytest.approx(first[0], rel=1e-6)  # float32, another batch size


def test_draws_are_averaged(loaded, vessels):
    model, config = loaded("vessels-flow")
    images = vessels(16, 16)
    x = torch.stack([e.x for e in images]).float()
    y = torch.stack([e.y for e in images]).float()
    each = torch.stack([model.log_prob(y, x, noise.keyed(0, range(2), d)) for d in range(3)])
    found = Subject(model, config, images).log_probs(3)
    np.testing.assert_allclose(found, each.mean(0).detach(), rtol=1e-6)  # float32


def test_importance_bound_is_tighter(loaded, vessels):
    model, config = loaded("vessels-flow")
    subject = Subject(model, config, vessels(16, 16, 6), Options(draws=20, importance=20))
    plain = bits(subject, bound="binary dequantization", divided_by="all pixels")
    weighted = bits(
        subject, bound="binary dequantization, importance-weighted", divided_by="all pixels"
    )
    assert (plain.draws, weighted.draws) == (20, 20)
    assert weighted.value < plain.value


def test_padding_never_counts_in_D(loaded, vessels):
    model, config = loaded("vessels-flow")
    images = vessels(17, 21)
    assert model.multiple == 2
    subject = Subject(model, config, images)
    example = images[0]
    y = F.pad(example.y.float()[None], (0, 1, 0, 1))
    x = F.pad(example.x.float()[None], (0, 1, 0, 1))
    log_p = model.log_prob(y, x, noise.keyed(0, [0])).item()
    assert subject.log_probs(1)[0] == pytest.approx(log_p, rel=1e-6)
    assert subject.sizes()[0] == 17 * 21
    assert subject.sizes(fov=True)[0] == 17 * 10


@pytest.mark.parametrize("name", ["vessels-baseline", "sr-baseline"])
def test_factorised_model_does_not_pay_for_padding(loaded, vessels, name):
    model, config = loaded(name)
    if name.startswith("sr"):
        y = load("embedded-sr", "test")[0].y[:, :30, :18]
        images = ImageSet("toy", "test", "sr", [Example("odd", y)], "cut")
        model.multiple = 4
        x = low_resolution(y[None].float(), config.data.round_x)
        x = subjects.extend(x, 1, 1, mirror=True)
    else:
        images = vessels(17, 21, 1)
        y, x = images[0].y, F.pad(images[0].x[None].float(), (0, 1, 0, 1))
    found = Subject(model, config, images).log_probs()[0]
    height, width = y.shape[-2:]
    bottom, right = (
        s * model.factor - t for s, t in zip(x.shape[-2:], (height, width), strict=True)
    )
    padded = F.pad(y[None].float(), (0, right, 0, bottom))
    outside = torch.ones_like(padded, dtype=torch.bool)
    outside[..., :height, :width] = False
    paid = model.log_prob(padded, x).item() - log_p_of_zero(model, x)[outside].sum().item()
    assert found == pytest.approx(paid, rel=1e-5)  # float32 sums over a thousand entries


def test_photographs_are_mirrored_as_the_degradation_mirrors_them():
    y = load("embedded-sr", "test")[50].y[None, :, :28, :20].float()
    x = low_resolution(y, False)
    longer = subjects.extend(y, 8, 8, mirror=True)
    torch.testing.assert_close(longer[..., 28:, :20], y[..., 20:, :].flip(-2))
    again = low_resolution(longer, False)
    torch.testing.assert_close(again[..., :14, :10], x)  # the seam is invisible to x
    # 8 pixels further, the mirror at the new edge: the last two columns know of it
    torch.testing.assert_close(again[..., :16, :12], subjects.extend(x, 2, 2, True))


def log_p_of_zero(model, x):
    """log P(entry = 0 | x) of a factorised model, by its definition, (1,C,H,W)."""
    if hasattr(model, "logistic"):
        mu, log_s = (t.double() for t in model.logistic(x))
        return torch.log(torch.sigmoid((1 / 512 - mu) / log_s.exp()))
    return torch.log1p(-model.mean(x).double())


def test_both_divisors_are_reported_for_vessels(loaded, vessels):
    model, config = loaded("vessels-baseline")
    subject = Subject(model, config, vessels(16, 16))
    frame, fov = bits(subject, divided_by="all pixels"), bits(subject, divided_by="field of view")
    assert frame.bound == fov.bound == "exact"
    assert fov.value == pytest.approx(2 * frame.value)  # half of the frame is inside


def test_standard_error_is_over_images():
    mean, error = mean_se(np.array([1.0, 2.0, 3.0]))
    assert (mean, error) == (2.0, pytest.approx(1 / math.sqrt(3)))
    assert mean_se(np.array([1.0])) == (1.0, None)


def test_wrong_set_for_the_experiment_is_refused(loaded):
    with pytest.raises(
        ConfigError, match="'embedded-sr' is a set for sr, the run is one of vessel"
    ):
        Subject(*loaded("vessels-flow"), load("embedded-sr", "test"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, r"temperature = -0.5: choose a finite value >= 0"),
        ({"temperature": math.nan}, r"temperature = nan"),
        ({"draws": 0}, r"--draws 0: give 1 or more"),
        ({"limit": 0}, r"--limit 0: give 1 or more"),
        ({"samples": -1}, r"--samples -1: give 0 or more"),
        ({"importance": -1}, r"--importance -1: give 0 or more"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        Options(**options)


def test_nan_in_the_input_is_named(loaded):
    model, _ = loaded("sr-flow")
    y, x = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 4, 4), math.nan)
    with pytest.raises(DataError, match="x holds nan: pictures must be finite"):
        model.log_prob(y, x)
    with pytest.raises(DataError, match="x holds nan"):
        model.sample(x)
    y[0, 0, 0, 0] = math.nan
    with pytest.raises(DataError, match="y holds nan"):
        model.log_prob(y, torch.zeros(1, 3, 4, 4))


def test_picture_with_non_finite_likelihood_is_named(loaded):
    model, config = loaded("sr-flow")
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    subject = Subject(model, config, load("embedded-sr", "test"), Options(limit=2))
    with pytest.raises(LedgerError, match="log P of picture 'chelsea-0-0' is nan"):
        subject.log_probs()
