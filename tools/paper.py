"""The replication in at most eight pages, as a PDF, in the form of reproducibility tracks.

    python -m tools.paper        tools/paper.typ -> _build/paper.pdf   (pip install -e '.[paper]')

The template names rows of results/ and cells of its tables; every number that it prints comes from
them, from results/claims.yml, or is counted here. A name that is not there is an error, and so is a
comparison in the text (`fewer`) that the rows do not support.
"""

import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import matplotlib.pyplot as plt
import yaml

from cnf.errors import CnfError, ResultsError
from cnf.replication import results, run_folder
from cnf.replication.metrics import METRICS
from cnf.replication.plotting import ROLES, STYLE
from cnf.replication.results import claims, report
from cnf.replication.results.rows import Row
from cnf.replication.run_folder import REPOSITORY

TEMPLATE = Path(__file__).with_suffix(".typ")
OUT = REPOSITORY / "_build" / "paper.pdf"
PAGES = 8
ROW = re.compile(r'"([\w.@+-]+/[\w.@+-]+/[\w.+-]+)"')
CELL = re.compile(r'cell\("([^"]+)",\s*"([^"]+)",\s*"([^"]+)"\)')
LEFT_OUT = ("neighbour counts, no photograph",)  # of figures of F: it has none
MARKS = {"flow": "o", "factorised": "s", "control": "^"}
# figure -> table, its columns (the second is hollow), the label of the axis, its scale
Panels = list[tuple[str, Sequence[str], str, str]]
FIGURES: dict[str, tuple[float, Panels]] = {
    "pictures": (
        2.6,
        [
            (
                "super-resolution-bits",
                ("Tiny-ImageNet 32 (stand-in)", "Tiny-ImageNet 32, x not rounded"),
                "bits/dim",
                "linear",
            )
        ],
    ),
    "psnr": (
        3.3,
        [
            ("super-resolution-psnr", [column], f"PSNR, {column}, dB", "linear")
            for column in ("Set5", "BSD100")
        ],
    ),
    "vessels": (4.3, [("vessel-bits", ["bits/pixel"], "bits/pixel", "linear")]),
    "masks": (
        3.6,
        [
            ("vessel-masks", ("F", "F of one sample"), "F", "linear"),
            ("vessel-masks", ["calibration error"], "calibration error", "linear"),
            ("vessel-masks", ["pieces over the truth's"], "pieces / truth's", "log"),
        ],
    ),
}


# -- numbers ---------------------------------------------------------------------------------------


def number(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A value as the template prints it; `spread` over seeds is "" for one training."""
    values = [other.value for other in results.seeds_of(row, rows)]
    write, unit = METRICS[row.metric].write, METRICS[row.metric].unit
    return {
        "value": row.value,
        "text": results.value(row),
        "short": results.value(row).split(" ±")[0],
        "unit": "" if unit == "1" else unit,
        "seeds": len(values),
        "spread": write(statistics.stdev(values)) if len(values) > 1 else "",
        "minutes": None if row.wall_s is None else round(row.wall_s / 60),
    }


def content(template: str, folder: Path = results.RESULTS) -> dict[str, Any]:
    """Everything that the template reads. Raises ResultsError naming a row or cell that it names
    and that is not there, or a claim whose rule fails."""
    rows = results.read(folder)
    by_id = {row.id: row for row in rows}
    grids = {grid.name or "readme": grid for grid in (report.README, *report.REPORT)}
    named = dict.fromkeys(ROW.findall(template))
    if missing := [name for name in named if name not in by_id]:
        raise ResultsError(f"{TEMPLATE.name} names {missing[0]}, which no row of results/ is")
    cells = {}
    for name, line, column in CELL.findall(template):
        found = grids[name].cells(rows) if name in grids else {}
        if (line, column) not in found:
            raise ResultsError(f"{TEMPLATE.name}: no cell '{line}', '{column}' in table '{name}'")
        cells[f"{name}|{line}|{column}"] = number(found[line, column], rows)
    summary = report.README.cells(rows)
    shown = {row.trained: row for row in summary.values()}
    judged = claims.read(folder)
    trained = {r.weights_sha256: r for r in rows if r.weights_sha256 and r.run == r.trained}
    hours = [core_hours(row) for row in trained.values() if row.wall_s is not None]
    return {
        "rows": {name: number(by_id[name], rows) for name in named},
        "cells": cells,
        "columns": list(report.README.columns),
        "table": {
            line: {
                c: number(summary[line, c], rows)
                for c in report.README.columns
                if (line, c) in summary
            }
            for line in report.README.lines
        },
        "runs": [settings(run, row, folder) for run, row in shown.items()],
        "verdicts": {v: sum(c.verdict == v for c in judged) for v in get_args(claims.Verdict)},
        "claims": [claim_of(claim, rows) for claim in judged],
        "recalled": sum(claim.value is not None for claim in judged),
        "unconfirmed": sum(claim.tag == "unconfirmed" for claim in judged),
        "trainings": len(trained),
        "hours": round(sum(hours)),
        "values": len(rows),
        "version": yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))["version"],
    }


def settings(run: str, row: Row, folder: Path) -> dict[str, str]:
    """How a run was trained; `row` is one of its rows."""
    config = run_folder.read_config(folder / run)
    return {
        "run": run,
        "data": config.data.train,
        "parameters": f"{run_folder.read_record(folder / run)['parameters']:,}",
        "optimizer": f"{config.training.optimizer}, {config.training.lr:g}",
        "steps": f"{row.steps:,} × {config.training.batch_size}",
        "hours": f"{core_hours(row):.1f}",
    }


def claim_of(claim: claims.Claim, rows: Sequence[Row]) -> dict[str, Any]:
    """What the template prints of a claim."""
    fields = {name: getattr(claim, name) for name in ("place", "verdict", "tag", "value")}
    texts = {name: getattr(claim, name).replace("`", "") for name in ("cause", "would_change")}
    return fields | texts | {"statement": claims.statement(claim).replace("(unconfirmed) ", "")}


def core_hours(row: Row) -> float:
    """Hours of processor cores that the training of a row took."""
    several = re.match(r"(\d+) processes", row.hardware or "")
    return row.wall_s / 3600 * (int(several[1]) if several else 1)


# -- figures ---------------------------------------------------------------------------------------


def role(line: str) -> str:
    """The kind of model in a line of a table: its colour and its mark."""
    if re.match("one|mixture|exact|neighbour|bicubic|second", line):
        return "control"
    return "factorised" if re.match("factorised|weighted|class", line) else "flow"


def draw(name: str, path: Path, rows: Sequence[Row]) -> None:
    """A dot plot of one of FIGURES: a line for each model, bars of two standard errors."""
    grids = {grid.name: grid for grid in report.REPORT}
    height, panels = FIGURES[name]
    with plt.rc_context(STYLE | {"font.size": 8, "axes.labelsize": 8, "grid.linewidth": 0.4}):
        fig, axes = plt.subplots(1, len(panels), figsize=(6.7, height), sharey=True, squeeze=False)
        cells = grids[panels[0][0]].cells(rows)
        lines = [n for n in grids[panels[0][0]].lines if (n, panels[0][1][0]) in cells]
        lines = [n for n in lines if name != "masks" or n not in LEFT_OUT]
        for ax, (_, columns, label, scale) in zip(axes[0], panels, strict=True):
            for i, line in enumerate(lines):
                color = ROLES[role(line)]
                for column, face in zip(columns, (color, "white"), strict=False):
                    if row := cells.get((line, column)):
                        error = 2 * (row.standard_error or 0)
                        ax.errorbar(
                            row.value, i, xerr=error, fmt=MARKS[role(line)], color=color,
                            markerfacecolor=face, markersize=4, elinewidth=0.9, capsize=1.5,
                        )  # fmt: skip
            ax.set(xlabel=label, xscale=scale, ylim=(len(lines) - 0.5, -0.5))
            ax.tick_params(length=2)
        axes[0][0].set_yticks(range(len(lines)), lines)
        fig.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(fig)


# -- the PDF ---------------------------------------------------------------------------------------


def write_sources(folder: Path) -> None:
    """What the template reads: content.json and the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    found = content(TEMPLATE.read_text("utf-8"))
    (folder / "content.json").write_text(json.dumps(found, ensure_ascii=False), "utf-8")
    rows = results.read()
    for name in FIGURES:
        draw(name, folder / f"{name}.svg", rows)


def main() -> int:
    try:
        import typst
    except ImportError:
        print("typst is not installed: pip install -e '.[paper]', or `make paper`", file=sys.stderr)
        return 2
    try:
        write_sources(OUT.parent / "paper")
    except CnfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pdf = typst.compile(TEMPLATE, root=REPOSITORY)
    from pypdf import PdfReader

    OUT.write_bytes(pdf)
    pages = len(PdfReader(OUT).pages)
    print(f"{OUT.relative_to(REPOSITORY)}: {pages} pages, {len(pdf) / 1e3:.0f} kB")
    if pages > PAGES:
        print(f"error: at most {PAGES} pages: shorten {TEMPLATE.name}", file=sys.stderr)
    return int(pages > PAGES)


if __name__ == "__main__":
    sys.exit(main())
