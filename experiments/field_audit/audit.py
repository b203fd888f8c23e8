"""The laws of `cnf.testing` on the layers, densities and flows of other libraries.

    python -m experiments.field_audit.audit run nflows
        measure its cases, or only those that hold a word; where the library is installed
    python -m experiments.field_audit.audit table
        a row a library, of what was measured
    python -m experiments.field_audit.audit findings [NAME]
        run its findings: the wrong number beside the right

Cases are in `cases/NAME.py`, as is what explains each flag: a finding (a file of `findings/` that
anyone can run), a documented limit of the library, or a mistake of ours. What was measured is in
`found/NAME.json`. Each library is best installed in an environment of its own, with the versions of
`requirements.txt`.
"""

import argparse
import fnmatch
import importlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from cnf.testing import Report, Result, check_bijection, check_density, check_flow
from cnf.testing_ode import check_ode

FOLDER = Path(__file__).resolve().parent
Cases = dict[str, Callable[[], Report]]
Explained = dict[str, list[str]]  # {finding or reason: ["case: law", with wildcards]}


def bijection(*arguments, **options) -> Callable[[], Report]:
    return partial(check_bijection, *arguments, **options)


def density(*arguments, **options) -> Callable[[], Report]:
    return partial(check_density, *arguments, **options)


def flow(*arguments, **options) -> Callable[[], Report]:
    return partial(check_flow, *arguments, **options)


def ode(make: Callable[[], dict], *arguments, **options) -> Callable[[], Report]:
    """A continuous flow: `make`, called where float64 is the default type, gives its velocity and
    what else `check_ode` judges."""

    def check() -> Report:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(0)
        try:
            made = make()
            return check_ode(made.pop("velocity"), *arguments, **made, **options)
        finally:
            torch.set_default_dtype(before)

    return check


def measured(case: Callable[[], Report]) -> Report:
    """The report of a case. What works in float64 only where that is the default type is flagged
    once, and everything else is measured there."""
    try:
        report = case()
    except Exception as error:  # it cannot even be made
        said = str(error).strip().splitlines() or [""]
        return Report("", [Result("made", "error", f"{type(error).__name__}: {said[0]}")])
    mixed = [r for r in report.failures if r.status == "error" and "Double" in r.message]
    if not mixed:
        return report
    torch.set_default_dtype(torch.float64)
    try:
        again = case()
    finally:
        torch.set_default_dtype(torch.float32)
    results = [r for r in again.results if r.law not in ("types", "float32")]
    return Report(again.what, [Result("float64", "failed", mixed[0].message), *results])


def run(name: str, words: list[str]) -> None:
    """Measure the cases of a library and write what was found."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    module = importlib.import_module(f"experiments.field_audit.cases.{name}")
    rows = []
    for case, check in module.CASES.items():
        if words and not any(word in case for word in words):
            continue
        started = time.process_time()
        report = measured(check)
        print(f"{time.process_time() - started:5.1f} s  {case}", flush=True)
        for r in report.failures:
            print(f"         {r.law}: {r.message}" + (f" [{r.likely}]" if r.likely else ""))
        failures = [
            {"law": r.law, "message": r.message, "likely": r.likely} for r in report.failures
        ]
        rows.append({"case": case, "laws": len(report.results), "failures": failures})
    found = {
        "library": module.LIBRARY,
        "version": getattr(module, "VERSION", "") or importlib.metadata.version(module.LIBRARY),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path = FOLDER / "found" / f"{name}.json"
    old = json.loads(path.read_text("utf-8")) if words and path.exists() else found | {"cases": []}
    if found.items() <= old.items():  # else what was measured before is of other versions
        both = {row["case"]: row for row in [*old["cases"], *rows]}
        found["cases"] = [both[case] for case in module.CASES if case in both]
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    else:
        print(f"not written: {path} is of other versions; measure all cases")


def explanation(flag: str, explained: Explained) -> str:
    """What explains "case: law"; "" if nothing does."""
    for what, patterns in explained.items():
        if any(fnmatch.fnmatchcase(flag, pattern) for pattern in patterns):
            return what
    return ""


def triage(name: str) -> dict:
    """What was measured of a library, and its flags by what `explained.json` says of them."""
    found = json.loads((FOLDER / "found" / f"{name}.json").read_text("utf-8"))
    table = json.loads((FOLDER / "explained.json").read_text("utf-8")).get(name, {})
    flags = [f"{row['case']}: {f['law']}" for row in found["cases"] for f in row["failures"]]
    kinds: dict[str, list] = {"findings": [], "limits": [], "unexplained": []}
    for flag in flags:
        said = {kind: explanation(flag, table.get(kind, {})) for kind in ("findings", "limits")}
        kind = next((kind for kind, what in said.items() if what), "unexplained")
        kinds[kind].append((flag, said.get(kind, "")))
    return found | {"flags": kinds}


def markdown(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---" for _ in head], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def table() -> str:
    """A row a library, this package first; raises ValueError if a flag is not explained."""
    head = ["library", "version", "cases", "passed all", "flags", "documented limits", "real"]
    rows = []
    for path in sorted((FOLDER / "found").glob("*.json"), key=lambda p: (p.stem != "cnf", p.stem)):
        audit = triage(path.stem)
        real, limits, rest = audit["flags"].values()
        if rest:
            raise ValueError(f"{path.stem}: {rest[0][0]} is not explained")
        passed = sum(not row["failures"] for row in audit["cases"])
        share = f"{len(real)} ({len(real) / len(real + limits):.0%})" if real else "–"
        counts = [len(audit["cases"]), passed, len(real + limits), len(limits), share]
        version = audit["version"].partition("+")[0]
        rows.append([audit["library"], version, *counts, len({what for _, what in real})])
    return markdown([*head, "findings"], rows)


def listed() -> str:
    """A row a finding: library and version, what, cause, and what it matters to."""
    rows = []
    for path in sorted((FOLDER / "findings").glob("*.py")):
        what, where = path.read_text("utf-8").split('"""')[1].splitlines()
        library, _, what = what.partition(": ")
        cause, _, matters = where.removeprefix("Cause: ").partition(" Matters: ")
        rows.append([library, what, cause.replace("|", "\\|"), matters])
        rows[-1][1] = what.replace("|", "\\|")
    return markdown(["library", "finding", "cause", "matters"], rows)


def findings(name: str | None) -> int:
    """Run the findings of a library, or all, each in its own process; returns how many fail."""
    bad = 0
    for path in sorted((FOLDER / "findings").glob(f"{name}_*.py" if name else "*.py")):
        command = [sys.executable, "-W", "ignore", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        bad += done.returncode != 0
        print(f"## {path.stem}\n{done.stdout}{done.stderr[-300:]}", flush=True)
    return bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["run", "table", "findings", "flags"])
    parser.add_argument("name", nargs="?", help="of the library")
    parser.add_argument("words", nargs="*", help="only cases that hold one")
    given = parser.parse_args()
    if given.what == "run":
        run(given.name, given.words)
    elif given.what == "table":
        print(table())
    elif given.what == "flags":
        for kind, flags in triage(given.name)["flags"].items():
            for flag, what in flags:
                print(f"{kind:12s}{flag}  {what}")
    else:
        return findings(given.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
