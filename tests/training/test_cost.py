"""What a run costs: how it is measured, where it is extrapolated, and that it comes true."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cnf.replication import run_folder, training
from cnf.replication.config import build, load_config
from cnf.replication.training import cost
from cnf.replication.training.cost import Cost

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fast, recompute", [(True, True), (False, False)])
def test_flops_do_not_depend_on_the_path(fast, recompute):
    model = build(load_config("sr-flow-smoke"))
    y, x = torch.zeros(1, 3, 16, 16), 255 * torch.rand(1, 3, 8, 8)
    expected = cost.flops(model, y, x)
    model.fast, model.recompute = fast, recompute
    assert cost.flops(model, y, x) == expected


# -- against real runs -----------------------------------------------------------------------------

PEAK = """
import sys
from cnf.replication.training import cost
from cnf.replication.cli import main
import torch
before = cost.peak_memory(torch.device("cpu"))
code = main(sys.argv[1:])
print(before, cost.peak_memory(torch.device("cpu")))
sys.exit(code)
"""


def printed(*words):
    """What a command prints in a process by itself, and then its bytes at the peak: of Python and
    the libraries, and of all."""
    return subprocess.run(
        [sys.executable, "-c", PEAK, *words],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


WIDE = ["model.width=96", "model.features.channels=96", "training.batch_size=48"]


@pytest.mark.slow("the memory of --dry-run against that of a run")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a run: no /proc")
def test_memory_is_that_of_a_real_run(tmp_path):
    words = ["train", "sr", "--device", "cpu", "--threads", "1", "--steps", "6"]
    words += [word for option in WIDE for word in ("--set", option)]
    said = re.search(r"^memory +(\d+) MiB at the peak", printed(*words, "--dry-run"), re.MULTILINE)
    done = printed(*words, "--out", str(tmp_path))
    libraries, peak = (int(size) / 2**20 for size in done.split()[-2:])
    # What the allocator keeps between two steps differs from process to process by some percent.
    assert int(said[1]) == pytest.approx(peak, rel=0.15)
    assert int(said[1]) - libraries == pytest.approx(peak - libraries, rel=0.2)
    assert peak > 1.5 * libraries  # it says something


@pytest.mark.slow("the time of --dry-run against that of a run")
def test_time_is_that_of_a_real_run(tmp_path):
    if os.getloadavg()[0] > os.cpu_count() - 1:
        pytest.skip(f"load {os.getloadavg()[0]:.1f}: the time of a run was not checked")
    config = load_config("sr-flow-smoke", ["training.steps=600", "training.validate_every=300"])
    before = cost.measure(config, device="cpu").seconds(600, 300)
    training.train(config, tmp_path, device="cpu")
    taken = run_folder.read_record(tmp_path)["took"]
    after = cost.measure(config, device="cpu").seconds(600, 300)
    if taken["cpu_seconds"] < 0.9 * taken["seconds"] or abs(after / before - 1) > 0.1:
        pytest.skip("another process took the processor: the time of a run was not checked")
    assert (before + after) / 2 == pytest.approx(taken["seconds"], rel=0.15)


# -- what is said ----------------------------------------------------------------------------------

SOME = Cost(
    data="embedded-sr train",
    device="cpu",
    threads=1,
    parameters=1234,
    shape=(3, 32, 32),
    flops_log_prob=2_500_000,
    flops_training=7_500_000_000,
    batches=(1, 16),
    step=0.5,
    validation=2.0,
    memory=3 * 2**30,
)


def test_the_last_validation_of_a_run_counts():
    # 5 steps of 0.5 s, 2 validations of 2 s, after steps 4 and 5
    assert SOME.seconds(steps=5, validate_every=4) == pytest.approx(6.5)


def test_an_estimate_says_what_was_measured_and_what_was_not(monkeypatch):
    monkeypatch.setattr(cost, "measure", lambda *_: SOME)
    text = cost.estimate(load_config("sr-flow-smoke", ["training.steps=100"]))
    for part in (
        "1,234",
        "7.5 GFLOP",
        "3.0 GiB",
        "0.5 s for a batch of 16",
        "100 (1,600 pictures)",
    ):
        assert part in text
    assert "54 seconds" in text and "extrapolated" not in text
    # 120 s at 0.5 s and 1/50 of 2 s
    budget = load_config("sr-flow-smoke", ["training.steps=null", "training.minutes=2"])
    assert "steps        222 (" in cost.estimate(budget)
    monkeypatch.setattr(cost, "measure", lambda *_: replace(SOME, batches=(1, 2, 4)))
    assert "extrapolated from batches of 1, 2, 4\n" in cost.estimate(load_config("sr-flow-smoke"))


# -- which batches are measured --------------------------------------------------------------------


@pytest.fixture
def probe(monkeypatch):
    """Measures in this process, where a pass of b pictures takes seconds(b) and memory(b) GiB."""

    def measure(seconds, memory, *options):
        clock, passes = [0.0], [0]

        def update(run):
            options = run.config.training
            clock[0] += seconds(options.batch_size)
            passes[0] = max(passes[0], options.batch_size // options.accumulate)

        monkeypatch.setattr(training, "update", update)
        monkeypatch.setattr(training, "seconds_a_validation", lambda run: 1.0)
        monkeypatch.setattr(cost.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(cost, "peak_memory", lambda _: memory(passes[0]) * 2**30)
        monkeypatch.setattr(cost, "LIMIT", 8 * 2**30)
        monkeypatch.setattr(cost.os, "sysconf", lambda _: 2**30)
        small = ["model.width=4", "model.features.channels=4", "training.steps=5"]
        return cost.measure(load_config("sr-flow-smoke", [*small, *options]), 0, "cpu")

    return measure


@pytest.mark.parametrize(
    "seconds, memory, options, batches, step, gib",
    [
        # fits; 3 more steps of 8 would take 13.5 s of the 5.75 s left; twice the 4.2 GiB of 4 would
        # be more than 8; only a micro-batch has to fit
        ((0, 0.01), (0, 0.1), ["batch_size=48"], (1, 2, 4, 8, 16, 32, 48), 0.48, 4.8),
        ((0.5, 0.5), (1, 0.01), ["batch_size=64"], (1, 2, 4), 32.5, 1.64),
        ((0, 0.001), (1, 0.8), ["batch_size=64"], (1, 2, 4), 0.064, 52.2),
        ((0, 0.001), (1, 0.8), ["batch_size=64", "accumulate=16"], (16, 32, 64), 0.064, 4.2),
    ],
    ids=["fits", "too-long", "too-large", "micro-batches"],
)
def test_a_batch_that_fits_is_measured_and_others_extrapolated(
    probe, seconds, memory, options, batches, step, gib
):
    def line(of):
        return lambda pictures: of[0] + of[1] * pictures

    found = probe(line(seconds), line(memory), *(f"training.{option}" for option in options))
    assert found.batches == batches
    assert found.step == pytest.approx(step) and found.memory == pytest.approx(gib * 2**30)


def test_what_is_extrapolated_is_no_less_than_what_was_measured(probe):
    """The first steps of a process are slow, so that a line through the times falls."""
    found = probe(lambda pictures: 4 / pictures, lambda _: 1, "training.batch_size=64")
    assert found.batches == (1, 2) and found.step == 4
