"""What stops a run whose numbers go wrong: losses, gradients and scores that are not finite, and
activations that can no longer be rebuilt."""

import math

from cnf.errors import TrainingError
from cnf.replication import distributed
from cnf.replication.config import Config
from cnf.replication.training.diagnose import first_non_finite
from cnf.replication.training.run import Run

# with `recompute`: how often the reconstruction error is measured, and where it stops the run, in
# units of v. Trained flows have 1e-7 to 1e-5 in float32 and 1e-4 to 1e-2 in bfloat16, and their
# gradients then change by 1e-6 and 1e-2 of themselves; at these bounds they are no longer right.
GUARD_EVERY = 100
MAX_RECONSTRUCTION_ERROR = {"fp32": 1e-3, "bf16": 0.1}


def check_finite(run: Run, logs: dict[str, float]) -> None:
    """Raise TrainingError, on all processes, unless loss and gradient of a step are finite."""
    if math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"]):
        return
    mine = [first_non_finite(run.model, *part) for part in run.parts(run.step)]
    found = [name for names in distributed.gathered(mine) for name in names if name]
    what = "gradient" if math.isfinite(logs["loss"]) else "loss"
    raise stopped(
        f"the {what} of step {run.step + 1} is not finite; first in "
        f"{found[0] if found else 'the loss itself'}",
        f"lower training.lr, training.clip_norm{or_bounds(run.config)}",
    )


def check_validation(run: Run, bits: list[float]) -> None:
    """Raise TrainingError, on all processes, unless the score of every picture is finite."""
    if math.isfinite(sum(bits) / len(bits)):
        return
    bad = next(run.valid[i].name for i, b in enumerate(bits) if not math.isfinite(b))
    raise stopped(
        f"validation after step {run.step} is not finite on picture '{bad}'",
        f"lower training.lr{or_bounds(run.config)}",
    )


def check_reconstruction(run: Run) -> None:
    """Every GUARD_EVERY steps: raise TrainingError, on all processes, if activations can no longer
    be rebuilt."""
    if run.step % GUARD_EVERY:
        return
    run.model.eval()
    mine = max(run.model.reconstruction_error(*part) for part in run.parts(run.step))
    error = max(distributed.gathered(mine))
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
    """What else to lower when a run diverges."""
    return " or model.max_log_scale" if "max_log_scale" in config.model else ""


def stopped(what: str, remedy: str) -> TrainingError:
    """What every process raises when numbers go wrong."""
    return distributed.by_all(TrainingError(f"{what}. The last good state is kept: {remedy}"))
