"""The laws of `cnf.testing` on the layers, densities and flows of other libraries.

    python -m tools.field_audit run nflows     measure its cases; where the library is installed
    python -m tools.field_audit table          a row a library, of what was measured
    python -m tools.field_audit findings       run every finding: the wrong number beside the right

Cases are in `experiments/field_audit/cases/NAME.py`, as is what explains each flag: a finding (a
file of `findings/` that anyone can run), a documented limit of the library, or a mistake of ours.
What was measured is in `found/NAME.json`. Each library is best installed in an environment of its
own, with the versions of `experiments/field_audit/requirements.txt`.
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

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "field_audit"
Cases = dict[str, Callable[[], Report]]
Explained = dict[str, list[str]]  # {finding or reason: ["case: law", with wildcards]}


def bijection(*arguments, **options) -> Callable[[], Report]:
    return partial(check_bijection, *arguments, **options)


def density(*arguments, **options) -> Callable[[], Report]:
    return partial(check_density, *arguments, **options)


def flow(*arguments, **options) -> Callable[[], Report]:
    return partial(check_flow, *arguments, **options)


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
    if not words:
        found = {
            "library": module.LIBRARY,
            "version": importlib.metadata.version(module.LIBRARY),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cases": rows,
        }
        path = FOLDER / "found" / f"{name}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def explanation(flag: str, explained: Explained) -> str:
    """What explains "case: law"; "" if nothing does."""
    for what, patterns in explained.items():
        if any(fnmatch.fnmatchcase(flag, pattern) for pattern in patterns):
            return what
    return ""


def triage(name: str) -> dict:
    """The flags of a library by what explains them, from its JSON and `explained.json`."""
    found = json.loads((FOLDER / "found" / f"{name}.json").read_text("utf-8"))
    table = json.loads((FOLDER / "explained.json").read_text("utf-8")).get(name, {})
    flags = [f"{row['case']}: {f['law']}" for row in found["cases"] for f in row["failures"]]
    kinds: dict[str, list] = {"findings": [], "limits": [], "ours": [], "unexplained": []}
    for flag in flags:
        for kind in ("findings", "limits", "ours"):
            if what := explanation(flag, table.get(kind, {})):
                kinds[kind].append((flag, what))
                break
        else:
            kinds["unexplained"].append((flag, ""))
    passed = sum(not row["failures"] for row in found["cases"])
    return found | {"name": name, "passed": passed, "flags": kinds}


def table() -> str:
    """A row a library, in Markdown; raises ValueError if a flag is not explained."""
    head = [
        "library",
        "version",
        "cases",
        "passed all",
        "flags",
        "documented limits",
        "our mistake",
    ]
    lines = [head + ["of findings", "share that is real", "findings"]]
    for path in sorted((FOLDER / "found").glob("*.json"), key=lambda p: (p.stem != "cnf", p.stem)):
        t = triage(path.stem)
        count = {kind: len(flags) for kind, flags in t["flags"].items()}
        if count["unexplained"]:
            raise ValueError(f"{path.stem}: {t['flags']['unexplained'][0][0]} is not explained")
        flags = sum(count.values())
        share = f"{count['findings'] / flags:.0%}" if flags else "–"
        causes = len({what for _, what in t["flags"]["findings"]})
        numbers = [len(t["cases"]), t["passed"], flags, count["limits"], count["ours"]]
        lines.append([t["library"], t["version"], *numbers, count["findings"], share, causes])
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def findings() -> int:
    """Run every finding in a process of its own; returns how many do not run."""
    bad = 0
    for path in sorted((FOLDER / "findings").glob("*.py")):
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
        return findings()
    return 0


if __name__ == "__main__":
    sys.exit(main())
