"""What `results/` holds: the ledger (`ledger`), the paper's claims and others' numbers (`claims`),
and the tables of the README made of them. Pages and commands take all from here."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from cnf.errors import LedgerError
from cnf.replication.claims import (  # noqa: F401
    Claim,
    Claims,
    Published,
    Verdict,
    beside,
    claims,
    claims_text,
    paper_figure,
    published,
    told,
)
from cnf.replication.ledger import (  # noqa: F401
    BITS,
    COLUMNS,
    DEFAULT_COLUMNS,
    FEW,
    METRICS,
    REFERENCES,
    REPOSITORY,
    RESULTS,
    STRESS,
    Metric,
    Paper,
    Row,
    append,
    current,
    described,
    find,
    make_row,
    markdown,
    matching,
    one,
    read,
    select,
    show,
    table,
    to_dict,
    value,
    valued,
    write_text,
)

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


class Grid(NamedTuple):
    """A small table: a cell is the row that has the fields `of` all cells, of its line and of its
    column. Lines and columns without rows are left out. With `steps` the first column says how long
    the model of a line was trained."""

    title: str
    of: dict[str, Any]
    lines: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, Any]]
    steps: bool = False

    def write(self, rows: Sequence[Row]) -> str:
        """As markdown; "" without rows. Raises LedgerError if several rows fit a cell."""

        def cell(wanted: dict[str, Any]) -> str:
            return value(one(rows, **wanted)) if select(rows, **wanted) else ""

        of, columns = self.of, self.columns.items()
        cells = {
            (line, column): cell(of | fields | more)
            for line, fields in self.lines.items()
            for column, more in columns
        }
        lines = [line for line in self.lines if any(cells[line, c] for c in self.columns)]
        heads = [c for c in self.columns if any(cells[line, c] for line in lines)]
        if not lines:
            return ""
        body = [[line, *(cells[line, c] for c in heads)] for line in lines]
        if self.steps:
            heads = ["steps of training", *heads]
            body = [[line, self._steps(rows, line), *rest] for line, *rest in body]
        return f"**{self.title}**\n\n{markdown(['', *heads], body)}"

    def _steps(self, rows: Sequence[Row], line: str) -> str:
        """Of the model of a line: those of its rows; "" if it is none."""
        found = {row.steps for row in select(rows, **self.of | self.lines[line])} - {None}
        return " or ".join(f"{steps:,}" for steps in sorted(found))


def _means(of: str, flow: str, baseline: str) -> dict[str, dict[str, Any]]:
    """What two runs answer: lines of a grid."""
    return {
        f"baseline{of}, its mean": {"run": baseline, "samples": 0},
        f"flow{of}, mean of 8 samples or more": {
            "run": flow,
            "samples": [32, 16, 8],
            "temperature": 1.0,
        },
        f"flow{of}, one sample at 0.8": {"run": flow, "samples": 1, "temperature": 0.8},
    }


_BITS = {"split": "test", "bound": ["*dequantization", "exact"], "noise_seed": 0}
_DB = {"metric": ["psnr", "psnr_sample"], "protocol": "standard"}
_SETS = {"Set5": "set5", "Set14": "set14", "BSD100": "bsd100"}

_EYES = {"split": "test", "noise_seed": 0}
_MANY = [64, 32, 0, None]  # samples of marginals: a baseline has its own, an observer none
_MASKS = {
    "bits/pixel": _BITS | {"metric": "bits_per_pixel", "divided_by": "all pixels"},
    "F at 0.5": {"metric": "f_half", "samples": _MANY},
}

# The README answers "how good is it"; `results table` shows every row.
GRIDS = (
    Grid(
        "Super-resolution x2, bits/dim of y given x (lower is better)",
        _BITS | {"metric": "bits_per_dim", "rounded_x": False},
        {
            "flow": {"run": "sr-flow-cpu-s0"},
            "factorised baseline": {"run": "sr-baseline-cpu-s0"},
            "flow for photographs": {"run": "sr-flow-photos-s0"},
            "baseline for photographs": {"run": "sr-baseline-photos-s0"},
        },
        {
            "ImageNet32": {"data": ["imagenet32-vandenoord", "imagenet32-chrabaszcz"]},
            "Tiny-ImageNet 32 (stand-in)": {"data": "tinyimagenet32"},
            "... x rounded to 8 bits": {"data": "tinyimagenet32", "rounded_x": True},
            "ImageNet64": {"data": ["imagenet64-vandenoord", "imagenet64-chrabaszcz"]},
            "Tiny-ImageNet 64 (stand-in)": {"data": "tinyimagenet64"},
        },
    ),
    Grid(
        "Super-resolution x2, dB (higher is better)",
        {"split": "test"},
        {"bicubic interpolation": {"model": "bicubic"}}
        | _means("", "sr-flow-cpu-s0", "sr-baseline-cpu-s0")
        | _means(" for photographs", "sr-flow-photos-s0", "sr-baseline-photos-s0"),
        {f"PSNR {title}": {"data": data} | _DB for title, data in _SETS.items()}
        | {
            "Set5, halved against x": {
                "data": "set5",
                "metric": ["consistency", "consistency_sample"],
                "rounded_x": False,
            }
        },
    ),
    Grid(
        "Vessels of DRIVE, test",
        _EYES | {"data": "drive"},
        {
            "flow": {"run": "vessels-flow-cpu-s0"},
            "factorised baseline": {"run": "vessels-baseline-cpu-s0"},
            "weighted likelihood, β = 0.87": {"model": "weighted", "run": "*-087-s0"},
            "class-weighted loss, β = 0.87": {"model": "class_weighted", "run": "*-087-s0"},
            "flow, no levels": {"run": "vessels-flow-paper-a-s0"},
            "flow, additive couplings": {"run": "vessels-flow-paper-b-s0"},
            "flow, no levels, additive couplings": {"run": "vessels-flow-paper-c-s0"},
            "second observer": {"model": "second observer"},
        },
        _MASKS
        | {
            "F, validation's threshold": {"metric": "f_valid", "samples": _MANY},
            "calibration error": {"metric": "calibration_error", "samples": _MANY},
            "F of one sample": {"metric": "f_sample"},
            "... its pieces over the truth's": {"metric": "components_ratio_sample"},
        },
        steps=True,
    ),
    Grid(
        "Vessels, trained on DRIVE, of other cameras (pictures at their own size)",
        _EYES,
        {
            "flow": {"run": "vessels-flow-cpu-s0"},
            "factorised baseline": {"run": "vessels-baseline-cpu-s0"},
            "second observer": {"model": "second observer"},
        },
        {
            f"{title}, {what}": {"data": data} | wanted
            for title, data in (("CHASE_DB1", "chasedb1-all"), ("STARE", "stare"))
            for what, wanted in _MASKS.items()
        },
    ),
)


def readme(path: Path = REPOSITORY / "README.md", results: Path = RESULTS) -> str:
    """Rewrite the tables of numbers between the two markers of README.md; returns the new text.

    Raises LedgerError if the markers are not there.
    """
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise LedgerError(f"{path.name} must hold '{BEGIN}' and '{END}' once each")
    rows = current(read(results))
    tables = [text for text in (grid.write(rows) for grid in GRIDS) if text]
    body = "\n\n".join(tables) or "No run has been evaluated yet."
    if (results / "claims.yml").exists():
        judged = [claim.verdict for claim in claims(results).claims]
        counts = ", ".join(f"{judged.count(v)} {v}" for v in get_args(Verdict))
        body += f"\n\nClaims and numbers of the paper beside ours, by verdict: {counts}."
    new = re.sub(
        f"{re.escape(BEGIN)}.*{re.escape(END)}",
        lambda _: f"{BEGIN}\n{body}\n{END}",
        text,
        flags=re.DOTALL,
    )
    if new != text:
        write_text(path, new)
    return new
