"""Flows of vectors in one line, and every model as a distribution of PyTorch."""

import math
import subprocess
import sys

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal

import cnf
from cnf.errors import ConfigError, DataError
from cnf.layers import ActNorm
from cnf.testing import check_flow
from tests.laws.cases import randomise

CASES = [
    {"features": 2, "context": 3},
    {"features": 2, "context": 3, "kind": "coupling", "steps": 2},
    {"features": 3, "kind": "coupling"},
    {"features": 2},
    {"features": 1, "context": 2, "steps": 2},
    {"features": 5, "context": 1, "bins": 4, "bound": 2.0},
]


def flow_of(case: dict, seed: int = 0) -> cnf.ConditionalFlow:
    torch.manual_seed(seed)
    return randomise(cnf.vector_flow(**{"width": 8} | case), seed, scale=0.3)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_laws_of_flows_hold(case):
    context = case.get("context", 0)
    report = check_flow(
        lambda: cnf.vector_flow(**{"width": 8} | case),
        (case["features"],),
        (context,),
        known=() if context else ("context",),  # of no numbers
        scale=0.2,  # with more, densities have peaks between the points of the grid
    )
    report.assert_ok()
    assert {"integral", "samples"} <= {r.law for r in report.results if r.status == "passed"}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_flow_starts_as_its_norms_and_a_standard_normal(case):
    flow = cnf.vector_flow(**case).double()
    y = 3 + 2 * torch.randn(50, case["features"], dtype=torch.float64)
    x = torch.randn(50, case.get("context", 0), dtype=torch.float64)
    found = flow.train().log_prob(y, x)
    scaled = (y - y.mean(0)) / y.std(0, correction=0)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(scaled)
    expected = (normal - y.std(0, correction=0).log()).sum(1)
    torch.testing.assert_close(found, expected)
    assert all(layer.is_initialised for layer in flow.layers if isinstance(layer, ActNorm))


def test_a_flow_of_vectors_is_loaded_in_a_new_process(tmp_path):
    flow, x, y = flow_of(CASES[0]), torch.randn(3, 3), torch.randn(3, 2)
    flow.save(tmp_path / "mine.safetensors")
    assert torch.equal(cnf.load(tmp_path / "mine.safetensors").log_prob(y, x), flow.log_prob(y, x))
    code = f"import cnf; print(cnf.load({str(tmp_path / 'mine.safetensors')!r}).kind)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "vector-flow\n", done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "features = 0 does not fit: input should be greater than 0"),
        ({"features": 2.5}, "features = 2.5 does not fit"),
        ({"features": 2, "context": -1}, "context = -1 does not fit"),
        ({"features": 2, "kind": "maf"}, "kind = 'maf' does not fit: input should be 'autoreg"),
        ({"features": 1, "kind": "coupling"}, "one number has no other half, so choose kind = aut"),
        ({"features": 100}, "width = 64 with features = 100: .* give width = 100 or more"),
    ],
)
def test_what_does_not_fit_is_named_with_its_remedy(options, message):
    with pytest.raises(ConfigError, match=message):
        cnf.vector_flow(**options)


def test_a_flow_of_pictures_that_is_given_vectors_names_the_one_for_vectors():
    with pytest.raises(DataError, match=r"for vectors there is cnf\.vector_flow\(features, cont"):
        cnf.glow(2, 2).log_prob(torch.randn(4, 2), torch.randn(4, 2))
    with pytest.raises(DataError, match=r"context=2\)"):
        cnf.glow(2, 2).sample(torch.randn(4, 2))


# -- as a distribution -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (4,)])
def test_shapes_are_those_of_a_distribution_of_pytorch(batch):
    flow, x = flow_of(CASES[0]), torch.randn(*batch, 3)
    ours, theirs = flow.given(x), MultivariateNormal(torch.zeros(*batch, 2), torch.eye(2))
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    for shape in ((), (7,), (3, 5)):
        y = ours.sample(shape)
        assert y.shape == theirs.sample(shape).shape
        assert ours.log_prob(y).shape == theirs.log_prob(y).shape
    for drawn in ((2,), (1, 2), (4, 2), (6, 1, 2)):  # what broadcasts there does so here
        y = torch.randn(drawn)
        assert ours.log_prob(y).shape == theirs.log_prob(y).shape
    for wrong in (torch.randn(4, 3), torch.randn(())):
        for distribution in (ours, theirs):
            with pytest.raises(ValueError):
                distribution.log_prob(wrong)
    with pytest.raises(ValueError, match="nan"):
        ours.log_prob(torch.full((*batch, 2), torch.nan))


def test_densities_and_draws_are_those_of_the_model():
    flow, x, y = flow_of(CASES[0]).double(), torch.randn(4, 3).double(), torch.randn(5, 4, 2)
    given = flow.given(x)
    expected = torch.stack([flow.log_prob(one, x) for one in y.double()])
    torch.testing.assert_close(given.log_prob(y.double()), expected)
    torch.testing.assert_close(flow.given(x[1]).log_prob(y[:, 1].double()), expected[:, 1])
    drawn = given.sample((2, 3), torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        drawn.flatten(0, 1), flow.sample(x, 6, generator=torch.Generator().manual_seed(1))
    )
    assert not drawn.requires_grad and given.log_prob(y.double()).requires_grad


def test_wrappers_of_pytorch_take_it():
    given, y = flow_of(CASES[0]).given(torch.randn(4, 3)), torch.randn(4, 2)
    torch.testing.assert_close(Independent(given, 1).log_prob(y), given.log_prob(y).sum())
    mixture = MixtureSameFamily(Categorical(torch.ones(4)), given)
    y = y[0]
    torch.testing.assert_close(mixture.log_prob(y), given.log_prob(y).logsumexp(0) - math.log(4))


def test_a_flow_of_pictures_is_a_distribution_of_pictures():
    flow = cnf.glow(1, 2, levels=1, steps=2, width=8)
    given = flow.given(torch.randn(3, 2, 4, 6))
    assert (given.batch_shape, given.event_shape) == ((3,), (1, 4, 6))
    assert given.log_prob(given.sample((5,))).shape == (5, 3)
    assert flow.given(torch.randn(2, 4, 6)).sample().shape == (1, 4, 6)
