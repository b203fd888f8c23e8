"""Training with rebuilt activations: the same run, and a guard for flows that cannot be rebuilt."""

import pytest
import torch

from cnf import fused
from cnf.errors import TrainingError
from cnf.layers import Conv1x1
from cnf.replication import training


@pytest.fixture(autouse=True)
def rebuild_however_small(monkeypatch):
    monkeypatch.setattr(fused, "MIN_REBUILD_BYTES", 0)


def trained(config) -> tuple[training.Run, list[float]]:
    """A run in float64, and its loss in nats at every step."""
    run = training.Run.build(config, 0, "cpu")
    run.model.double(), run.average.double()
    run.steps = config.training.steps
    return run, [training.update(run) for _ in range(run.steps)]


def test_a_run_that_rebuilds_its_activations_is_the_same_run(configure):
    (stored, losses), (rebuilt, others) = (
        trained(configure(recompute=recompute)) for recompute in (False, True)
    )
    # not bit for bit: where a gradient is zero but for rounding, Adam makes a step of its sign
    assert others == pytest.approx(losses, rel=1e-5)
    assert 0 < rebuilt.sums["reconstruction_error_max"] < 1e-10
    assert "reconstruction_error_max" not in stored.sums


def test_history_has_the_largest_error_of_all_that_were_looked_at(configure, monkeypatch):
    run, errors = training.Run.build(configure(recompute=True), 0, "cpu"), iter([3e-5, 1e-5])
    monkeypatch.setattr(type(run.model), "reconstruction_error", lambda *_: next(errors))
    for _ in range(2):
        training.guards.check_reconstruction(run)
    assert run.sums["reconstruction_error_max"] == 3e-5


def test_the_guard_stops_a_flow_that_cannot_be_rebuilt(configure, monkeypatch):
    monkeypatch.setattr(training.guards, "GUARD_EVERY", 2)
    run = training.Run.build(configure(recompute=True), 0, "cpu")
    run.steps = 10
    training.update(run)
    training.update(run)  # step 2, from 0, is looked at
    conv = next(m for m in run.model.modules() if isinstance(m, Conv1x1))
    with torch.no_grad():
        conv.matrix[1] = conv.matrix[0] * (1 + 1e-6)
    before = [p.clone() for p in run.model.parameters()]
    with pytest.raises(TrainingError, match="training.recompute=false"):
        training.update(run)
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
