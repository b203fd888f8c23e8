"""A flow of one or two numbers is a density: it integrates to one, and its samples follow it."""

import pytest
import torch

from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import ActNorm, ConditionalAffine, Conv1x1, GaussianPrior
from cnf.testing import check_density
from tests.densities.toys import X, density, repeat
from tests.laws.cases import net, randomise

both_inputs = pytest.mark.parametrize("x", X.split(1), ids=["x0", "x1"])


@pytest.mark.equation("eq-change-nd", "eq-given-normalised")
@both_inputs
def test_a_flow_of_one_number_integrates_to_one(x):
    layers = [
        ActNorm(1),
        Conv1x1(1),
        ConditionalAffine(1, net(0, 1, 2)),
        GaussianPrior(1, net(0, 1, 2)),
    ]
    flow = randomise(ConditionalFlow(layers, RawFeatures(1)), scale=1.0).double()
    centre = flow.sample(x, 1, 0.0).item()
    reach = 2 * (flow.sample(x, 2000) - centre).abs().max().item()
    y = torch.linspace(centre - reach, centre + reach, 4001, dtype=torch.float64)
    p = flow.log_prob(y.view(-1, 1, 1, 1), repeat(x, len(y))).exp()
    # trapezoids on a smooth density are exact to rounding, but for 1e-11 beyond seven deviations
    assert torch.trapezoid(p, y).item() == pytest.approx(1, abs=1e-8)


@pytest.mark.equation("eq-change-nd")
@pytest.mark.parametrize(
    ("scale", "with_split"), [("bounded", False), ("bounded", True), ("softplus", False)]
)
@pytest.mark.parametrize("size", [(1, 1), ()], ids=["picture", "vector"])
def test_a_flow_of_two_numbers_integrates_to_one_and_its_samples_follow_it(scale, with_split, size):
    flow = density(2, 1.0, scale, with_split, size=size)
    report = check_density(flow.log_prob, (2, *size), (1, *size), lambda n, x: flow.sample(x, n))
    report.assert_ok()
    assert report["integral"].status == report["samples"].status == "passed"
