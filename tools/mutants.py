"""Plant the mistakes of `tests/mistakes.py`, one at a time: the tests must see each of them.

    python -m tools.mutants [WORD ...]   only the mistakes whose target, name or tests hold a word

A mistake is planted before anything of the package is imported, in the process of the tests and in
every one that they start; no file changes. The processes of the tests are forks of one that has
imported the libraries, which would take longer than most tests. First the tests run on the package
as it is, where they must pass. Then each mistake is planted alone, and its tests run until one
fails. Exit status 1 if any survives, or breaks what it should only falsify (a test that cannot be
collected, or a function that cannot be called, is seen by everyone and proves nothing).
"""

import argparse
import functools
import importlib
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cnf import weights
from cnf.replication import plugs
from tests.mistakes import PLANTED

ROOT = Path(__file__).resolve().parents[1]
# what is slow to import, and nothing of the package: there is to be planted first
LIBRARIES = [
    "pytest",
    "torch",
    "torch._dynamo",
    "torch.utils.flop_counter",
    "torchvision.models.vgg",
]
LIBRARIES += ["matplotlib.pyplot", "pandas", "pydantic", "scipy.stats", "seaborn", "skimage.data"]
LIBRARIES += ["skimage.metrics", "skimage.morphology", "sklearn.metrics", "sklearn.mixture", "tyro"]
NAMED = "CNF_MUTANT"  # the environment variable that names a mistake to the processes of a test
START = f"import os, tools.mutants as m; m.plant(m.MUTANTS[int(os.environ[{NAMED!r}])])"


class Mutant(NamedTuple):
    tests: str  # below tests/: a file, or FILE::TEST where the whole file would take long
    target: str  # a dotted path below cnf
    name: str
    wrong: Callable

    def __str__(self) -> str:
        return f"{self.target}: {self.name}"


MUTANTS = [Mutant(tests, *row) for tests, rows in PLANTED.items() for row in rows]


def find(target: str) -> tuple[Any, str, Any]:
    """What holds the target, its last name, and what stands there. A library on the way is replaced
    by a copy of it, which the module before it alone sees. Raises AttributeError if it is gone."""
    *names, last = target.split(".")
    module, holder = "cnf", importlib.import_module("cnf")
    if names[0] == "experiments":
        module, holder, names = "", plugs.plug(names[1]), names[2:]
    for name in names:
        module += f".{name}" if module else ""
        try:
            holder = importlib.import_module(module)
            continue
        except (ModuleNotFoundError, ValueError):  # a class or a library; a plug has no rooms
            inner = getattr(holder, name)
        if isinstance(inner, ModuleType):
            library, inner = inner, ModuleType(inner.__name__)
            inner.__dict__.update(library.__dict__)
            setattr(holder, name, inner)
        holder = inner
    found = getattr(holder, last)
    return holder, last, vars(holder).get(last, found)  # a static method as it is written


def plant(mutant: Mutant) -> None:
    """Replace the target, wherever the package has imported it."""
    (holder, name, found), wrong = find(mutant.target), mutant.wrong
    right = found.__func__ if isinstance(found, staticmethod) else found
    if callable(right):
        planted = functools.wraps(right, updated=())(lambda *a, **k: wrong(right, *a, **k))
    else:
        planted = wrong(right)
    setattr(holder, name, staticmethod(planted) if right is not found else planted)
    for module in [m for key, m in sys.modules.items() if key.split(".")[0].startswith("cnf")]:
        if vars(module).get(name) is right:
            setattr(module, name, planted)
    for kind, function in weights.KINDS.items():
        if function is right:
            weights.KINDS[kind] = planted


class Outcome(NamedTuple):
    """What a run of the tests said: the first that failed, or what kept it from running."""

    failed: str
    broken: str
    seconds: float


def test(tests: Sequence[str], number: int | None, place: str) -> None:
    """What a process does: plant a mistake or none, run tests until one fails, and end."""
    output = os.open(f"{place}/output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = f"{place}{os.pathsep}{ROOT}"
    if number is not None:
        Path(place, "sitecustomize.py").write_text(START)  # for the processes of a test
        os.environ[NAMED] = str(number)
        plant(MUTANTS[number])
    import pytest

    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={place}/tests"]
    sys.exit(int(pytest.main([*options, *(f"tests/{name}" for name in tests)])))


def attempt(tests: Sequence[str], number: int | None) -> Outcome:
    """Run tests until one fails, with a mistake or none."""
    started = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        process = context.Process(target=test, args=(tests, number, place))
        process.start()
        process.join()
        output = Path(place, "output").read_text()
    failed = re.search(r"^FAILED tests/(\S+)(.*)", output, re.MULTILINE)
    broken = "" if process.exitcode == 0 or failed else output.strip().splitlines()[-1]
    if failed and re.search("TypeError|AttributeError|NameError", failed[2]):
        broken = failed[0]
    return Outcome(failed[1] if failed else "", broken, time.monotonic() - started)


def run(numbers: Sequence[int], jobs: int) -> int:
    """Print the table; returns how many mistakes were not caught by a failing test."""
    started, bad = time.monotonic(), 0
    files: dict[str, list[str]] = {}
    for tests in sorted({MUTANTS[n].tests for n in numbers}):
        files.setdefault(tests.partition("::")[0], []).append(tests)
    with ThreadPoolExecutor(jobs) as pool:
        print("Unchanged, these must pass:", flush=True)
        outcomes = pool.map(attempt, files.values(), repeat(None))
        for file, outcome in zip(files, outcomes, strict=True):
            bad += bool(outcome.failed or outcome.broken)
            said = outcome.broken or outcome.failed and f"FAILED: {outcome.failed}" or "passes"
            print(f"{outcome.seconds:6.1f} s  {file}  {said}", flush=True)
        if bad:
            return bad
        print("\nMistake, and the first test that sees it:", flush=True)
        outcomes = pool.map(attempt, ([MUTANTS[n].tests] for n in numbers), numbers)
        for number, outcome in zip(numbers, outcomes, strict=True):
            bad += bool(outcome.broken or not outcome.failed)
            said = outcome.broken and f"BROKEN: {outcome.broken}" or outcome.failed or "SURVIVED"
            print(f"{outcome.seconds:6.1f} s  {MUTANTS[number]}\n{'':10}{said}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"\n{len(numbers) - bad} of {len(numbers)} mistakes caught, in {minutes:.1f} min")
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only mistakes that hold one")
    parser.add_argument("--jobs", type=int, default=2, help="mistakes at a time")
    given = parser.parse_args()
    words = given.words or [""]
    chosen = [n for n, m in enumerate(MUTANTS) if any(w in f"{m} {m.tests}" for w in words)]
    if not chosen:
        print(f"error: no mistake holds {' or '.join(words)}", file=sys.stderr)
        return 2
    os.environ.pop("CNF_DATA", None)
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.get_context("forkserver").set_forkserver_preload(LIBRARIES)
    return 1 if run(chosen, given.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
