"""Feature networks: one map a level, of the stated size and weight."""

import pytest
import torch
import torch.nn.functional as F

from cnf.factorised import DiscretisedLogistic
from cnf.features import (
    RawFeatures,
    ResidualBlock,
    ResidualFeatures,
    RRDBFeatures,
    UNetFeatures,
    VGGFeatures,
    upsampled,
)
from cnf.nets import CausalBlock, set_precision
from cnf.resample import consistent_double, imresize_half
from cnf.weights import count_parameters
from tests.laws.cases import ALL_MODELS, randomise


@pytest.mark.equation("eq-features-list")
@pytest.mark.parametrize("case", ALL_MODELS, ids=str)
def test_every_level_has_its_map_and_each_is_half_the_last(case):
    model, y, x = case.make()
    h = model.features(x)
    assert len(h) >= len(model.features.channels)  # a network without levels may have one to spare
    for level, (t, channels) in enumerate(zip(h, model.features.channels, strict=False)):
        assert t.shape == (len(x), channels, *(size >> level for size in y.shape[2:]))


@pytest.mark.equation("eq-features-weights")
@pytest.mark.parametrize(("c", "blocks", "g", "levels"), [(6, 1, 4, 1), (8, 2, 3, 3)])
def test_residual_in_residual_dense_blocks_have_the_weights_that_are_counted(c, blocks, g, levels):
    with torch.device("meta"):
        network = RRDBFeatures(levels, c, blocks, g)
    dense = sum(9 * (c + n * g) * g + g for n in range(4)) + 9 * (c + 4 * g) * c + c
    expected = 28 * c + 3 * blocks * dense + 2 * (9 * c**2 + c) + levels * (4 * c**2 + c)
    assert count_parameters(network) == expected


@pytest.mark.parametrize(
    ("network", "read"),
    [
        (UNetFeatures(0, 4, 2), lambda x: x / 128 - 1),
        (VGGFeatures(1, 4, 2), lambda x: x / 128 - 1),
        (ResidualFeatures(1, 4, 1), lambda x: x / 256 - 1 / 2),
        (RRDBFeatures(1, 4, 1, 2), lambda x: x / 256),
        (
            ResidualFeatures(1, 4, 1, fractions=True),
            lambda x: torch.cat([x / 256 - 1 / 2, 2 * (x - x.round()).abs()], 1),
        ),
    ],
    ids=["unet", "vgg", "residual", "rrdb", "fractions"],
)
def test_a_network_reads_grey_levels_on_the_scale_of_its_trained_weights(network, read):
    """Another scale changes no size and no law, but what committed weights mean."""
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    seen = []
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = 255 * torch.rand(2, 3, 8, 8)
    network(x)
    torch.testing.assert_close(seen[0], read(x))


def test_channels_at_the_resolution_of_y_are_shuffled_from_those_of_x():
    network, x = randomise(ResidualFeatures(1, 4, 1, full=2)), 255 * torch.rand(2, 3, 4, 6)
    h = network(x)
    torch.testing.assert_close(h[0][:, 3:], F.pixel_shuffle(network.full(h[1]), 2).relu())


def test_features_are_clipped_from_both_sides():
    network, x = randomise(ResidualFeatures(1, 4, 1)), 255 * torch.rand(2, 3, 4, 6)
    whole = network(x)[1]
    network.clip = 0.5 * torch.minimum(whole.max(), -whole.min()).item()
    assert network.clip > 0 and torch.equal(network(x)[1], whole.clamp(-network.clip, network.clip))


@pytest.mark.parametrize("name", ["residual", "causal"])
def test_the_last_convolution_of_a_block_starts_small(name):
    """A tenth of what torch draws, uniform up to 1 / sqrt of the weights of an output."""
    torch.manual_seed(0)
    last = ResidualBlock(16).second if name == "residual" else CausalBlock(64, 4, 1).out
    bound = 0.1 / last.weight[0].numel() ** 0.5
    assert 0.9 * bound < last.weight.abs().max() <= bound


def test_vgg_stages_start_as_kaiming_he_wrote():
    for stage in VGGFeatures(0, 4, 2).stages:
        for conv in (m for m in stage if isinstance(m, torch.nn.Conv2d)):
            deviation = (2 / (9 * conv.out_channels)) ** 0.5
            assert conv.weight.std().item() == pytest.approx(deviation, rel=0.1)
            assert not conv.bias.any()


def test_raw_features_are_means_over_blocks():
    x = torch.rand(2, 3, 8, 12)
    for n, h in enumerate(RawFeatures(3, 2)(x)):
        torch.testing.assert_close(
            h, x.unflatten(3, (-1, 2**n)).unflatten(2, (-1, 2**n)).mean((3, 5))
        )


def test_residual_in_residual_dense_blocks_are_those_of_the_released_code():
    """Every residual times 0.2, LeakyReLU of slope 0.2, a long skip, nearest x2."""
    network, x = randomise(RRDBFeatures(1, 4, 1, 2)).double(), 255 * torch.rand(2, 3, 4, 6).double()
    t = head = network.head(x / 256)
    for block in network.body[0].blocks:
        seen = t
        for conv in block.convs[:4]:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), 0.2)], 1)
        t = t + 0.2 * block.convs[4](seen)
    t = head + network.trunk(head + 0.2 * t)
    first = F.leaky_relu(network.up(t.repeat_interleave(2, 2).repeat_interleave(2, 3)), 0.2)
    for h, expected in zip(network(x), (first, network.down[0](first)), strict=True):
        torch.testing.assert_close(h, expected)


def test_the_upsampled_input_is_at_the_centre_of_the_cell_of_its_grey_level():
    x = torch.randint(256, (2, 3, 6, 8)).double()
    torch.testing.assert_close(imresize_half(256 * upsampled(x)), x + 0.5)


@pytest.mark.parametrize(
    "network", [ResidualFeatures(0, 4, 1, full=2), RRDBFeatures(0, 4, 1, 2, carry=True)]
)
def test_an_untrained_logistic_is_centred_on_the_grey_level_of_the_upsampled_input(network):
    x = torch.randint(256, (2, 3, 6, 8)).double()
    model = DiscretisedLogistic(network).double()
    mu, log_s = model.condition(x)
    torch.testing.assert_close(256 * mu, consistent_double(x))
    assert (log_s == -4).all()
    assert (model.sample(torch.full_like(x, 100), 1, 0.0) == 100).all()
    assert model.labels(torch.tensor([-0.1, 1.1])).tolist() == [0, 255]


@pytest.mark.parametrize("kind", [RRDBFeatures, ResidualFeatures])
def test_a_picture_that_is_not_rounded_is_read_in_float32(kind):
    features = kind(1, channels=4, blocks=1, growth=2) if kind is RRDBFeatures else kind(1, 4, 1)
    set_precision(features, "bf16")
    x, read = 250 + torch.rand(1, 3, 4, 4), []
    features.head.register_forward_hook(lambda head, given, out: read.append((*given, out)))
    features(x)
    [(given, out)] = read
    assert given.dtype == out.dtype == torch.float32
    assert not torch.equal(given, given.bfloat16().float())  # where bfloat16 would have lost digits
