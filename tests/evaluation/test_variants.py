"""Variants of one model are densities, and are drawn as they are scored."""

import dataclasses
import itertools
import json
import math
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cnf import noise
from cnf.errors import ConfigError
from cnf.factorised import Bernoulli, DiscretisedLogistic
from cnf.layers.autoregressive import AutoregressivePrior
from cnf.replication import plugs
from cnf.replication.config import build, load_config
from cnf.replication.evaluation.evaluate import evaluate
from cnf.replication.metrics import Setting
from cnf.replication.metrics.masks import Masks
from cnf.replication.results.rows import read_rows
from cnf.replication.scored.model import ScoredModel, log_prob_inside
from cnf.replication.scored.options import Options
from cnf.replication.scored.variants import VARIANTS, variant, variant_of
from tests.evaluation.toys import eyes

Autoregressive = plugs.plug("exact_yardstick").Autoregressive
orientations, random_intercept = plugs.plug("orientations"), plugs.plug("random_intercept")
other_cameras = plugs.plug("other_cameras")
intercepts = plugs.module("random_intercept", "intercepts")
Sequential = plugs.plug("sequential_bound").Sequential
VIEWS, back, turned = orientations.VIEWS, orientations.back, orientations.turned
oriented, Mixture = orientations.oriented, random_intercept.Mixture
intercept, shifted = random_intercept.intercept, random_intercept.shifted
folds = random_intercept.folds
ORIENTED, INTERCEPT = "orientations/oriented", "random_intercept/intercept"


class Ramps(torch.nn.Conv2d):
    """Features that see a picture's orientation: a convolution with random weights."""

    channels = (4,)

    def __init__(self):
        super().__init__(3, 4, 3, padding=1)


def made(kind):
    """A model in float64 that takes a turned picture for another one."""
    torch.manual_seed(3)
    model = kind(Ramps()).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(False)


def pair(kind, side=4):
    rng = torch.Generator().manual_seed(1)
    channels, top = (3, 256) if kind is DiscretisedLogistic else (1, 2)
    y = torch.randint(0, top, (2, channels, side, side + 2), generator=rng)
    return y.double(), torch.randn(2, 3, side, side + 2, generator=rng, dtype=torch.float64)


# every mask of 2x4
MASKS = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8))).double().reshape(-1, 1, 2, 4)
KINDS = (Bernoulli, DiscretisedLogistic, Autoregressive)


def test_eight_views_differ_and_come_back():
    t = torch.arange(6).reshape(1, 2, 3)
    seen = [turned(t, view) for view in VIEWS]
    assert len({str(s.tolist()) for s in seen}) == 8
    assert all(torch.equal(back(s, view), t) for s, view in zip(seen, VIEWS, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_turned_picture_is_as_likely(kind):
    model, (y, x) = made(kind), pair(kind)
    expected = oriented(model).log_prob(y, x)
    for view in VIEWS[1:]:
        seen = turned(y, view), turned(x, view)
        torch.testing.assert_close(oriented(model).log_prob(*seen), expected, rtol=1e-12, atol=0)
        assert not torch.allclose(model.log_prob(*seen), model.log_prob(y, x), rtol=1e-3)


@pytest.mark.parametrize("kind", [Bernoulli, Autoregressive])
def test_probabilities_of_all_masks_sum_to_one(kind):
    x = pair(kind, side=2)[1][:1]
    log_p = oriented(made(kind)).log_prob(MASKS, x.expand(256, -1, -1, -1))
    assert log_p.logsumexp(0).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_those_of_the_density(kind):
    model, n = oriented(made(kind)), 4000
    x = pair(kind, side=2)[1][:1]
    found = model.sample(x, n, generator=torch.Generator().manual_seed(5))[:, 0]
    if kind is Autoregressive:
        p = model.log_prob(MASKS, x.expand(256, -1, -1, -1)).exp()
        expected = (p[:, None, None, None] * MASKS).sum(0)
    else:
        expected = model.mean(x)[0]
    error = (found.var(0) / n).sqrt()
    # five errors: one of 40 entries is beyond them once in 40,000 runs; the seed is fixed
    assert (error > 0).all() and ((found.mean(0) - expected).abs() < 5 * error).all()


def test_entries_of_a_factorised_model_of_eight_views_are_drawn_independently():
    x, n = 4 * pair(Bernoulli, side=2)[1][:1], 4000
    model = oriented(made(Bernoulli))
    views = torch.stack([view.mean(x).flatten() for view in model.models])
    y = model.sample(x, n, generator=torch.Generator().manual_seed(5)).reshape(n, -1)
    apart = ~torch.eye(8, dtype=bool)
    # five standard errors; with one view for all entries they covary as the views' means do
    assert y.T.cov()[apart].abs().max() < 5 * 0.25 / n**0.5
    assert views.T.cov(correction=0)[apart].abs().max() > 10 * 0.25 / n**0.5


@pytest.mark.parametrize("kind", KINDS)
def test_keyed_samples_are_the_same_alone_and_together(kind):
    model, (_, x) = oriented(made(kind)), pair(kind)
    many = model.sample(x, 3, generator=noise.keyed(0, range(2)))
    few = model.sample(x[1:], 2, generator=noise.keyed(0, [1]))
    assert torch.equal(many[:2, 1:], few)
    each = torch.stack(list(model.samples(x, 3, generator=noise.keyed(0, range(2)))))
    assert torch.equal(each, many)


@pytest.mark.equation("eq-controls-oriented")
@pytest.mark.parametrize("kind", KINDS)
def test_as_likely_as_the_mean_of_views_or_more(kind):
    model, (y, x) = made(kind), pair(kind)
    views = torch.stack([model.log_prob(turned(y, v), turned(x, v)) for v in VIEWS])
    assert (oriented(model).log_prob(y, x) > views.mean(0)).all()  # Jensen; views differ
    if kind is Autoregressive:
        expected = views.logsumexp(0) - math.log(8)
    else:  # entry by entry
        each = [back(model.entries(turned(y, v), model.condition(turned(x, v))), v) for v in VIEWS]
        expected = (torch.stack(each).logsumexp(0) - math.log(8)).sum((1, 2, 3))
    torch.testing.assert_close(oriented(model).log_prob(y, x), expected, rtol=1e-12, atol=0)


def test_a_flow_of_eight_views_is_a_bound_by_its_weights(loaded):
    model, _ = loaded("vessels-flow")
    images = eyes()
    m = ScoredModel(model, images, Options(limit=1, variant=ORIENTED))
    assert isinstance(m.model, Mixture) and not m.model.exact
    y, x = next(iter(m.batches("")))[1:3]
    keyed = noise.keyed(0, [0])
    with torch.no_grad():
        terms = [model.log_prob(turned(y, v), turned(x, v), keyed) for v in VIEWS]
    expected = torch.stack(terms).logsumexp(0) - math.log(8)
    np.testing.assert_allclose(m.log_probs(), expected, rtol=1e-6)  # float32


# -- a random intercept ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Bernoulli, Autoregressive])
def test_an_intercept_is_added_to_every_logit(kind):
    model, (_, x) = made(kind), pair(kind)
    if kind is Bernoulli:
        found, expected = shifted(model, 0.7).logit(x), model.logit(x) + 0.7
    else:  # log-odds of the first label: of masks that differ in it, summed over all others
        x, first = x[:1, :, :2, :4].expand(256, -1, -1, -1), MASKS[:, 0, 0, 0] > 0
        log_p = torch.stack([m.log_prob(MASKS, x) for m in (model, shifted(model, 0.7))])
        odds = log_p[:, first].logsumexp(1) - log_p[:, ~first].logsumexp(1)
        found, expected = odds[1], odds[0] + 0.7
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_an_intercept_is_added_to_the_log_odds_of_a_prior_of_two_components():
    changes = ["kind=autoregressive-flow", "steps=0", "ar_width=8", "ar_blocks=1", "mixture=2"]
    config = load_config("vessels-flow-smoke", [f"model.{change}" for change in changes])
    torch.manual_seed(0)
    flow = build(config).double()
    (prior,) = (part for part in flow.modules() if isinstance(part, AutoregressivePrior))
    torch.nn.init.normal_(prior.net.last.weight)
    (moved,) = (part for part in shifted(flow, 0.7).modules() if isinstance(part, type(prior)))
    z = torch.randn(1, prior.net.channels, 4, 4).double()
    h = torch.randn(1, prior.net.from_h.in_channels, 4, 4).double()
    (log_w, *others), (after, *same) = (p.params(p.net(z, h)) for p in (prior, moved))
    odds = log_w[:, :, 1] - log_w[:, :, 0]
    torch.testing.assert_close(after[:, :, 1] - after[:, :, 0], odds + 0.7, rtol=1e-10, atol=1e-12)
    assert all(map(torch.equal, others, same))


def test_values_of_an_intercept_are_in_the_middle_of_equal_parts():
    model = made(Bernoulli)
    added = [(m.head.bias - model.head.bias).item() for m in intercept(model, 2.0).models]
    middles = [NormalDist(0, 2.0).cdf(value) * len(added) % 1 for value in added]
    assert middles == pytest.approx([0.5] * 9)
    by_folds = [(m.head.bias - model.head.bias).item() for m in folds(model).models]
    table = [json.loads(line)["intercept"] for line in random_intercept.TABLE.open()]
    assert np.mean(by_folds) == pytest.approx(np.mean(table))
    assert np.std(by_folds) == pytest.approx(0.93 * np.std(table, ddof=1), rel=0.01)


@pytest.mark.equation("eq-connected-intercept")
def test_areas_of_pictures_differ_more_with_an_intercept():
    """Var(area) = sum p (1 - p) + K Cov: the covariance of pixels is that of their probabilities
    under the values of the intercept, eq-connected-variance."""
    torch.manual_seed(0)
    model, x = made(Bernoulli), torch.randn(1, 3, 16, 16).double()
    mixture = intercept(model, 1.0)
    p = torch.stack([m.mean(x).flatten() for m in mixture.models])  # a value of the intercept a row
    expected = (p * (1 - p)).sum(1).mean() + p.sum(1).var(correction=0)
    n = 4000
    area = mixture.sample(x, n, generator=torch.Generator().manual_seed(2)).sum((1, 2, 3, 4))
    # a variance of n draws of nearly equal weights has a relative error of at most sqrt(2 / n)
    assert area.var() == pytest.approx(expected.item(), rel=5 * (2 / n) ** 0.5)
    assert expected > 3 * (p.mean(0) * (1 - p.mean(0))).sum()
    assert mixture.mean(x).flatten().tolist() == pytest.approx(p.mean(0).tolist())


@pytest.mark.parametrize("kind", [Bernoulli, Autoregressive])
def test_what_is_outside_a_picture_is_left_out(kind):
    """Of all masks of the picture, the padding 0, the probabilities sum to one."""
    x = pair(kind, side=2)[1][:1]
    inside = MASKS[(MASKS[:, :, 1:].sum((1, 2, 3)) + MASKS[..., 3:].sum((1, 2, 3))) == 0]  # 1x3
    for model in (made(kind), intercept(made(kind), 0.8), oriented(made(kind))):
        h = [maps.expand(len(inside), -1, -1, -1) for maps in model.condition(x)]
        total = log_prob_inside(model, inside, h, (1, 3), None).exp().sum().item()
        assert total == pytest.approx(1, abs=1e-12)


def test_two_laws_of_a_padded_picture_are_as_close_as_the_padding_is_empty():
    """Scored, the padding is given; drawn, it is not. The same noise gives the same labels until
    one of the padding is drawn, so that this probability bounds the total variation."""
    x, inside = pair(Autoregressive, side=2)[1][:1], (1, 3)
    outside = torch.ones(2, 4, dtype=torch.bool)
    outside[:1, :3] = False
    is_empty = (MASKS[:, 0][:, outside] == 0).all(1)
    for by in (0.0, -3.0):
        model = shifted(made(Autoregressive), by)
        h = [maps.expand(len(MASKS), -1, -1, -1) for maps in model.condition(x)]
        drawn = model.log_prob_given(MASKS, h).exp()
        given = log_prob_inside(model, MASKS, h, inside, None).exp()
        apart = 0
        for y in itertools.product((0.0, 1.0), repeat=3):
            here = (MASKS[:, 0, 0, :3] == torch.tensor(y)).all(1)
            apart += (drawn[here].sum() - given[here & is_empty].sum()).abs() / 2
        assert 0 < apart < 1 - drawn[is_empty].sum()


def test_the_best_intercept_gives_the_area_that_was_drawn():
    a = torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(0)).double() - 2
    y = (torch.rand(a.shape, generator=torch.Generator().manual_seed(1)) < 0.4).double()
    found = intercepts.best_intercept(a, y)
    b = found["intercept"]
    around = [F.logsigmoid((2 * y - 1) * (a + b + step)).sum() for step in (-0.01, 0, 0.01)]
    assert around[1] > max(around[0], around[2]) and b > 1
    assert torch.sigmoid(a + b).sum().item() == pytest.approx(y.sum().item(), rel=1e-3)  # 4 digits
    assert found["log_area"] == pytest.approx(math.log(torch.sigmoid(a).sum() / y.sum()), abs=1e-4)


# -- folds as one model ----------------------------------------------------------------------------


@pytest.fixture
def folds_of_eyes(loaded, monkeypatch):
    """Two models, and three eyes of which the first is the first model's test split, the others the
    second's, unless `tests` says otherwise."""

    def make(tests=((0,), (1, 2)), trained=(1, 0)):
        models, found, images = [], {}, eyes()
        for fold, places in enumerate(tests):
            model, config = loaded("vessels-baseline")
            with torch.no_grad():
                model.head.bias += fold
            data = dataclasses.replace(config.data, train=f"fold{fold}")
            model.config = dataclasses.replace(config, data=data)
            models.append(model.eval())
            examples = [images[place] for place in places]
            seen = [images[trained[fold]]]  # what it learned from must not be answered by it
            found[f"fold{fold}", "test"] = dataclasses.replace(images, examples=examples)
            found[f"fold{fold}", "train"] = dataclasses.replace(images, examples=seen)
        monkeypatch.setattr(other_cameras, "load", lambda name, split: found[name, split])
        return models, images

    return make


def test_each_eye_is_answered_by_the_fold_that_tests_on_it(folds_of_eyes):
    (first, second), images = folds_of_eyes()
    # one eye at a time, as it is answered: the same sums in the same order
    together = ScoredModel(other_cameras.Unseen([first, second]), images, batch_size=1)
    alone = [ScoredModel(model, images, batch_size=1) for model in (first, second)]
    expected = [alone[0].log_probs()[0], *alone[1].log_probs()[1:]]
    assert together.log_probs().tolist() == expected
    assert np.ptp([m.log_probs()[1] for m in alone]) > 1  # the two differ


def test_an_eye_that_no_fold_or_two_folds_test_on_is_refused(folds_of_eyes):
    models, images = folds_of_eyes([(0,), (1,)])
    with pytest.raises(ConfigError, match="name the runs of all folds"):
        ScoredModel(other_cameras.Unseen(models), images).log_probs()
    models, _ = folds_of_eyes([(0, 1), (1, 2)])
    with pytest.raises(ConfigError, match="two runs have picture-1"):
        other_cameras.Unseen(models)


def test_folds_are_found_by_a_pattern(make_run, tmp_path):
    model = made(Bernoulli)
    with pytest.raises(ConfigError, match=r"/fold\* finds nothing: give a pattern"):
        variant_of(model, f"other_cameras/unseen={tmp_path}/fold*")
    flow = make_run("vessels-flow")
    with pytest.raises(ConfigError, match="vessels-flow: give a pattern of runs of factorised"):
        variant_of(model, f"other_cameras/unseen={flow}*")
    folder = make_run("vessels-baseline")
    (found,) = variant_of(model, f"other_cameras/unseen={folder}*").models
    assert found.config.data.train == "embedded-vessels"


# -- names and rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("oriented", "--variant oriented: give EXPERIMENT/NAME"),
        ("nowhere/oriented", "there is no experiments/nowhere/plug.py"),
        ("orientations/turned", f"experiments/orientations has {ORIENTED}"),
        ("controls/turned", "experiments/controls has none"),
        (f"{ORIENTED}=8", f"give {ORIENTED}$"),
        (INTERCEPT, f"give {INTERCEPT}=DEVIATION"),
        (f"{INTERCEPT}=0", "deviation = '0' does not fit"),
        (f"{INTERCEPT}=inf", "deviation = 'inf' does not fit"),
        (f"{INTERCEPT}=much", "deviation = 'much' does not fit"),
    ],
)
def test_a_wrong_variant_is_told_what_there_is(text, said):
    with pytest.raises(ConfigError, match=said):
        variant_of(made(Bernoulli), text)


def test_a_factorised_model_is_seen_through_samples(loaded, scored):
    one = scored("vessels-baseline", eyes(), samples=4, full=True, variant="equal_shares/sampled")
    shares = torch.cat([p.flatten() for p in one.statistics(Masks).marginals(4)])
    assert set((4 * shares).tolist()) <= {0, 1, 2, 3, 4}
    assert one.mean_setting == Setting(1.0, 4) and one.trained.has_mean
    own = scored("vessels-baseline", eyes(), samples=4, full=True)
    assert (own.log_probs(1) == one.log_probs(1)).all() and own.mean_setting.samples == 0
    with pytest.raises(ConfigError, match="leave --variant out"):
        variant_of(loaded("vessels-flow")[0], "equal_shares/sampled")


def test_a_variant_has_its_name_alone():
    with pytest.raises(ValueError, match="there is a variant"):
        variant(ORIENTED)(oriented)
    assert VARIANTS[ORIENTED] is oriented


def test_a_mixture_of_flows_is_evaluated_in_full(make_run, tmp_path):
    run = make_run("vessels-flow")
    rows = evaluate(run, full=True, samples=2, variant=ORIENTED, out=tmp_path)
    folder = tmp_path / f"{run.name}-oriented" / "evaluations"
    curves = json.loads((folder / "embedded-vessels-test.curves.json").read_text())
    area = np.mean(curves["forms"]["truth"]["area"])
    names = {row.metric for row in rows}
    assert {"components_ratio_sample", "area"} <= names and 0 < area < 1


@pytest.mark.parametrize(
    ("asked", "end"), [(ORIENTED, "-oriented"), (f"{INTERCEPT}=0.5", "-intercept")]
)
def test_rows_are_of_a_run_of_their_own(asked, end, make_run, tmp_path):
    run = make_run("vessels-baseline")
    evaluate(run, limit=2, out=tmp_path, variant=asked)
    evaluate(run, limit=2, out=tmp_path)
    rows = read_rows(tmp_path)
    ours = [row for row in rows if row.run == run.name + end]
    assert {row.trained for row in rows} == {run.name}
    assert {row.variant for row in ours} == {asked}
    assert all(f"--variant {asked}" in row.command for row in ours)
    assert all(f"{run.name} --on" in row.command for row in ours)
    assert len(ours) == len(rows) - len(ours) > 0
    with pytest.raises(ConfigError, match="--variant"):
        evaluate(run, stress=True, out=tmp_path, variant=asked)


def test_the_intercepts_of_runs_that_are_not_named_stay(tmp_path, monkeypatch):
    table = tmp_path / "intercepts.jsonl"
    table.write_text('{"run": "a"}\n{"run": "b"}\n')
    model = SimpleNamespace(config=SimpleNamespace(data=SimpleNamespace(train="eyes")))
    monkeypatch.setattr(intercepts, "TABLE", table)
    monkeypatch.setattr(intercepts.releases, "load", lambda path: model)
    monkeypatch.setattr(intercepts, "load", lambda train, split: [])
    monkeypatch.setattr(intercepts, "ScoredModel", lambda model, images: None)
    monkeypatch.setattr("sys.argv", ["intercepts", "runs/b"])
    intercepts.main()
    assert table.read_text() == '{"run": "a"}\n'


def sequential_flow():
    """A vessel flow without couplings in float64 whose prior sees x and the numbers before."""
    config = load_config(
        "vessels-flow-smoke",
        ["model.kind=autoregressive-flow", "model.levels=1", "model.steps=0", "model.ar_width=8"],
    )
    torch.manual_seed(0)
    flow = build(config).double().eval()
    prior = flow.layers[-1]
    for part in (prior.net, flow.layers[0]):
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    return flow.requires_grad_(False)


@pytest.mark.equation("eq-deq-sequential")
def test_sequential_weights_have_the_mean_of_importance_weights_and_sum_to_one():
    flow, x = sequential_flow(), torch.rand(1, 3, 8, 8, generator=torch.manual_seed(1)) * 255
    h = [maps[..., :n, : 2 * n].double() for maps, n in zip(flow.condition(x), (2, 1), strict=True)]
    n, rng = 100, torch.Generator().manual_seed(2)
    given = [maps.expand(len(MASKS), -1, -1, -1) for maps in h]
    bound = Sequential(flow)
    drawn = torch.stack([bound.log_prob_given(MASKS, given, rng).exp() for _ in range(n)])
    total = drawn.sum(1)  # of all masks: its mean is 1
    assert abs(total.mean() - 1) < 5 * total.std() / n**0.5
    assert total.std() < 0.2  # so that the line above allows at most a tenth
    noisy = [flow.log_prob_given(MASKS, given, rng).exp() for _ in range(20 * n)]
    noisy = torch.stack(noisy)
    likely = drawn.mean(0).topk(20)[1]
    error = (drawn.var(0) / n + noisy.var(0) / (20 * n)).sqrt()
    assert ((drawn.mean(0) - noisy.mean(0)).abs() < 5 * error)[likely].all()
    # learned noise is worse: its weights vary more, by more than the error of a deviation of 100
    # draws (a fifteenth where weights are Gaussian) could make up
    assert (drawn.std(0) < 0.5 * noisy.std(0))[likely].all()


def test_a_sequential_bound_is_the_log_of_a_mean_of_weights():
    flow, x = (
        sequential_flow(),
        255 * torch.rand(1, 3, 8, 8, generator=torch.manual_seed(1)).double(),
    )
    model, y = variant_of(flow, "sequential_bound/sequential"), MASKS[77].expand(1, 1, 2, 4)
    y = y.repeat(1, 1, 4, 2)
    rng = torch.Generator().manual_seed(2)
    one = torch.cat([model.log_prob(y, x, rng) for _ in range(3)])
    three = model.importance_log_prob(y, x, 3, torch.Generator().manual_seed(2))
    # sums of some numbers in float64, in another order
    assert three.exp().item() == pytest.approx(one.exp().mean().item(), rel=1e-12, abs=0)
    assert one.mean() < three.item() - 1e-3  # Jensen: the mean of logs is another number


class Fixed(torch.nn.Module):
    """A prior whose numbers do not depend on each other: two components, of which the label's side
    prefers the rare one."""

    mixture = 2
    weights, mu, sigma = (
        t for t in torch.tensor([[0.9, 0.1], [0, 1.5], [0.4, 0.7]], dtype=torch.float64)
    )

    def __init__(self):
        super().__init__()
        self.net = self
        self.last = torch.nn.Conv2d(1, 1, 1).double()

    def params(self, out):
        like = torch.ones(*out.shape[:2], 1, out.shape[-1]).double()
        terms = (self.weights.log(), self.mu, self.sigma.log())
        return tuple(term[:, None] * like for term in terms)

    def sample_sequentially(self, h, choose):
        out = torch.zeros(*h.shape[:1], 1, h.shape[-2] * h.shape[-1]).double()
        channels = [choose(out, c, (..., *self.places(h))) for c in range(4)]
        self.drawn = torch.stack(channels, 1)
        return self.drawn

    def places(self, h):
        rows, columns = (torch.arange(size) for size in h.shape[-2:])
        return rows.repeat_interleave(len(columns)), columns.repeat(len(rows))


@pytest.mark.equation("eq-deq-sequential")
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_sequential_draws_are_the_prior_cut_to_the_side_of_the_label(label):
    """Their distribution function, and the log-mass of the side, from those of normals."""
    bound = Sequential(sequential_flow())
    bound.prior = prior = Fixed()
    y = torch.full((1, 1, 128, 128), label).double()
    h = [torch.zeros(1, 1, 128, 128), torch.zeros(1, 1, 64, 64).double()]
    log_w = bound.log_prob_given(y, h, torch.Generator().manual_seed(0))
    z = prior.drawn.flatten().sort()[0].numpy()

    def below(t):  # P(z < t) under the uncut prior
        deviations = (torch.as_tensor(t)[..., None] - prior.mu) / prior.sigma
        return (prior.weights * torch.special.ndtr(deviations)).sum(-1).numpy()

    low, high = (below(0.5), 1.0) if label else (0.0, below(0.5))
    assert log_w.item() == pytest.approx(len(z) * math.log(high - low), rel=1e-9)
    assert (z.min() > 0.5) if label else (z.max() < 0.5)
    expected = (below(z) - low) / (high - low)
    distance = np.abs(expected - np.arange(1, len(z) + 1) / len(z)).max()
    # beyond 1.95 / sqrt(n) once in 1,000 samples (Kolmogorov); the seed is fixed
    assert distance < 1.95 / len(z) ** 0.5
