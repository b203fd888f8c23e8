"""Training of every model: a flow or a baseline, on one device or on many.

The state of a run is a step number, weights, averaged weights and the optimizer (`run.py`).
Everything random is keyed: the order of the pictures by (seed, epoch), their augmentation by (seed,
place in that order), the noise by (seed, step). So an interrupted run goes on as if it had not been
(bit for bit on a CPU with the same number of threads).

Started by `torchrun`, every process takes its share of a step's pictures, and the run is that of
one process up to rounding. `training.accumulate` cuts a share into micro-batches, one after the
other. Batch norm sees the joined batch of all GPUs, but on CPUs that of its own process, and each
micro-batch by itself. The main process alone writes and prints.

launch.py       `train`: starts a new run, resumes one, or branches off
resuming.py     what a run that goes on keeps of the one before
loop.py         the loop over steps, and one step
fit.py          its counterpart for models that are fitted in one pass
run.py          the state of a run, and the batch of a step
batches.py      the order of the pictures; whole pictures as batches
average.py      the moving average of the weights
validation.py   bits/dim of validation pictures, and the line of history
onward.py       the configuration of a run that goes on from another one's weights
checkpoints.py  checkpoints: written, loaded, started from
budget.py       minutes become steps
guards.py       stops a run with numbers that are not finite; diagnose.py finds their source
processes.py    one model in several processes
signals.py      ends a slice of a run when its time is over or a signal comes
curves.py       the plot of a history
logs.py         a history as CSV, or for TensorBoard
"""

from cnf.replication.training.batches import check_batch, whole_batch
from cnf.replication.training.budget import probe, seconds_a_validation, steps_in, with_budget
from cnf.replication.training.guards import GUARD_EVERY, MAX_RECONSTRUCTION_ERROR
from cnf.replication.training.launch import start_run, train
from cnf.replication.training.loop import update
from cnf.replication.training.run import Run, with_fast_precision
from cnf.replication.training.validation import validate

__all__ = [
    "GUARD_EVERY",
    "MAX_RECONSTRUCTION_ERROR",
    "Run",
    "start_run",
    "check_batch",
    "probe",
    "seconds_a_validation",
    "steps_in",
    "train",
    "update",
    "validate",
    "whole_batch",
    "with_budget",
    "with_fast_precision",
]
