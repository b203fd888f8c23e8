"""Committed runs: `results/<name>/` with config, history, float16 weights, scores and a model card.

The float16 weights are the ones that are evaluated, so that `audit` finds the ledger's numbers
from what a clone holds.
"""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from cnf import models, runs
from cnf import results as ledger
from cnf.config import Config, config_sha256
from cnf.data import ImageSet
from cnf.errors import CheckpointError, LedgerError

MAX_BYTES = 4_000_000  # of the weights of one run, so that the repository stays a quick clone
MAX_LINES = 300  # of a committed history


def check_name(name: str) -> None:
    """Raise LedgerError unless `name` can be a folder and the start of row ids."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise LedgerError(f"'{name}' cannot name a run: use a-z, 0-9, '-' and '.'; give --name")


def publish(run: Path, folder: Path) -> Path:
    """Copy the run folder `run` into `folder`, weights as float16; returns `folder`.

    Raises LedgerError if the weights are larger than 4 MB, or if `folder` holds another run.
    """
    if run.resolve() == folder.resolve():
        return folder
    weights = folder / "weights.safetensors"
    model, config, metadata = models.load_model(run / "weights.safetensors")
    record = read_record(run)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "weights.new"
    models.save_model(partial, model, config, metadata, half=True)
    try:
        if partial.stat().st_size > MAX_BYTES:
            raise LedgerError(
                f"the weights of {run.name} take {partial.stat().st_size / 1e6:.1f} MB, more than "
                f"{MAX_BYTES / 1e6:.0f}: evaluate without --publish; the ledger keeps their hash"
            )
        if not weights.exists():
            partial.chmod(0o644)
            partial.replace(weights)
        elif not _same_weights(weights, partial):
            raise LedgerError(f"results/{folder.name} holds other weights: give another --name")
    finally:
        partial.unlink(missing_ok=True)
    if record:
        record["hardware"] = training_record(run, config)["hardware"]
        ledger.write_text(
            folder / "config.json", without_paths(json.dumps(record, indent=1)) + "\n"
        )
    history = run / "history.jsonl"
    if history.exists():
        lines = [line for line in history.read_text().splitlines() if line.strip()]
        ledger.write_text(folder / "history.jsonl", "\n".join(thin(lines)) + "\n")
    if (run / "history.png").exists():
        shutil.copyfile(run / "history.png", folder / "history.png")
    return folder


def _same_weights(one: Path, other: Path) -> bool:
    """Whether two files hold the same arrays; the bytes of their metadata may differ in order."""
    a, b = (safetensors.numpy.load_file(path) for path in (one, other))
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def thin(lines: list[str], most: int = MAX_LINES) -> list[str]:
    """At most `most` lines, evenly spread, first and last kept."""
    if len(lines) <= most:
        return lines
    return [lines[i] for i in np.linspace(0, len(lines) - 1, most).round().astype(int)]


def without_paths(text: str) -> str:
    """Shorten absolute paths to their last part: a committed file names no machine."""
    return re.sub(r"(?<![\w./-])/(?:[\w.~+-]+/)+", "", text)


def read_record(run: Path) -> dict[str, Any]:
    """config.json of a run folder, {} if it has none."""
    path = run / "config.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is no JSON ({error}): restore it") from None


def training_record(run: Path, config: Config) -> dict[str, Any]:
    """What the ledger keeps of training: hash of the configuration, seed, steps, wall_s, hardware.

    None where the run folder does not say. The hash is the one taken when training began: the
    configuration may since have gained fields.
    """
    record, history = read_record(run), run / "history.jsonl"
    lines = history.read_text().strip().splitlines() if history.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    hardware = record.get("hardware", record.get("device"))
    if hardware == "cpu":
        hardware = f"{runs.processor()}, {record.get('threads', '?')} threads"
    return {
        "config_sha256": record.get("config_sha256", config_sha256(config)),
        "seed": record.get("seed"),
        "steps": last.get("step", record.get("steps")),
        "wall_s": last.get("seconds"),
        "hardware": hardware,
    }


def write_scores(folder: Path, images: ImageSet, scores: Mapping[str, np.ndarray]) -> None:
    """`scores/<set>-<split>.csv`: a line an image, so that any mean and error can be had again."""
    if not scores:
        return
    path = scores_path(folder, images, ".csv")
    path.parent.mkdir(exist_ok=True)
    columns = {name: [f"{v:.6f}" for v in values] for name, values in scores.items()}
    count = len(next(iter(columns.values())))
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *columns])
        for i in range(count):
            writer.writerow([images[i].name, *(values[i] for values in columns.values())])


def scores_path(folder: Path, images: ImageSet, end: str) -> Path:
    """Where a run keeps what was found on a set. A reader's path leaves its last part."""
    name = images.name.rsplit("/", 1)[-1].replace(":", "-")
    return folder / "scores" / f"{name}-{images.split}{end}"


# --- the model card -------------------------------------------------------------------------------

TASKS = {
    "sr": "x2 super-resolution: p(y|x) of a photograph y (8 bit RGB) given its half-size version x",
    "vessels": "retinal vessels: p(y|x) of a vessel mask y given a fundus photograph x",
}
LIMITS = {
    "sr": [
        "It knows one degradation, the antialiased cubic x2 of MATLAB. A photograph that was made "
        "small in another way, compressed or sharpened gives artefacts.",
        "It was trained on small patches: long straight edges and regular textures are guessed "
        "from a few pixels around.",
        "Samples are made up where x does not say: do not read number plates, faces or scenes of "
        "crime from them.",
    ],
    "vessels": [
        "It is no medical device and was tested on no disease; do not use it for diagnosis.",
        "It was trained at one resolution and camera: another one needs training again.",
        "Thin vessels and the borders of thick ones are where observers disagree, and so does it.",
    ],
}
TERMS = {
    "tinyimagenet": "Trained on pictures of ImageNet, whose terms allow non-commercial research "
    "and educational use: use the weights in the same way.",
    "drive": "Trained on DRIVE, which is free for research and educational purposes: use the "
    "weights in the same way. No DRIVE picture is in this repository.",
    "embedded": "Trained on data that are free of rights: use the weights as you like (MIT).",
}


CARD = ("consistency_sample", "coverage_90", "spread_skill")  # at the usual temperatures
# The column of scores that says where a run fails, the first that is there.
WORST = ("psnr", "psnr_standard", "psnr_released", "f_half", "bits_per_dim", "bits_per_pixel")
WORST += ("bits_per_dim_xrounded", "bits_per_dim_xfloat")


def card(folder: Path, results: Path = ledger.RESULTS) -> str:
    """The model card of a committed run, generated from its files and the ledger."""
    model, config, _ = models.load_model(folder / "weights.safetensors")
    record, training = read_record(folder), training_record(folder, config)
    rows = ledger.current(ledger.read(results))
    mine = [row for row in rows if row.run == folder.name and _on_card(row)]
    columns = ("data", "metric", "value", "images", "how", "id")
    kept = "the last step" if config.data.use_valid else "the best validation"
    lines = [
        f"# {folder.name}",
        "",
        f"{TASKS[config.experiment]}.",
        "",
        "## What it is",
        "",
        f"- {describe_model(config)}; {models.count_parameters(model):,} parameters.",
        f"- Preset `{config.preset}`, configuration `{training['config_sha256'][:12]}`, kept in "
        "`config.json` and in the weights.",
        f"- Weights: `weights.safetensors`, float16, the averaged weights of {kept}; "
        f"sha256 `{runs.file_sha256(folder / 'weights.safetensors')[:12]}`.",
        "",
        "## What it saw",
        "",
        *_saw(config, record),
        *_trained(training),
        "",
        "## How it scores",
        "",
        ledger.table(mine, columns) if mine else "It has not been evaluated.",
        "",
        '"≤" marks a likelihood bound; ± is the standard error over images. Every row can be '
        "computed again: `python -m cnf results audit`.",
        "",
        "## Where it fails",
        "",
        *(f"- {sentence}" for sentence in LIMITS[config.experiment]),
        *_worst(folder),
        "",
        "## Licence",
        "",
        *(text for key, text in TERMS.items() if config.data.train.startswith(key)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _on_card(row: ledger.Row) -> bool:
    """Of the many rows of `evaluate --full`, those that a user of the model asks for first."""
    if row.protocol is None and row.metric not in CARD:
        return not row.metric.startswith(("power_", "gradient", "coverage_", "rank_", "deviation_"))
    usual = row.temperature in (None, 0.8, 1.0)
    return usual and row.protocol != "released" and "_rgb" not in row.metric


def write_cards(results: Path = ledger.RESULTS) -> None:
    """Write the card of every committed run again, e.g. after its wording changed here."""
    for weights in sorted(results.glob("*/weights.safetensors")):
        ledger.write_text(weights.with_name("card.md"), card(weights.parent, results))


def describe_model(config: Config) -> str:
    """The model in a sentence."""
    m = config.model
    features = f"{m.features.kind} features with {m.features.channels} channels"
    if m.kind != "flow":
        return f"A factorised {m.kind} model, every entry of y independent given x; {features}"
    return (
        f"A conditional flow, {m.levels} level{'s' * (m.levels > 1)} of {m.steps} steps, "
        f"couplings of width {m.width}, "
        f"{m.dequantization} dequantization; {features}"
    )


def _saw(config: Config, record: Mapping[str, Any]) -> list[str]:
    data = record.get("data", {})
    number = data.get("train", {}).get("images")
    pictures = f"{number:,} pictures of " if number else ""
    stand_in = ", a stand-in for the paper's set" if data.get("stand_in") else ""
    splits = "training and validation splits" if config.data.use_valid else "training split"
    lines = [f"- {pictures}`{config.data.train}` ({splits}){stand_in}."]
    if config.data.use_valid:
        lines.append("- The validation split was trained on, so no threshold is chosen on it.")
    if config.experiment == "sr":
        rounded = {
            True: "rounded to 8 bits",
            False: "kept as floats, not rounded",
            "mixed": "rounded to 8 bits for half the pictures, kept as floats for the others",
        }[config.data.round_x]
        lines.append(f"- x is {rounded}.")
    return lines


def _trained(training: Mapping[str, Any]) -> list[str]:
    if training["steps"] is None:
        return []
    line = f"- {training['steps']:,} steps"
    if training["wall_s"] is not None:
        line += f", {training['wall_s'] / 60:.0f} minutes"
    if training["hardware"]:
        line += f", on {training['hardware']}"
    return [line + f"; seed {training['seed']}."]


def _worst(folder: Path) -> list[str]:
    """The picture of each scored set on which it does worst, from `scores/`."""
    lines = []
    for path in sorted((folder / "scores").glob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        column = next(name for name in WORST if name in rows[0])
        name = next(m for m in ledger.METRICS if column.startswith(m))
        bits = name.startswith("bits")
        worst = sorted(rows, key=lambda row: float(row[column]) * (-1 if bits else 1))[0]
        middle = sorted(float(row[column]) for row in rows)[len(rows) // 2]
        digits = ledger.METRICS[name].digits
        lines.append(
            f"- On {path.stem} it does worst on `{worst['image']}`: {ledger.METRICS[name].title} "
            f"{float(worst[column]):.{digits}f} (median {middle:.{digits}f})."
        )
    return lines
