"""What is made of rows: the tables of the README, and the card of every model."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jinja2

from cnf import build
from cnf.config import Config
from cnf.errors import ResultsError
from cnf.replication import claims, run_folder
from cnf.replication.data import catalogue
from cnf.replication.metrics import METRICS
from cnf.replication.results import (
    REPOSITORY,
    RESULTS,
    Row,
    markdown,
    one,
    read,
    select,
    value,
    write_text,
)
from cnf.replication.task import TASKS

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

# -- the tables of the README ----------------------------------------------------------------------


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
        """As markdown; "" without rows. Raises ResultsError if several rows fit a cell."""

        def cell(wanted: dict[str, Any]) -> str:
            found = select(rows, **wanted)
            return value(one(found, **wanted)) if found else ""

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

    Raises ResultsError if the markers are not there.
    """
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ResultsError(f"{path.name} must hold '{BEGIN}' and '{END}' once each")
    rows = read(results)
    tables = [text for text in (grid.write(rows) for grid in GRIDS) if text]
    body = "\n\n".join(tables) or "No run has been evaluated yet."
    if (results / "claims.yml").exists():
        judged = [claim.verdict for claim in claims.read(results)]
        counts = ", ".join(f"{judged.count(v)} {v}" for v in get_args(claims.Verdict))
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


# -- the card of a model ---------------------------------------------------------------------------

# What a user asks first: a line a set, these columns; the rest is in the evaluations.
CARD = {
    "sr": {
        "bits/dim given x not rounded": {"metric": "bits_per_dim", "rounded_x": False},
        "given x of 8 bits": {"metric": "bits_per_dim", "rounded_x": True},
        "PSNR of the mean": {"metric": "psnr", "protocol": ["standard", None]},
        "PSNR of a sample": {
            "metric": "psnr_sample",
            "temperature": 0.8,
            "protocol": ["standard", None],
        },
        "a sample halved, against x": {"metric": "consistency_sample", "temperature": 0.8},
        "90 % intervals hold": {"metric": "coverage_90", "temperature": 1.0},
    },
    "vessels": {
        "bits/pixel": {"metric": "bits_per_pixel", "divided_by": "all pixels"},
        "F of the marginals at 0.5": {"metric": "f_half"},
        "at the threshold chosen on validation": {"metric": "f_valid"},
        "F of a sample": {"metric": "f_sample"},
        "area under the ROC curve": {"metric": "auc"},
        "calibration error": {"metric": "calibration_error"},
        "pieces of a sample over the truth's": {"metric": "components_ratio_sample"},
        "90 % intervals of area hold": {"metric": "area_coverage"},
    },
}


def card(folder: Path, results: Path = RESULTS) -> str:
    """The model card of a committed run, from its files and its evaluations."""
    model = build.load(folder / "weights.safetensors")
    config = model.config
    record = run_folder.read_record(folder, needed=False)
    mine = [r for r in read(results) if r.run == folder.name and r.split == "test"]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, keep_trailing_newline=True).get_template(
        "card.md.j2"
    )
    return template.render(
        name=folder.name,
        task=TASKS[config.experiment],
        config=config,
        names=[name for name, folders in build.RELEASES.items() if folders[0] == folder.name],
        model=describe_model(config),
        parameters=build.count_parameters(model),
        training=run_folder.training_record(folder, config),
        sha256=run_folder.file_sha256(folder / "weights.safetensors"),
        images=record.get("data", {}).get("train", {}).get("images"),
        stand_in=record.get("data", {}).get("stand_in"),
        start=record.get("start", {}).get("run"),
        table=_scores(mine, config.experiment),
        rows=len(mine),
        worst=_worst(folder, TASKS[config.experiment].worst),
        terms=catalogue.terms(config.data.train),
    )


def write_cards(results: Path = RESULTS) -> None:
    """Write the card of every committed run again, e.g. after the template changed."""
    for weights in sorted(results.glob("*/weights.safetensors")):
        write_text(weights.with_name("card.md"), card(weights.parent, results))


def describe_model(config: Config) -> str:
    """The model in a sentence."""
    m = config.model
    features = f"{m.features.kind} features with {m.features.channels} channels"
    if m.kind == "autoregressive":
        return f"Masked convolutions over the labels in raster order, no flow; {features}"
    if m.kind != "flow":
        return f"A factorised {m.kind} model, every entry of y independent given x; {features}"
    levels = f"{m.levels} level{'s' * (m.levels > 1)} of" if m.levels else "no levels,"
    return (
        f"A conditional flow, {levels} {m.steps} steps, couplings of width {m.width}, "
        f"{m.dequantization} dequantization; {features}"
    )


def _scores(mine: Sequence[Row], experiment: str) -> str:
    """The table of CARD, without columns and lines that nothing fills."""
    columns, lines = CARD[experiment], []
    for data in dict.fromkeys(row.data for row in mine):
        here = [row for row in mine if row.data == data and "importance" not in (row.bound or "")]
        most = max(row.num_images for row in here)
        found = [
            max(select(here, **wanted), key=lambda r: (r.num_images, r.samples or 0), default=None)
            for wanted in columns.values()
        ]
        cells = [
            "" if r is None else value(r) + f" (of {r.num_images})" * (r.num_images < most)
            for r in found
        ]
        if any(cells):
            stand_in = " (stand-in)" * here[0].stand_in
            lines.append([f"{data} test{stand_in}", str(most), *cells])
    if not lines:
        return ""
    full = [n for n, column in enumerate(zip(*lines, strict=True)) if any(column)]
    head = ["pictures", "number", *columns]
    return markdown([head[n] for n in full], [[line[n] for n in full] for line in lines])


def _worst(folder: Path, columns: Sequence[str]) -> list[str]:
    """The picture of each scored set on which it does worst, by the first of these columns."""
    lines = []
    for path in sorted((folder / "evaluations").glob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        column = next((name for name in columns if name in rows[0]), None)
        if path.stem.startswith("odd-") or column is None:
            continue
        metric = METRICS[next(m for m in METRICS if column.startswith(m))]
        lower = metric.unit.startswith("bits")
        ordered = sorted(rows, key=lambda r: float(r[column]) * (-1 if lower else 1))
        worst, middle = (
            metric.write(float(r[column])) for r in (ordered[0], ordered[len(rows) // 2])
        )
        lines.append(
            f"On {path.stem} it does worst on `{ordered[0]['image']}`: {metric.title} {worst} "
            f"(median {middle})."
        )
    return lines
