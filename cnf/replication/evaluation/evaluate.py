"""Every number that is reported: from a run folder and an image set to rows.

What the numbers are is said in `metrics`; `scored_model` computes what they are made of.
"""

import dataclasses
import json
import math
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cnf.errors import ConfigError, DataError
from cnf.flow import ConditionalModel
from cnf.replication import releases, run_folder
from cnf.replication.config import model_name
from cnf.replication.data import load
from cnf.replication.data.catalogue import CATALOGUE, parts
from cnf.replication.distributed import choose_device
from cnf.replication.evaluation.scored_model import Options, ScoredModel
from cnf.replication.evaluation.variants import ending
from cnf.replication.metrics import METRICS, Metric, Setting, Value, pictures
from cnf.replication.metrics.stress import TEMPERATURES, per_picture
from cnf.replication.results import report
from cnf.replication.results import rows as store
from cnf.replication.results.rows import REFERENCES, RESULTS, Row
from cnf.replication.tasks import find

# What rows of a model say of its run, and rows of a reference do not
OF_A_RUN = "weights weights_sha256 preset config_sha256 seed steps wall_s hardware".split()


def evaluate(
    run: Path | str,
    on: str | None = None,
    split: str = "test",
    *,
    stress: bool = False,
    figures: bool = False,
    publish: bool = False,
    name: str | None = None,
    batch_size: int = 50,
    device: str = "auto",
    out: Path | None = None,
    results: Path = RESULTS,
    **options: Any,
) -> list[Row]:
    """Score the weights in the folder `run` on an image set; write the rows beside them, into
    `evaluations/`, and return them, with those of what needs no model (bicubic interpolation, the
    second observer, the truth), which are written by `publish` alone.

    Args:
        run: a run folder, or the name of one of `results/`; or "bicubic", "second-observer",
            "truth".
        on, split: the image set, as for `data.load`, by default the embedded one.
        stress: instead of scores, count what is not finite or out of range over many samples, by
            default also on a set far from all data.
        figures: write pictures into `figures/` beside.
        publish: copy the run to `results/<name>/` first, weights as float16, and evaluate those.
            Without it nothing in `results/` changes: of a run in there, the rows are written into
            runs/<name>. `out`: a folder to write into <name>/ of, whatever the run is.
        name: of the run in `results/`; default: the name of its folder.
        batch_size: for pictures of one size; changes no number. `device`: "auto", "cpu" or "cuda".
        options: see `Options`.

    Raises DataError, CheckpointError, ConfigError, ResultsError.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: give 1 or more")
    if options.get("threshold_from") is not None:
        options["threshold_from"] = Path(options["threshold_from"]).as_posix()
    asked = Options(**options)
    others = asked.draws, asked.importance, asked.temperature, asked.variant
    if stress and (asked.full or figures or others != (1, 0, None, None)):
        raise ConfigError(
            "--stress has metrics, draws and temperatures of its own: leave --full, --figures, "
            "--variant, --draws, --importance and --temperature out"
        )
    tags = ("stress",) if stress else ("basic", "full") if asked.full else ("basic",)
    made = run_folder.made(results.parent)
    if (reference := str(run).replace("-", " ")) in REFERENCES:
        if on is None:
            raise ConfigError(f"{run} answers on any image set: name one with --on")
        if figures:
            raise ConfigError(f"{run} is no model and draws nothing: leave --figures out")
        m = ScoredModel(None, load(on, split), asked, reference=reference)
        other = other_x(m)
        rows = score(m, other, tags, made)
        if not rows:
            raise ConfigError(f"nothing is told of {run} on {on}: leave it out")
        target = out or (results if publish else Path("runs"))
        store.write(rows, target)
        if reference != "truth" and not stress and m.options.limit is None:
            write_beside(target / rows[0].run / "evaluations" / rows[0].file, m, other)
        return rows
    run = Path(run)
    if not run.exists() and results.exists():  # a name, as `cnf.load` takes it
        run = releases.find(run, results).parent
    if run.is_file():
        raise ConfigError(f"{run} is a file: give its folder, {run.parent}")
    name = name or run.resolve().name
    run_folder.check_name(name)
    model = run_folder.trained(run.resolve())
    task = find(model.config.task)
    sets = [on] if on else [task.embedded, task.far] if stress else [task.embedded]
    if on is None:
        print(f"no image set named: using {' and '.join(sets)}")
    if publish:
        for one in sets:  # what cannot be scored is told of before anything is written
            m = ScoredModel(model, load(one, split), asked, batch_size)
            if asked.threshold_from is not None:
                validation(m, one)
        run = run_folder.publish(run, results / name)
        model = run_folder.trained(run.resolve())
    model = model.to(choose_device(device))
    name += ending(asked.variant)
    target, committed = out or run.resolve().parent, (results.resolve(), RESULTS.resolve())
    if not (out or publish) and run.resolve().parent in committed:
        target = Path("runs")
    store.read(target, name)  # a damaged file is told of before the scoring, not after it
    sha256 = run_folder.file_sha256(run / "weights.safetensors")
    made |= run_folder.training_record(run, model.config)
    folder = "/".join(run.resolve().parts[-2:])
    if not publish and run.resolve().parent not in committed:
        folder = f"runs/{run.resolve().name}"  # its place in this machine is nobody's business
    made |= {"run": name, "preset": model.config.preset, "weights_sha256": sha256, "weights": None}
    made["variant"] = asked.variant
    if run.resolve().is_relative_to(results.resolve()):
        folder = run.resolve().relative_to(results.resolve().parent).as_posix()
        made["weights"] = f"{folder}/weights.safetensors"
    rows = []
    for one in sets:
        m = ScoredModel(model, load(one, split), asked, batch_size)
        if figures:
            from cnf.replication.evaluation.figures import (  # takes a second
                check_shown,
                draw_figures,
            )

            check_shown(m.images.name)
        m.valid = validation(m, one)
        other = other_x(m)
        made["command"] = command_of(folder, m.images.name, split, named(asked), stress)
        found = score(m, other, tags, made)
        store.write([row for row in found if publish or row.model not in REFERENCES], target)
        if not stress and m.options.limit is None:
            write_beside(target / name / "evaluations" / found[0].file, m, other, sha256)
        if figures:
            draw_figures(m, run, target / name / "figures")
        rows += found
    if publish:
        store.write_text(run / "card.md", report.card(run, results))
    elif not out and target != run.resolve().parent:
        print(f"results/ is left as it is: written to {target / name} (--publish writes there)")
    return rows


def other_x(m: ScoredModel) -> ScoredModel | None:
    """The same with x rounded if it is not, and the other way round; None if not wanted."""
    if not (m.options.full and m.task.has_low_resolution and m.options.round_x is None):
        return None
    options = dataclasses.replace(m.options, round_x=not m.rounded_x)
    return ScoredModel(m.trained, m.images, options, m.batch_size, reference=m.reference)


def validation(m: ScoredModel, on: str) -> list[ScoredModel]:
    """The same model on the validation split of the set `on`, to choose a threshold on; nothing
    without such a split, or if the model was trained on it. With `threshold_from` the models of
    these runs, each on the validation split of what it was trained on. Raises ConfigError for such
    a run of another kind, one that trained on that split as well, or one whose split is scored."""
    options = dataclasses.replace(m.options, limit=None, threshold_from=None)
    if m.options.threshold_from is not None:
        sisters = [sister(m, folder) for folder in m.options.threshold_from.split(",")]
        named = [(model, load(model.config.data.train, "valid")) for model in sisters]
        scored = {example.sha256 for example in m.images}
        if any(example.sha256 in scored for _, images in named for example in images):
            raise ConfigError(
                f"--threshold-from would choose on pictures of {on} {m.images.split}, which are "
                "scored: leave it out"
            )
        return [ScoredModel(model, images, options, m.batch_size) for model, images in named]
    chosen = m.options.threshold is not None
    if chosen or not m.task.has_threshold or m.images.split != "test":
        return []
    trained = parts(m.config.data.train)
    of = [CATALOGUE.get(part) for part in trained]
    seen = m.config.data.use_valid and origin(on) in map(origin, trained)
    if seen or any(e and e.of == on and "fold" in e.options for e in of):
        return []
    try:
        return [ScoredModel(m.trained, load(on, "valid"), options, m.batch_size)]
    except DataError as error:
        print(f"no threshold from validation: {error}")
        return []


def origin(name: str) -> str:
    """The set of which `name` is another form; "folder" of all folders."""
    entry = CATALOGUE.get(name)
    return origin(entry.of) if entry and entry.of else name.split(":")[0]


def sister(m: ScoredModel, folder: str) -> ConditionalModel:
    """The model of the run in `folder`, if a threshold may come from there."""
    model = run_folder.trained(Path(folder)).to(m.device)
    theirs, ours = ((c.task, model_name(c)) for c in (model.config, m.config))
    if theirs != ours:
        raise ConfigError(
            f"--threshold-from {folder} is a {' '.join(theirs)}, the run a {' '.join(ours)}: "
            "name one of the same kind"
        )
    if model.config.data.use_valid:
        raise ConfigError(
            f"--threshold-from {folder} trained on the validation split: name one that did not"
        )
    return model


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


def score(
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
            common = head(answer, made)
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


def head(m: ScoredModel, made: dict[str, Any]) -> dict[str, Any]:
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
