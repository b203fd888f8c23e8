"""The card of every model, made of its files and its rows."""

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from safetensors import safe_open

from cnf import weights
from cnf.flow import ConditionalFlow
from cnf.replication import releases, run_folder
from cnf.replication.cards import conditioning
from cnf.replication.config import Config, model_name
from cnf.replication.data import catalogue
from cnf.replication.measures import MEASURES
from cnf.replication.presentation import presentation_of
from cnf.replication.results.report import full_table
from cnf.replication.results.rows import RESULTS, Row, read_rows, select, value, write_text
from cnf.replication.tasks.task import find_task


def card(folder: Path, results: Path = RESULTS, for_hub: bool = False) -> str:
    """The model card of a committed run, from its files and its evaluations. With `for_hub` it
    begins with the front matter that model hubs read."""
    model = releases.load(folder / "weights.safetensors")
    config = model.config
    record = run_folder.read_record(folder, needed=False)
    ancestors = run_folder.ancestors(record, results)
    ancestor_sets = {run: record["config"]["data"]["train"] for run, record in ancestors.items()}
    training_sets = [config.data.train, *ancestor_sets.values()]
    test_rows = [row for row in read_rows(folder.parent, folder.name) if row.split == "test"]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, keep_trailing_newline=True)
    front_matter = _front_matter(config, test_rows, training_sets) if for_hub else ""
    is_committed = folder.resolve().parent == results.resolve()
    return front_matter + environment.get_template("card.md.j2").render(
        name=folder.name,
        run=folder.name if is_committed else f"runs/{folder.name}",
        is_committed=is_committed,
        task=find_task(config.task),
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
    titles = {MEASURES[row.metric].title for row in test_rows}
    main_metrics = ("bits/dim", "bits/pixel", "PSNR", "SSIM", "F", "calibration error")
    front_matter: dict[str, Any] = {"license": "mit"}
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
    return full_table(lines, {"pictures", "number"})


def _worst(folder: Path, columns: Sequence[str]) -> list[str]:
    """A sentence for each scored set: the picture with the worst score, by the first of these
    columns that the set has."""
    lines = []
    for path in sorted((folder / "evaluations").glob("*.csv")):
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
        column = next((name for name in columns if name in rows[0]), None)
        if path.stem.startswith("odd-") or column is None:
            continue
        metric = MEASURES[next(m for m in MEASURES if column.startswith(m))]
        values = [float(row[column]) for row in rows]
        worst_value = max(values) if metric.unit.startswith("bits") else min(values)
        name = rows[values.index(worst_value)]["image"]
        worst, median = map(metric.write, (worst_value, statistics.median(values)))
        title = metric.title.removesuffix(", pooled")  # of one picture
        lines.append(
            f"On {path.stem} it does worst on `{name}`: {title} {worst} (median {median})."
        )
    return lines
