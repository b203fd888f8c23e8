"""What `train --log` writes beside history.jsonl, for other programs: history.csv, or the event
files that TensorBoard reads, in tensorboard/. Both hold the whole history, also of a run that is
resumed, or to which the option comes later."""

import csv
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from cnf.errors import ConfigError
from cnf.replication import run_folder

Format = Literal["csv", "tensorboard"]
History = Sequence[Mapping[str, float]]


def check(log: Format | None) -> None:
    """Raise ConfigError if the library is missing that writes this format."""
    if log == "tensorboard" and find_spec("tensorboard") is None:
        raise ConfigError(
            "--log tensorboard: tensorboard is not installed: pip install "
            '"conditional-normalizing-flows[tensorboard]", or give --log csv'
        )


def start(log: Format, out: Path) -> Callable[[History], None]:
    """Write the history of a run folder, if there is any. Returns the function that does so, to be
    called again when the history has grown."""
    path = out / "history.csv"
    write = partial(write_csv, path) if log == "csv" else Events(out / "tensorboard").write
    if history := run_folder.read_history(out):
        write(history)
    return write


def write_csv(path: Path, history: History) -> None:
    """Write a table with a row for each validation."""
    text = io.StringIO()
    names = dict.fromkeys(name for line in history for name in line)
    table = csv.DictWriter(text, list(names), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    run_folder.write_atomically(path, text.getvalue().encode())


class Events:
    """The event files of TensorBoard, written anew."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter  # needs tensorboard

        shutil.rmtree(folder, ignore_errors=True)
        self.writer, self.lines = SummaryWriter(folder), 0

    def write(self, history: History) -> None:
        for line in history[self.lines :]:
            for name, value in line.items():
                if name != "step":
                    self.writer.add_scalar(name, value, line["step"])
        self.lines = len(history)
        self.writer.flush()
