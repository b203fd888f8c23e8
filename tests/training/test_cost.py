"""What a run costs, against real runs."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cnf.errors import ConfigError
from cnf.factorised import Bernoulli
from cnf.replication import run_folder, training
from cnf.replication.config import build, load_config
from cnf.replication.data import load
from cnf.replication.training import cost
from cnf.replication.training.cost import Cost

REPOSITORY = Path(__file__).resolve().parents[2]


# -- arithmetic ------------------------------------------------------------------------------------


class Ramps(torch.nn.Conv2d):
    """Features of one convolution of 3x3."""

    channels = (4,)

    def __init__(self):
        super().__init__(3, 4, 3, padding=1)


def test_flops_are_two_a_multiplication_and_as_many_again_for_every_gradient():
    model, side = Bernoulli(Ramps()), 8
    first, head = (2 * conv.weight.numel() * side**2 for conv in (model.features, model.head))
    y, x = torch.zeros(2, 1, side, side), torch.rand(2, 3, side, side)
    # of the weights, and of the input, which the first layer does not need
    expected = first + head, 2 * first + 3 * head
    assert cost.flops(model, y[:1], x[:1]) == expected
    assert cost.flops(model, y, x) == (2 * expected[0], 2 * expected[1])


@pytest.mark.parametrize("fast, recompute", [(True, False), (True, True), (False, False)])
def test_flops_do_not_depend_on_the_path(fast, recompute):
    model = build(load_config("sr-flow-smoke"))
    y, x = torch.zeros(1, 3, 16, 16), torch.rand(1, 3, 8, 8)
    expected = cost.flops(model, y, x)
    model.fast, model.recompute = fast, recompute
    assert cost.flops(model, y, x) == expected


def test_counting_flops_changes_no_model():
    config = load_config("vessels-flow-smoke")
    model = build(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost.flops(model, torch.zeros(1, 1, 16, 16), torch.rand(1, 3, 16, 16))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


# -- memory and time, against real runs ------------------------------------------------------------

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


@pytest.fixture
def some(monkeypatch):
    """Nothing is measured: `estimate` is given these numbers."""

    def give(**changes):
        monkeypatch.setattr(cost, "measure", lambda *_: replace(SOME, **changes))

    give()
    return give


def test_the_last_validation_of_a_run_counts():
    # 5 steps of 0.5 s, 2 validations of 2 s, after steps 4 and 5
    assert SOME.seconds(steps=5, validate_every=4) == pytest.approx(6.5)


def test_an_estimate_says_what_was_measured(some):
    text = cost.estimate(load_config("sr-flow-smoke", ["training.steps=100"]))
    for line in (
        "parameters   1,234",
        "arithmetic   0.0025 GFLOP a picture of 3x32x32 for log_prob, 7.5 GFLOP in training (conv",
        "memory       3.0 GiB at the peak\n",
        "one step     0.5 s for a batch of 16\n",
        "steps        100 (1,600 pictures)",
        "time         54 seconds on this machine",
    ):
        assert line in text
    assert "H100" not in text


def test_an_estimate_of_minutes_says_the_steps_they_buy(some):
    config = load_config("sr-flow-smoke", ["training.steps=null", "training.minutes=2"])
    # 120 s at 0.5 s and 1/50 of 2 s
    assert "steps        222 (" in cost.estimate(config)


def test_an_estimate_says_that_it_is_extrapolated(some):
    some(batches=(1, 2, 4))
    text = cost.estimate(load_config("sr-flow-smoke"))
    assert "for a batch of 16, extrapolated from batches of 1, 2, 4\n" in text
    assert "at the peak, extrapolated from batches of 1, 2, 4\n" in text


@pytest.mark.parametrize("batch_size", [10, 2])
def test_a_batch_that_no_run_would_take_is_not_measured(configure, batch_size):
    with pytest.raises(ConfigError, match="choose a multiple of 4"):
        cost.measure(configure(batch_size=batch_size, accumulate=4), device="cpu")


# -- which batches are measured --------------------------------------------------------------------


@pytest.fixture
def made_up(monkeypatch):
    """The probe in this process, where a pass of b pictures takes seconds(b) and memory(b) GiB."""

    def probe(seconds, memory, *options):
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

    return probe


def test_a_batch_that_fits_is_measured(made_up):
    found = made_up(lambda b: 0.01 * b, lambda b: 0.1 * b, "training.batch_size=48")
    assert found.batches == (1, 2, 4, 8, 16, 32, 48)
    assert found.step == pytest.approx(0.48) and found.memory == pytest.approx(4.8 * 2**30)
    assert found.parameters > 1000 and found.shape == (3, 8, 8)


def test_a_batch_that_takes_too_long_is_extrapolated(made_up):
    found = made_up(lambda b: 0.5 + 0.5 * b, lambda b: 1 + 0.01 * b, "training.batch_size=64")
    assert found.batches == (1, 2, 4)  # another 3 steps of 8 would take 13.5 s of the 5.75 s left
    assert found.step == pytest.approx(0.5 + 0.5 * 64)
    assert found.memory == pytest.approx(1.64 * 2**30)


def test_a_batch_that_takes_too_much_memory_is_extrapolated(made_up):
    found = made_up(lambda b: 0.001 * b, lambda b: 1 + 0.8 * b, "training.batch_size=64")
    assert found.batches == (1, 2, 4)  # twice the 4.2 GiB of 4 would be more than 8
    assert found.memory == pytest.approx((1 + 0.8 * 64) * 2**30)


def test_only_a_micro_batch_has_to_fit(made_up):
    options = ["training.batch_size=64", "training.accumulate=16"]
    found = made_up(lambda b: 0.001 * b, lambda b: 1 + 0.8 * b, *options)
    assert found.batches == (16, 32, 64) and found.memory == pytest.approx(4.2 * 2**30)


# -- errors ----------------------------------------------------------------------------------------


def test_what_a_run_would_refuse_is_refused(monkeypatch):
    monkeypatch.setattr(training.run, "load", load)
    config = load_config("sr-flow-smoke", ["data.train=embedded-vessels"])
    with pytest.raises(ConfigError, match="is a set of labelled"):
        cost.measure(config, device="cpu")
