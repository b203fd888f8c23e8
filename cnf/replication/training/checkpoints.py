"""Files of a run: checkpoints to resume or to branch off from, and the best weights."""

import json
import math
from pathlib import Path
from typing import Any

from cnf.errors import CheckpointError, ConfigError
from cnf.replication import distributed, releases, run_folder
from cnf.replication.config import to_dict
from cnf.replication.data.catalogue import has_learned, parts
from cnf.replication.training import optimizers, processes, resuming
from cnf.replication.training.run import Run

# attributes of a run that a checkpoint holds
COUNTED = ("steps", "step", "best", "seconds", "cpu_seconds", "sums")
LEARNED = ("model", "average", "optimizer")
OF_OPTIMIZER = ("training.optimizer",)  # moments fit only the same optimizer
BOUNDS = ("model.clip", "model.ar_clip")  # may differ from those of the weights a run starts with


def kept_steps(run: Run) -> set[int]:
    """The steps whose checkpoints stay, to branch off from."""
    return {max(1, round(share * run.steps)) for share in run.config.training.keep}


def keep(run: Run, out: Path, line: dict[str, Any] | None) -> None:
    """After a step: write checkpoints, and after a validation, whose line of history is `line`, the
    history and the best weights."""
    with distributed.raise_together():
        if distributed.is_main() and line:
            history = [*run_folder.read_history(out), line]
            run_folder.write_history(out, history)
            if run.write_log:
                run.write_log(history)
            if line["best"]:
                save_weights(run, out / "weights.safetensors")
            save(run, out / "last.pt")
        if distributed.is_main() and run.step in kept_steps(run):
            save(run, out / f"step-{run.step}.pt")


def finish(run: Run, out: Path) -> None:
    """At the end of a slice: write a checkpoint; at the end of a run: its duration."""
    with distributed.raise_together():
        if distributed.is_main() and run.step == run.steps:
            duration = {"seconds": round(run.seconds, 1), "cpu_seconds": round(run.cpu_seconds, 1)}
            run_folder.write_record(out, run_folder.read_record(out) | {"took": duration})
        elif distributed.is_main():
            save(run, out / "last.pt")


def save(run: Run, path: Path) -> None:
    """Write everything that is needed to resume."""
    state = {name: getattr(run, name) for name in (*COUNTED, "seed")}
    state |= {name: getattr(run, name).state_dict() for name in LEARNED}
    run_folder.write_checkpoint(path, state, run.config)


def load(
    run: Run, path: Path, sections: tuple[str, ...] = ("",), ignored: tuple[str, ...] = ()
) -> None:
    """Load a checkpoint or averaged weights into a run. The `sections` of both configurations must
    be equal; keys in `ignored` may differ, and a line says how. Raises CheckpointError if the file
    is damaged or does not fit."""
    if path.suffix == ".pt":
        state, stored = run_folder.read_checkpoint(path)
    else:
        model = run_folder.trained(path)
        state, stored = dict.fromkeys(("model", "average"), model.state_dict()), model.config
    stored_options, own_options = to_dict(stored), to_dict(run.config)
    different = resuming.differences(stored_options, own_options, sections)
    wrong = [difference for difference in different if difference.split()[0] not in ignored]
    if wrong:
        raise CheckpointError(
            f"{path} belongs to another run: {'; '.join(wrong)}: make them the same"
        )
    if different:
        processes.print_once(f"{path}: {'; '.join(different)}")
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
    run_folder.write_atomically(path, run.average.serialized(metadata))


def start_from(run: Run, start: Path) -> dict[str, Any]:
    """Load the averaged weights of a run folder or of a name, see `releases.find_weights`, or
    everything from a checkpoint. Returns the field `start` of config.json."""
    is_checkpoint = start.suffix == ".pt"
    path = start if is_checkpoint else releases.find_weights(start)
    record = run_folder.read_record(path.parent, needed=False)
    own = record.get("config", {}).get("data")
    learned = ([own] if own else []) + run_folder.data_before(path.parent)
    for name in () if run.config.data.use_valid else parts(run.config.data.train):
        is_folder = name.startswith("folder:")  # whose pictures only its path tells
        if has_learned([d for d in learned if not is_folder or d["train"] == name], name):
            raise ConfigError(
                f"--start {start} has trained on the validation pictures of {name}: "
                "give --set data.use_valid=true, or other weights"
            )
    with distributed.raise_together():
        load(run, path, ("model.", *OF_OPTIMIZER) if is_checkpoint else ("model.",), BOUNDS)
    run.best = math.inf  # there are no weights in the new folder yet
    start_record = {
        "run": path.resolve().parent.name,
        "weights_sha256": run_folder.file_sha256(path),
        "data": learned,
    }
    return start_record | {"checkpoint": path.name} if is_checkpoint else start_record
