"""Every number that is reported: from a run folder and an image set to rows.

What the numbers are is said in `metrics`; `scored_model` computes what they are made of.
"""

import csv
import dataclasses
import datetime
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from cnf import build
from cnf.errors import ConfigError, DataError
from cnf.replication import report, run_folder
from cnf.replication import results as store
from cnf.replication.data import load
from cnf.replication.distributed import choose_device
from cnf.replication.metrics import METRICS, Metric, Setting, Value, superresolution, vessels
from cnf.replication.metrics.stress import TEMPERATURES, per_picture
from cnf.replication.results import REFERENCES, RESULTS, Row
from cnf.replication.scored_model import Options, ScoredModel


def evaluate(
    run: Path | str,
    on: str | None = None,
    split: str = "test",
    *,
    full: bool = False,
    stress: bool = False,
    figures: bool = False,
    publish: bool = False,
    name: str | None = None,
    batch_size: int = 50,
    device: str = "auto",
    root: Path | None = None,
    out: Path | None = None,
    results: Path = RESULTS,
    **options,
) -> list[Row]:
    """Score the weights in the folder `run` on an image set; write the rows beside them, into
    `evaluations/`, and return them, with those of what needs no model (bicubic interpolation, the
    second observer, the truth), which are written by `publish` alone.

    Args:
        run: a run folder, or one of `results/`; or "bicubic", "second-observer", "truth".
        on, split: the image set, as for `data.load`, by default the embedded one; `root` is the
            folder that holds the sets.
        full: every metric, for x rounded and not unless `round_x` says which; and what curves are
            drawn from.
        stress: instead, count what is not finite or out of range, by default also on a set far from
            all data.
        figures: write pictures into `figures/` beside.
        publish: copy the run to `results/<name>/` first, weights as float16, and evaluate those.
            Without it nothing in `results/` changes: of a run in there, the rows are written into
            runs/<name>. `out`: a folder to write into <name>/ of, whatever the run is.
        name: of the run in `results/`; default: the name of its folder.
        batch_size: for pictures of one size; changes no number. `device`: "auto", "cpu" or "cuda".
        options: see `scored_model.Options`.

    Raises DataError, CheckpointError, ConfigError, ResultsError.
    """
    sister = options.pop("threshold_from", None)
    asked = Options(
        full=full, threshold_from=None if sister is None else Path(sister).as_posix(), **options
    )
    if stress and (
        full or figures or (asked.draws, asked.importance, asked.temperature) != (1, 0, None)
    ):
        raise ConfigError(
            "--stress has metrics, draws and temperatures of its own: leave --full, --figures, "
            "--draws, --importance and --temperature out"
        )
    tags = ("stress",) if stress else ("basic", "full") if full else ("basic",)
    if (reference := str(run).replace("-", " ")) in REFERENCES:
        if on is None:
            raise ConfigError(f"{run} answers on any image set: name one with --on")
        m = ScoredModel(None, load(on, split, root), asked, reference=reference)
        rows = _score(m, tags, Maker(None, "", results))
        if not rows:
            raise ConfigError(f"nothing is told of {run} on {on}: leave it out")
        store.write(rows, results if publish else Path("runs"))
        return rows
    run = Path(run)
    name = name or run.resolve().name
    run_folder.check_name(name)
    if publish:
        run = run_folder.publish(run, results / name)
    model = build.load(run / "weights.safetensors").to(choose_device(device))
    target, committed = out or run.resolve().parent, (results.resolve(), RESULTS.resolve())
    if not (out or publish) and run.resolve().parent in committed:
        target = Path("runs")
        print(f"results/ is left as it is: written to {target / name} (--publish writes there)")
    maker, rows = Maker(run, name, results), []
    kinds = ("embedded", "far") if stress else ("embedded",)
    sets = [on] if on else [f"{kind}-{model.config.experiment}" for kind in kinds]
    if on is None:
        print(f"no image set named: using {' and '.join(sets)}")
    for one in sets:
        m = ScoredModel(model, load(one, split, root), asked, batch_size)
        m.valid = validation(m, root)
        found = _score(m, tags, maker)
        store.write([row for row in found if publish or row.model not in REFERENCES], target)
        if not stress and asked.limit is None:
            write_beside(target / name / "evaluations" / found[0].file, m, maker.sha256)
        if figures:
            from cnf.replication.figures import draw_figures  # takes a second

            draw_figures(m, run, target / name / "figures")
        rows += found
    if publish:
        store.write_text(run / "card.md", report.card(run, results))
    return rows


def _score(m: ScoredModel, tags: tuple[str, ...], maker: "Maker") -> list[Row]:
    """Rows of a model, or of a reference, and of the references on its pictures; with --full for
    the other kind of x, too."""
    if m.options.full and m.samples and m.reference is None and not m.task.rounds_x:
        vessels.prepare(m)
        if m.valid is not None:
            vessels.prepare(m.valid, scored=0)
    rows = []
    for one in (m, other_x(m)):
        if one is not None:
            names = REFERENCES if m.reference is None else ()
            for answer in (one, *(one.reference_of(name) for name in names)):
                rows += maker.rows(answer, tags, each_x=one is not m)
    return rows


def other_x(m: ScoredModel) -> ScoredModel | None:
    """The same with x rounded if it is not, and the other way round; None if not wanted."""
    if not (m.options.full and m.task.rounds_x and m.options.round_x is None):
        return None
    options = dataclasses.replace(m.options, round_x=not m.rounded_x)
    arguments = m.model, m.images, options, m.batch_size
    return m.once(("other x",), lambda: ScoredModel(*arguments, reference=m.reference))


def validation(m: ScoredModel, root: Path | None) -> ScoredModel | None:
    """The same model on the validation split, to choose a threshold on; None without such a split,
    or if the model was trained on it. With `threshold_from` the model of that run, on the
    validation split of what it was trained on."""
    options = dataclasses.replace(m.options, limit=None, threshold_from=None)
    if m.task.rounds_x or m.images.split != "test":
        return None
    if m.options.threshold_from is not None:
        return _sister(m, options, root)
    if m.config.data.use_valid or m.options.threshold is not None:
        return None
    try:
        images = load(m.images.name, "valid", root)
    except DataError:
        return None
    return ScoredModel(m.model, images, options, m.batch_size)


def _sister(m: ScoredModel, options: Options, root: Path | None) -> ScoredModel:
    """The model of `threshold_from` on its validation split. Raises ConfigError for one of another
    kind, or one that trained on that split as well."""
    folder = Path(m.options.threshold_from)
    model = build.load(folder / "weights.safetensors")
    config = model.config
    if config.experiment != "vessels" or config.model.kind != m.config.model.kind:
        raise ConfigError(
            f"--threshold-from {folder} is a {config.experiment} {config.model.kind}, the run a "
            f"vessels {m.config.model.kind}: name one of the same kind"
        )
    if config.data.use_valid:
        raise ConfigError(
            f"--threshold-from {folder} trained on the validation split: name a run that did not"
        )
    images = load(config.data.train, "valid", root)
    return ScoredModel(model.to(m.device), images, options, m.batch_size)


def settings(metric: Metric, m: ScoredModel) -> Iterator[Setting]:
    """How a metric is taken in an evaluation."""
    o, task = m.options, m.task
    protocol = None
    if o.full and metric.each_x and metric.of != "bits":
        protocol = superresolution.protocol(m)
    if m.reference is not None:
        if m.reference in metric.references and (m.samples or not task.rounds_x):
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
                    weighted = {"draws": o.importance, "importance": True}
                    yield Setting(**weighted, divided_by=divided_by)
        case "mean" if m.samples or m.has_mean and not (o.full or task.rounds_x):
            if m.has_mean or m.samples > 1:
                yield Setting(1.0, 0 if m.has_mean else m.samples, protocol=protocol)
        case "sample" | "one" if m.samples or not (o.full or task.rounds_x):
            yield from (Setting(t, 1, protocol=protocol) for t in temperatures)
        case "samples" if m.samples > 1:  # at temperature 0 all samples are one
            yield from (Setting(t, m.samples) for t in temperatures if t)
        case "stress" | "heat":
            each = per_picture(m) * len(m.indices)
            if metric.of == "stress":
                yield Setting(samples=each * len(TEMPERATURES))
            else:
                yield from (Setting(t, each) for t in TEMPERATURES)
        case "pass":
            yield Setting(draws=1)


def values(
    m: ScoredModel, tags: Sequence[str], each_x: bool = False
) -> Iterator[tuple[Metric, Setting, Value]]:
    """Every metric with one of the tags, at every setting, with its value where it has one; with
    `each_x` only those that are told for both kinds of x."""
    for metric in METRICS.values():
        told = metric.tag in tags and m.task.name in metric.tasks
        for s in settings(metric, m) if told and (metric.each_x or not each_x) else ():
            if (value := metric.function(m, s)) is not None:
                yield metric, s, value


class Maker:
    """Makes rows of the weights in the folder `run`, or of references alone."""

    def __init__(self, run: Path | None, name: str, results: Path):
        self.run, self.name = run, name
        self.git, self.dirty = run_folder.git_state(results.parent)
        self.sha256, self.weights = None, None
        if run is not None:
            self.sha256 = run_folder.file_sha256(run / "weights.safetensors")
            if run.resolve().is_relative_to(results.resolve()):
                folder = run.resolve().relative_to(results.resolve().parent).as_posix()
                self.weights = f"{folder}/weights.safetensors"

    def rows(self, m: ScoredModel, tags: tuple[str, ...], each_x: bool = False) -> list[Row]:
        """The `values` of a model, or of a reference, on a set."""
        head, found = self.head(m), []
        for metric, s, value in values(m, tags, each_x):
            taken = {k: v for k, v in dataclasses.asdict(s).items() if k != "importance"}
            if metric.name.startswith("f_valid"):
                taken["threshold_from"] = self.threshold_from(m)
            row = head | taken | value.also
            row |= {"metric": metric.name, "version": metric.version}
            found.append(Row(**row, value=value.value, standard_error=value.standard_error))
        return found

    def threshold_from(self, m: ScoredModel) -> str:
        """Where the threshold of f_valid comes from."""
        if m.options.threshold_from:
            return "/".join(Path(m.options.threshold_from).resolve().parts[-2:])
        return "validation" if m.options.threshold is None else "given"

    def head(self, m: ScoredModel) -> dict:
        """What all rows of a model on a set share."""
        is_model, data = m.reference is None, m.images.name
        if data.startswith("folder:"):  # a reader's path is no business of a number
            data = f"folder:{Path(data.removeprefix('folder:')).name}"
        trained = dict.fromkeys(("config_sha256", "seed", "steps", "wall_s", "hardware"))
        if is_model:
            trained = run_folder.training_record(self.run, m.config)
        return trained | {
            "run": self.name if is_model else m.reference.replace(" ", "-"),
            "experiment": m.task.name,
            "model": m.config.model.kind if is_model else m.reference,
            "data": data,
            "split": m.images.split,
            "stand_in": m.images.stand_in,
            "num_images": len(m.indices),
            "limit": m.options.limit,
            "rounded_x": m.rounded_x,
            "noise_seed": m.options.seed if is_model else 0,
            "data_sha256": m.images.sha256,
            "weights": self.weights if is_model else None,
            "weights_sha256": self.sha256 if is_model else None,
            "preset": m.config.preset if is_model else None,
            "git": self.git,
            "dirty": self.dirty,
            "torch": torch.__version__,
            "date": datetime.date.today().isoformat(),
        }


def per_image(m: ScoredModel) -> dict[str, np.ndarray]:
    """Values an image: {metric: (N,)}."""
    bits = -m.log_probs(m.options.draws) / (m.sizes() * math.log(2))
    end = {None: "", True: "_xrounded", False: "_xfloat"}[m.options.round_x]
    of_task = superresolution if m.task.rounds_x else vessels
    return {m.task.bits + end: bits} | of_task.per_image(m)


def write_beside(stem: Path, m: ScoredModel, weights: str) -> None:
    """`<stem>.csv`, a line an image, so that any mean and error can be had again; with full also
    what curves are drawn from."""
    values = per_image(m)
    if (other := other_x(m)) is not None:
        values |= per_image(other)
    path = stem.with_name(f"{stem.name}.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *values])
        for i, one in enumerate(zip(*values.values(), strict=True)):
            writer.writerow([m.images[i].name, *(f"{value:.6f}" for value in one)])
    if m.options.full and m.samples:
        if found := (superresolution if m.task.rounds_x else vessels).curves(m):
            curves = {"weights_sha256": weights, "data_sha256": m.images.sha256} | found
            store.write_text(path.with_suffix(".curves.json"), json.dumps(curves) + "\n")
