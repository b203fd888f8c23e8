"""Plant the mistakes of `tests/mistakes.py`, one at a time: the tests must see each of them.

    python -m tools.mutants [WORD ...]   only the mistakes whose target, name or tests hold a word

A mistake is planted before the tests import the package, in their process and in every process that
they start; no file changes. The processes of the tests are forks of one that has
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


def find_target(target: str) -> tuple[Any, str, Any]:
    """(holder of the target, its last name, its value). A library on the way is replaced by a copy
    that only the module before it sees. Raises AttributeError if there is no such target."""
    *names, last = target.split(".")
    module, holder = "cnf", importlib.import_module("cnf")
    if names[0] == "experiments":
        owner, *names = names[1:]
        file = names.pop(0) if names and plugs.has_module(owner, names[0]) else "plug"
        module, holder = "", plugs.module(owner, file)
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
    value = getattr(holder, last)
    return holder, last, vars(holder).get(last, value)  # a static method as it is written


def plant(mutant: Mutant) -> None:
    """Replace the target, wherever the package has imported it."""
    (holder, name, original), wrong = find_target(mutant.target), mutant.wrong
    function = original.__func__ if isinstance(original, staticmethod) else original
    if callable(function):
        planted = functools.wraps(function, updated=())(lambda *a, **k: wrong(function, *a, **k))
    else:
        planted = wrong(function)
    setattr(holder, name, staticmethod(planted) if function is not original else planted)
    for module in [m for key, m in sys.modules.items() if key.split(".")[0].startswith("cnf")]:
        if vars(module).get(name) is function:
            setattr(module, name, planted)
    for kind, maker in weights.KINDS.items():
        if maker is function:
            weights.KINDS[kind] = planted


class Outcome(NamedTuple):
    """The outcome of a run of tests: the first that failed, or the error that kept it from running,
    and its seconds."""

    failed: str
    broken: str
    seconds: float


def test(tests: Sequence[str], number: int | None, folder: str) -> None:
    """The work of a process: plant a mistake, or none, run tests until one fails, and exit."""
    output = os.open(f"{folder}/output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{ROOT}"
    if number is not None:
        Path(folder, "sitecustomize.py").write_text(START)  # for the processes of a test
        os.environ[NAMED] = str(number)
        plant(MUTANTS[number])
    import pytest

    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
    sys.exit(int(pytest.main([*options, *(f"tests/{name}" for name in tests)])))


def run_tests(tests: Sequence[str], number: int | None) -> Outcome:
    """Run tests until one fails, with a mistake or none."""
    started = time.monotonic()
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        process = context.Process(target=test, args=(tests, number, folder))
        process.start()
        process.join()
        output = Path(folder, "output").read_text()
    failed = re.search(r"^FAILED tests/(\S+)(.*)", output, re.MULTILINE)
    broken = "" if process.exitcode == 0 or failed else output.strip().splitlines()[-1]
    if failed and re.search("TypeError|AttributeError|NameError", failed[2]):
        broken = failed[0]
    return Outcome(failed[1] if failed else "", broken, time.monotonic() - started)


def run(numbers: Sequence[int], jobs: int) -> int:
    """Print the table; returns how many mistakes were not caught by a failing test."""
    started, num_missed = time.monotonic(), 0
    files: dict[str, list[str]] = {}
    for tests in sorted({MUTANTS[n].tests for n in numbers}):
        files.setdefault(tests.partition("::")[0], []).append(tests)
    with ThreadPoolExecutor(jobs) as pool:
        print("Unchanged, these must pass:", flush=True)
        outcomes = pool.map(run_tests, files.values(), repeat(None))
        for file, outcome in zip(files, outcomes, strict=True):
            num_missed += bool(outcome.failed or outcome.broken)
            result = outcome.broken or "passes"
            if outcome.failed and not outcome.broken:
                result = f"FAILED: {outcome.failed}"
            print(f"{outcome.seconds:6.1f} s  {file}  {result}", flush=True)
        if num_missed:
            return num_missed
        print("\nMistake, and the first test that sees it:", flush=True)
        outcomes = pool.map(run_tests, ([MUTANTS[n].tests] for n in numbers), numbers)
        for number, outcome in zip(numbers, outcomes, strict=True):
            num_missed += bool(outcome.broken or not outcome.failed)
            result = outcome.failed or "SURVIVED"
            if outcome.broken:
                result = f"BROKEN: {outcome.broken}"
            print(f"{outcome.seconds:6.1f} s  {MUTANTS[number]}\n{'':10}{result}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(f"\n{len(numbers) - num_missed} of {len(numbers)} mistakes caught, in {minutes:.1f} min")
    return num_missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only mistakes that hold one")
    parser.add_argument("--jobs", type=int, default=2, help="mistakes at a time")
    arguments = parser.parse_args()
    words = arguments.words or [""]
    numbers = [n for n, m in enumerate(MUTANTS) if any(w in f"{m} {m.tests}" for w in words)]
    if not numbers:
        print(f"error: no mistake holds {' or '.join(words)}", file=sys.stderr)
        return 2
    os.environ.pop("CNF_DATA", None)
    os.environ["OMP_NUM_THREADS"] = "1"
    multiprocessing.get_context("forkserver").set_forkserver_preload(LIBRARIES)
    return 1 if run(numbers, arguments.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
