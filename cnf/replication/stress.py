"""Does a model stay finite? Many samples, every temperature, inputs that it has never seen.

A flow promises an inverse; float32 keeps the promise only as far as scales, shifts and matrices
allow (derived in the chapter on why flows blow up). Nothing in a likelihood shows when it is
broken: so it is counted here, before a floor, a threshold or a clip hides it.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from cnf import build, noise
from cnf.baselines import HALF_WIDTH, DiscretisedLogistic, Factorised
from cnf.errors import ConfigError
from cnf.flow import ConditionalModel
from cnf.replication import evaluate, publishing
from cnf.replication.data import load
from cnf.replication.metrics import Score
from cnf.replication.results import RESULTS, Row
from cnf.replication.scored_model import Options, Subject, choose_device, per_pass

TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.2)
SAMPLES = 2000  # of a set, at least
SIDE = 64  # pixels of y a side; of larger pictures the middle
DRAW = -1000  # the `draw` of the noise at the first temperature; the next ones have -1001, ...
LOST = 1e9  # stands for an error or a value above it, or not finite


def stress(
    run: Path,
    on: str | None = None,
    split: str = "test",
    *,
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    samples: int | None = None,
    device: str = "auto",
    root: Path | None = None,
    supersede: bool = False,
    results: Path = RESULTS,
) -> list[Row]:
    """Stress the weights in the folder `run`; append the rows and return them.

    Args:
        on: an image set; default: the embedded one and the one far from all data.
        samples: of a set, at least, over all temperatures and pictures.
        Others: see `evaluate.evaluate`.
    """
    run = Path(run)
    name = name or run.resolve().name
    publishing.check_name(name)
    model, config, _ = build.load_model(run / "weights.safetensors")
    model.to(choose_device(device))
    options = Options(limit, seed, samples=samples)
    kinds = [f"{kind}-{config.experiment}" for kind in ("embedded", "far")]
    rows = []
    for one in kinds if on is None else [on]:
        subject = Subject(model, config, load(one, split, root), options)
        found = list(scores(subject, per_picture(subject)))
        rows += evaluate.record(found, subject, name, run, supersede, None, results)
    return rows


def per_picture(subject: Subject) -> int:
    """Samples of each picture at each temperature."""
    asked = SAMPLES if subject.options.samples is None else subject.options.samples
    if asked < 1:
        raise ConfigError(f"--samples {asked}: --stress needs 1 or more")
    return -(-asked // (len(subject.indices) * len(TEMPERATURES)))


def scores(subject: Subject, each: int = 1, only: str = "") -> Iterator[Score]:
    """Every score of a model on a set, or the metric named `only`; `each` samples of each picture
    at each temperature."""
    total = each * len(subject.indices)
    spreads = ["outside_range"] * (subject.experiment == "sr") + ["largest_value"]
    if only in ("", "nonfinite_samples"):
        bad = sum(sampled(subject, place, each)["nonfinite_samples"] for place in range(6))
        yield Score("nonfinite_samples", float(bad), samples=total * len(TEMPERATURES))
    for spread in spreads:
        if only in ("", spread):
            for place, temperature in enumerate(TEMPERATURES):
                value = sampled(subject, place, each)[spread]
                yield Score(spread, value, temperature=temperature, samples=total)
    if only in ("", "nonfinite_log_probs"):
        yield Score("nonfinite_log_probs", float(scored(subject)["nonfinite_log_probs"]), draws=1)
    if only in ("", "reconstruction_error") and not isinstance(subject.model, Factorised):
        yield Score("reconstruction_error", scored(subject)["reconstruction_error"], draws=1)


def again(subject: Subject, row: Row) -> float | None:
    """The value of such a row, computed again; None if there is no such score."""
    pictures = len(subject.indices)
    if row.metric == "nonfinite_samples":
        pictures *= len(TEMPERATURES)
    each = (row.samples or pictures) // pictures
    for score in scores(subject, each, row.metric):
        if score.temperature == row.temperature:
            return score.value
    return None


# --- what is counted ------------------------------------------------------------------------------


def sampled(subject: Subject, place: int, each: int) -> dict[str, float]:
    """Samples of v at one of TEMPERATURES, before the floor or the threshold: how many hold a value
    that is not finite, the share of values outside [0, 1), the largest |v|."""
    model, temperature = subject.model, TEMPERATURES[place]

    def compute():
        bad, outside, values, largest = 0, 0, 0, 0.0
        for indices, y, x, _ in subject.batches(f"temperature {temperature:g}"):
            y, x = middle(model, y, x)
            keyed = noise.keyed(subject.options.seed, indices, DRAW - place)
            for v in draws(model, x, each, temperature, keyed, y.numel()):
                finite = v.isfinite()
                bad += int((~finite.flatten(1).all(1)).sum())
                low = -HALF_WIDTH if isinstance(model, DiscretisedLogistic) else 0.0  # it rounds
                outside += int((~((v >= low) & (v < 1 + low))).sum())
                values += v.numel()
                largest = max(largest, v[finite].abs().max().item() if finite.any() else LOST)
        return {
            "nonfinite_samples": bad,
            "outside_range": outside / values,
            "largest_value": min(largest, LOST),
        }

    return subject.once(("stress", place, each), compute)


def draws(
    model: ConditionalModel,
    x: Tensor,
    n: int,
    temperature: float,
    keyed: list[torch.Generator],
    entries: int,
) -> Iterator[Tensor]:
    """n samples of v for each x, (B or more, C, H, W), a few in memory at once; `entries` of y."""
    batch, chunk = len(x), per_pass(entries)
    keyed = noise.repeated(keyed, n)
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        part = keyed[start * batch : stop * batch]
        if isinstance(model, Factorised):
            yield model.sample_v(x, stop - start, temperature, part).flatten(0, 1)
        else:
            yield model.sample_v(model.condition(x), stop - start, temperature, part)


def scored(subject: Subject) -> dict[str, float]:
    """For every picture, y itself and one sample at temperature 1: how many of the log p(y|x) are
    not finite (a sample without labels counts), and the worst |v - f^-1(f(v))|."""
    model = subject.model

    def compute():
        bad, worst = 0, 0.0
        for indices, y, x, _ in subject.batches("log p"):
            y, x = middle(model, y, x)
            keyed = noise.keyed(subject.options.seed, indices, DRAW)
            for target in (y, model.sample(x, 1, 1.0, keyed)[0]):
                whole = target.isfinite().flatten(1).all(1)
                bad += int((~whole).sum())
                given = [index for index, fine in zip(indices, whole, strict=True) if fine]
                if not given:
                    worst = LOST
                    continue
                pair = target[whole], x[whole]
                keyed = noise.keyed(subject.options.seed, given)
                bad += int((~model.log_prob(*pair, keyed).isfinite()).sum())
                if not isinstance(model, Factorised):
                    keyed = noise.keyed(subject.options.seed, given)
                    error = model.reconstruction_error(*pair, keyed)
                    worst = max(worst, min(error, LOST) if math.isfinite(error) else LOST)
        return {"nonfinite_log_probs": bad, "reconstruction_error": worst}

    return subject.once(("stress",), compute)


def middle(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """At most SIDE pixels of y a side, and the x below them."""
    step = math.lcm(model.multiple, model.factor)
    most = max(step, SIDE // step * step)
    sides = [(max(0, s - most) // 2 // step * step, min(s, most)) for s in y.shape[-2:]]
    (top, height), (left, width) = sides
    y = y[..., top : top + height, left : left + width]
    (top, height), (left, width) = ((a // model.factor, b // model.factor) for a, b in sides)
    return y, x[..., top : top + height, left : left + width]
