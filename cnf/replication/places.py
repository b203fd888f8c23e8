"""Where things are: in a checkout of the repository, or where wheels have installed them.

A wheel brings `experiments/` and `data/` as packages, and that of the weights brings, as
`cnf_weights/results/`, the runs that are released.
"""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from cnf.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]  # of an installed package: what it lies in
COMMIT = Path(__file__).with_name("COMMIT")  # of which `make dist` built the package
IS_CHECKOUT = (REPOSITORY / "experiments" / "README.md").exists()


def _installed(package: str) -> Path:
    """The folder of a package without code; a folder that does not exist if it is not installed."""
    spec = find_spec(package)
    return Path(next(iter(spec.submodule_search_locations or ()))) if spec else REPOSITORY / package


EXPERIMENTS = REPOSITORY / "experiments" if IS_CHECKOUT else _installed("cnf_experiments")
DATA = REPOSITORY / "data" if IS_CHECKOUT else _installed("cnf_data")
RESULTS = (REPOSITORY if IS_CHECKOUT else _installed("cnf_weights")) / "results"


def require_checkout(what: str) -> None:
    """Raise ConfigError in an installed package, for what writes into the repository."""
    if not IS_CHECKOUT:
        raise ConfigError(f"{what} writes into the repository: run it in a clone")


def data_sets() -> Path:
    """Where image sets are looked for: $CNF_DATA, else `data/` of the checkout, else a folder of
    the user."""
    here = DATA if IS_CHECKOUT else platformdirs.user_data_path("cnf", appauthor=False) / "data"
    return Path(os.environ.get("CNF_DATA") or here)


def git_state(repository: Path = REPOSITORY) -> tuple[str | None, bool]:
    """(commit, whether `cnf/` differs from it); (None, True) where no commit is known."""

    def git(*arguments: str) -> str:
        words = ["git", "-C", str(repository), *arguments]
        return subprocess.run(words, capture_output=True, check=True).stdout.decode()

    if COMMIT.exists():
        return COMMIT.read_text("utf-8").strip(), False
    if not (repository / ".git").exists():  # it may lie inside another repository
        return None, True
    try:
        commit = git("rev-parse", "HEAD").strip()
        return commit, bool(git("status", "--porcelain", "--", "cnf"))
    except (OSError, subprocess.CalledProcessError):  # no git, or no commit
        return None, True
