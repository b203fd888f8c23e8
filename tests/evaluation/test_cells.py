"""Leaning noise gives a flow's probabilities themselves, where they are known."""

import itertools

import pytest
import torch

from cnf.features import NoFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import ActNorm, BinaryDequantization, Conv1x1, GaussianPrior, UniformDequantization
from cnf.replication import plugs

cells = plugs.module("known_likelihoods", "cells")
leaning, leaning_log_prob = cells.leaning, cells.leaning_log_prob


def flow_of(*layers):
    torch.manual_seed(0)
    return ConditionalFlow([*layers, GaussianPrior(2)], NoFeatures()).double().eval()


def scaled(scale, bias):
    norm = ActNorm(2)
    norm.log_scale.data.fill_(scale).log_()
    norm.bias.data.fill_(bias)
    norm.initialised.fill_(True)
    return norm


EVERY = torch.tensor(list(itertools.product(range(4), repeat=2))).double().view(-1, 2, 1, 1)
X = torch.zeros(16, 1, 1, 1, dtype=torch.float64)


def test_independent_cells_have_the_probabilities_of_the_normal_distribution():
    """v ~ N(0.4, 1/4) in each channel: the ends of cells are k/4."""
    flow = flow_of(UniformDequantization(4), scaled(2.0, -0.4))
    found, spread = leaning_log_prob(flow, EVERY, X, 4000, torch.Generator().manual_seed(1))
    edges = torch.special.ndtr(2 * (torch.arange(5).double() / 4 - 0.4))
    cells = edges.diff().log()
    expected = cells[EVERY.long()].sum((1, 2, 3))
    # weights deviate by their spread: five standard errors of the mean of 4000
    assert ((found - expected).abs() < 5 * spread / 4000**0.5 + 1e-12).all()
    assert spread.max() < 0.1


def test_weights_vary_less_than_under_uniform_noise_and_mean_the_same():
    flow = flow_of(UniformDequantization(4), Conv1x1(2), scaled(6.0, -0.4))
    found, spread = leaning_log_prob(flow, EVERY, X, 500, torch.Generator().manual_seed(1))
    g = torch.Generator().manual_seed(2)
    terms = torch.stack([flow.log_prob(EVERY, X, g) for _ in range(500)])
    uniform = torch.logsumexp(terms, 0) - torch.log(torch.tensor(500.0))
    weights = (terms - terms.amax(0)).exp()
    error = weights.std(0) / weights.mean(0) / 500**0.5
    assert ((found - uniform).abs() < 5 * (error + spread / 500**0.5)).all()
    assert (spread < terms.std(0)).all() and spread.mean() < terms.std(0).mean() / 2


@pytest.mark.equation("eq-known-lean")
def test_leaning_noise_has_the_density_it_says():
    g = torch.tensor([-300.0, -3.0, -1e-9, 0.0, 1e-3, 2.0, 300.0], dtype=torch.float64)
    t = (torch.arange(20000, dtype=torch.float64)[:, None] + 0.5) / 20000
    u, log_q = leaning(g.expand(20000, -1), t)
    assert (u >= 0).all() and (u <= 1).all()
    # E[1/q] is the length of the interval, and E[u] has the closed form 1 / (1 - e^-g) - 1 / g
    for j in (1, 2, 3, 4, 5):
        # a midpoint sum of 20000 smooth terms
        assert (-log_q[:, j]).exp().mean().item() == pytest.approx(1, abs=1e-6)
    for j, gj in ((1, -3.0), (5, 2.0)):
        expected = 1 / -torch.expm1(torch.tensor(-gj, dtype=torch.float64)) - 1 / gj
        assert u[:, j].mean().item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_flow_with_other_noise_is_refused():
    flow = flow_of(BinaryDequantization(), scaled(1.0, 0.0))
    with pytest.raises(ValueError, match="BinaryDequantization is not uniform"):
        leaning_log_prob(flow, EVERY.clamp(max=1), X, 2)
