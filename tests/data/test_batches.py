import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cnf.errors import DataError
from cnf.replication.config import DataConfig
from cnf.replication.data import Example, load
from cnf.replication.tasks import SR, VESSELS
from cnf.replication.tasks.vessels import jittered
from cnf.resample import low_resolution

PICTURES = DataConfig(train="embedded-sr")
EYES = DataConfig(train="embedded-vessels", crop=32)


def rngs(count: int, seed: int = 0) -> list[np.random.Generator]:
    """One generator a picture."""
    return [np.random.default_rng([seed, place]) for place in range(count)]


@pytest.fixture(scope="module")
def patches():
    return load("embedded-sr", "test")


@pytest.fixture(scope="module")
def eyes():
    return load("embedded-vessels", "valid")


def symmetries(picture: torch.Tensor) -> list[torch.Tensor]:
    """The eight images of a square picture (C,n,n)."""
    turned = [picture.rot90(k, (1, 2)) for k in range(4)]
    return turned + [t.flip(2) for t in turned]


def position(size: int, channels: int = 3) -> torch.Tensor:
    """A picture (channels,size,size) whose pixels are all different, so that moves show."""
    return torch.arange(size * size).reshape(1, size, size).repeat(channels, 1, 1).to(torch.uint8)


@pytest.mark.parametrize("round_x", [False, True])
def test_evaluation_batch_is_the_pictures_themselves_in_order(patches, round_x):
    y, x = SR.batch(patches, [3, 1], replace(PICTURES, round_x=round_x))
    assert torch.equal(y, torch.stack([patches[3].y, patches[1].y]).float())
    assert torch.equal(x, low_resolution(y, round_x))
    assert y.dtype == x.dtype == torch.float32


def test_batches_depend_on_the_generators_only(patches, eyes):
    for task, images, options in ((SR, patches, PICTURES), (VESSELS, eyes, EYES)):
        first = task.batch(images, [0, 1, 2], options, rngs(3, seed=5))
        again = task.batch(images, [0, 1, 2], options, rngs(3, seed=5))
        other = task.batch(images, [0, 1, 2], options, rngs(3, seed=6))
        assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
        assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("crop", [None, 16])
def test_a_picture_comes_out_the_same_whatever_else_is_in_its_batch(patches, eyes, crop):
    for task, images, options in ((SR, patches, PICTURES), (VESSELS, eyes, EYES)):
        options = replace(options, crop=crop)
        whole = task.batch(images, [0, 1, 2, 3], options, rngs(4))
        for part in (slice(0, 1), slice(1, 4)):
            found = task.batch(images, [0, 1, 2, 3][part], options, rngs(4)[part])
            assert torch.equal(found[0], whole[0][part])
            # one matrix product for the batch: its sum over 32 pixels may round in another order
            torch.testing.assert_close(found[1], whole[1][part], atol=1e-4, rtol=0)


def test_super_resolution_batch_is_mirrored_left_right_only(patches):
    y, _ = SR.batch(patches, [0] * 40, PICTURES, rngs(40))
    original = patches[0].y.float()
    mirrored = [torch.equal(picture, original.flip(2)) for picture in y]
    straight = [torch.equal(picture, original) for picture in y]
    assert any(mirrored) and any(straight)
    assert all(a or b for a, b in zip(mirrored, straight, strict=True))


def test_low_resolution_is_made_after_the_augmentation(patches):
    y, x = SR.batch(patches, [0] * 8, replace(PICTURES, crop=16), rngs(8))
    assert y.shape == (8, 3, 16, 16)
    assert torch.equal(x, low_resolution(y, False))


def test_crops_lie_at_an_edge_as_often_as_they_would_cross_it():
    """Of 17 + 2 2 places from top to bottom and 21 + 2 2 across, three each are held at an edge."""
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(28), indexing="ij")
    y = torch.stack([rows, columns, 0 * rows])
    example = Example("places", y.to(torch.uint8), None)
    options = replace(PICTURES, crop=8, augment=False)
    crops, _ = SR.batch([example] * 4000, range(4000), options, rngs(4000))
    for axis, last in ((0, 16), (1, 20)):
        share = 3 / (last + 1 + 4)
        sigma = np.sqrt(share * (1 - share) / 4000)
        for place in (0, last):
            assert abs((crops[:, axis, 0, 0].numpy() == place).mean() - share) < 4 * sigma


def test_vessel_batch_uses_all_eight_symmetries():
    # One row and a pixel: no two of its eight images are alike.
    example = Example("e", (position(8, 1) > 54).to(torch.uint8), position(8))
    y, _ = VESSELS.batch([example], [0] * 200, replace(EYES, crop=8), rngs(200))
    expected = symmetries(example.y.float())
    which = {[torch.equal(picture, e) for e in expected].index(True) for picture in y}
    assert which == set(range(8))


def test_vessel_labels_move_with_their_picture():
    x = position(8)
    example = Example("e", (x[:1] % 3 == 0).to(torch.uint8), x)
    y, x = VESSELS.batch([example], [0] * 50, replace(EYES, crop=6, jitter=0), rngs(50))
    assert y.shape == (50, 1, 6, 6)
    assert torch.equal(y, (x[:, :1].round() % 3 == 0).float())  # of a power of one


@pytest.mark.parametrize("jitter", [1, 4])
def test_colour_jitter_stays_in_range_and_leaves_labels_alone(eyes, jitter):
    y, x = VESSELS.batch(eyes, [0, 1, 2, 3] * 4, replace(EYES, jitter=jitter), rngs(16))
    assert x.min() >= 0 and x.max() <= 255
    assert set(y.unique().tolist()) == {0.0, 1.0}


def test_one_gamma_and_a_gain_and_an_offset_a_channel():
    grey = torch.tensor([0, 60, 120]).repeat(3, 3, 1).to(torch.uint8)
    example = Example("e", torch.zeros((1, 3, 3), dtype=torch.uint8), grey)
    x = VESSELS.batch([example] * 2000, range(2000), replace(EYES, crop=3), rngs(2000))[1]
    levels = x.amin(2).sort(-1)[0], x.amin(3).sort(-1)[0]  # of a picture and of one transposed
    black, dark, light = torch.maximum(*levels).unbind(-1)
    seen = (black > 0).all(1)  # offsets that were not clipped
    black, dark, light = (t[seen].double() for t in (black, dark, light))
    gamma = ((light - black) / (dark - black)).log2()
    assert (gamma.amax(1) - gamma.amin(1)).max() < 1e-4
    assert gamma.log().abs().max() == pytest.approx(0.25, rel=0.05)
    gain = (light - black) / (255 * (120 / 255) ** gamma)
    assert gain.mean(1).std() == pytest.approx(0.15 / 3**0.5, rel=0.15)
    alike = gain / gain.mean(1, keepdim=True)
    assert alike.var(1).mean().sqrt() == pytest.approx(0.07 / 3**0.5, rel=0.1)
    assert black.max() == pytest.approx(10, rel=0.05) and (black[:, 0] != black[:, 1]).all()


def test_gamma_acts_on_the_photograph_before_gain_and_offset():
    """By hand: gamma exp(1/4), gain 1.15 in all channels, and an offset of 10 in the first."""
    drawn = np.array([1, 1, 0.5, 0.5, 0.5, 1, 0.5, 0.5])
    rng = SimpleNamespace(random=lambda n: drawn[:n])
    found = jittered(torch.full((1, 3, 1, 1), 100.0), [rng], 1.0).flatten()
    level = 1.15 * 255 * (100 / 255) ** math.exp(0.25)
    torch.testing.assert_close(found, torch.tensor([level + 10, level, level]))


def test_colours_vary_in_proportion_to_jitter():
    grey = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    examples = [Example("e", torch.zeros((1, 8, 8), dtype=torch.uint8), grey)] * 200
    none, one, two = (
        VESSELS.batch(examples, range(200), replace(EYES, crop=8, jitter=jitter), rngs(200))[1]
        for jitter in (0, 1, 2)
    )
    torch.testing.assert_close(none, torch.full_like(none, 100.0))
    spread = two[:, :, 0, 0].std(0) / one[:, :, 0, 0].std(0)
    assert (spread - 2).abs().max() < 0.3  # a power is not linear


def test_without_augmentation_a_vessel_batch_is_a_crop(eyes):
    options = replace(EYES, augment=False, crop=192)
    y, x = VESSELS.batch(eyes, [2], options, rngs(1))
    assert torch.equal(y[0], eyes[2].y.float()) and torch.equal(x[0], eyes[2].x.float())


def test_pictures_of_different_sizes_do_not_make_a_batch():
    examples = [Example("a", position(8)), Example("b", position(10))]
    with pytest.raises(DataError, match="8x8, 10x10.*set data.crop"):
        SR.batch(examples, [0, 1], PICTURES)
    y, _ = SR.batch(examples, [1], PICTURES)
    assert y.shape == (1, 3, 10, 10)


def test_a_label_without_its_photograph_does_not_make_a_batch(eyes):
    examples = [eyes[0], Example("bare", eyes[0].y)]
    with pytest.raises(DataError, match="bare has no x: give an example that has one"):
        VESSELS.batch(examples, [0, 1], EYES)
    with pytest.raises(DataError, match="give each label its photograph"):
        VESSELS.batch(examples, [1], EYES)


def test_mixed_inputs_are_rounded_for_half_the_pictures(patches):
    mixed = replace(PICTURES, round_x="mixed", augment=False)
    indices = list(range(len(patches)))
    for rngs in (None, [np.random.default_rng([7, i]) for i in indices]):
        y, x = SR.batch(patches, indices, mixed, rngs)
        is_rounded = (x == x.round()).flatten(1).all(1)
        assert 0 < is_rounded.sum() < len(x)
        for rounded in (True, False):
            same = is_rounded == rounded
            assert torch.equal(x[same], low_resolution(y[same], rounded))


def test_which_mixed_input_is_rounded_is_a_matter_of_the_picture_alone(patches):
    mixed = replace(PICTURES, round_x="mixed")
    together = SR.batch(patches, [0, 1, 2, 3], mixed)[1]
    alone = torch.cat([SR.batch(patches, [i], mixed)[1] for i in range(4)])
    assert torch.equal(together, alone)


def test_a_whole_photograph_may_be_odd():
    y = torch.full((3, 200, 200), 200, dtype=torch.uint8)
    y[0, 0, 0] = 199  # of a sum beyond the whole numbers of float32
    x = SR.batch([Example("large", y)], [0], replace(PICTURES, round_x="mixed"))[1]
    assert torch.equal(x, low_resolution(y[None].float(), True))


def test_a_share_of_the_training_pictures_becomes_noisy(patches):
    options = replace(PICTURES, noise=0.25, augment=False)
    indices = [i % len(patches) for i in range(400)]
    y, x = SR.batch(patches, indices, options, rngs(400))
    plain, _ = SR.batch(patches, indices, options)
    share = (y != plain).flatten(1).any(1).float().mean()
    assert abs(share - 0.25) < 0.09  # four standard deviations of 400 draws
    assert torch.equal(y, y.round()) and y.min() >= 0 and y.max() <= 255
    assert torch.equal(x, low_resolution(y, False))
    assert torch.equal(SR.batch(patches, indices, options)[0], plain)  # only in training


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_noise_has_0_to_64_grey_levels_whatever_share_of_pictures_has_it(share):
    example, n = Example("grey", torch.full((3, 24, 24), 128, dtype=torch.uint8)), int(200 / share)
    options = replace(PICTURES, noise=share, augment=False)
    noise = SR.batch([example] * n, range(n), options, rngs(n))[0].flatten(1) - 128
    level = noise.std(1)
    assert level[level > 0].mean() == pytest.approx(32, rel=0.2) and 58 < level.max() < 66
    loud = noise[level > 10]
    assert torch.corrcoef(loud)[0, 1:].abs().max() < 0.12  # each has its own: 5 of 1 / sqrt(1728)


def test_vessel_crop_defaults_to_96(eyes):
    y, x = VESSELS.batch(eyes, [0], replace(EYES, crop=None), rngs(1))
    assert y.shape == (1, 1, 96, 96) and x.shape == (1, 3, 96, 96)
