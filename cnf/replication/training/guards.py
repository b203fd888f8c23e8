"""Checks that stop a run: losses, gradients and scores that are not finite, and activations that
can no longer be rebuilt."""

import math

from cnf.errors import TrainingError
from cnf.flow import ConditionalFlow
from cnf.replication import distributed
from cnf.replication.config import Config
from cnf.replication.training.diagnose import first_non_finite
from cnf.replication.training.run import Run

# With `recompute`, the reconstruction error is measured every GUARD_EVERY steps. A larger error
# than the bound, in units of v, stops the run. Trained flows have 1e-7 to 1e-5 in float32 and 1e-4
# to 1e-2 in bfloat16, where the relative error of gradients is 1e-6 and 1e-2; at the bounds
# gradients are wrong.
GUARD_EVERY = 100
MAX_RECONSTRUCTION_ERROR = {"fp32": 1e-3, "bf16": 0.1}


def check_finite(run: Run, logs: dict[str, float]) -> None:
    """Raise TrainingError, on all processes, unless loss and gradient of a step are finite."""
    if math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"]):
        return
    own_layers = [first_non_finite(run.model, *part) for part in run.parts(run.step)]
    layers = [name for names in distributed.all_gather(own_layers) for name in names if name]
    first = layers[0] if layers else "the loss itself"
    quantity = "gradient" if math.isfinite(logs["loss"]) else "loss"
    raise stopped(
        f"the {quantity} of step {run.step + 1} is not finite; first in {first}",
        f"lower training.lr, training.clip_norm{or_bounds(run.config)}",
    )


def check_validation(run: Run, bits: list[float]) -> None:
    """Raise TrainingError, on all processes, unless the score of every picture is finite."""
    if math.isfinite(sum(bits) / len(bits)):
        return
    picture = next(run.valid[i].name for i, b in enumerate(bits) if not math.isfinite(b))
    raise stopped(
        f"validation after step {run.step} is not finite on picture '{picture}'",
        f"lower training.lr{or_bounds(run.config)}",
    )


def check_reconstruction(run: Run) -> None:
    """Every GUARD_EVERY steps: raise TrainingError, on all processes, if activations can no longer
    be rebuilt."""
    model = run.model
    if run.step % GUARD_EVERY or not isinstance(model, ConditionalFlow):  # no other recomputes
        return
    model.eval()
    own_error = max(model.reconstruction_error(*part) for part in run.parts(run.step))
    error = max(distributed.all_gather(own_error))
    bound = MAX_RECONSTRUCTION_ERROR[run.config.training.precision]
    if error > bound:
        raise stopped(
            f"before step {run.step + 1} the flow rebuilds v to within {error:.2g} only, not "
            f"{bound:g}: gradients from rebuilt activations would be wrong",
            "set training.recompute=false, or lower training.lr or model.max_log_scale",
        )
    largest = run.sums.get("reconstruction_error_max", 0.0)
    run.sums["reconstruction_error_max"] = max(largest, error)


def or_bounds(config: Config) -> str:
    """The further option to lower when a run diverges, for an error message."""
    return " or model.max_log_scale" if "max_log_scale" in config.model else ""


def stopped(problem: str, remedy: str) -> TrainingError:
    """The error that every process raises when a check fails."""
    return distributed.marked_for_all(
        TrainingError(f"{problem}. The last good state is kept: {remedy}")
    )
