"""The world whose drawings are counted: its probabilities, and that no model scores below them."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from book import my_flow_solution
from cnf.lessons import TinyFlow, all_strokes, train_tiny
from cnf.lessons.world import painted

NAMES = vars(my_flow_solution)
WORLD = all_strokes()


def bits(model, draws: int = 8) -> float:
    """The mean over all drawings and some draws of noise, in bits per pixel."""
    with torch.no_grad():
        return WORLD.bits(sum(model.log_prob(WORLD.y, WORLD.x) for _ in range(draws)) / draws)


def test_probabilities_sum_to_one_for_every_x():
    for kind in torch.unique(WORLD.x, dim=0):
        same = (WORLD.x == kind).flatten(1).all(1)
        assert WORLD.p_given_x[same].sum().item() == pytest.approx(1, abs=1e-12)
    assert WORLD.p.sum().item() == pytest.approx(1, abs=1e-12)


def test_probabilities_are_those_of_curves_that_are_drawn():
    torch.manual_seed(0)
    a, b, c = torch.randint(4, (3, 20_000, 1, 2)).double().unbind()
    drawn = painted(a, b, c, 4, 0.75).flatten(1).float()
    codes = 2.0 ** torch.arange(16, dtype=torch.float64)
    counts = torch.bincount((drawn.double() @ codes).long(), minlength=2**16)
    share = counts[(WORLD.y.flatten(1).double() @ codes).long()] / 20_000
    assert share.sum() == 1  # no drawing is missing
    error = (WORLD.p * (1 - WORLD.p) / 20_000).sqrt()
    assert ((share - WORLD.p).abs() < 6 * error).all()


def test_the_best_model_of_independent_pixels_is_worse_than_the_truth():
    assert 0 < WORLD.truth < WORLD.per_pixel < 1


@pytest.mark.parametrize("steps", [0, 2])
def test_no_flow_scores_below_the_truth(steps):
    torch.manual_seed(0)
    model = TinyFlow(NAMES, steps)
    list(train_tiny(model, WORLD, 6, batch=64))
    assert bits(model) > WORLD.truth
    drawn = model.sample(WORLD.x[:9])
    assert drawn.shape == (9, 1, 4, 4) and ((drawn == 0) | (drawn == 1)).all()


class CountedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.right = my_flow_solution.BinaryDequantization()

    def forward(self, y, h):
        v, term = self.right(y, h)
        return v, 2 * term


def test_a_flow_with_a_wrong_term_scores_below_the_truth():
    model = TinyFlow(NAMES | {"BinaryDequantization": CountedTwice}, 1)
    assert bits(model) < WORLD.truth


def test_the_curve_of_the_page_falls_and_stays_above_the_truth():
    path = Path(my_flow_solution.__file__).with_name("so_far.json")
    found = list(json.loads(path.read_text())["tiny"].values())
    assert found == sorted(found, reverse=True) and WORLD.truth < found[-1]
