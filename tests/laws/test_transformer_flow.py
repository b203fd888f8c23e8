"""The flow of causal transformers: its laws, and what a token sees. Weights are moved at random."""

import pytest
import torch

from cnf import noise
from cnf.errors import ConfigError
from cnf.replication import plugs
from cnf.replication.cards.card import describe_model
from cnf.replication.config import build, load_config
from cnf.testing import check_bijection
from tests.laws.cases import randomise

CausalAttention = plugs.plug("transformer_flow").CausalAttention
SHAPE, CONTEXT = (1, 2, 5), (2, 2, 5)  # in windows of 2x3 and of 2x2, extended by a column


def attention(backward: bool) -> CausalAttention:
    return CausalAttention(1, 2, width=4, depth=1, window=3, backward=backward)


def test_the_laws_of_a_bijection_hold_across_windows_that_are_not_full():
    check_bijection(lambda: attention(True), SHAPE, CONTEXT).assert_ok()


@pytest.mark.parametrize("backward", [False, True])
def test_a_token_sees_no_later_token_and_no_other_window(backward):
    torch.manual_seed(0)
    layer = randomise(attention(backward)).double()
    y, h = (torch.randn(1, *shape, dtype=torch.float64) for shape in (SHAPE, CONTEXT))
    slope = torch.autograd.functional.jacobian(lambda y: layer(y, h)[0], y)[0, :, :, :, 0]
    seen = slope.abs().amax((0, 3)).flatten(2).flatten(0, 1) > 0  # z of a position, y of another
    positions = torch.arange(10).view(2, 5)
    for window in (positions[:, :3].flatten(), positions[:, 3:].flatten()):
        order = window.flip(0) if backward else window
        inside = seen[order][:, order]
        assert not inside.triu(1).any() and inside.diagonal().all() and inside[:, 0].all()
        assert inside.sum() == seen[order].sum()


@pytest.mark.parametrize("task", ["vessels", "sr"])
def test_the_flow_of_a_run_is_undone_and_uses_x(task):
    sets = ["windows=[2,1]", "width=4", "features.channels=4"]
    file = f"experiments/transformer_flow/runs/{task}.yml"
    config = load_config(file, [f"model.{s}" for s in sets])
    assert "experiments/transformer_flow" in describe_model(config)  # in its card
    model = randomise(build(config)).double()
    x = torch.randint(256, (2, 3, 12 // model.factor, 8 // model.factor)).double()
    y = torch.randint(2, (2, model.channels, 12, 8)).double()
    keyed = noise.keyed(0, [0, 1])
    assert model.reconstruction_error(y, x, keyed) < 1e-8
    assert (
        model.log_prob(y, x, noise.keyed(0, [0, 1])) != model.log_prob(y, x.flip(0), keyed)
    ).all()
    assert model.sample(x, 2).shape == (2, *y.shape)
    whole = noise.Window(keyed, (12, 8), (12, 8), 0, 0)
    with pytest.raises(ConfigError, match="cannot draw in tiles"):
        model.sample(x, 1, 1.0, whole)
