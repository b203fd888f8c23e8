"""What the forms of a flow that ablations compare do see, and what they do not."""

import math

import pytest
import torch

from cnf.features import ResidualFeatures
from cnf.flow import with_levels
from cnf.layers import AffineCoupling, GaussianPrior, Split
from cnf.nets import CouplingNet
from cnf.replication.config import build, load_config
from tests.laws.cases import randomise


def built(*overrides):
    """A small flow with random weights, and a picture of random grey levels."""
    torch.manual_seed(0)
    model = randomise(build(load_config("sr-flow-smoke", list(overrides)))).eval()
    return model, 255 * torch.rand(2, 3, 8, 8)


def of_kind(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def answers(model, x, kind):
    """What the layers of a kind make of the same y and of the features of x."""
    h = model.condition(x)
    found = []
    for layer, level in with_levels(model.layers):
        if isinstance(layer, kind):
            shape = (len(x), layer.net.y_channels, *h[level].shape[-2:])
            y_a = torch.linspace(-1, 1, math.prod(shape)).reshape(shape) if shape[1] else None
            found.append(layer.net(y_a, h[level]))
    return found


@pytest.mark.parametrize(
    ("overrides", "see_x"),
    [
        ([], {AffineCoupling: True, Split: True, GaussianPrior: True}),
        (
            ["model.kind=ablations/flow", "model.prior_sees=blind"],
            {AffineCoupling: True, Split: False, GaussianPrior: True},
        ),
        (
            ["model.kind=ablations/flow", "model.couplings_see_x=false"],
            {AffineCoupling: False, Split: True, GaussianPrior: True},
        ),
    ],
    ids=["paper", "blind", "couplings"],
)
def test_each_form_sees_x_where_it_should(overrides, see_x):
    model, x = built(*overrides)
    for kind, sees in see_x.items():
        for one, other in zip(answers(model, x, kind), answers(model, 255 - x, kind), strict=True):
            assert torch.equal(one, other) != sees


def test_a_fixed_prior_is_standard_normal_at_every_level():
    model, _ = built("model.kind=ablations/flow", "model.prior_sees=fixed")
    assert [layer.net for layer in of_kind(model, (Split, GaussianPrior))] == [None] * 3


def test_a_clipped_network_answers_no_more_than_at_the_edge():
    torch.manual_seed(0)
    net = randomise(CouplingNet(2, 0, 4, 8, clip=3.0))
    y_a = torch.randn(1, 2, 4, 4)
    assert torch.equal(net(1e6 * y_a, None), net(3 * y_a.sign(), None))
    inside = y_a.clamp(-3, 3)
    net.clip = None
    plain = net(inside, None)
    net.clip = 3.0
    assert torch.equal(net(inside, None), plain)


def test_clipped_features_stay_inside():
    torch.manual_seed(0)
    features = randomise(ResidualFeatures(1, 8, 1, clip=0.25))
    x = 255 * torch.rand(1, 3, 8, 8)
    assert features(x)[1].abs().max() == 0.25


def test_a_last_prior_that_learns_alone_at_first_does_so_for_as_many_steps_as_it_is_told():
    overrides = ["model.kind=last_prior/flow", "model.alone=2"]
    torch.manual_seed(0)
    flow = randomise(build(load_config("vessels-flow-smoke", overrides))).train()
    y, x = torch.randint(2, (1, 1, 16, 16)).float(), 255 * torch.rand(1, 3, 16, 16)
    learned = []
    for _ in range(4):
        flow.zero_grad()
        flow.loss(y, x)[0].backward()
        parts = flow.layers[-1], flow.layers[:-1]
        learned.append([any(p.grad is not None for p in part.parameters()) for part in parts])
    assert learned == [[True, False]] * 2 + [[True, True]] * 2
