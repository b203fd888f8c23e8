"""What is kept of a run: checkpoints to go on or to branch off from, and the best weights."""

import json
import math
from pathlib import Path
from typing import Any

from cnf.errors import CheckpointError, ConfigError
from cnf.replication import distributed, run_folder
from cnf.replication.config import to_dict
from cnf.replication.data.catalogue import parts
from cnf.replication.training import optimizers, processes
from cnf.replication.training.run import Run

# what a checkpoint holds of a run
COUNTED = ("steps", "step", "best", "seconds", "cpu_seconds", "sums")
LEARNED = ("model", "average", "optimizer")
OF_OPTIMIZER = ("training.optimizer",)  # what decides its moments
BOUNDS = ("model.clip", "model.ar_clip")  # weights fit with any: a start may change them


def kept_steps(run: Run) -> set[int]:
    """The steps whose checkpoints stay, to branch off from."""
    return {max(1, round(share * run.steps)) for share in run.config.training.keep}


def keep(run: Run, out: Path, line: dict[str, Any] | None) -> None:
    """After a step: write what is to be kept of it. `line` is that of a validation, if there was
    one."""
    with distributed.together():
        if distributed.is_main() and line:
            run_folder.write_history(out, [*run_folder.read_history(out), line])
            if line["best"]:
                save_weights(run, out / "weights.safetensors")
            save(run, out / "last.pt")
        if distributed.is_main() and run.step in kept_steps(run):
            save(run, out / f"step-{run.step}.pt")


def finish(run: Run, out: Path) -> None:
    """At the end of a slice: leave a checkpoint or, of a run that is done, what it took."""
    with distributed.together():
        if distributed.is_main() and run.step == run.steps:
            took = {"seconds": round(run.seconds, 1), "cpu_seconds": round(run.cpu_seconds, 1)}
            run_folder.write_record(out, run_folder.read_record(out) | {"took": took})
        elif distributed.is_main():
            save(run, out / "last.pt")


def save(run: Run, path: Path) -> None:
    """Write everything needed to go on."""
    state = {name: getattr(run, name) for name in (*COUNTED, "seed")}
    state |= {name: getattr(run, name).state_dict() for name in LEARNED}
    run_folder.write_checkpoint(path, state, run.config)


def load(
    run: Run, path: Path, sections: tuple[str, ...] = ("",), but: tuple[str, ...] = ()
) -> None:
    """Take the state that `save` wrote, or averaged weights, of a run whose configuration has
    the same `sections`, `but` for these keys, of which it tells. Raises CheckpointError if the
    file is damaged or does not fit."""
    if path.suffix == ".pt":
        state, stored = run_folder.read_checkpoint(path)
    else:
        model = run_folder.trained(path)
        state, stored = dict.fromkeys(("model", "average"), model.state_dict()), model.config
    there, here = to_dict(stored), to_dict(run.config)
    different = run_folder.differences(there, here, sections)
    if wrong := [one for one in different if one.split()[0] not in but]:
        raise CheckpointError(
            f"{path} belongs to another run: {'; '.join(wrong)}: make them the same"
        )
    if different:
        processes.say(f"{path}: {'; '.join(different)}")
    try:
        for name, value in state.items():
            if name == "optimizer":
                optimizers.restore(run.optimizer, value)
            elif name in LEARNED:
                getattr(run, name).load_state_dict(value)
            elif name in COUNTED:
                setattr(run, name, value)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} holds another model than its configuration builds "
            f"({run_folder.first_line(error)}): train again, or use the code that made it"
        ) from error


def save_weights(run: Run, path: Path) -> None:
    """Write the averaged weights for `cnf.load`."""
    metadata = {
        "seed": str(run.seed),
        "step": str(run.step),
        "steps": str(run.steps),
        "valid_bits_per_dim": repr(run.best),
        "data": run.data.name,
        "data_sha256": run.data.sha256,
        "config": json.dumps(to_dict(run.config)),
    }
    with run_folder.atomic(path) as part:
        run.average.save(part, metadata)


def start_from(run: Run, start: Path) -> dict[str, Any]:
    """Take the averaged weights of a run folder, or all that a checkpoint of one holds; what
    config.json says of it."""
    branch = start.suffix == ".pt"
    path = start if branch else start / "weights.safetensors"
    before = run_folder.read_record(path.parent, needed=False).get("config", {}).get("data", {})
    same = {*parts(before.get("train", ""))} & {*parts(run.config.data.train)}
    if same and before.get("use_valid") and not run.config.data.use_valid:
        raise ConfigError(
            f"--start {start} has trained on the validation pictures of {', '.join(same)}: "
            "give --set data.use_valid=true, or other weights"
        )
    with distributed.together():
        load(run, path, ("model.", *OF_OPTIMIZER) if branch else ("model.",), BOUNDS)
    run.best = math.inf  # of the weights in this folder
    found = {"run": path.resolve().parent.name, "weights_sha256": run_folder.file_sha256(path)}
    return found | {"checkpoint": path.name} if branch else found
