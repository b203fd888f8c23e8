"""The yardstick of labels: its probabilities sum to one, and what it draws follows them."""

import itertools

import pytest
import scipy.stats
import torch
from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError, DataError
from cnf.features import RawFeatures
from cnf.nets import CausalNet
from cnf.replication import plugs
from cnf.replication.config import build, from_dict
from tests.laws.cases import randomise

Autoregressive = plugs.plug("exact_yardstick").Autoregressive

SIDE = 4
EVERY_Y = torch.tensor(list(itertools.product((0.0, 1.0), repeat=SIDE * SIDE))).double()
EVERY_Y = EVERY_Y.view(-1, 1, SIDE, SIDE)


def model_of(seed: int = 0, blocks: int = 2) -> Autoregressive:
    torch.manual_seed(seed)
    model = Autoregressive(RawFeatures(2), width=6, blocks=blocks)
    return randomise(model, seed, 0.4).double()


def an_x(height: int = SIDE, width: int = SIDE, batch: int = 1) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, 2, height, width, dtype=torch.float64)


@pytest.fixture(scope="module")
def exact() -> Tensor:
    """P(y|x) of every y of 4x4, by the model's own pass."""
    model, x = model_of(), an_x()
    h = model.condition(x)[0]
    parts = (model.log_prob_given(y, [h.expand(len(y), -1, -1, -1)]) for y in EVERY_Y.split(8192))
    with torch.no_grad():
        return torch.cat(list(parts)).exp()


@pytest.mark.equation("eq-controls-chain")
def test_probabilities_of_all_masks_sum_to_one(exact):
    assert exact.sum().item() == pytest.approx(1, abs=1e-12)


def test_samples_follow_the_probabilities(exact):
    """Of the first eight labels: 256 cells, chi-square."""
    n = 20000
    y = model_of().sample(an_x(), n, generator=torch.Generator().manual_seed(0))[:, 0]
    powers = 2 ** torch.arange(7, -1, -1)
    counts = torch.bincount((y.flatten(1)[:, :8].long() * powers).sum(1), minlength=256)
    p = exact.view(256, -1).sum(1)
    assert (n * p > 10).all()  # the chi-square law needs some counts in every class
    assert scipy.stats.chisquare(counts, n * p / p.sum()).pvalue > 0.01


def test_a_label_sees_all_before_it_and_none_after():
    """By the Jacobian of the logits, in the order blocks, labels of a block."""
    torch.manual_seed(0)
    net = randomise(CausalNet(4, 3, 6, 2), 0, 0.4).double()
    y, h = torch.randn(1, 4, 3, 4, dtype=torch.float64), torch.randn(1, 3, 3, 4).double()

    def logits(flat: Tensor) -> Tensor:  # raster order of positions, channels within
        t = flat.view(1, 3, 4, 4).permute(0, 3, 1, 2)
        return net(t, h)[:, :, 0].permute(0, 2, 3, 1).flatten()

    jacobian = torch.autograd.functional.jacobian(logits, y.permute(0, 2, 3, 1).flatten())
    assert torch.equal(jacobian.triu(), torch.zeros_like(jacobian))
    assert (jacobian[-1, :-1] != 0).all()  # the last one sees them all: so small a picture


@pytest.mark.parametrize("blocks", [0, 1])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_fronts_draw_what_one_label_after_the_other_gives(temperature, blocks):
    """20x14, wider and higher than the network sees; logits in one pass over what is decided.
    Without blocks all positions are one front."""
    model, x = model_of(blocks=blocks), an_x(20, 14, batch=2)
    generators = noise.keyed(3, [0, 1])
    drawn = model.sample(x, 2, temperature, noise.keyed(3, [0, 1])).flatten(0, 1)
    h = model.condition(x)[0].repeat(2, 1, 1, 1)
    eps = noise.logistic((4, 4, 10, 7), noise.repeated(generators, 2, 2), h)
    sign = torch.zeros(4, 4, 10, 7, dtype=torch.float64)
    with torch.no_grad():
        for i, j, c in itertools.product(range(10), range(7), range(4)):
            logit = model.net(sign, h)[:, c, 0, i, j]
            sign[:, c, i, j] = (logit + temperature * eps[:, c, i, j] > 0).double() * 2 - 1
    assert torch.equal(drawn, model.labels(torch.pixel_shuffle(sign, 2)))


def test_without_blocks_a_position_sees_no_other():
    torch.manual_seed(0)
    net = randomise(CausalNet(4, 3, 6, 0), 0, 0.4).double()
    y, h = torch.randn(1, 4, 3, 4, dtype=torch.float64), torch.randn(1, 3, 3, 4).double()
    jacobian = torch.autograd.functional.jacobian(lambda y: net(y, h)[0, :, 0], y)[:, :, :, 0]
    for c, i, j in itertools.product(range(4), range(3), range(4)):
        seen = jacobian[c, i, j] != 0
        assert seen[:c, i, j].all() and seen.sum() == c


def test_what_is_no_mask_is_refused():
    model = model_of()
    with pytest.raises(DataError, match="y holds 0.5"):
        model.log_prob(torch.full((1, 1, SIDE, SIDE), 0.5), an_x())
    with pytest.raises(DataError, match="x is 5x4, but its sizes must be multiples of"):
        model.condition(an_x(5, 4))


def test_it_is_a_model_of_vessels_only():
    model = {"kind": "exact_yardstick/autoregressive", "features": {"kind": "unet"}}
    with pytest.raises(ConfigError, match="autoregressive makes y 1 times as large"):
        build(from_dict({"task": "sr", "preset": "test", "model": model}))
