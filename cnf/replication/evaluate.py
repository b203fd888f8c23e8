"""Every number that is reported: from a run folder and an image set to rows of the ledger.

What the numbers are is said in `metrics`, one file a kind; `scored_model` computes what they are
made of.
"""

import dataclasses
import datetime
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from cnf import build
from cnf.baselines import Factorised
from cnf.errors import ConfigError, DataError
from cnf.replication import publishing, run_folder
from cnf.replication import results as ledger
from cnf.replication.data import load
from cnf.replication.figures import draw_figures
from cnf.replication.metrics import Score, survey, vessel_survey
from cnf.replication.metrics.likelihood import likelihoods
from cnf.replication.metrics.pictures import bicubic_scores, picture_scores, quality
from cnf.replication.metrics.vessels import counts, f_score, observer_scores, vessel_scores
from cnf.replication.results import RESULTS, Row
from cnf.replication.scored_model import SAMPLES, SAMPLES_FULL, Options, Subject, choose_device


def evaluate(
    run: Path,
    on: str,
    split: str = "test",
    *,
    full: bool = False,
    figures: bool = False,
    publish: bool = False,
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    draws: int = 1,
    samples: int | None = None,
    importance: int = 0,
    temperature: float | None = None,
    round_x: bool | None = None,
    threshold: float | None = None,
    threshold_from: Path | None = None,
    keep: Path | None = None,
    part: str | None = None,
    batch_size: int = 50,
    device: str = "auto",
    root: Path | None = None,
    supersede: bool = False,
    deviation: str | None = None,
    results: Path = RESULTS,
) -> list[Row]:
    """Score the weights in the folder `run` on an image set; append the rows and return them.

    Args:
        run: a run folder, or one of `results/`.
        on, split: the image set, as for `data.load`; `root` is the folder that holds the sets.
        full: everything of `scores.survey`, for x rounded and not unless `round_x` says which; of
            vessels everything of `scores.vessel_survey`; and curves for plots into `scores/` of
            the folder that was evaluated. Rows that are there, of the same weights, pictures and
            samples, are left as they are.
        figures: write pictures into `figures/` of the folder that was evaluated.
        publish: copy the run to `results/<name>/` first, weights as float16, and evaluate those.
        name: of the run in the ledger; default: the name of its folder.
        batch_size: for pictures of one size; changes no number. `device`: "auto", "cpu" or "cuda".
        keep: a folder; with `full` what is drawn of a vessel picture is kept there, and not drawn
            again by a later call for the same weights, so that a call that was ended goes on.
            `part`: "1/2" draws the first of two such parts and writes no rows.
        supersede: append although there are such rows; the new rows name those they supersede.
        deviation: how the run departs from the paper, in words, kept in the row.
        Others: see `Options`.

    Raises DataError, CheckpointError, ConfigError, LedgerError (rows already there).
    """
    sister = None if threshold_from is None else Path(threshold_from).as_posix()
    options = Options(
        *(limit, seed, draws, samples, importance, temperature, round_x, full, threshold, sister)
    )
    if not full and (keep, part) != (None, None):
        raise ConfigError("--keep and --part are for --full: leave them out")
    run = Path(run)
    images = load(on, split, root)
    name = name or run.resolve().name
    publishing.check_name(name)
    if publish:
        run = publishing.publish(run, results / name)
    model = build.load(run / "weights.safetensors")
    config = model.config
    model.to(choose_device(device))
    subject = Subject(model, config, images, options, batch_size)
    if full:
        valid = validation(subject, root)
        if keep is not None:
            _keep(keep, run, subject)
            _keep(keep, threshold_from or run, valid)
        if part is not None:
            vessel_survey.draw_part(subject, valid, part)
            return []
        rows = _survey(subject, name, run, supersede, deviation, results, valid)
    else:
        scores = list(score(subject, validation(subject, root)))
        rows = record(scores, subject, name, run, supersede, deviation, results)
    if figures:
        draw_figures(subject, run / "figures")
    return rows


def _survey(
    subject: Subject,
    name: str,
    run: Path,
    supersede: bool,
    deviation: str | None,
    results: Path,
    valid: Subject | None = None,
) -> list[Row]:
    """Rows and curves of `full`: for the x of `subject`, then (super-resolution) the other one."""
    images, options = subject.images, subject.options
    vessels = subject.experiment == "vessels"
    found = vessel_survey.scores(subject, valid) if vessels else survey.scores(subject)
    rows = record(list(found), subject, name, run, supersede, deviation, results)
    if subject.samples and options.limit is None:
        weights = run_folder.file_sha256(run / "weights.safetensors")
        curves = {"weights_sha256": weights, "data_sha256": images.sha256}
        curves |= (vessel_survey if vessels else survey).curves(subject)
        path = publishing.scores_path(run, images, "-curves.json")
        ledger.write_text(path, json.dumps(curves) + "\n")
    if options.round_x is None and not vessels:
        options = dataclasses.replace(options, round_x=not subject.rounded_x)
        other = Subject(subject.model, subject.config, images, options, subject.batch_size)
        found = list(survey.scores(other, textured=False))
        beside = per_image(subject) if options.limit is None else None
        rows += record(found, other, name, run, supersede, deviation, results, beside)
    return rows


def _keep(folder: Path, run: Path, subject: Subject | None) -> None:
    """Have what is drawn kept in a folder that is named by the weights of the run."""
    if subject is not None:
        if subject.experiment != "vessels":
            raise ConfigError("--keep and --part are for vessels: leave them out")
        sha256 = run_folder.file_sha256(Path(run) / "weights.safetensors")
        subject.keep = folder / sha256[:16]


def validation(subject: Subject, root: Path | None) -> Subject | None:
    """The same model on the validation split, to choose a threshold on; None without such a split,
    or if the model was trained on it. With `threshold_from` the model of that run, on the
    validation split of what it was trained on."""
    options = subject.options
    if subject.experiment != "vessels" or subject.images.split != "test":
        return None
    if options.threshold_from is not None:
        return _sister(subject, root)
    if subject.config.data.use_valid or options.threshold is not None:
        return None
    try:
        images = load(subject.images.name, "valid", root)
    except DataError:
        return None
    options = dataclasses.replace(options, limit=None)
    return Subject(subject.model, subject.config, images, options, subject.batch_size)


def _sister(subject: Subject, root: Path | None) -> Subject:
    """The model of `threshold_from` on its validation split. Raises ConfigError for one of another
    kind, or one that trained on that split as well."""
    folder = Path(subject.options.threshold_from)
    model = build.load(folder / "weights.safetensors")
    config = model.config
    if config.experiment != "vessels" or config.model.kind != subject.config.model.kind:
        raise ConfigError(
            f"--threshold-from {folder} is a {config.experiment} {config.model.kind}, the run a "
            f"vessels {subject.config.model.kind}: name one of the same kind"
        )
    if config.data.use_valid:
        raise ConfigError(
            f"--threshold-from {folder} trained on the validation split: name a run that did not"
        )
    options = dataclasses.replace(subject.options, limit=None, threshold_from=None)
    images = load(config.data.train, "valid", root)
    return Subject(model.to(subject.device), config, images, options, subject.batch_size)


def score(subject: Subject, valid: Subject | None = None, only: str = "") -> Iterator[Score]:
    """Every metric of a model on a set, or the one named `only`.

    `valid` is the model on the validation split, where the threshold of vessels is chosen.
    """
    yield from likelihoods(subject, only)
    if subject.experiment == "sr":
        yield from picture_scores(subject, only)
    else:
        yield from vessel_scores(subject, valid, only)
    yield from reference_scores(subject, only)


def reference_scores(subject: Subject, only: str = "") -> Iterator[Score]:
    """Bicubic interpolation, or the second observer; the model is not looked at."""
    references = bicubic_scores if subject.experiment == "sr" else observer_scores
    yield from references(subject, only)


def per_image(subject: Subject) -> dict[str, np.ndarray]:
    """What was computed, an image: {metric: (N,)}. Written beside the weights."""
    found = {}
    if ("log_probs", subject.options.draws) in subject._cache:
        bits = -subject.log_probs(subject.options.draws) / (subject.sizes() * math.log(2))
        name = "bits_per_dim" if subject.experiment == "sr" else "bits_per_pixel"
        rounded = subject.options.round_x
        end = "" if rounded is None else "_xrounded" if rounded else "_xfloat"
        found[name + end] = bits
    if subject.options.full:
        return found | (survey if subject.experiment == "sr" else vessel_survey).per_image(subject)
    key = ("means", 0 if isinstance(subject.model, Factorised) else subject.samples)
    if key in subject._cache:
        if subject.experiment == "sr":
            found["psnr"], found["ssim"] = quality(subject, subject._cache[key])
        else:
            found["f_half"] = f_score(counts(subject, subject._cache[key], 0.5))
    return found


# --- rows -----------------------------------------------------------------------------------------


def record(
    scores: Sequence[Score],
    subject: Subject,
    name: str,
    run: Path,
    supersede: bool,
    deviation: str | None,
    results: Path,
    beside: Mapping[str, np.ndarray] | None = None,
) -> list[Row]:
    """Append scores to the ledger, and write the card of a committed run and what was computed an
    image again, `beside` what else is known of them; returns the rows."""
    rows = _rows(scores, subject, name, run, supersede, deviation, results)
    ledger.append(rows, results)
    if run.resolve().is_relative_to(results.resolve()):
        if subject.options.limit is None:
            publishing.write_scores(run, subject.images, {**(beside or {}), **per_image(subject)})
        ledger.write_text(run / "card.md", publishing.card(run, results))
    return rows


def _rows(
    scores: Iterable[Score],
    subject: Subject,
    name: str,
    run: Path,
    supersede: bool,
    deviation: str | None,
    results: Path,
) -> list[Row]:
    taken = {row.id: row for row in ledger.read(results)}
    commit, dirty = ledger.git_state(results.parent)
    record = publishing.training_record(run, subject.config)
    inside = run.resolve().is_relative_to(results.resolve())
    path = run / "weights.safetensors"
    weights = str(path.resolve().relative_to(results.resolve().parent)) if inside else None
    folder = f"results/{run.name}" if inside else f"runs/{name}"
    images, kind = subject.images, subject.config.model.kind
    data = images.name
    if data.startswith("folder:"):  # a reader's path is no business of the ledger
        data = f"folder:{Path(data.removeprefix('folder:')).name}"
    sha256 = run_folder.file_sha256(path)

    def known(row: Row, samples: int | None) -> bool:
        same = (row.weights_sha256, row.data_sha256) == (sha256, images.sha256)
        return subject.options.full and same and row.samples == samples

    rows = []
    for s in scores:
        reference = s.model is not None
        owner = s.model.replace(" ", "-") if reference else name
        row_id = _row_id(owner, data, images.split, subject, s)
        newest, version = None, 1
        if row_id in taken:
            newest = row_id
            while f"{row_id}-v{version + 1}" in taken:
                version += 1
                newest = f"{row_id}-v{version}"
            if reference or (known(taken[newest], s.samples) and not supersede):
                continue
            if supersede:
                row_id = f"{row_id}-v{version + 1}"
        values = s._asdict() | {
            "id": row_id,
            "run": owner,
            "experiment": subject.experiment,
            "model": s.model or kind,
            "preset": None if reference else subject.config.preset,
            "num_images": len(subject.indices),
            "unit": ledger.METRICS[s.metric].unit,
            "rounded_x": subject.rounded_x,
            "data": data,
            "stand_in": images.stand_in,
            "split": images.split,
            "data_sha256": images.sha256,
            "noise_seed": subject.options.seed,
            "torch": torch.__version__,
            "git": commit,
            "dirty": dirty,
            "weights": None if reference else weights,
            "weights_sha256": None if reference else sha256,
            "command": _command(folder, data, subject) + " --stress" * (s.metric in ledger.STRESS),
            "date": datetime.date.today().isoformat(),
            "deviation": None if reference else deviation,
            "supersedes": newest if supersede else None,
            "paper": ledger.paper_figure(
                subject.experiment, s.model or kind, s.metric, data, results
            ),
        }
        values |= {key: None if reference else known for key, known in record.items()}
        rows.append(ledger.make_row(values))
    return rows


def _row_id(owner: str, data: str, split: str, subject: Subject, s: Score) -> str:
    """<run>-<set>-<split>-<metric>, and what is not at its default."""
    options = subject.options
    parts = [owner, data, split, s.metric]
    if s.divided_by == "field of view":
        parts.append("fov")
    if s.bound and "importance" in s.bound:
        parts.append(f"iw{s.draws}")
    elif s.draws not in (None, 0, 1):
        parts.append(f"d{s.draws}")
    vessels = subject.experiment == "vessels"
    usual = {SAMPLES[subject.experiment]} | ({SAMPLES_FULL["vessels"]} if vessels else set())
    if s.samples not in (None, 0, 1, *usual) and s.metric not in vessel_survey.OF_LIKELIEST:
        parts.append(f"s{s.samples}")
    several = options.full and not vessels  # temperatures
    if s.temperature is not None and (
        s.metric in ledger.STRESS
        or (s.samples == 1 and (several or options.temperature is not None))
        or (several and s.temperature != 1)
    ):
        parts.append(f"t{s.temperature:g}")
    if s.protocol:
        parts.append(s.protocol)
    elif subject.rounded_x is not None and (s.model or options.round_x is not None):
        parts.append("xrounded" if subject.rounded_x else "xfloat")
    if options.limit is not None:
        parts.append(f"n{len(subject.indices)}")
    if options.seed and s.model is None:
        parts.append(f"noise{options.seed}")
    text = "-".join(parts).lower().replace("_", "-")
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text)


def _command(folder: str, data: str, subject: Subject) -> str:
    """The command that gives the row again."""
    options = subject.options
    words = [f"python -m cnf evaluate {folder} --on {data}"]
    if subject.images.split != "test":
        words.append(f"--split {subject.images.split}")
    for field in dataclasses.fields(Options):
        given = getattr(options, field.name)
        if given != field.default and not isinstance(given, bool):
            text = _short(given) if isinstance(given, str) else f"{given:.9g}"
            words.append(f"--{field.name.replace('_', '-')} {text}")
    if options.full:
        words.append("--full")
    if options.round_x is not None:
        words.append("--round-x" if options.round_x else "--no-round-x")
    return " ".join(words)


def _short(folder: str) -> str:
    """results/NAME or runs/NAME: what lies above is no business of the ledger."""
    return "/".join(Path(folder).resolve().parts[-2:])
