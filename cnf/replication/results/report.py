"""The tables of the README and of the replication report, and the card of every model, all made of
rows. `tables.yml` says which rows they show."""

import csv
import io
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from safetensors import safe_open

from cnf import weights
from cnf.errors import ResultsError
from cnf.flow import ConditionalFlow
from cnf.replication import releases, run_folder
from cnf.replication.config import Config, model_name
from cnf.replication.data import catalogue
from cnf.replication.evaluation import conditioning
from cnf.replication.metrics import METRICS, Metric
from cnf.replication.presentation import presentation_of
from cnf.replication.results import claims
from cnf.replication.results.rows import (
    RESULTS,
    Row,
    find_by_words,
    markdown,
    one,
    read,
    seeds_of,
    select,
    value,
    write_text,
)
from cnf.replication.results.rows import table as table_of
from cnf.replication.run_folder import REPOSITORY
from cnf.replication.tasks.task import find

STEPS = "steps of training"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HERE = Path(__file__).parent
TABLES = yaml.safe_load((HERE / "tables.yml").read_text("utf-8"))

# -- tables ----------------------------------------------------------------------


class Grid(NamedTuple):
    """A small table. Each cell shows one row of results: the row with the fields `of` the table, of
    the cell's line and of its column. With `steps`, a last column says how long the model of a line
    was trained; with `full`, a cell says how many samples it depends on, and ranges that are known
    instead of a standard error."""

    title: str
    of: dict[str, Any]
    lines: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, Any]]
    steps: bool = False
    name: str = ""
    full: bool = False

    def cells(self, rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
        """The row of each cell by its line and column, without cells that no row fits. Raises
        ResultsError if several rows fit a cell."""
        found = {}
        for line, line_fields in self.lines.items():
            only = {k: v for k, v in line_fields.items() if not isinstance(v, list)}
            of_line = select(rows, **only)
            for column, column_fields in self.columns.items():
                wanted = self.of | line_fields | column_fields
                if select(of_line, **wanted):
                    found[line, column] = one(of_line, **wanted)
        return found

    def write(self, rows: Sequence[Row]) -> str:
        """The table as markdown; "" without rows."""
        cells, lines = self.cells(rows), []
        for name, fields in self.lines.items():
            shown = {c: cells[name, c] for c in self.columns if (name, c) in cells}
            line = {"": name} | {
                c: _cell(shown[c], rows, self.full) if c in shown else "" for c in self.columns
            }
            if self.steps:
                steps = {row.steps for row in select(rows, **(self.of | fields))} - {None}
                line[STEPS] = " or ".join(f"{n:,}" if n > 1 else "–" for n in sorted(steps))
            lines.append(line)
        text = _table(lines, {"", STEPS})
        return f"**{self.title}**\n\n{text}" if self.title and text else text

    def csv(self, rows: Sequence[Row]) -> str:
        """The table as CSV, a line for each cell."""
        lines = []
        for (line, column), row in self.cells(rows).items():
            values = [each.value for each in seeds_of(row, rows)]
            deviation = statistics.stdev(values) if len(values) > 1 else ""
            lines.append(
                {
                    "model": line,
                    "column": column,
                    "value": row.value,
                    "standard_error": row.standard_error,
                    "seeds": len(values),
                    "deviation_over_seeds": deviation,
                    "is_upper_bound": row.is_bound,
                    "steps": row.steps,
                    "row": row.id,
                }
            )
        return _csv(lines)


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as comma-separated values, with a header; "" without lines."""
    if not lines:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().rstrip("\n")


def _cell(row: Row, rows: Sequence[Row], full: bool = False) -> str:
    """The value with its error over pictures and, where there are runs of other seeds, the
    deviation over seeds. With `full` also `_samples`, and of a calibration error the `_range`, as
    its standard error misleads."""
    text = value(row)
    if full:
        if row.metric == "calibration_error":
            text = METRICS[row.metric].write(row.value)
        notes = [note for note in (_samples(row), *_range(row, rows)) if note]
        text += f" ({'; '.join(notes)})" if notes else ""
    values = [each.value for each in seeds_of(row, rows)]
    if len(values) < 2:
        return text
    return f"{text}; {len(values)} seeds ± {_small(METRICS[row.metric], statistics.stdev(values))}"


def _small(metric: Metric, deviation: float) -> str:
    """A deviation in the digits of its metric, and in one that is not 0 if these are all 0."""
    text = metric.write(deviation)
    if deviation == 0 or float(text) > 0:
        return text
    return f"{deviation:.{-math.floor(math.log10(deviation))}f}"


def _range(row: Row, rows: Sequence[Row]) -> list[str]:
    """The 95 % range of a calibration error over photographs drawn with replacement, and the error
    of a perfectly calibrated model seen through as many samples; [] without these rows."""
    if row.metric != "calibration_error":
        return []
    same = {name: getattr(row, name) for name in ("run", "data", "split", "samples", "noise_seed")}
    texts = []
    for metric in ("calibration_low", "calibration_high", "calibration_floor"):
        if found := select(rows, **same | {"metric": metric, "num_images": row.num_images}):
            texts.append(METRICS[metric].write(one(found).value))
    return [f"95 %: {texts[0]} to {texts[1]}", f"floor {texts[2]}"] if len(texts) == 3 else []


def _samples(row: Row) -> str:
    """How many samples a mean, a marginal or a limit was computed from."""
    if row.metric == "psnr_limit":
        return f"n → ∞, from {row.samples} samples"
    return f"n = {row.samples}" if (row.samples or 0) > 1 else ""


def _table(lines: Sequence[dict[str, str]], label_columns: Collection[str]) -> str:
    """A markdown table without the lines and columns that are empty apart from `label_columns`;
    "" if nothing is left."""
    lines = [line for line in lines if any(line[c] for c in line if c not in label_columns)]
    if not lines:
        return ""
    columns = [c for c in lines[0] if c in label_columns or any(line[c] for line in lines)]
    return markdown(columns, [[line[column] for column in columns] for line in lines])


README = Grid(**TABLES["readme"])
REPORT = tuple(Grid(**grid) for grid in TABLES["report"])


def table(words: Sequence[str] = (), as_csv: bool = False, results: Path = RESULTS) -> str:
    """A table of the report by its name, or every row that has all these words, as markdown or CSV.
    Raises ResultsError if no row has them."""
    rows = read(results)
    for grid in REPORT:
        if list(words) == [grid.name]:
            return grid.csv(rows) if as_csv else grid.write(rows)
    rows = find_by_words(rows, words)
    return _csv([{"id": row.id} | vars(row) for row in rows]) if as_csv else table_of(rows)


def readme(path: Path = REPOSITORY / "README.md", results: Path = RESULTS) -> str:
    """Rewrite the table of numbers between the two markers of README.md; returns the new text.

    Raises ResultsError if the markers are not there.
    """
    text = path.read_text("utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ResultsError(f"{path.name} must hold '{BEGIN}' and '{END}' once each")
    rows = read(results)
    body = README.write(rows) or "No run has been evaluated yet."
    if (results / "claims.yml").exists():
        counts = claims.counts(claims.read(results))
        body += f"\n\nClaims and numbers of the paper beside ours, by verdict. {counts}"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    new = f"{before}{BEGIN}\n{body}\n{END}{after}"
    if new != text:
        write_text(path, new)
    return new


# -- the card of a model ---------------------------------------------------------------------------


def card(folder: Path, results: Path = RESULTS, for_hub: bool = False) -> str:
    """The model card of a committed run, from its files and its evaluations. With `for_hub` it
    begins with the front matter that model hubs read."""
    model = releases.load(folder / "weights.safetensors")
    config = model.config
    record = run_folder.read_record(folder, needed=False)
    ancestors = run_folder.ancestors(record, results)
    ancestor_sets = {run: record["config"]["data"]["train"] for run, record in ancestors.items()}
    training_sets = [config.data.train, *ancestor_sets.values()]
    test_rows = [row for row in read(folder.parent, folder.name) if row.split == "test"]
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(loader=loader, keep_trailing_newline=True)
    front_matter = _front_matter(config, test_rows, training_sets) if for_hub else ""
    is_committed = folder.resolve().parent == results.resolve()
    return front_matter + environment.get_template("card.md.j2").render(
        name=folder.name,
        run=folder.name if is_committed else f"runs/{folder.name}",
        is_committed=is_committed,
        task=find(config.task),
        card=presentation_of(config.task).card,
        config=config,
        names=[name for name, run in releases.RELEASES.items() if run == folder.name],
        model=describe_model(config),
        parameters=weights.count_parameters(model),
        indifferent=conditioning.sentence(model) if isinstance(model, ConditionalFlow) else "",
        training=run_folder.training_record(folder, config),
        sha256=run_folder.file_sha256(folder / "weights.safetensors"),
        dtype=_dtype(folder / "weights.safetensors"),
        images=record.get("data", {}).get("train", {}).get("images"),
        stand_in=record.get("data", {}).get("stand_in"),
        learned=ancestor_sets,
        table=_scores(test_rows, presentation_of(config.task).scores),
        rows=len(test_rows),
        worst=_worst(folder, presentation_of(config.task).worst),
        terms=catalogue.terms(*training_sets),
    )


def _dtype(weights: Path) -> str:
    """The type of the numbers in a file of weights, such as float16."""
    with safe_open(weights, "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}
    return " and ".join(sorted(str(k)[len("torch.") :] for k in kinds if k.is_floating_point))


def _front_matter(config: Config, test_rows: Sequence[Row], training_sets: Sequence[str]) -> str:
    """The YAML block at the start of a card, which model hubs read."""
    datasets = []
    for names in training_sets:
        datasets += catalogue.parts(names)
    titles = {METRICS[row.metric].title for row in test_rows}
    main_metrics = ("bits/dim", "bits/pixel", "PSNR", "SSIM", "F", "calibration error")
    front_matter = {"license": "mit"}
    if catalogue.terms(*training_sets) != [catalogue.FREE]:
        front_matter = {"license": "other", "license_name": "terms-of-the-training-data"}
    front_matter |= {
        "library_name": "cnf",
        "pipeline_tag": presentation_of(config.task).pipeline,
        "tags": ["onnx", "normalizing-flows", "conditional-density-estimation", config.task],
        "datasets": list(dict.fromkeys(datasets)),
        "metrics": [n for n in main_metrics if any(f"{t} ".startswith(f"{n} ") for t in titles)],
    }
    return f"---\n{yaml.safe_dump(front_matter, sort_keys=False)}---\n\n"


def write_cards(results: Path = RESULTS) -> None:
    """Write the card of every committed run again, e.g. after the template changed."""
    for path in sorted(results.glob("*/weights.safetensors")):
        write_text(path.with_name("card.md"), card(path.parent, results))


def describe_model(config: Config) -> str:
    """The model in a sentence."""
    m, name = config.model, model_name(config)
    if name == "mixture":
        count = m["components"]
        gaussians = "One Gaussian" if count == 1 else f"A mixture of {count} Gaussians"
        return f"{gaussians} of the twelve numbers at a position of the subbands, no network"
    if name in ("counts", "counts_logit"):
        inputs = f" and the logit of {m['baseline']}" if "baseline" in m else ", no photograph"
        return f"A table of counts over the {m['neighbours']} nearest labels before a pixel{inputs}"
    features = f"{m['features']['kind']} features with {m['features']['channels']} channels"
    if name == "autoregressive":
        return f"Masked convolutions over the labels in raster order, no flow; {features}"
    if name != "flow":
        return f"A factorised {name} model, every entry of y independent given x; {features}"
    if "levels" not in m:
        return f"A flow of another form, from experiments/{m['kind'].split('/')[0]}; {features}"
    levels = "1 level" if m["levels"] == 1 else f"{m['levels'] or 'no'} levels"
    steps = f"{m['steps']} steps, couplings of width {m['width']}" if m["steps"] else "no couplings"
    prior = ""
    if "ar_width" in m:
        mixtures = f"mixtures of {m['mixture']} Gaussians"
        prior = f"autoregressive priors of width {m['ar_width']} ({mixtures}), "
    return (
        f"A conditional flow, {levels}{' of ' if m['levels'] and m['steps'] else ', '}{steps}, "
        f"{prior}{m['dequantization']} dequantization; {features}"
    )


def _scores(test_rows: Sequence[Row], scores: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of a card: a line for each image set, a column for each of the `scores`."""
    lines = []
    for data in dict.fromkeys(row.data for row in test_rows):
        set_rows = [row for row in test_rows if row.data == data and not row.is_weighted]
        num_images = max(row.num_images for row in set_rows)
        stand_in = " (stand-in)" if set_rows[0].stand_in else ""
        line = {"pictures": f"{data} test{stand_in}", "number": str(num_images)}
        for column, wanted in scores.items():
            line[column] = ""
            matches = select(set_rows, **wanted)
            if not matches:
                continue
            best = max(matches, key=lambda row: (row.num_images, row.samples or 0))
            counts = []
            if best.num_images < num_images:
                counts.append(str(best.num_images))
            if 1 < (best.samples or 0) < 32:
                counts.append(f"{best.samples} samples")
            line[column] = value(best) + (f" (of {', '.join(counts)})" if counts else "")
        lines.append(line)
    return _table(lines, {"pictures", "number"})


def _worst(folder: Path, columns: Sequence[str]) -> list[str]:
    """A sentence for each scored set: the picture with the worst score, by the first of these
    columns that the set has."""
    lines = []
    for path in sorted((folder / "evaluations").glob("*.csv")):
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
        column = next((name for name in columns if name in rows[0]), None)
        if path.stem.startswith("odd-") or column is None:
            continue
        metric = METRICS[next(m for m in METRICS if column.startswith(m))]
        rows.sort(key=lambda row, c=column: float(row[c]), reverse=metric.unit.startswith("bits"))
        values = [float(row[column]) for row in rows]
        worst, median = map(metric.write, (values[0], statistics.median(values)))
        title = metric.title.removesuffix(", pooled")  # of one picture
        lines.append(
            f"On {path.stem} it does worst on `{rows[0]['image']}`: {title} {worst} "
            f"(median {median})."
        )
    return lines
