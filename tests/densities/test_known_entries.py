"""Entries of the benchmark `cnf.known`: rows that agree with the scorer, a planted leak."""

import json
import math

import numpy as np
import pytest
import torch

from cnf import known
from cnf.replication import plugs

run = plugs.module("known_benchmark", "run")
ROWS = [json.loads(line) for line in run.ROWS.read_text("utf-8").splitlines()]


def pairs(task, n, seed):
    x, y = known.TASKS[task].draw(n, seed)
    return torch.from_numpy(y), torch.from_numpy(x)


def test_each_row_is_an_entry_that_one_can_train_and_stands_once():
    names = [(row["task"], row["entry"], row["seed"]) for row in ROWS]
    assert len(set(names)) == len(names)
    for row in ROWS:
        assert run.FAMILIES[row["entry"]][0] == row["library"]


def test_rows_of_a_task_have_the_same_truth_and_none_is_above_it():
    for task in {row["task"] for row in ROWS}:
        truth = -known.TASKS[task].log_prob(*known.test(task)[::-1]).mean()
        for row in (row for row in ROWS if row["task"] == task):
            assert abs(row["truth"] - truth / (known.SIZE * math.log(2))) < 1e-5  # five digits
            assert abs(row["bits"] - row["truth"] - row["excess"]) < 2e-5
            assert row["excess"] > 0 and not row["mistakes"]


def test_rows_of_a_task_were_trained_for_as_long():
    trained = [row for row in ROWS if row["seconds"] is not None]  # counts are not
    for task in {row["task"] for row in trained}:
        assert len({row["seconds"] for row in trained if row["task"] == task}) == 1


def test_the_readme_shows_the_table_of_the_rows():
    assert run.table() in (run.ROWS.parent / "README.md").read_text("utf-8")


def test_no_level_of_the_autoregressive_entry_sees_itself_or_what_comes_later():
    torch.manual_seed(0)
    model = run.own.Autoregressive(4)
    y, x = pairs("texture", 2, seed=3)
    logits = model.logits(y, x)
    other = y.clone()
    other[:, :, 3, 4:] = 3 - other[:, :, 3, 4:]
    other[:, :, 4:] = 3 - other[:, :, 4:]
    changed = (model.logits(other, x) != logits).any(1)
    assert not changed[:, :3].any() and not changed[:, 3, :5].any()
    assert changed[:, 3, 5:].any()


def test_an_entry_that_sees_what_it_predicts_is_above_the_truth():
    class Leaking(run.own.Autoregressive):
        def __init__(self, levels, width=32):
            super().__init__(levels, width)
            self.first = run.own.Causal(levels, width, 5, first=False)

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Leaking(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=run.RATE)
    batches = run.batches(*pairs("rows", 2000, seed=1))
    for _ in range(80):
        optimizer.zero_grad()
        model.loss(*next(batches)).backward()
        optimizer.step()
    y, x = (torch.from_numpy(t) for t in known.test("rows")[::-1])
    found = known.score("rows", run.log_probs(model, y, x, 1).numpy())
    assert "probabilities do not sum to 1" in str(found)


@pytest.mark.parametrize(("noise", "levels"), [("half-line", 2), ("uniform", 2), ("uniform", 8)])
def test_the_bound_of_a_density_that_knows_the_shares_of_levels_is_their_probability(noise, levels):
    shares = torch.arange(1, levels + 1.0) / sum(range(1, levels + 1))

    class Shares(run.libraries.Dequantized):
        def density(self, v, x):
            """The density of the levels' noise, each with its share."""
            if self.noise == "uniform":
                level = ((v + 3) / 6 * self.levels).floor().long().clamp(0, self.levels - 1)
                return (shares[level].log() - math.log(6 / self.levels)).sum(1)
            scaled, normal = v / run.libraries.SPREAD, run.libraries.normal
            of_each = torch.stack([scaled + 5, scaled - 5])
            log_p = normal(of_each) + shares.log()[:, None, None]
            return (log_p.logsumexp(0) - math.log(run.libraries.SPREAD)).sum(1)

    model = Shares(levels)
    model.noise = noise
    y = torch.from_numpy(np.random.default_rng(0).integers(levels, size=(5, 1, 8, 8)))
    expected = shares[y].log().sum((1, 2, 3))
    found = model.log_prob(y, torch.zeros(5, 2, 8, 8))
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)  # float32, sums of 64
