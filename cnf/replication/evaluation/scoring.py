"""From a scored model to rows: every measure at every setting that applies, and the values of
single pictures."""

import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cnf.errors import ConfigError
from cnf.replication.config import model_name
from cnf.replication.measures import MEASURES, Measure, Setting
from cnf.replication.metrics import Value, compute, family_of, module_of, pictures
from cnf.replication.results import rows as store
from cnf.replication.results.rows import Row
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options

# Fields about the training run, which are None in rows of a reference
OF_A_RUN = "weights weights_sha256 preset config_sha256 seed steps wall_s hardware".split()


def with_other_rounding(m: ScoredModel) -> ScoredModel | None:
    """The same model on the same pictures with x rounded where `m` has it unrounded, and the other
    way round; None if the options do not ask for it."""
    if not (m.options.full and m.task.has_low_resolution and m.options.round_x is None):
        return None
    options = dataclasses.replace(m.options, round_x=not m.rounded_x)
    return ScoredModel(m.trained, m.images, options, m.batch_size, reference=m.reference)


def settings_of(measure: Measure, m: ScoredModel) -> Iterator[Setting]:
    """The settings at which an evaluation takes a measure."""
    o, shown = m.options, m.presentation
    protocol = None
    if o.full and measure.each_x and measure.of != "bits":
        protocol = pictures.protocol(m.rounded_x)
    if m.reference is not None:
        if m.reference in measure.references and not m.computes_bits_alone:
            yield Setting(protocol=protocol)
        return
    temperatures = shown.temperatures if o.full else (shown.temperature,)
    if o.temperature is not None:
        temperatures = (o.temperature,)
    match measure.of:
        case "bits":
            for divided_by in shown.divisors:
                yield Setting(draws=0 if m.model.exact else o.draws, divided_by=divided_by)
                if o.importance and not m.model.exact:
                    yield Setting(draws=o.importance, importance=True, divided_by=divided_by)
        case "mean" if not m.computes_bits_alone and (m.has_mean or m.samples > 1):
            yield dataclasses.replace(m.mean_setting, protocol=protocol)
        case "sample" if not m.computes_bits_alone:
            yield from (Setting(t, 1, protocol=protocol) for t in temperatures)
        case "samples" if m.samples > 1:
            # without --full, the samples at temperature 1, of which the mean is made anyway
            for t in temperatures if o.full else (1.0,):
                if t:  # at temperature 0 all samples are equal
                    yield Setting(t, m.samples)
        case "bits" | "mean" | "sample" | "samples":
            return
        case of:
            at = getattr(module_of(measure), of, None)
            if at is None:
                raise ConfigError(
                    f"{measure.name}: of = {of!r} in measures.yml: write bits, mean, sample or "
                    f"samples, or the name of a function of {module_of(measure).__file__}"
                )
            yield from at(m)


def values(
    m: ScoredModel, tags: Sequence[str], each_x: bool = False
) -> Iterator[tuple[Measure, Setting, Value]]:
    """Every measure that `is_asked_for`, at every setting, with its value where it has one; with
    `each_x` only those that are computed for both kinds of x."""
    for measure in MEASURES.values():
        if not is_asked_for(measure, m, tags) or each_x and not measure.each_x:
            continue
        for s in settings_of(measure, m):
            value = compute(measure, m, s)
            if value is not None:
                yield measure, s, value


def is_asked_for(measure: Measure, m: ScoredModel, tags: Sequence[str]) -> bool:
    """Whether an evaluation of these tags computes a measure: those that its options name, which
    may be of other tags, or else all with one of the tags."""
    if measure.task not in (None, m.task.name):
        return False
    names = m.options.names_of_metrics
    if names is None:
        return measure.tag in tags
    return measure.name in names and (measure.tag == "stress") == ("stress" in tags)


def rows_of(
    m: ScoredModel, other: ScoredModel | None, tags: Sequence[str], provenance: dict[str, Any]
) -> list[Row]:
    """Rows of a model, or of a reference, and of the references on the same pictures. `other` is
    the same model with the other kind of x, if that is scored as well. `provenance` holds the
    fields on run, weights and code."""
    rows = []
    for scored in (m, other):
        if scored is None:
            continue
        names = m.presentation.references if m.reference is None else ()
        for answering in (scored, *(scored.reference_of(name) for name in names)):
            common = shared_fields(answering, provenance)
            for measure, s, value in values(answering, tags, each_x=scored is not m):
                row = common | dataclasses.asdict(s) | value.also
                del row["importance"]
                row |= {"metric": measure.name, "version": measure.version}
                if measure.chosen_on_validation:
                    row["threshold_from"] = threshold_from(m)
                rows.append(Row(**row, value=value.value, standard_error=value.standard_error))
    return rows


def with_relative_paths(options: Options) -> Options:
    """The options with the folders of `threshold_from` as RUNS/NAME, without paths of this
    machine."""
    if options.threshold_from is None:
        return options
    folders = [Path(folder).resolve().parts[-2:] for folder in options.threshold_from.split(",")]
    return dataclasses.replace(options, threshold_from=",".join(map("/".join, folders)))


def threshold_from(m: ScoredModel) -> str:
    """Where the threshold of a measure comes from that `valid` chooses."""
    if runs := with_relative_paths(m.options).threshold_from:
        return runs
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
        elif value is not False and value != field.default:
            words += [f"--{flag}", shlex.quote(str(value))]
    return " ".join(words)


def shared_fields(m: ScoredModel, provenance: dict[str, Any]) -> dict[str, Any]:
    """The fields that all rows of a model, or of a reference, on a set share."""
    if m.reference is not None:
        provenance = provenance | dict.fromkeys(OF_A_RUN) | {"run": m.reference.replace(" ", "-")}
        folder = m.reference.replace(" ", "-")
        kept = ("limit", "round_x", "full", "metrics")
        o = Options(**{name: getattr(m.options, name) for name in kept})
        command = command_of(folder, m.images.name, m.images.split, o)
        provenance |= {"variant": None, "command": command}
    return provenance | {
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
    """The values of single images: {metric: (N,)}. A reference has no bits."""
    family = family_of(m.task.name)
    values = {} if family is None else family.per_image(m)
    if m.reference is not None:
        return values
    bits = m.in_bits(m.log_probs(m.options.draws))
    end = {None: "", True: "_xrounded", False: "_xfloat"}[m.options.round_x]
    return {m.presentation.bits + end: bits} | values


def write_values_of_images(
    stem: Path, m: ScoredModel, other: ScoredModel | None, weights: str | None = None
) -> None:
    """Write `<stem>.csv`, a line an image, from which means and errors can be computed again. With
    `full`, also write the data of the curves of a model, `<stem>.curves.json`."""
    values = per_image(m)
    if other is not None:
        values |= per_image(other)
    names = pd.Index([m.images[i].name for i in m.indices], name="image")
    text = pd.DataFrame(values, names).to_csv(float_format="%.6f", na_rep="nan")
    store.write_text(stem.with_name(f"{stem.name}.csv"), text)
    has_curves = m.samples > 1 or m.samples and m.has_mean
    family = family_of(m.task.name)
    curves = {}
    if m.options.full and weights and has_curves and family is not None:
        curves = family.curves(m)
    if curves:
        curves = {"weights_sha256": weights, "data_sha256": m.images.sha256} | curves
        path = stem.with_name(f"{stem.name}.curves.json")
        store.write_text(path, json.dumps(curves) + "\n")
