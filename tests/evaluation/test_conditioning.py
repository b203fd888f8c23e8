"""Which layers of a flow answer to x."""

import pytest
import torch

from cnf.layers import AffineCoupling
from cnf.replication import releases
from cnf.replication.cards import conditioning
from cnf.replication.config import build, load_config
from cnf.replication.results.rows import RESULTS


def randomised(name: str):
    torch.manual_seed(0)
    flow = build(load_config(f"{name}-flow-smoke")).eval()
    for parameter in flow.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("name", ["sr", "vessels"])
def test_a_dead_network_is_found_and_named(name):
    flow = randomised(name)
    assert conditioning.sentence(flow) == ""
    assert sum(map(conditioning.is_conditional, flow.layers)) > 2
    flow.layers[-1].net.last.weight.data.zero_()  # mu and sigma are then those of the bias
    assert conditioning.sentence(flow) == "the last prior"
    place = next(n for n, layer in enumerate(flow.layers) if isinstance(layer, AffineCoupling))
    flow.layers[place].net.from_h.weight.data.zero_()
    assert conditioning.sentence(flow) == f"the layer `layers[{place}]` and the last prior"


def test_a_dead_autoregressive_prior_is_found():
    torch.manual_seed(0)
    changes = ["kind=autoregressive-flow", "levels=1", "steps=1", "ar_width=8", "ar_blocks=1"]
    flow = build(load_config("vessels-flow-smoke", [f"model.{change}" for change in changes]))
    for parameter in flow.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    assert conditioning.sentence(flow.eval()) == ""
    net = flow.layers[-1].net
    for part in (net, *net.blocks):
        part.from_h.weight.data.zero_()
        if part.from_h.bias is not None:
            part.from_h.bias.data.zero_()
    assert conditioning.sentence(flow) == "the last prior"


def test_the_cards_of_the_first_vessel_flows_say_that_their_last_prior_is_dead():
    for run in ("vessels-flow-cpu-s0", "vessels-flow-lambda0-s0"):
        flow = releases.load(RESULTS / run / releases.WEIGHTS)
        assert conditioning.sentence(flow) == "the last prior"
        assert "to the last prior, every x is the same" in (RESULTS / run / "card.md").read_text()
