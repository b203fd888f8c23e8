"""Committed runs: `results/<name>/` with config, history, float16 weights, scores and a model card.

The float16 weights are the ones that are evaluated, so that `audit` finds the ledger's numbers
from what a clone holds.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from cnf import build
from cnf.config import Config, config_sha256
from cnf.errors import CheckpointError, LedgerError
from cnf.replication import run_folder
from cnf.replication.results import write_text

MAX_BYTES = 4_000_000  # of the weights of one run, so that the repository stays a quick clone
MAX_LINES = 300  # of a committed history


def check_name(name: str) -> None:
    """Raise LedgerError unless `name` can be a folder and the start of row ids."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise LedgerError(f"'{name}' cannot name a run: use a-z, 0-9, '-' and '.'; give --name")


def publish(run: Path, folder: Path) -> Path:
    """Copy the run folder `run` into `folder`, weights as float16; returns `folder`.

    Raises LedgerError if the weights are larger than 4 MB, or if `folder` holds another run.
    """
    if run.resolve() == folder.resolve():
        return folder
    weights = folder / "weights.safetensors"
    model = build.load(run / "weights.safetensors")
    record = read_record(run)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "weights.new"
    model.save(partial, half=True)
    try:
        if partial.stat().st_size > MAX_BYTES:
            raise LedgerError(
                f"the weights of {run.name} take {partial.stat().st_size / 1e6:.1f} MB, more than "
                f"{MAX_BYTES / 1e6:.0f}: evaluate without --publish; the ledger keeps their hash"
            )
        if not weights.exists():
            partial.chmod(0o644)
            partial.replace(weights)
        elif not _same_weights(weights, partial):
            raise LedgerError(f"results/{folder.name} holds other weights: give another --name")
    finally:
        partial.unlink(missing_ok=True)
    if record:
        record["hardware"] = training_record(run, model.config)["hardware"]
        write_text(folder / "config.json", without_paths(json.dumps(record, indent=1)) + "\n")
    history = run / "history.jsonl"
    if history.exists():
        lines = [line for line in history.read_text().splitlines() if line.strip()]
        write_text(folder / "history.jsonl", "\n".join(thin(lines)) + "\n")
    if (run / "history.png").exists():
        shutil.copyfile(run / "history.png", folder / "history.png")
    return folder


def _same_weights(one: Path, other: Path) -> bool:
    """Whether two files hold the same arrays; the bytes of their metadata may differ in order."""
    a, b = (safetensors.numpy.load_file(path) for path in (one, other))
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def thin(lines: list[str], most: int = MAX_LINES) -> list[str]:
    """At most `most` lines, evenly spread, first and last kept."""
    if len(lines) <= most:
        return lines
    return [lines[i] for i in np.linspace(0, len(lines) - 1, most).round().astype(int)]


def without_paths(text: str) -> str:
    """Shorten absolute paths to their last part: a committed file names no machine."""
    return re.sub(r"(?<![\w./-])/(?:[\w.~+-]+/)+", "", text)


def read_record(run: Path) -> dict[str, Any]:
    """config.json of a run folder, {} if it has none."""
    path = run / "config.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is no JSON ({error}): restore it") from None


def training_record(run: Path, config: Config) -> dict[str, Any]:
    """What the ledger keeps of training: hash of the configuration, seed, steps, wall_s, hardware.

    None where the run folder does not say. The hash is the one taken when training began: the
    configuration may since have gained fields.
    """
    record, history = read_record(run), run / "history.jsonl"
    lines = history.read_text().strip().splitlines() if history.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    hardware = record.get("hardware", record.get("device"))
    if hardware == "cpu":
        hardware = f"{run_folder.processor()}, {record.get('threads', '?')} threads"
    return {
        "config_sha256": record.get("config_sha256", config_sha256(config)),
        "seed": record.get("seed"),
        "steps": last.get("step", record.get("steps")),
        "wall_s": last.get("seconds"),
        "hardware": hardware,
    }


TERMS = {
    "tinyimagenet": "Trained on pictures of ImageNet, whose terms allow non-commercial research "
    "and educational use: use the weights in the same way.",
    "drive": "Trained on DRIVE, which is free for research and educational purposes: use the "
    "weights in the same way. No DRIVE picture is in this repository.",
    "stare": "Trained on STARE, which is offered for research: use the weights in the same way. No "
    "STARE picture is in this repository.",
    "chasedb1": "Trained on CHASE_DB1 (Fraz et al. 2012; CC BY 4.0): name it where you use the "
    "weights.",
    "embedded": "Trained on data that are free of rights: use the weights as you like (MIT).",
    "known": "Trained on data drawn from a formula: use the weights as you like (MIT).",
    "folder": "Trained on pictures of a folder: what may be done with the weights is for their "
    "owners to say.",
}
TERMS["imagenet"] = TERMS["tinyimagenet"]


def terms(train: str) -> list[str]:
    """What may be done with weights trained on the set, or on several joined by "+"; that a part is
    free goes without saying."""
    parts = train.split("+")
    found = [text for key, text in TERMS.items() if any(p.startswith(key) for p in parts)]
    free = [TERMS["embedded"], TERMS["known"]]
    bound = [text for text in dict.fromkeys(found) if text not in free]
    return bound or found[:1]
