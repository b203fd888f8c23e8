"""`python -m cnf evaluate`: from a run folder and an image set to rows in a folder.

What the numbers are is said in `metrics`; `scored_model` computes what they are made of, and
`scoring` makes rows of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnf.errors import ConfigError
from cnf.replication import releases, run_folder
from cnf.replication.data import load
from cnf.replication.distributed import choose_device
from cnf.replication.evaluation import scoring
from cnf.replication.evaluation.scored_model import Options, ScoredModel
from cnf.replication.evaluation.thresholds import validation
from cnf.replication.evaluation.variants import ending
from cnf.replication.results import report
from cnf.replication.results import rows as store
from cnf.replication.results.rows import REFERENCES, RESULTS, Row
from cnf.replication.tasks import find


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
    asked = options_of(options, stress, figures)
    tags = ("stress",) if stress else ("basic", "full") if asked.full else ("basic",)
    if (reference := str(run).replace("-", " ")) in REFERENCES:
        if figures:
            raise ConfigError(f"{run} is no model and draws nothing: leave --figures out")
        target = out or (results if publish else Path("runs"))
        return evaluate_reference(reference, on, split, asked, tags, target, results)
    folder = folder_of(Path(run), results)
    name = name or folder.resolve().name
    run_folder.check_name(name)
    model = run_folder.trained(folder.resolve())
    task = find(model.config.task)
    sets = [on] if on else [task.embedded, task.far] if stress else [task.embedded]
    if on is None:
        print(f"no image set named: using {' and '.join(sets)}")
    if publish:
        for one in sets:  # what cannot be scored is told of before anything is written
            m = ScoredModel(model, load(one, split), asked, batch_size)
            if asked.threshold_from is not None:
                validation(m, one)
        folder = run_folder.publish(folder, results / name)
        model = run_folder.trained(folder.resolve())
    model = model.to(choose_device(device))
    name += ending(asked.variant)
    place = Place.of(folder, results, out, publish)
    store.read(place.target, name)  # a damaged file is told of before the scoring, not after it
    made = run_folder.made(results.parent) | run_folder.training_record(folder, model.config)
    made |= {
        "run": name,
        "preset": model.config.preset,
        "variant": asked.variant,
        "weights": place.weights,
        "weights_sha256": run_folder.file_sha256(folder / releases.WEIGHTS),
    }
    rows = []
    for one in sets:
        m = ScoredModel(model, load(one, split), asked, batch_size)
        if figures:
            from cnf.replication.evaluation.figures import check_shown, draw_figures  # a second

            check_shown(m.images.name)
        if m.has_bits_alone and asked.samples is None and not stress:
            print(
                f"{one}: bits alone, as its pictures are small: --samples N draws samples, too"
            )
        m.valid = validation(m, one)
        words = scoring.named(asked)
        command = scoring.command_of(place.folder, m.images.name, split, words, stress)
        found = score(m, tags, made | {"command": command}, place.target, publish)
        if figures:
            draw_figures(m, folder, place.target / name / "figures")
        rows += found
    if publish:
        store.write_text(folder / "card.md", report.card(folder, results))
    elif not out and place.target != folder.resolve().parent:
        where = place.target / name
        print(f"results/ is left as it is: written to {where} (--publish writes there)")
    return rows


def options_of(options: dict[str, Any], stress: bool, figures: bool) -> Options:
    """The options of an evaluation. Raises ConfigError for those that contradict each other."""
    if options.get("threshold_from") is not None:
        options["threshold_from"] = Path(options["threshold_from"]).as_posix()
    asked = Options(**options)
    others = asked.draws, asked.importance, asked.temperature, asked.variant
    if stress and (asked.full or figures or others != (1, 0, None, None)):
        raise ConfigError(
            "--stress has metrics, draws and temperatures of its own: leave --full, --figures, "
            "--variant, --draws, --importance and --temperature out"
        )
    return asked


def folder_of(run: Path, results: Path) -> Path:
    """The folder of a run, or of the name of one of `results`, as `cnf.load` takes it."""
    if not run.exists() and results.exists():
        return releases.find(run, results).parent
    if run.is_file():
        raise ConfigError(f"{run} is a file: give its folder, {run.parent}")
    return run


@dataclass(frozen=True)
class Place:
    """Where the rows of a run go, and how they name its folder and its weights, which are None
    away from `results`: where a run lies on this machine is nobody's business."""

    target: Path
    folder: str
    weights: str | None

    @classmethod
    def of(cls, run: Path, results: Path, out: Path | None, publish: bool) -> "Place":
        run, results = run.resolve(), results.resolve()
        is_committed = run.parent in (results, RESULTS.resolve())
        target = out or run.parent
        if is_committed and not (out or publish):
            target = Path("runs")
        if run.is_relative_to(results):
            folder = run.relative_to(results.parent).as_posix()
            return cls(target, folder, f"{folder}/{releases.WEIGHTS}")
        is_named = publish or is_committed
        return cls(target, "/".join(run.parts[-2:]) if is_named else f"runs/{run.name}", None)


def evaluate_reference(
    name: str,
    on: str | None,
    split: str,
    asked: Options,
    tags: Sequence[str],
    target: Path,
    results: Path,
) -> list[Row]:
    """The rows of what needs no model, written into `target`."""
    if on is None:
        word = name.replace(" ", "-")
        raise ConfigError(f"{word} answers on any image set: name one with --on")
    m = ScoredModel(None, load(on, split), asked, reference=name)
    return score(m, tags, run_folder.made(results.parent), target)


def score(
    m: ScoredModel, tags: Sequence[str], made: dict[str, Any], target: Path, publish: bool = False
) -> list[Row]:
    """The rows of a model, or of a reference, and of the references beside it, which are written
    by `publish` alone; and what is kept of single pictures."""
    other = scoring.other_x(m)
    rows = scoring.rows_of(m, other, tags, made)
    if not rows:
        raise ConfigError(f"nothing is told of {m.reference} on {m.images.name}: leave it out")
    own = [row for row in rows if publish or m.reference or row.model not in REFERENCES]
    store.write(own, target)
    if m.reference != "truth" and "stress" not in tags and m.options.limit is None:
        stem = target / rows[0].run / "evaluations" / rows[0].file
        scoring.write_beside(stem, m, other, rows[0].weights_sha256)
    return rows
