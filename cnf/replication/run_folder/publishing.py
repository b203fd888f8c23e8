"""From a run folder into `results/`: weights as float16, record and history, without a path of this
machine. Training never imports it."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from cnf.errors import ResultsError
from cnf.replication.config import config_sha256, from_dict, to_dict
from cnf.replication.records import read_record
from cnf.replication.run_folder.files import (
    read_history,
    trained,
    write_atomically,
    write_history,
)

MAX_BYTES = 4_000_000  # of published weights, so that the repository stays a quick clone
MAX_LINES = 300  # of a published history
_PART = r"[^\s/:,=\"'\\]"  # of a path in a command, a list or a NAME+NAME
ABSOLUTE = re.compile(rf"(?<![\w./-])/(?:{_PART}+/+)+(?={_PART})")  # a path but for its last part


def check_name(name: str) -> None:
    """Raise ResultsError unless `name` can be a folder of `results/`."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise ResultsError(
            f"'{name}' cannot name a run: use a-z, 0-9, '-', '_' and '.': rename its folder"
        )


def publish(run: Path, folder: Path) -> Path:
    """Copy the run folder `run` into `folder`, weights as float16; returns `folder`. The copy
    contains no path of this machine, see `without_absolute_paths`.

    Raises ResultsError if the weights are larger than 4 MB, or if `folder` holds another run;
    CheckpointError if the run is damaged.
    """
    if run.resolve() == folder.resolve():
        return folder
    model, weights = trained(run / "weights.safetensors"), folder / "weights.safetensors"
    model.config = from_dict(without_absolute_paths(to_dict(model.config)))
    model.metadata |= {"config": json.dumps(to_dict(model.config))}
    with tempfile.TemporaryDirectory() as folder_name:
        half_file = Path(folder_name) / weights.name
        model.save(half_file, half=True)
        size = half_file.stat().st_size
        if size > MAX_BYTES:
            raise ResultsError(
                f"the weights of {run.name} take {size / 1e6:.1f} MB, more than "
                f"{MAX_BYTES / 1e6:.0f}: evaluate without --publish: the rows keep their hash"
            )
        if weights.exists() and not _same_weights(weights, half_file):
            raise ResultsError(f"results/{folder.name} holds other weights: give another --name")
        publish_record(run, folder)
        if not weights.exists():
            write_atomically(weights, half_file.read_bytes())
    return folder


def publish_record(run: Path, folder: Path) -> None:
    """Copy what a run folder says of its training, without its weights, into `folder`: its record
    and its history."""
    record, history = read_record(run, needed=False), read_history(run)
    folder.mkdir(parents=True, exist_ok=True)
    if record:
        clean = without_absolute_paths(record)
        if clean.get("config") != record.get("config"):
            clean["config_sha256"] = config_sha256(from_dict(clean["config"]))
        write_atomically(folder / "config.json", f"{json.dumps(clean, indent=1)}\n".encode())
    if history:
        places = np.linspace(0, len(history) - 1, min(len(history), MAX_LINES)).round().astype(int)
        write_history(folder, [history[place] for place in places])


def without_absolute_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The same values with absolute paths cut to their last part."""
    return json.loads(ABSOLUTE.sub("", json.dumps(values, ensure_ascii=False)))


def _same_weights(path: Path, other_path: Path) -> bool:
    """Whether two files hold the same arrays; the bytes of their metadata may differ in order."""
    a, b = safetensors.numpy.load_file(path), safetensors.numpy.load_file(other_path)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)
