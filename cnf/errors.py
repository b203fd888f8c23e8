"""The errors a user can cause. Each says what was wrong, which value, and what to do."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class CnfError(ValueError):
    """Base of all expected errors; the command line prints it as one line and exits with 2."""


class ConfigError(CnfError):
    """A configuration key or value that does not fit."""


class DataError(CnfError):
    """A picture, label, folder or data set that cannot be used."""


class CheckpointError(CnfError):
    """A file of weights or training state that cannot be used."""


class TrainingError(CnfError):
    """A training run that had to stop (non-finite loss, folder in use, no such device)."""


class ResultsError(CnfError):
    """A number, or a claim, that does not fit the others in `results/`."""


class UnwritableError(CnfError, OSError):
    """A file that cannot be written."""


def not_installed(error: ModuleNotFoundError) -> str:
    """What to do where a package is missing that only the laboratory needs. Windows knows double
    quotes only."""
    return (
        f'{error.name} is not installed: pip install "conditional-normalizing-flows[replication]"'
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """The three of many names that are most like a name that is none of them, in words."""
    return ", ".join(difflib.get_close_matches(name, list(names), 3, 0))


def known_options(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The options. Raises ConfigError, with the nearest names, for one that is none of them."""
    names = list(names)
    for name in options:
        if name not in names:
            raise ConfigError(f"unknown option '{name}': the nearest are {nearest(name, names)}")
    return dict(options)
