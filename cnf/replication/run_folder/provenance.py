"""What made a number: how its model was trained, the code, the machine."""

import platform
import re
from datetime import date
from pathlib import Path
from typing import Any

import torch

from cnf.replication.config import Config, config_sha256
from cnf.replication.places import REPOSITORY, git_state
from cnf.replication.records import read_record
from cnf.replication.run_folder.files import read_history


def training_record(run: Path, config: Config) -> dict[str, Any]:
    """Facts of a training run: hash of the configuration, seed, steps, wall_s, hardware.

    A fact that the run folder does not hold is None. The hash was taken when training began,
    because the configuration may have gained fields since.
    """
    record = read_record(run, needed=False)
    last = (read_history(run) or [{}])[-1]
    return {
        "config_sha256": record.get("config_sha256", config_sha256(config)),
        "seed": record.get("seed"),
        "steps": last.get("step", record.get("steps")),
        "wall_s": last.get("seconds"),
        "hardware": record.get("hardware"),
    }


def provenance(repository: Path = REPOSITORY) -> dict[str, Any]:
    """The code that computes a number now, and the date: `git_state`, version of torch."""
    commit, dirty = git_state(repository)
    today = date.today().isoformat()
    return {"git": commit, "dirty": dirty, "torch": torch.__version__, "date": today}


def device_name(device: torch.device) -> str:
    """The card, or the model of this machine's processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def processor() -> str:
    """The model of this machine's processor."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    if match:
        return " ".join(match[1].split())
    return platform.processor() or platform.machine()
