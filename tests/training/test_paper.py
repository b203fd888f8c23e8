"""The presets of the paper's size: the released sizes, and that they train, stop and go on."""

from collections import Counter

import pytest
import torch
from torch import nn

from cnf import weights
from cnf.layers import GaussianPrior, Split
from cnf.replication import training
from cnf.replication.config import build, load_config

BOTH = pytest.mark.parametrize("kind", ["flow", "baseline"])
# three conv3x3 of 128 to 128 channels, of which the released network never uses the output
NEVER_TRAINED = 3 * (128 * 128 * 9 + 128)


def empty(kind: str) -> nn.Module:
    """The model, without memory for its weights."""
    with torch.device("meta"):
        return build(load_config(f"sr-{kind}-paper"))


def millions(count: int) -> float:
    return round(count / 1e6, 2)


def test_the_paper_flow_has_the_released_number_of_weights_in_every_part():
    model = empty("flow")
    count = weights.count_parameters
    priors = [layer for layer in model.layers if isinstance(layer, Split | GaussianPrior)]
    steps = [layer for layer in model.layers if not isinstance(layer, Split | GaussianPrior)]
    down = count(model.features.down)
    # as counted in the released code, in millions, to two digits
    assert millions(count(model.features) - down + NEVER_TRAINED) == 24.64
    assert millions(sum(map(count, steps))) == 15.65
    assert millions(down) == 0.13
    assert millions(sum(map(count, priors))) == 0.07
    assert millions(NEVER_TRAINED) == 0.44
    assert millions(count(model) + NEVER_TRAINED) == 40.49
    assert count(model) == 40_045_568


def test_the_paper_baseline_has_the_released_number_of_weights():
    count = weights.count_parameters(empty("baseline"))
    assert millions(count + NEVER_TRAINED) == 40.01
    assert count == 39_571_464


def test_the_paper_flow_is_the_released_list_of_layers():
    step = ["ActNorm", "Conv1x1", "AffineCoupling"]
    layers = list(empty("flow").layers)
    assert [type(layer).__name__ for layer in layers] == [
        *("UniformDequantization", "Squeeze", *8 * step, "Split"),
        *("Squeeze", *8 * step, "GaussianPrior"),
    ]
    assert [layers[place].num_a for place in (4, 30)] == [6, 12]  # of 12 and of 24 channels
    assert (layers[26].num_kept, layers[-1].channels) == (6, 24)
    couplings = [layer for layer in layers if type(layer).__name__ == "AffineCoupling"]
    assert Counter((c.scale, c.flip, c.net.middle.in_channels) for c in couplings) == {
        ("softplus", False, 512): 16
    }
    assert all(layer.scale == "softplus" for layer in (layers[26], layers[-1]))


@BOTH
def test_the_paper_presets_have_the_released_schedule(kind):
    options = load_config(f"sr-{kind}-paper").training
    assert (options.batch_size, options.steps, options.validate_every) == (128, 200_000, 800)
    assert (options.lr, options.optimizer, options.weight_decay) == (2e-4, "amsgrad", 0)
    assert (options.schedule, options.warmup) == ("halving", 0)
    assert (options.clip_norm, options.ema) == (None, 0)


def test_a_paper_run_trains_every_weight_and_goes_on_bit_for_bit(tmp_path, same):
    """At full width, two of each of its equal parts, and two pictures of 8x8 a step."""
    fewer = ["model.features.blocks=2", "model.steps=2"]
    fewer += ["training.batch_size=2", "training.steps=3"]
    config = load_config("sr-flow-paper", fewer)
    run = training.Run.build(config, seed=0, device="cpu")
    training.start_run(run, tmp_path)
    first = training.update(run)
    training.checkpoints.save(run, tmp_path / "last.pt")
    losses = [training.update(run), training.update(run)]
    again = training.Run.build(config, seed=1, device="cpu")  # other weights: load replaces them
    again.seed = 0
    training.checkpoints.load(again, tmp_path / "last.pt")
    assert (again.step, again.steps) == (1, 3)
    assert [training.update(again), training.update(again)] == losses
    assert first not in losses
    for ours, theirs in ((again.model, run.model), (again.average, run.average)):
        assert same(ours.state_dict(), theirs.state_dict())
    assert same(again.optimizer.state_dict(), run.optimizer.state_dict())
    for name, p in run.model.named_parameters():
        moments = run.optimizer.state[p]
        assert moments["max_exp_avg_sq"].max() > 0, f"{name} has never had a gradient"
