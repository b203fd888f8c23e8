"""Trials at equal cost: what a line says is what a run would reach."""

import json
from dataclasses import replace

import pytest

from cnf.replication import plugs, training
from cnf.replication.config import from_dict

trials = plugs.module("small_trials", "trials")


@pytest.fixture
def line(tmp_path, monkeypatch):
    """The line that a trial of a tiny flow appends."""
    monkeypatch.setattr(trials, "TABLES", tmp_path)

    def run(*arguments):
        small = ["model.width=4", "model.features.channels=4", "training.batch_size=4"]
        trials.main(["sr", "small", *small, "--preset", "smoke", "--table", "t", *arguments])
        return json.loads((tmp_path / "t.jsonl").read_text().splitlines()[-1])

    return run


def test_trial_reaches_what_training_the_same_reaches(line, tmp_path):
    found = line("--steps", "6", "--seed", "3")
    config = from_dict(found["config"])
    options = replace(config.training, validate_images=found["valid_images"])
    out = training.train(replace(config, training=options), tmp_path / "run", seed=found["seed"])
    history = json.loads((out / "history.jsonl").read_text().splitlines()[-1])
    assert found["steps"] == history["step"] == 6
    # as printed, with four digits: the same weights and the same noise
    assert found["bits_float"] == round(history["valid_bits_per_dim"], 4)
    assert found["bits_rounded"] != found["bits_float"]


def test_minutes_become_steps_and_leave_the_run_as_it_was(line):
    found = line("--minutes", "0.01")
    assert found["steps"] == found["config"]["training"]["steps"] >= 1
    assert found["pictures"] == 4 * found["steps"]
    again = line("--steps", str(found["steps"]))
    assert again["bits_float"] == found["bits_float"]  # the probe was a copy
