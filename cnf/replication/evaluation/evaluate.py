"""`python -m cnf evaluate`: from a run folder and an image set to rows in a folder.

`metrics` defines the numbers, `scored` computes what they are made of, and `scoring` makes
rows of them.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from cnf.errors import ConfigError, known_options
from cnf.model import ConditionalModel
from cnf.replication import releases, run_folder
from cnf.replication.cards import card
from cnf.replication.data import ImageSet
from cnf.replication.data.catalogue import Split
from cnf.replication.distributed import choose_device
from cnf.replication.evaluation import scoring
from cnf.replication.measures import MEASURES
from cnf.replication.places import IS_CHECKOUT, require_checkout
from cnf.replication.presentation import presentation_of
from cnf.replication.results import rows as store
from cnf.replication.results.rows import REFERENCES, RESULTS, Row, ending
from cnf.replication.run_folder import publishing
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import EvaluateOptions, Options
from cnf.replication.scored.own_pictures import images_to_score
from cnf.replication.scored.thresholds import validation


def evaluate(
    run: Path | str,
    on: str | None = None,
    split: Split = "test",
    *,
    stress: bool = False,
    figures: bool = False,
    publish: bool = False,
    name: str | None = None,
    batch_size: int = 50,
    device: str = "auto",
    out: Path | None = None,
    results: Path = RESULTS,
    **options: Unpack[EvaluateOptions],
) -> list[Row]:
    """Score the weights in the folder `run` on an image set. The rows are written beside them, into
    `evaluations/`, and returned. The returned rows include those of references, which need no model
    (bicubic interpolation, the second observer, the truth); only `publish` writes these.

    Args:
        run: a run folder, or the name of one of `results/`; or "bicubic", "second-observer",
            "truth".
        on, split: the image set, as for `data.load`, by default the embedded one; of a folder
            without splits all pictures, see `images_to_score`.
        stress: instead of scores, count what is not finite or out of range over many samples, by
            default also on a set far from all data.
        figures: also write pictures, into `figures/`.
        publish: copy the run to `results/<name>/` first, weights as float16, and evaluate those.
            Without it nothing in `results/` changes: rows of a run in `results/` are written into
            runs/<name>.
        name: of the run in `results/`; default: the name of its folder.
        batch_size: for pictures of one size; changes no number.
        device: "auto", "cpu" or "cuda".
        out: a folder; the rows are written into its subfolder <name>.
        options: see `Options`.

    Raises DataError, CheckpointError, ConfigError, ResultsError.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size {batch_size}: give 1 or more")
    scoring_options = options_of(options, stress, figures)
    tags = tags_of(scoring_options, stress)
    if publish:
        require_checkout("--publish")
    reference = str(run).replace("-", " ")
    if reference in REFERENCES:
        if figures:
            raise ConfigError(f"{run} is no model and draws nothing: leave --figures out")
        target = out or (results if publish else Path("runs"))
        return evaluate_reference(reference, on, split, scoring_options, tags, target, results)
    folder = folder_of(Path(run), results)
    name = name or folder.resolve().name
    publishing.check_name(name)
    model, before = run_folder.trained(folder.resolve()), run_folder.data_before(folder)
    image_sets = sets_of(on, split, model, before, stress)
    if publish:
        check_scorable(model, image_sets, scoring_options, batch_size)
        folder = publishing.publish(folder, results / name)
        model = run_folder.trained(folder.resolve())
    model = model.to(choose_device(device))
    place = Place.of(folder, name + ending(scoring_options.variant), results, out, publish)
    provenance = provenance_of(folder, model, place, results)
    rows = []
    for set_name, images in image_sets.items():
        if figures:
            from cnf.replication.figures import draw  # a second

            draw.check_shown(images.name)
        scored = ScoredModel(model, images, scoring_options, batch_size)
        if not stress:
            say_if_bits_alone(scored, set_name)
        scored.valid = validation(scored, set_name, before)
        words = scoring.with_relative_paths(scoring_options)
        command = scoring.command_of(place.folder, images.name, split, words, stress)
        facts = provenance | {"variant": scoring_options.variant, "command": command}
        rows += score(scored, tags, facts, place.target, publish)
        if figures:
            draw.draw_figures(scored, folder, place.written / "figures")
    if publish:
        store.write_text(folder / "card.md", card.card(folder, results))
    elif not out and place.target != folder.resolve().parent:
        remedy = " (--publish writes there)" if IS_CHECKOUT else ""
        print(f"results/ is left as it is: written to {place.written}{remedy}")
    return rows


def tags_of(options: Options, stress: bool) -> Sequence[str]:
    """The tags of the measures that an evaluation computes."""
    if stress:
        return ("stress",)
    return ("basic", "full") if options.full else ("basic",)


def say_if_bits_alone(scored: ScoredModel, set_name: str) -> None:
    """Print a line if nothing but bits is computed although nobody asked for that."""
    if scored.computes_bits_alone and scored.options.samples is None:
        print(f"{set_name}: bits alone, as its pictures are small: --samples N draws samples, too")


def sets_of(
    on: str | None,
    split: Split,
    model: ConditionalModel,
    before: Sequence[dict[str, Any]],
    stress: bool,
) -> dict[str, ImageSet]:
    """The image sets that are scored, by the names that were given; by default those of the
    task. `before`: on what the runs before this one were trained."""
    shown = presentation_of(model.config.task)
    names = [shown.embedded, shown.far] if stress else [shown.embedded]
    if on is not None:
        names = [on]
    else:
        print(f"no image set named: using {' and '.join(names)}")
    return {name: images_to_score(name, split, model, before) for name in names}


def check_scorable(
    model: ConditionalModel, image_sets: dict[str, ImageSet], options: Options, batch_size: int
) -> None:
    """Raise ConfigError or DataError, before anything is published, if one of the sets cannot be
    scored with these options."""
    for set_name, images in image_sets.items():
        scored = ScoredModel(model, images, options, batch_size)
        if options.threshold_from is not None:
            validation(scored, set_name)


def check_place(place: "Place", folder: Path, weights: str) -> None:
    """Raise ConfigError unless the rows of a run in `folder`, with these weights (sha256), can be
    written to their place. A damaged file there raises before the scoring, not after it."""
    there = place.written / releases.WEIGHTS
    if there.exists() and run_folder.file_sha256(there) != weights:
        raise ConfigError(f"{there.parent} holds another run: give another --name or --out")
    scored_before = {row.weights_sha256 for row in store.read_rows(place.target, place.name)}
    if place.target.resolve() != folder.resolve().parent and scored_before - {weights, None}:
        raise ConfigError(
            f"{place.written} holds values of other weights: give another --name, or delete those"
        )
    run_folder.refuse_unwritable(place.written / "evaluations" / "rows.json")


def provenance_of(
    folder: Path, model: ConditionalModel, place: "Place", results: Path
) -> dict[str, Any]:
    """The fields on code, run and weights that all rows of the model in `folder` share. Raises
    ConfigError, see `check_place`."""
    weights = run_folder.file_sha256(folder / releases.WEIGHTS)
    check_place(place, folder, weights)
    return {
        **run_folder.provenance(results.parent),
        **run_folder.training_record(folder, model.config),
        "run": place.name,
        "preset": model.config.preset,
        "weights": place.weights,
        "weights_sha256": weights,
    }


def options_of(given: Mapping[str, Any], stress: bool, figures: bool) -> Options:
    """The options of an evaluation. Raises ConfigError for those that contradict each other or
    that there are not."""
    names = {*inspect.signature(evaluate).parameters, *Options.__dataclass_fields__} - {"options"}
    options = known_options(given, names)
    if options.get("threshold_from") is not None:
        options["threshold_from"] = Path(options["threshold_from"]).as_posix()
    scoring_options = Options(**options)
    has_others = (
        scoring_options.full
        or scoring_options.draws != 1
        or scoring_options.importance != 0
        or scoring_options.temperature is not None
        or scoring_options.variant is not None
    )
    if stress and (figures or has_others):
        raise ConfigError(
            "--stress has metrics, draws and temperatures of its own: leave --full, --figures, "
            "--variant, --draws, --importance and --temperature out"
        )
    return scoring_options


def folder_of(run: Path, results: Path) -> Path:
    """The folder of a run, given as a folder or as the name of a run in `results`."""
    if not run.exists():
        return releases.find_weights(run, results).parent
    if run.is_file():
        raise ConfigError(f"{run} is a file: give its folder, {run.parent}")
    return run


@dataclass(frozen=True)
class Place:
    """Where the rows of a run are written, into the folder `name` of `target`, and how they name
    its folder and its weights. Weights outside of `results` are None, so that no row contains a
    path of this machine."""

    name: str
    target: Path
    folder: str
    weights: str | None

    @property
    def written(self) -> Path:
        return self.target / self.name

    @classmethod
    def of(cls, run: Path, name: str, results: Path, out: Path | None, publish: bool) -> "Place":
        run, results = run.resolve(), results.resolve()
        is_committed = run.parent in (results, RESULTS.resolve())
        target = out or run.parent
        if is_committed and not (out or publish):
            target = Path("runs")
        if run.is_relative_to(results):
            folder = run.relative_to(results.parent).as_posix()
            return cls(name, target, folder, f"{folder}/{releases.WEIGHTS}")
        is_named = publish or is_committed
        folder = "/".join(run.parts[-2:]) if is_named else f"runs/{run.name}"
        return cls(name, target, folder, None)


def evaluate_reference(
    name: str,
    on: str | None,
    split: Split,
    scoring_options: Options,
    tags: Sequence[str],
    target: Path,
    results: Path,
) -> list[Row]:
    """The rows of a reference, which needs no model, written into `target`."""
    if on is None:
        argument = name.replace(" ", "-")
        raise ConfigError(f"{argument} answers on any image set: name one with --on")
    scored = ScoredModel(None, images_to_score(on, split), scoring_options, reference=name)
    return score(scored, tags, run_folder.provenance(results.parent), target)


def check_names(scored: ScoredModel) -> None:
    """Raises `ConfigError`, before anything is computed, if a metric that was named is of another
    task, or if this task calls its bits by another name."""
    task, bits = scored.task.name, scored.presentation.bits
    for name in scored.options.names_of_metrics or ():
        if MEASURES[name].task not in (None, task):
            raise ConfigError(
                f"--metrics {name}: of the task {MEASURES[name].task}, and "
                f"{scored.reference or 'this model'} is of {task}: `python -m cnf results table` "
                "names what it has"
            )
        if name != bits and name in ("bits_per_dim", "bits_per_pixel"):
            raise ConfigError(f"--metrics {name}: the task {task} has {bits}")


def score(
    scored: ScoredModel,
    tags: Sequence[str],
    provenance: dict[str, Any],
    target: Path,
    publish: bool = False,
) -> list[Row]:
    """The rows of a model, or of a reference, together with those of the references on the same
    pictures, which only `publish` writes. The values of single pictures are written too."""
    check_names(scored)
    other_scored = scoring.with_other_rounding(scored)
    rows = scoring.rows_of(scored, other_scored, tags, provenance)
    if not rows:
        who = scored.reference or "this model"
        raise ConfigError(
            f"no metric that was asked for has a value for {who} on {scored.images.name}: ask for "
            "other --metrics or --samples, or leave it out"
        )
    rows_to_write = [
        row for row in rows if publish or scored.reference or row.model not in REFERENCES
    ]
    store.write(rows_to_write, target)
    has_all = scored.options.limit is None and scored.options.metrics is None
    if scored.reference != "truth" and "stress" not in tags and has_all:
        stem = target / rows[0].run / "evaluations" / rows[0].file
        scoring.write_values_of_images(stem, scored, other_scored, rows[0].weights_sha256)
    return rows
