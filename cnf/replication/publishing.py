"""Committed runs: `results/<name>/` with config, history, float16 weights, scores and a model card.

The float16 weights are the ones that are evaluated, so that `audit` finds the ledger's numbers
from what a clone holds.
"""

import csv
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from cnf import build, releases
from cnf.config import Config, config_sha256
from cnf.errors import CheckpointError, LedgerError
from cnf.replication import results as ledger
from cnf.replication import run_folder
from cnf.replication.data import ImageSet, catalogue
from cnf.replication.results import Row

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
    model, config, metadata = build.load_model(run / "weights.safetensors")
    record = read_record(run)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "weights.new"
    build.save_model(partial, model, config, metadata, half=True)
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
        hardware = f"{run_folder.processor()}, {record.get('threads', '?')} threads"
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
        "It was trained at one resolution and on one camera: `sample` resizes an eye of another "
        "size, and says so, but a camera of another kind needs training again.",
        "Thin vessels and the borders of thick ones are where observers disagree, and so does it.",
    ],
}


# What a user asks first: a line a set, these columns; the rest is in the ledger.
CARD = {
    "sr": {
        "bits/dim given x not rounded": {"metric": "bits_per_dim", "rounded_x": False},
        "given x of 8 bits": {"metric": "bits_per_dim", "rounded_x": True},
        "PSNR of the mean": {"metric": "psnr"},
        "PSNR of a sample": {"metric": "psnr_sample", "temperature": 0.8},
        "a sample halved, against x": {"metric": "consistency_sample", "temperature": 0.8},
        "90 % intervals hold": {"metric": "coverage_90", "temperature": 1.0},
    },
    "vessels": {
        "bits/pixel": {"metric": "bits_per_pixel", "divided_by": "all pixels"},
        "F of the marginals at 0.5": {"metric": "f_half"},
        "at the threshold chosen on validation": {"metric": "f_valid"},
        "F of a sample": {"metric": "f_sample"},
        "area under the ROC curve": {"metric": "auc"},
        "calibration error": {"metric": "calibration_error"},
        "pieces of a sample over the truth's": {"metric": "components_ratio_sample"},
        "90 % intervals of area hold": {"metric": "area_coverage"},
    },
}
HOW = {
    "sr": "dB on luma; the mean is that of samples at temperature 1 (a factorised model's own), a "
    "sample is one at 0.8, intervals are at 1.",
    "vessels": "F is pooled over the pixels of all pictures, inside the field of view where a set "
    "has one; samples are at temperature 1; the calibration error is that of marginals between "
    "0.05 and 0.95; pieces are 8-connected.",
}
# The column of scores that says where a run fails, the first that is there.
WORST = ("psnr", "psnr_standard", "psnr_released", "f_half", "bits_per_dim", "bits_per_pixel")
WORST += ("bits_per_dim_xrounded", "bits_per_dim_xfloat")


def card(folder: Path, results: Path = ledger.RESULTS) -> str:
    """The model card of a committed run, generated from its files and the ledger."""
    model, config, _ = build.load_model(folder / "weights.safetensors")
    record, training = read_record(folder), training_record(folder, config)
    rows = [r for r in ledger.current(ledger.read(results)) if r.split == "test"]
    mine = [row for row in rows if row.run == folder.name]
    kept = "the last step" if config.data.use_valid else "the best validation"
    lines = [
        f"# {folder.name}",
        "",
        f"{TASKS[config.experiment]}.",
        "",
        "## Use it",
        "",
        *_use(folder.name, config),
        "",
        "## What it is",
        "",
        f"- {describe_model(config)}; {build.count_parameters(model):,} parameters.",
        f"- Preset `{config.preset}`, configuration `{training['config_sha256'][:12]}`, kept in "
        "`config.json` and in the weights.",
        f"- Weights: `weights.safetensors`, float16, the averaged weights of {kept}; "
        f"sha256 `{run_folder.file_sha256(folder / 'weights.safetensors')[:12]}`.",
        "",
        "## What it saw",
        "",
        *_saw(config, record),
        *_trained(training),
        "",
        "## How it scores",
        "",
        *(
            _scores(mine, config.experiment) + _stress(mine)
            or ["It has not been evaluated on a test set."]
        ),
        "",
        "## Where it fails",
        "",
        *(f"- {sentence}" for sentence in _failures(mine, rows, config)),
        *_worst(folder),
        *(f"- Not measured: {sentence}" for sentence in LIMITS[config.experiment]),
        "",
        "## Licence",
        "",
        *catalogue.terms(config.data.train),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _use(name: str, config: Config) -> list[str]:
    """How to draw from it, and which short names mean it."""
    picture, draw, sides = "PICTURE.png --uncertainty", "n=4, temperature=0.8", ""
    if config.experiment == "vessels":
        picture, draw = "EYE.png --num 16", "n=16"
        sides = ", sides multiples of `model.multiple`"
    lines = [
        f"- `python -m cnf sample {name} {picture}`",
        f'- `model, config = cnf.load("{name}")`, then `model.sample(x, {draw})`: '
        f"x (B,3,H,W) in grey levels 0 to 255{sides}.",
    ]
    for short, folders in releases.RELEASES.items():
        if name == folders[0]:
            lines.append(f'- The name "{short}" means it.')
        elif name in folders:
            lines.append(f'- The name "{short}" means it where `{folders[0]}` is not there.')
    return lines


def _pick(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """The row that says it of most pictures; with a protocol, the standard one."""
    found = [
        row
        for row in rows
        if all(getattr(row, key) == value for key, value in wanted.items())
        and row.protocol != "released"
        and not (row.bound and "importance" in row.bound)
    ]
    return max(found, key=lambda r: (r.protocol is not None, r.num_images), default=None)


def _is_usual(row: Row) -> bool:
    """Whether its pictures are of the kind that the model is for."""
    return not row.data.startswith(("odd-", "far-")) and row.metric not in ledger.STRESS


def _scores(mine: Sequence[Row], experiment: str) -> list[str]:
    """The table of CARD, without columns and lines that nobody filled, and how to read it."""
    usual, columns, lines = [row for row in mine if _is_usual(row)], CARD[experiment], []
    for data in dict.fromkeys(row.data for row in usual):
        here = [row for row in usual if row.data == data]
        most = max(row.num_images for row in here)
        found = [_pick(here, **wanted) for wanted in columns.values()]
        cells = ["" if row is None else _cell(row, most) for row in found]
        if any(cells):
            stand_in = " (stand-in)" if here[0].stand_in else ""
            lines.append([f"{data} test{stand_in}", str(most), *cells])
    if not lines:
        return []
    full = [n for n, column in enumerate(zip(*lines, strict=True)) if any(column)]
    head = ["pictures", "number", *columns]
    table = ledger.markdown([head[n] for n in full], [[line[n] for n in full] for line in lines])
    standard = any(row.protocol == "standard" for row in usual)
    return [
        table,
        "",
        f'"≤" marks a likelihood bound; ± is the standard error over pictures. {HOW[experiment]}'
        + " PSNR under the standard protocol: x of 8 bits, two border pixels left out." * standard,
        "",
        f"These and {len(mine)} rows in all: `python -m cnf results table {mine[0].run}`. Each can "
        "be computed again: `python -m cnf results audit ID`.",
    ]


def _stress(mine: Sequence[Row]) -> list[str]:
    """What `evaluate --stress` found, in a sentence."""
    drawn = [row for row in mine if row.metric == "nonfinite_samples"]
    if not drawn:
        return []
    parts = [f"{row.value:g} of {row.samples:,} samples on {row.data}" for row in drawn]
    errors = [row.value for row in mine if row.metric == "reconstruction_error"]
    worst = f"; worst reconstruction error {max(errors):.1e} in float32" if errors else ""
    return ["", f"Stress test: not finite are {' and '.join(parts)}{worst}."]


def _cell(row: Row, most: int) -> str:
    return ledger.value(row) + (f" (of {row.num_images})" if row.num_images < most else "")


def _failures(mine: Sequence[Row], rows: Sequence[Row], config: Config) -> list[str]:
    """What the ledger says against the model, a sentence each."""
    if config.experiment == "vessels":
        return _vessel_failures(mine, rows)
    usual, said = [row for row in mine if _is_usual(row)], []
    sets = list(dict.fromkeys(row.data for row in usual))
    for data in sets:
        bits = [_pick(usual, data=data, metric="bits_per_dim", rounded_x=r) for r in (False, True)]
        if all(bits) and bits[1].value > bits[0].value:
            cost = bits[1].value - bits[0].value
            said.append(
                f"A picture file holds whole grey levels: given such an x it needs {cost:.2f} "
                f"bits/dim more on {data} than given one that was never rounded."
            )
            break
    for data in sets:
        psnr = {
            name: _pick(some, data=data, metric=metric, **wanted)
            for name, some, metric, wanted in (
                ("sample", usual, "psnr_sample", {"temperature": 0.8}),
                ("mean", usual, "psnr", {}),
                ("bicubic", rows, "psnr", {"model": "bicubic"}),
                ("baseline", rows, "psnr", {"run": _baseline(usual[0].run)}),
            )
        }
        said += _fidelity(data, psnr)
        if psnr["sample"]:
            break
    for data in sets:
        held = _pick(usual, data=data, metric="coverage_90", temperature=1.0)
        if held is not None and abs(held.value - 0.9) > 0.01:
            narrow = "narrow" if held.value < 0.9 else "wide"
            said.append(
                f"Its intervals are too {narrow}: those of 90 % hold the truth in "
                f"{100 * held.value:.0f} % on {data}."
            )
    return said + _unusual(mine, sets)


def _baseline(run: str) -> str | None:
    """The name of a flow's factorised baseline."""
    return run.replace("flow", "baseline") if "flow" in run else None


def _fidelity(data: str, psnr: Mapping[str, Row | None]) -> list[str]:
    """That samples and their mean are not the nearest guess, where they are not."""
    said = []
    shown = {name: ledger.METRICS["psnr"].write(row.value) for name, row in psnr.items() if row}
    if _is_below(psnr["sample"], psnr["bicubic"]):
        said.append(
            f"A sample is sharp, not near: on {data} one at temperature 0.8 has {shown['sample']} "
            f"dB, plain bicubic interpolation {shown['bicubic']} dB."
        )
    if _is_below(psnr["mean"], psnr["baseline"]):
        said.append(
            f"For the least squared error take its baseline: on {data} the mean of samples has "
            f"{shown['mean']} dB, that of the factorised model {shown['baseline']} dB."
        )
    return said


def _is_below(row: Row | None, other: Row | None) -> bool:
    """Whether both are there, of the same pictures and x, and the first is less."""
    if row is None or other is None:
        return False
    same = ("protocol", "rounded_x", "data_sha256", "num_images")
    return all(getattr(row, k) == getattr(other, k) for k in same) and row.value < other.value


def _unusual(mine: Sequence[Row], sets: Sequence[str]) -> list[str]:
    """On pictures that it is not for."""
    said, odd = [], {}
    for data in dict.fromkeys(row.data for row in mine if row.data.startswith("odd-")):
        row = _pick(mine, data=data, metric="bits_per_dim", rounded_x=False)
        odd |= {data.removeprefix("odd-"): row.value} if row else {}
    own = [_pick(mine, data=d, metric="bits_per_dim", rounded_x=False) for d in sets]
    own = next((row for row in own if row is not None), None)
    if odd and own:
        shown = ", ".join(f"{bits:.2f} on {name}" for name, bits in odd.items())
        said.append(
            f"On pictures unlike those it learned from it needs {shown} bits/dim, against "
            f"{own.value:.2f} on {own.data}."
        )
        if low := [name for name, bits in odd.items() if bits < own.value]:
            said.append(
                f"Few bits do not mean a familiar picture ({', '.join(low)}): they say how little "
                "x leaves open."
            )
    far = _pick(mine, data="far-sr", metric="outside_range", temperature=1.0)
    if far is not None and far.value > 0.001:
        said.append(
            f"On pictures far from all data {100 * far.value:.0f} % of what it samples at "
            "temperature 1 lies outside 0 to 255 and is clipped."
        )
    for row in mine:
        if row.metric in ("nonfinite_samples", "nonfinite_log_probs") and row.value:
            said.append(f"On {row.data}: {row.value:g} {ledger.METRICS[row.metric].title}.")
    return said


# A card says of vessels what is worse than this.
BROKEN = 1.3  # pieces of a sample over the truth's
UNCALIBRATED = 0.02
MISJUDGED = 0.05  # of the area
TOO_SURE = 0.8  # coverage of intervals of 90 %


def _vessel_failures(mine: Sequence[Row], rows: Sequence[Row]) -> list[str]:
    """What a user of marginals or of samples should know, set by set."""
    usual, said = [row for row in mine if _is_usual(row)], []
    for data in dict.fromkeys(row.data for row in usual):
        found = {
            metric: _pick(usual, data=data, metric=metric)
            for metric in ("f_half", "f_sample", "calibration_error", "area_ratio")
            + ("area_coverage", "components_coverage", "components_ratio_sample")
        }
        shown = {name: row.value for name, row in found.items() if row is not None}
        human = _pick(rows, data=data, metric="f_half", model="second observer")
        if found["f_sample"] and human and found["f_sample"].value < human.value:
            said.append(
                f"A sample agrees less with the first observer than a second one does: F "
                f"{shown['f_sample']:.3f} against {human.value:.3f} on {data}."
            )
        if shown.get("components_ratio_sample", 0) > BROKEN:
            said.append(
                f"Its vessels break: one sample has {shown['components_ratio_sample']:.1f} times "
                f"the pieces of the truth on {data}."
            )
        if shown.get("calibration_error", 0) > UNCALIBRATED:
            said.append(
                f"Marginals between 0.05 and 0.95 are off by {shown['calibration_error']:.3f} on "
                f"average on {data}."
            )
        if abs(shown.get("area_ratio", 1) - 1) > MISJUDGED:
            much = "more" if shown["area_ratio"] > 1 else "less"
            said.append(
                f"Samples mark {100 * abs(shown['area_ratio'] - 1):.0f} % {much} than the first "
                f"observer on {data}."
            )
        for name, word in (("area", "vessel area"), ("components", "the number of pieces")):
            held = shown.get(f"{name}_coverage", 0.9)
            if held < TOO_SURE:
                said.append(
                    f"Its 90 % intervals of {word} hold that of the first observer in "
                    f"{100 * held:.0f} % of the pictures of {data}."
                )
        said += _simpler(data, found["f_half"], rows)
    return said


def _simpler(data: str, mine: Row | None, rows: Sequence[Row]) -> list[str]:
    """That its baseline has the better F, where it has."""
    name = _baseline(mine.run) if mine else None
    other = _pick(rows, data=data, metric="f_half", run=name) if name else None
    same = ("data_sha256", "num_images")
    if other is None or any(getattr(mine, k) != getattr(other, k) for k in same):
        return []
    if mine.value >= other.value:
        return []
    return [
        f"For F alone take its baseline: on {data} its marginals have {mine.value:.3f} at 0.5, "
        f"those of the factorised model {other.value:.3f}."
    ]


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
    levels = f"{m.levels} level{'s' * (m.levels > 1)} of" if m.levels else "no levels,"
    return (
        f"A conditional flow, {levels} {m.steps} steps, "
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
    if config.model.features.pretrained:
        lines.append("- Its features began with torchvision's VGG-16 weights for ImageNet.")
    if config.data.use_valid:
        lines.append(
            "- The validation split was trained on, so no threshold is chosen on it; a validation "
            "threshold, where one is told, is that of a run which did not see the split."
        )
    if config.experiment == "sr":
        rounded = {
            True: "rounded to 8 bits",
            False: "kept as floats, not rounded",
            "mixed": "rounded to 8 bits for half the pictures, kept as floats for the others",
        }[config.data.round_x]
        lines.append(f"- x is {rounded}.")
        if config.data.noise:
            lines.append(f"- To {100 * config.data.noise:g} % of the pictures noise was added.")
    if start := record.get("start"):
        lines.append(f"- It began with the weights of `{start['run']}`, and so with what that saw.")
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
        if path.stem.startswith("odd-"):
            continue
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
