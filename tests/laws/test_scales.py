"""What committed weights mean: scales, offsets and roundings that no law of a layer sees."""

import math

import pytest
import torch

from cnf import noise
from cnf.baselines import DiscretisedLogistic
from cnf.features import (
    ResidualFeatures,
    RRDBFeatures,
    UNetFeatures,
    VGGFeatures,
    upsampled,
)
from cnf.noise import keyed
from cnf.resample import low_resolution
from tests.laws.cases import ALL_FLOWS, noise_of

DOUBLE = torch.float64


def seen_by(network, first, level):
    """What the first convolution is given for a picture of one grey level, an entry a channel."""
    seen = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.double().eval()(torch.full((1, 3, 8, 8), level, dtype=DOUBLE))
    assert (seen[0] == seen[0][..., :1, :1]).all()
    return seen[0][0, :, 0, 0].tolist()


@pytest.mark.parametrize("level, expected", [(0.0, -1.0), (128.0, 0.0), (160.0, 0.25)])
def test_photographs_of_vessels_are_seen_as_grey_level_over_128_less_1(level, expected):
    unet, vgg = UNetFeatures(1, 4, 2), VGGFeatures(1, 4, 2)
    assert seen_by(unet, unet.down[0][0], level) == [expected] * 3
    assert seen_by(vgg, vgg.stages[0][0], level) == [expected] * 3


@pytest.mark.parametrize("level, share", [(0.0, 0.0), (64.0, 0.25), (255.0, 255 / 256)])
def test_low_resolution_is_seen_on_the_scale_of_v(level, share):
    residual, rrdb = ResidualFeatures(1, 4, 1), RRDBFeatures(1, 4, 1, 4)
    assert seen_by(residual, residual.head, level) == [share - 0.5] * 3
    assert seen_by(rrdb, rrdb.head, level) == [share] * 3


@pytest.mark.parametrize("level, fraction", [(3.0, 0.0), (3.25, 0.5), (3.75, 0.5), (-0.5, 1.0)])
def test_fractions_are_twice_the_distance_to_the_nearest_grey_level(level, fraction):
    network = ResidualFeatures(1, 4, 1, fractions=True)
    assert seen_by(network, network.head, level)[3:] == [fraction] * 3


def test_the_upsampled_input_is_at_the_centre_of_its_cell():
    """Grey level k fills [k/256, (k + 1)/256) of v."""
    x = torch.tensor([0.0, 100.0, 255.0], dtype=DOUBLE).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    expected = torch.tensor([0.5, 100.5, 255.5], dtype=DOUBLE) / 256
    for h in (upsampled(x), ResidualFeatures(1, 4, 1).double()(x)[0]):
        torch.testing.assert_close(h, expected.view(1, 3, 1, 1).expand(1, 3, 8, 12))


def test_an_untrained_logistic_is_centred_at_the_input_with_scale_e_to_the_minus_4():
    """mu on the scale of k/256: the grey level; the features hold its cell's centre."""
    model = DiscretisedLogistic(ResidualFeatures(0, 4, 1)).double()
    mu, log_s = model.logistic(torch.full((1, 3, 4, 4), 100.0, dtype=DOUBLE))
    torch.testing.assert_close(mu, torch.full_like(mu, 100 / 256))
    torch.testing.assert_close(log_s, torch.full_like(log_s, -4.0))
    assert (model.sample(torch.full((1, 3, 4, 4), 100.0), 1, 0.0) == 100).all()


@pytest.mark.parametrize("level, rounded", [(0.5, 1), (1.5, 2), (2.5, 3), (254.5, 255)])
def test_halves_of_a_grey_level_are_rounded_up(level, rounded):
    """MATLAB's rule; halves to even would make 0 and 2 of the first and third."""
    y = torch.full((1, 3, 8, 8), level)
    assert (low_resolution(y, round_x=True) == rounded).all()
    assert (low_resolution(y, round_x=False) == level).all()


# -- noise -----------------------------------------------------------------------------------------


def test_logistic_noise_is_the_logit_of_uniform_noise():
    like = torch.zeros((), dtype=DOUBLE)
    u, e = (kind((2, 50), keyed(0, [0, 1]), like) for kind in (noise.uniform, noise.logistic))
    torch.testing.assert_close(e, u.log() - (1 - u).log(), rtol=1e-12, atol=1e-12)


def test_many_samples_of_many_pictures_share_no_noise():
    e = noise.normal((6, 7), noise.repeated(keyed(0, [1, 2]), 3, 2), torch.zeros((), dtype=DOUBLE))
    assert len(e.unique()) == e.numel()


def test_importance_samples_of_keyed_noise_are_draws_of_their_own():
    """With one draw repeated, the mean of two weights would be the weight itself."""
    for case in ALL_FLOWS:
        model, y, x = case.make(batch=2)
        one, two = (model.importance_log_prob(y, x, m, noise_of(y)) for m in (1, 2))
        assert ((one - two).abs() > 1e-9).all(), case
        second = noise_of(y)
        model.log_prob(y, x, second)  # the first draw
        other = model.log_prob(y, x, second)
        expected = torch.logaddexp(one, other) - math.log(2)
        torch.testing.assert_close(two, expected, rtol=1e-10, atol=1e-10)
