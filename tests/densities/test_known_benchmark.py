"""The yardstick of known likelihoods: exact numbers, planted mistakes that are found, ties."""

import math
import subprocess
import sys
import time
from itertools import product

import numpy as np
import pytest
from scipy import stats

from cnf import known
from cnf.replication.data.known import RowField


def model(truth):
    """Log-probabilities of a model that is worse than the truth, by 3 nats a picture."""
    return truth - 3 + np.random.default_rng(0).normal(size=len(truth))


@pytest.fixture(scope="module")
def truths():
    return {name: task.log_prob(*known.test(name)[::-1]) for name, task in known.TASKS.items()}


def test_orthants_of_a_row_sum_to_one_and_agree_with_scipy():
    labels = np.array(list(product([0, 1], repeat=known.SIDE)))
    cut = np.linspace(-1, 0.8, known.SIDE)
    low, high = (np.full((len(labels), known.SIDE, known.SIDE), s * np.inf) for s in (-1, 1))
    low[:, 0], high[:, 0] = np.where(labels, cut, -np.inf), np.where(labels, np.inf, cut)
    log_p = known.chain_log_prob(low, high, known.ALONG)
    assert abs(np.exp(log_p).sum() - 1) < 1e-8  # of Gauss-Legendre
    distance = np.abs(np.subtract.outer(range(known.SIDE), range(known.SIDE)))
    all_below = stats.multivariate_normal.cdf(cut, np.zeros(known.SIDE), known.ALONG**distance)
    assert abs(np.exp(log_p[0]) - all_below) < 1e-4  # SciPy's lattices give five digits


def test_cells_of_three_entries_sum_to_one():
    cells = np.array(list(product(range(known.GREY), repeat=3)))
    ends = np.array([-np.inf, *np.arange(1, known.GREY) - known.GREY / 2, np.inf])
    low, high = (np.full((len(cells), known.SIDE, known.SIDE), s * np.inf) for s in (-1, 1))
    low[:, 3, 2:5], high[:, 3, 2:5] = ends[cells], ends[cells + 1]
    total = np.exp(known.chain_log_prob(low, high, known.ALONG)).sum()
    assert abs(total - 1) < 1e-8


def test_rows_agree_with_the_laboratory():
    import torch

    x, y = known.TASKS["rows"].draw(20, seed=5)
    field = RowField(known.SIDE, correlation=known.ALONG)
    colours = torch.zeros(20, 3, known.SIDE, known.SIDE, dtype=torch.float64)
    colours[:, 1] = torch.from_numpy(field.level + field.contrast * known.mean_of(x))
    theirs = field.log_prob(torch.from_numpy(y), colours).numpy()
    np.testing.assert_allclose(known.TASKS["rows"].log_prob(y, x), theirs, atol=1e-6)


def test_levels_of_the_texture_sum_to_one_and_are_drawn_as_often():
    m = known.mean_of(known.inputs(20_000, np.random.default_rng(1)))[:, 0, 0]
    outside = np.full(len(m), -1)
    p = np.exp(known.texture_logits(outside, outside, m))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    x = known.inputs(20_000, np.random.default_rng(1))
    y = known.TASKS["texture"].sample(x, seed=2)[:, 0, 0, 0]
    off = (y[:, None] == np.arange(known.FOUR)) - p
    assert (np.abs(off.mean(0)) < 5 * off.std(0) / math.sqrt(len(m))).all()


def test_raters_are_found_in_their_labels_as_often_as_they_are_drawn():
    """E[P(rater | y)] is the rater's share, of labels drawn from the mixture alone."""
    x, y = known.TASKS["raters"].draw(5000, seed=3)
    share, shift, sharp = known.RATERS[0]
    logit = sharp * (known.mean_of(x) + shift) * (2 * y[:, 0] - 1)
    one = math.log(share) - np.logaddexp(0, -logit).sum((1, 2))
    posterior = np.exp(one - known.TASKS["raters"].log_prob(y, x))
    assert abs(posterior.mean() - share) < 5 * posterior.std() / math.sqrt(len(x))


def test_a_seed_gives_the_same_pictures_and_another_seed_others():
    for task in known.TASKS.values():
        (x, y), (again, same), (_, other) = (task.draw(50, seed) for seed in (7, 7, 8))
        assert (x == again).all() and (y == same).all() and (y != other).any()
        assert y.min() == 0 and y.max() == task.levels - 1


@pytest.mark.parametrize("name", known.TASKS)
def test_the_truth_and_what_is_worse_raise_no_alarm(name, truths):
    assert not known.score(name, truths[name]).mistakes
    found = known.score(name, model(truths[name]))
    assert not found.mistakes
    assert abs(found.excess - 3 / (known.SIZE * math.log(2))) < 5 * found.error


PLANTED = {
    "its sign is wrong: a loss": lambda q, levels: -q,
    "divided by the number of entries": lambda q, levels: q / known.SIZE,
    "bits per entry, with the wrong sign": lambda q, levels: -q / known.SIZE / math.log(2),
    "in bits, not in nats": lambda q, levels: q / math.log(2),
    "is missing in each entry": lambda q, levels: q + known.SIZE * math.log(levels),
    "averaged over the batch": lambda q, levels: np.full_like(q, q.mean()),
    "one place late": lambda q, levels: np.roll(q, 1),
    "the last comes first": lambda q, levels: q[::-1],
    "only one row": lambda q, levels: q / known.SIDE,
}


@pytest.mark.parametrize("name", known.TASKS)
@pytest.mark.parametrize("words", PLANTED)
def test_a_planted_mistake_is_found_and_named(words, name, truths):
    wrong = PLANTED[words](model(truths[name]), known.TASKS[name].levels)
    assert words in str(known.score(name, wrong))


def test_cells_of_twice_the_width_are_named(truths):
    wrong = model(truths["boxes"]) + known.SIZE * math.log(2)
    assert "two cells" in str(known.score("boxes", wrong))


def test_one_picture_far_above_the_truth_is_found(truths):
    wrong = model(truths["rows"])
    wrong[17] = truths["rows"][17] + 25
    assert "do not sum to 1" in str(known.score("rows", wrong))


@pytest.mark.parametrize("name", known.TASKS)
def test_samples_of_the_truth_pass_and_others_do_not(name):
    task, (x, _) = known.TASKS[name], known.test(name)
    good = task.sample(x, seed=99)
    assert not known.score(name, samples=good).mistakes
    several = np.stack([task.sample(x, seed=100 + k) for k in range(2)])
    assert not known.score(name, samples=several).mistakes
    assert known.score(name, samples=np.roll(good, 1, 0)).mistakes  # of other inputs
    mixed = several[np.random.default_rng(0).integers(2, size=good.shape), *np.indices(good.shape)]
    if name in ("boxes", "rows"):  # each entry is right, neighbours know less of each other
        assert "neighbours in a row" in str(known.score(name, samples=mixed))


def test_scoring_takes_less_than_ten_seconds(truths):
    samples = known.TASKS["rows"].sample(known.test("rows")[0], seed=1)
    started = time.process_time()
    known.score("rows", truths["rows"], samples)
    assert time.process_time() - started < 10


def test_what_has_learned_the_test_by_heart_is_told_by_fresh_pictures():
    test = known.test("raters")[1]

    def by_heart(y, x):
        seen = len(y) == len(test) and (y == test).all()
        return known.TASKS["raters"].log_prob(y, x) - (0 if seen else 3)

    def honest(y, x):
        return known.TASKS["raters"].log_prob(y, x) - 3 + np.sin(x.sum((1, 2, 3)))

    assert known.verified("raters", honest, [11, 12])[1]
    assert not known.verified("raters", by_heart, [11, 12])[1]


def test_gaps_within_the_spread_of_seeds_are_ties():
    entries = {"a": [0.10, 0.11, 0.12], "b": [0.105, 0.115, 0.125], "c": [0.3, 0.31, 0.32]}
    assert [place for place, *_ in known.ranked(entries)] == [1, 1, 3]


def test_what_is_asked_wrongly_is_refused(truths):
    with pytest.raises(ValueError, match="choose from boxes"):
        known.score("box", truths["boxes"])
    with pytest.raises(ValueError, match="nothing to score"):
        known.score("boxes")
    with pytest.raises(ValueError, match="has shape"):
        known.score("boxes", truths["boxes"][:3])
    with pytest.raises(ValueError, match="not finite"):
        known.score("boxes", np.where(truths["boxes"] < -1e9, 0, np.nan))
    with pytest.raises(ValueError, match="other numbers"):
        x, y = known.test("rows")
        known.TASKS["rows"].log_prob(y + 1, x)


def test_it_works_from_the_command_line(tmp_path, truths):
    def run(*words):
        command = [sys.executable, "-m", "cnf.known", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True)

    made, sent = tmp_path / "made.npz", tmp_path / "sent.npz"
    assert run("make", "rows", made).returncode == 0
    with np.load(made) as held:
        assert (held["y"] == known.test("rows")[1]).all()
    np.savez(sent, log_prob=-truths["rows"])
    done = run("score", "rows", sent)
    assert done.returncode == 1 and "a loss" in done.stdout
