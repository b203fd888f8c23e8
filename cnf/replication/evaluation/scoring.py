"""From a scored model to rows: every metric, at every setting that applies, and what is kept of
single pictures."""

import dataclasses
import json
import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cnf.replication.config import model_name
from cnf.replication.evaluation.scored_model import Options, ScoredModel
from cnf.replication.metrics import METRICS, Metric, Setting, Value, pictures
from cnf.replication.metrics.stress import TEMPERATURES, per_picture
from cnf.replication.results import rows as store
from cnf.replication.results.rows import Row

# What rows of a model say of its run, and rows of a reference do not
OF_A_RUN = "weights weights_sha256 preset config_sha256 seed steps wall_s hardware".split()


def other_x(m: ScoredModel) -> ScoredModel | None:
    """The same with x rounded if it is not, and the other way round; None if not wanted."""
    if not (m.options.full and m.task.has_low_resolution and m.options.round_x is None):
        return None
    options = dataclasses.replace(m.options, round_x=not m.rounded_x)
    return ScoredModel(m.trained, m.images, options, m.batch_size, reference=m.reference)


def settings(metric: Metric, m: ScoredModel) -> Iterator[Setting]:
    """How a metric is taken in an evaluation."""
    o, task = m.options, m.task
    protocol = None
    if o.full and metric.each_x and metric.of != "bits":
        protocol = pictures.protocol(m.rounded_x)
    if m.reference is not None:
        if m.reference in metric.references and not m.has_bits_alone:
            yield Setting(protocol=protocol)
        return
    temperatures = task.temperatures if o.full else (task.temperature,)
    if o.temperature is not None:
        temperatures = (o.temperature,)
    match metric.of:
        case "bits":
            for divided_by in task.divisors:
                yield Setting(draws=0 if m.model.exact else o.draws, divided_by=divided_by)
                if o.importance and not m.model.exact:
                    yield Setting(draws=o.importance, importance=True, divided_by=divided_by)
        case "mean" if not m.has_bits_alone and (m.has_mean or m.samples > 1):
            yield dataclasses.replace(m.mean, protocol=protocol)
        case "sample" if not m.has_bits_alone:
            yield from (Setting(t, 1, protocol=protocol) for t in temperatures)
        case "samples" if m.samples > 1:  # at temperature 0 all samples are one
            at = temperatures if o.full else (1.0,)  # of the mean, so they are there already
            yield from (Setting(t, m.samples) for t in at if t)
        case "all temperatures":
            yield Setting(samples=per_picture(m) * len(m.indices) * len(TEMPERATURES))
        case "each temperature":
            yield from (Setting(t, per_picture(m) * len(m.indices)) for t in TEMPERATURES)
        case "inverse":
            yield Setting(draws=1)


def values(
    m: ScoredModel, tags: Sequence[str], each_x: bool = False
) -> Iterator[tuple[Metric, Setting, Value]]:
    """Every metric with one of the tags, at every setting, with its value where it has one; with
    `each_x` only those that are told for both kinds of x."""
    for metric in METRICS.values():
        is_told = metric.tag in tags and metric.task in (None, m.task.name)
        for s in settings(metric, m) if is_told and (metric.each_x or not each_x) else ():
            if (value := metric.function(m, s)) is not None:
                yield metric, s, value


def rows_of(
    m: ScoredModel, other: ScoredModel | None, tags: Sequence[str], made: dict[str, Any]
) -> list[Row]:
    """Rows of a model, or of a reference, and of the references on its pictures; of `other`, the
    same with the other kind of x, too. `made`: what rows say of run, weights and code."""
    rows = []
    for one in (m, other):
        if one is None:
            continue
        names = m.task.references if m.reference is None else ()
        for answer in (one, *(one.reference_of(name) for name in names)):
            common = shared(answer, made)
            for metric, s, value in values(answer, tags, each_x=one is not m):
                row = common | dataclasses.asdict(s) | value.also
                del row["importance"]
                row |= {"metric": metric.name, "version": metric.version}
                if metric.name.startswith("f_valid"):
                    row["threshold_from"] = threshold_from(m)
                rows.append(Row(**row, value=value.value, standard_error=value.standard_error))
    return rows


def named(options: Options) -> Options:
    """With the folders of `threshold_from` as RUNS/NAME, wherever they are on this machine."""
    if options.threshold_from is None:
        return options
    folders = [Path(folder).resolve().parts[-2:] for folder in options.threshold_from.split(",")]
    return dataclasses.replace(options, threshold_from=",".join(map("/".join, folders)))


def threshold_from(m: ScoredModel) -> str:
    """Where the threshold of f_valid comes from."""
    if m.options.threshold_from:
        return named(m.options).threshold_from
    return "validation" if m.options.threshold is None else "given"


def command_of(folder: str, on: str, split: str, options: Options, stress: bool = False) -> str:
    """The command line that evaluates a run folder, or a reference, on an image set."""
    words = ["python -m cnf evaluate", folder, "--on", shlex.quote(on)]
    if split != "test":
        words += ["--split", split]
    if stress:
        words.append("--stress")
    for field in dataclasses.fields(Options):
        value, flag = getattr(options, field.name), field.name.replace("_", "-")
        if value is True:
            words.append(f"--{flag}")
        elif value is False and field.default is not False:
            words.append(f"--no-{flag}")
        elif value not in (field.default, False):
            words += [f"--{flag}", shlex.quote(str(value))]
    return " ".join(words)


def shared(m: ScoredModel, made: dict[str, Any]) -> dict[str, Any]:
    """What all rows of a model, or of a reference, on a set share."""
    if m.reference is not None:
        made = made | dict.fromkeys(OF_A_RUN) | {"run": m.reference.replace(" ", "-")}
        folder = m.reference.replace(" ", "-")
        o = Options(limit=m.options.limit, round_x=m.options.round_x, full=m.options.full)
        command = command_of(folder, m.images.name, m.images.split, o)
        made |= {"variant": None, "command": command}
    return made | {
        "task": m.task.name,
        "model": m.reference or model_name(m.config),
        "data": m.images.name,
        "split": m.images.split,
        "stand_in": m.images.stand_in,
        "num_images": len(m.indices),
        "limit": m.options.limit,
        "rounded_x": m.rounded_x,
        "noise_seed": m.options.seed if m.reference is None else 0,
        "data_sha256": m.images.sha256,
    }


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """Values an image: {metric: (N,)}; a reference has no bits."""
    found = m.task.per_image(m)
    if m.reference is not None:
        return found
    bits = -m.log_probs(m.options.draws) / (m.sizes() * math.log(2))
    end = {None: "", True: "_xrounded", False: "_xfloat"}[m.options.round_x]
    return {m.task.bits + end: bits} | found


def write_beside(
    stem: Path, m: ScoredModel, other: ScoredModel | None, weights: str | None = None
) -> None:
    """`<stem>.csv`, a line an image, so that any mean and error can be had again; with full also
    what curves of a model are drawn from."""
    values = per_image(m)
    if other is not None:
        values |= per_image(other)
    names = pd.Index([m.images[i].name for i in m.indices], name="image")
    text = pd.DataFrame(values, names).to_csv(float_format="%.6f", na_rep="nan")
    store.write_text(stem.with_name(f"{stem.name}.csv"), text)
    has_curves = m.options.full and weights and (m.samples > 1 or m.samples and m.has_mean)
    if has_curves and (found := m.task.curves(m)):
        curves = {"weights_sha256": weights, "data_sha256": m.images.sha256} | found
        path = stem.with_name(f"{stem.name}.curves.json")
        store.write_text(path, json.dumps(curves) + "\n")
