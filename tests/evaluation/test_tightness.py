"""The bound by number of draws: models whose log P is known exactly."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from cnf import noise
from cnf.errors import DataError
from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import BinaryDequantization, GaussianPrior
from cnf.layers.base import Bijection
from cnf.replication import plugs, releases, run_folder
from cnf.replication.data import load
from cnf.replication.data.examples import ImageSet
from cnf.replication.data.known import ThresholdedField
from cnf.replication.results.rows import RESULTS

crops, tightness = (plugs.module("label_dequantization", name) for name in ("crops", "tightness"))

FIELD = ThresholdedField()  # 2x2, neighbours correlated by 0.8
X = FIELD.inputs[:1]


class Whiten(Bijection):
    """v ~ N(m(x), S) of the field to z ~ N(0, I): the flow whose P(y|x) is the field's own."""

    def __init__(self):
        super().__init__()
        root = torch.linalg.cholesky(torch.from_numpy(FIELD.covariance))
        self.root = nn.Parameter(root, requires_grad=False)

    def forward(self, y, h=None):
        centred = (y - 0.7 * h - 0.5).flatten(1).T
        z = torch.linalg.solve_triangular(self.root, centred, upper=False).T
        return z.view_as(y), -self.root.diagonal().log().sum().expand(len(y))

    def inverse(self, z, h=None):
        v = (self.root @ z.flatten(1).T).T.view_as(z) + 0.7 * h + 0.5
        return v, self.root.diagonal().log().sum().expand(len(z))


def probit(kind="logistic"):
    layers = [BinaryDequantization(noise=kind), Whiten(), GaussianPrior(1)]
    return ConditionalFlow(layers, RawFeatures(1)).double().eval()


def every_y():
    return torch.from_numpy(FIELD.values).view(-1, *FIELD.shape).double()


def exact():
    return np.log(FIELD.table[0])


def seeded(seed=5):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def log_w():
    y = every_y()
    return tightness.log_weights(probit(), y, X.expand(len(y), -1, -1, -1), 16384, seeded())


def test_weights_average_to_the_exact_probability(log_w):
    """E[w] = P(y|x), without a logarithm: no bias at any number of draws."""
    w = np.exp(log_w)
    error = w.std(1) / math.sqrt(w.shape[1])
    assert (np.abs(w.mean(1) - FIELD.table[0]) < 4 * error).all()
    assert abs(w.mean(1).sum() - 1) < 4 * math.sqrt(np.square(error).sum())


@pytest.mark.equation("eq-bits-iw", "eq-deq-rate")
def test_the_curve_rises_to_the_exact_value(log_w):
    sizes = (1, 4, 16, 64, 256, 1024, 16384)
    found = tightness.curve(log_w, 4, sizes)
    truth = -exact().mean() / (4 * math.log(2))
    assert (np.diff(found.bits) < 0).all()
    assert found.bits[0] - truth > 0.05
    # what is left after M draws is Var(w) / (2 M P^2): below 0.002 bits for the last two
    assert np.abs(found.bits[-2:] - truth).max() < 0.004
    np.testing.assert_allclose(found.gains, found.bits[0] - found.bits, atol=1e-12)
    assert found.gains[0] == 0 and found.gain_errors[0] == pytest.approx(0, abs=1e-12)
    gain = (log_w.mean(1) - logsumexp(log_w, axis=1) + math.log(16384)) / math.log(16)
    assert found.gain_errors[-1] == pytest.approx(gain.std(ddof=1) / 4, rel=1e-9)


def test_each_point_is_the_mean_over_disjoint_groups(log_w):
    part = log_w[:5, :100]
    found = tightness.curve(part, 7, (1, 30))
    groups = [logsumexp(part[:, k : k + 30], axis=1) - math.log(30) for k in (0, 30, 60)]
    by_hand = -np.mean(groups, 0) / (7 * math.log(2))
    assert found.bits[1] == pytest.approx(by_hand.mean(), rel=1e-12)
    assert found.errors[1] == pytest.approx(by_hand.std(ddof=1) / math.sqrt(5), rel=1e-9)
    assert found.bits[0] == pytest.approx(-part.mean() / (7 * math.log(2)), rel=1e-12)
    squares = ((part - part.mean(1, keepdims=True)) ** 2).sum(1)
    assert found.spread == pytest.approx(np.sqrt(squares / 99).mean(), rel=1e-9)


def test_agrees_with_the_model_s_own_bound():
    model, y = probit(), every_y()
    x = X.expand(len(y), -1, -1, -1)
    keyed = [noise.keyed(0, range(len(y))) for _ in range(2)]
    found = tightness.m_curve(model, y, x, (8,), keyed[0])
    expected = model.importance_log_prob(y, x, 8, keyed[1])
    assert found.bits[0] == pytest.approx(-expected.mean().item() / (4 * math.log(2)), rel=1e-9)


def test_parts_of_a_pass_change_nothing(monkeypatch):
    model, y = probit(), every_y()
    x = X.expand(len(y), -1, -1, -1)
    whole = tightness.log_weights(model, y, x, 7, noise.keyed(0, range(16)))
    monkeypatch.setattr(tightness, "ENTRIES", 3 * y.numel())
    parts = tightness.log_weights(model, y, x, 7, noise.keyed(0, range(16)))
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_gaussian_noise_leaves_heavier_weights():
    """At the threshold p > 0 while normal q vanishes faster than any power: see the tail."""
    y = every_y()
    x, largest, effective = X.expand(len(y), -1, -1, -1), {}, {}
    for kind in ("logistic", "gaussian"):
        log_w = tightness.log_weights(probit(kind), y, x, 4096, seeded())
        largest[kind] = np.max(log_w - exact()[:, None])
        effective[kind] = tightness.effective(log_w).mean()
    assert largest["gaussian"] > largest["logistic"] + 1  # nats
    assert effective["gaussian"] < effective["logistic"]


def test_at_least_one_weight_is_drawn():
    with pytest.raises(ValueError, match="draws = 0"):
        tightness.log_weights(probit(), every_y()[:1], X, 0)


def test_draws_of_keyed_noise_go_on_in_one_stream_a_picture():
    model, y = probit(), every_y()[:3]
    x = X.expand(3, -1, -1, -1)
    found = tightness.log_weights(model, y, x, 4, noise.keyed(0, range(3)))
    assert len(np.unique(found)) == found.size
    keyed = noise.keyed(0, range(3))
    apart = [model.log_prob(y, x, keyed).detach().numpy() for _ in range(4)]
    np.testing.assert_allclose(found.T, apart, rtol=1e-12)


def test_effective_share_by_hand():
    assert tightness.effective(np.zeros((2, 8))) == pytest.approx([1, 1])
    one = np.array([0.0, -1e3, -1e3, -1e3])
    assert tightness.effective(one) == pytest.approx(1 / 4)
    w = np.array([1.0, 2.0, 3.0])
    assert tightness.effective(np.log(w) + 700) == pytest.approx(36 / (3 * 14))


@pytest.mark.equation("eq-connected-gain")
def test_normal_gain_lies_below_both_of_its_limits():
    # a small spread: one draw loses spread^2 / 2, M of them that over M
    assert tightness.normal_gain(0.3, 1000) == pytest.approx(0.045, abs=0.002)
    assert tightness.normal_gain(0.3, 1) == 0
    for spread in (3.0, 50.0):
        gain = tightness.normal_gain(spread, 64)
        assert gain < min(spread**2 / 2, spread * math.sqrt(2 * math.log(64)))
    # a large one: the largest of 64 is all, 2.35 deviations up, less log 64
    largest = np.random.default_rng(1).standard_normal((20000, 64)).max(1).mean()
    assert tightness.normal_gain(50.0, 64) == pytest.approx(50 * largest - math.log(64), rel=0.02)


def test_crops_lie_in_view_and_are_cut_from_both():
    images = load("embedded-vessels", "test")
    y, x = crops.crops(images, 10, 8, seed=1)
    assert y.shape == (10, 1, 8, 8) and x.shape == (10, 3, 8, 8)
    for k, (one_y, one_x) in enumerate(zip(y, x, strict=True)):
        example = images[k % len(images)]
        blocks = example.x.float().unfold(1, 8, 1).unfold(2, 8, 1)
        same = (blocks == one_x[:, None, None]).flatten(3).all(3).all(0)
        ((top, left),) = same.nonzero().tolist()
        assert example.fov[top : top + 8, left : left + 8].all()
        assert (example.y[:, top : top + 8, left : left + 8] == one_y).all()
    again = crops.crops(images, 10, 8, seed=1)
    assert torch.equal(y, again[0]) and not torch.equal(y, crops.crops(images, 10, 8, 2)[0])


def test_every_place_in_view_is_as_likely():
    fov = np.zeros((6, 7), bool)
    fov[1:5, 1:6] = True
    assert crops.corners(fov, 3).tolist() == [[r, c] for r in (1, 2) for c in (1, 2, 3)]


def test_a_view_without_room_is_named():
    example = load("embedded-vessels", "test")[0]
    images = ImageSet("one", "test", "labelled", [example], "a picture")
    with pytest.raises(DataError, match=f"200x200 .* '{example.name}'"):
        crops.crops(images, 1, 200)


def test_the_committed_curve_is_of_the_committed_weights_and_falls():
    kept = json.loads(crops.FILE.read_text())
    path = RESULTS / kept["run"] / releases.WEIGHTS
    assert kept["weights_sha256"] == run_folder.file_sha256(path)
    assert (np.diff(kept["bits"]) < 0).all() and kept["gains"][0] == 0
    found = crops.curve_of(releases.load(path), load("embedded-vessels", "test"), count=4)
    assert found["crops"] == 4 and found["bits"][-1] < found["bits"][0]
    assert found.keys() == kept.keys() - {"run", "weights_sha256", "data", "split", "data_sha256"}
