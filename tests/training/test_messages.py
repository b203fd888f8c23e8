"""Misuse of training: each line is a wrong call, and the words of its message, which name the value
and what to do instead. Whoever adds an error adds a line."""

from dataclasses import replace
from pathlib import Path

from cnf.errors import CheckpointError, ConfigError
from cnf.replication.training import Run, cost, steps_in, train
from tests.messages import table


def cropped(config, crop):
    return Run.build(replace(config, data=replace(config.data, crop=crop)), 0, "cpu")


def of_kind(config, kind):
    model = {"kind": kind, "features": config.model["features"]}
    return Run.build(replace(config, model=model), 0, "cpu")


# fmt: off
test_a_run_that_cannot_begin_is_told_what_to_change = table(
    ConfigError,
    ("no configuration: give one", lambda tmp_path: train(None, tmp_path)),
    ("no budget: set training.minutes or training.steps", lambda: steps_in(None, (1.0, 1.0), 1)),
    ("'embedded-sr' is a set of pictures",
     lambda configure, tmp_path: train(replace(configure(), task="vessels"), tmp_path)),
    ("data.crop = 12, but the smallest.*at most 8", lambda configure: cropped(configure(), 12)),
    ("data.crop = 5, but the smallest.*a multiple of 2", lambda configure: cropped(configure(), 5)),
    ("only a flow", lambda configure: of_kind(configure(recompute=True), "logistic")),
    ("choose a multiple of 4",
     lambda configure: cost.measure(configure(batch_size=10, accumulate=4), device="cpu")),
)

test_a_start_that_is_not_there_is_told_what_is = table(
    CheckpointError,
    ("is not a run folder", lambda tmp_path: train(None, tmp_path, resume=True)),
    ("nosuch holds no weights.*the nearest are",
     lambda configure, tmp_path: train(configure(), tmp_path, start=Path("nosuch"))),
)
# fmt: on
