"""Controls: exact probabilities, samples that follow them, fits that find what is there."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import sklearn.mixture
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn import functional as F

from cnf import noise
from cnf.replication import data, plugs, run_folder, training
from cnf.replication.config import load_config
from cnf.replication.evaluation import evaluate
from cnf.replication.releases import load
from cnf.replication.scored.model import log_prob_inside

controls, mixtures = plugs.plug("controls"), plugs.plug("gaussian_mixtures")
Counts, neighbours = controls.Counts, controls.neighbours
Mixture, MixturePrior = mixtures.Mixture, mixtures.MixturePrior
RUNS = {
    "sr": "experiments/gaussian_mixtures/runs/smoke.yml",
    "vessels": "experiments/controls/runs/smoke.yml",
}
X = torch.zeros(1, 3, 3, 4)


def counts_of(n: int = 6, seed: int = 0) -> Counts:
    model = Counts(n).double()
    generator = torch.Generator().manual_seed(seed)
    model.table.copy_(torch.randn(model.table.shape, generator=generator, dtype=torch.float64))
    return model


def test_probabilities_of_all_masks_sum_to_one():
    y = torch.tensor(list(itertools.product((0.0, 1.0), repeat=12))).double().view(-1, 1, 3, 4)
    log_p = counts_of().log_prob(y, X.expand(len(y), -1, -1, -1))
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_labels_outside_a_picture_count_for_nothing():
    model, y = counts_of(), torch.ones(1, 1, 2, 3).double()
    h = model.condition(X)
    inside = log_prob_inside(model, F.pad(y, (0, 1, 0, 1)), h, (2, 3), None)
    alone = model.log_prob(y, X[..., :2, :3])
    torch.testing.assert_close(inside, alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_fronts_draw_what_one_pixel_after_the_other_gives(temperature):
    model, x = counts_of(20), torch.zeros(2, 3, 17, 15)
    drawn = model.sample(x, 1, temperature, noise.keyed(0, [0, 1]))[0]
    eps = noise.logistic((2, 1, 17, 15), noise.keyed(0, [0, 1]), model.table)
    y, h = torch.zeros(2, 1, 17, 15).double(), model.condition(x)[0]
    for i, j in itertools.product(range(17), range(15)):
        logit = model.table[model.contexts(y, h)[..., i, j]]
        y[..., i, j] = (logit + temperature * eps[..., i, j] > 0).double()
    assert torch.equal(drawn, y)


def chain(seed: int, height: int = 40, width: int = 60) -> Tensor:
    """Rows in which a label repeats the one on its left with probability 0.9."""
    flips = np.random.default_rng(seed).random((height, width)) < 0.1
    flips[:, 0] = False  # outside of the picture labels count as 0
    return torch.from_numpy(flips.cumsum(1) % 2).float()[None, None]


def test_counts_find_a_chain_and_shorter_contexts_steady_the_longer_ones():
    model = Counts(8)
    model.fit([(chain(seed), torch.zeros(1, 3, 40, 60)) for seed in range(6)])
    bits = np.mean([model.bits_per_dim(chain(s), torch.zeros(1, 3, 40, 60)).item() for s in (7, 8)])
    entropy = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)) * 59 / 60  # the first column is known
    # 4,800 labels leave a standard error of 0.014; smoothing leaves the 256 contexts little excess
    assert entropy - 0.04 < bits < entropy + 0.06
    left = model.table.view(2, 128)  # by the label on the left, the nearest
    assert left[0].mean() < -1 and left[1].mean() > 1


def test_strengths_are_chosen_on_photographs_that_were_not_counted():
    """Of labels without any order a photograph tells nothing of another one: only who predicts
    the one that was counted finds that its own contexts do."""
    rng, x = np.random.default_rng(0), torch.zeros(1, 3, 16, 16)
    y = torch.from_numpy(rng.integers(0, 2, (5, 1, 1, 16, 16))).float()
    model = Counts(8)
    model.fit([(some, x) for some in y[:3]])
    # 768 labels in 256 contexts: their frequencies would cost 1.4 bits, one half costs 1
    assert np.mean([model.bits_per_dim(some, x).item() for some in y[3:]]) < 1.05


def test_a_small_photograph_counts_as_much_as_a_large_one():
    """One of a single vessel pixel, as likely as not, and one of nine that were likelier."""
    log_p = [np.log(np.full((2, n), p)) for n, p in ((1, 0.5), (9, 0.8))]
    found = controls.mean_log_p(log_p, [np.ones(1), np.ones(9)])
    assert found == pytest.approx((np.log(0.5) + np.log(0.8)) / 2)


def test_a_bin_of_the_logit_is_part_of_the_context():
    """With the label itself as the logit nothing is left to say."""
    model = Counts(2, None)
    model.marginal = torch.nn.Module()
    model.marginal.condition = lambda x: [20 * x[:, :1] - 10]
    model.marginal.load_state_dict = lambda state: None
    model.baseline = "vessels-baseline"
    model.table = torch.nn.Parameter(torch.zeros(15 * 4), requires_grad=False)
    y = chain(0)
    model.fit([(y, y.expand(-1, 3, -1, -1)), (chain(1), chain(1).expand(-1, 3, -1, -1))])
    assert model.bits_per_dim(y, y.expand(-1, 3, -1, -1)).item() < 0.01


def test_a_mixture_scores_as_scikit_learn_does():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 3)) @ rng.normal(size=(3, 3)) + rng.integers(0, 2, (500, 1)) * 4
    fitted = GaussianMixture(2, random_state=0).fit(rows)
    prior = prior_of(fitted)
    y = torch.from_numpy(rows[:12]).view(2, 2, 3, 3).movedim(-1, 1)  # two pictures of 2x3
    expected = fitted.score_samples(rows[:12]).reshape(2, 6).sum(1)
    np.testing.assert_allclose(prior(y)[1], expected, rtol=1e-10)


def prior_of(fitted: GaussianMixture) -> MixturePrior:
    prior = MixturePrior(fitted.means_.shape[1], len(fitted.means_)).double()
    prior.log_w.copy_(torch.from_numpy(np.log(fitted.weights_)))
    prior.mean.copy_(torch.from_numpy(fitted.means_))
    prior.root.copy_(torch.from_numpy(np.linalg.cholesky(fitted.covariances_)))
    return prior


def test_a_mixture_is_fitted_to_the_bands_of_every_position(monkeypatch):
    rows, root = [], np.tril(np.random.default_rng(0).random((2, 12, 12))) + np.eye(12)

    class Fixed:
        weights_, means_ = np.array([0.2, 0.8]), np.arange(24.0).reshape(2, 12)
        covariances_ = root @ root.swapaxes(1, 2)
        fit = staticmethod(rows.append)

    monkeypatch.setattr(sklearn.mixture, "GaussianMixture", lambda *_, **__: Fixed)
    model, x = Mixture(2).double(), 255 * torch.rand(2, 1, 3, 4, 6).double()
    y = torch.randint(256, (2, 1, 3, 8, 12)).double()
    model.fit(list(zip(y, x, strict=True)), seed=5)
    z = model.encode(y[:, 0], model.condition(x[:, 0]), noise.keyed(5, [0, 1]))[0][0]
    expected = z.movedim(1, -1).reshape(-1, 12).numpy()
    np.testing.assert_allclose(np.sort(rows[0], 0), np.sort(expected, 0), atol=1e-9)
    prior = model.layers[-1]
    found = prior.log_w.exp(), prior.mean, prior.root
    for part, wanted in zip(found, (Fixed.weights_, Fixed.means_, root), strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-6)


def test_samples_of_a_mixture_have_its_moments():
    prior = MixturePrior(2, 2).double()
    prior.log_w.copy_(torch.tensor([0.25, 0.75]).log())
    prior.mean.copy_(torch.tensor([[-2.0, 0.0], [2.0, 1.0]]))
    prior.root[1] = torch.tensor([[0.5, 0.0], [0.4, 0.3]])
    z = prior.sample(None, torch.zeros(1, 0, 100, 100), 1.0, torch.Generator().manual_seed(0))
    got, n = z.movedim(1, -1).reshape(-1, 2), 10_000
    mean = torch.tensor([1.0, 0.75]).double()
    inside = 0.25 * torch.eye(2) + 0.75 * prior.root[1] @ prior.root[1].T
    d = prior.mean - mean
    covariance = inside + torch.einsum("k,kc,kd->cd", prior.log_w.exp(), d, d)
    assert ((got.mean(0) - mean).abs() < 4 * covariance.diagonal().sqrt() / n**0.5).all()
    # a product of two entries deviates by no more than 6 here: 4 standard errors are 0.24
    torch.testing.assert_close(got.T.cov(), covariance, rtol=0, atol=0.24)
    cold = prior.sample(None, torch.zeros(1, 0, 5, 5), 0.0, torch.Generator().manual_seed(0))
    assert set(map(tuple, cold.movedim(1, -1).reshape(-1, 2).tolist())) <= {(-2, 0), (2, 1)}


def test_the_neighbours_are_the_nearest_and_within_reach():
    found = neighbours(24)
    assert found[:4] == [(0, -1), (-1, 0), (-1, -1), (-1, 1)] and len(set(found)) == 24
    farthest = max(i * i + j * j for i, j in found)
    wide = [(i, j) for i in range(-9, 1) for j in range(-9, 10) if (i, j) < (0, 0)]
    assert {(i, j) for i, j in wide if i * i + j * j < farthest} <= set(found)
    assert set(neighbours(40)) == {(i, j) for i, j in wide if i >= -4 and abs(j) <= 4}


def few(name, split):
    """Forty pictures of a set at most, the same for training and validation."""
    images = data.load(name, "valid")
    some = [images[place] for place in range(min(40, len(images)))]
    return replace(images, split=split, examples=some)


@pytest.mark.parametrize("task", RUNS)
def test_train_fits_a_control_in_one_step_and_its_run_is_like_any_other(
    task, tmp_path, monkeypatch
):
    monkeypatch.setattr(training.run, "load", few)
    out = training.train(load_config(RUNS[task]), tmp_path / "run")
    record = run_folder.read_record(out)
    assert record["steps"] == 1 and f"train {RUNS[task]}" in record["commands"][0]
    (line,) = run_folder.read_history(out)
    run = training.Run.build(load_config(RUNS[task]), 0, "cpu")
    indices = list(range(line["valid_images"]))
    run.average.load_state_dict(load(out).state_dict())
    each = [training.validation.bits_per_dim(run, [i])[0] for i in indices]
    assert line["valid_bits_per_dim"] == pytest.approx(np.mean(each), rel=1e-5)
    assert all(0 < line[of] < 8 for of in ("bits_per_dim", "valid_bits_per_dim"))
    rows = evaluate.evaluate(out, limit=2, samples=0)
    bits = [row for row in rows if row.metric.startswith("bits_per")]
    says = {"sr": "uniform dequantization", "vessels": "exact"}[task]
    assert bits and {row.bound for row in bits} == {says}
