"""Files that change in one move."""

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Write to the yielded path. `path` changes only when everything is on the disk; after a
    failure nothing half-written stays. Of several processes that write one file, the last wins.
    Raises OSError."""
    part = path.with_name(f"{path.name}.tmp{secrets.token_hex(4)}")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        for leftover in path.parent.glob(glob.escape(part.name) + "*"):
            leftover.unlink()
        raise
