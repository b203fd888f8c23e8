"""Does a model stay finite? Many samples, every temperature, inputs that it has never seen.

A flow promises an inverse; float32 keeps the promise only as far as scales, shifts and matrices
allow (derived in the chapter on why flows blow up). Nothing in a likelihood shows when it is
broken: so it is counted here, before a floor, a threshold or a clip hides it.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cnf import noise
from cnf.baselines import HALF_WIDTH, DiscretisedLogistic
from cnf.errors import ConfigError
from cnf.flow import ConditionalModel
from cnf.replication.metrics import Setting, Value, metric
from cnf.replication.scored_model import ScoredModel, per_pass

TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.2)
SAMPLES = 2000  # of a set, at least
SIDE = 64  # pixels of y a side; of larger pictures the middle
DRAW = -1000  # the `draw` of the noise at the first temperature; the next ones have -1001, ...
LOST = 1e9  # stands for an error or a value above it, or not finite


def per_picture(m: ScoredModel) -> int:
    """Samples of each picture at each temperature."""
    asked = SAMPLES if m.options.samples is None else m.options.samples
    if asked < 1:
        raise ConfigError(f"--samples {asked}: --stress needs 1 or more")
    return -(-asked // (len(m.indices) * len(TEMPERATURES)))


# -- metrics ---------------------------------------------------------------------------------------

_STRESS = {"task": ("sr", "vessels"), "tag": "stress"}


@metric("samples that are not finite", "samples", 0, 0, of="stress", **_STRESS)
def nonfinite_samples(m: ScoredModel, s: Setting) -> Value:
    each = s.samples // (len(m.indices) * len(TEMPERATURES))
    bad = (sampled(m, t, each)["nonfinite_samples"] for t in TEMPERATURES)
    return Value(float(sum(bad)))


@metric(
    *("sampled values outside [0, 1), before clipping", "1", 5, 1e-5),
    **{"of": "heat", "task": "sr", "tag": "stress"},
)
def outside_range(m: ScoredModel, s: Setting) -> Value:
    return Value(sampled(m, s.temperature, s.samples // len(m.indices))["outside_range"])


@metric("largest |v| sampled", "1", 2, 0, factor=1.1, of="heat", **_STRESS)
def largest_value(m: ScoredModel, s: Setting) -> Value:
    return Value(sampled(m, s.temperature, s.samples // len(m.indices))["largest_value"])


@metric("log p that are not finite", "pictures", 0, 0, of="pass", **_STRESS)
def nonfinite_log_probs(m: ScoredModel, s: Setting) -> Value:
    return Value(float(there_and_back(m)["nonfinite_log_probs"]))


@metric(
    *("worst |v - f^-1(f(v))| in float32", "1", None, 1e-6),
    **{"factor": 10, "of": "pass"} | _STRESS,
)
def reconstruction_error(m: ScoredModel, s: Setting) -> Value | None:
    return None if m.has_mean else Value(there_and_back(m)["reconstruction_error"])


STRESS = (
    *("nonfinite_samples", "outside_range", "largest_value", "nonfinite_log_probs"),
    "reconstruction_error",
)


# -- what is counted -------------------------------------------------------------------------------


def sampled(m: ScoredModel, temperature: float, each: int) -> dict[str, float]:
    """`each` samples of v of every picture at one of TEMPERATURES, before the floor or the
    threshold: how many hold a value that is not finite, the share of values outside [0, 1), the
    largest |v|."""
    model, draw = m.model, DRAW - TEMPERATURES.index(temperature)

    def compute():
        bad, outside, values, largest = 0, 0, 0, 0.0
        for indices, y, x, _ in m.batches(f"temperature {temperature:g}"):
            y, x = middle(model, y, x)
            keyed = noise.keyed(m.options.seed, indices, draw)
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

    return m.once(("stress", temperature, each), compute)


def draws(
    model: ConditionalModel,
    x: Tensor,
    n: int,
    temperature: float,
    keyed: list[torch.Generator],
    entries: int,
) -> Iterator[Tensor]:
    """n samples of v for each x, (B or more, C, H, W), a few in memory at once; `entries` of y."""
    batch, chunk, h = len(x), per_pass(entries), model.condition(x)
    keyed = noise.repeated(keyed, n)
    for start in range(0, n, chunk):
        stop = min(start + chunk, n)
        part = keyed[start * batch : stop * batch]
        yield model.draw(h, stop - start, temperature, part).flatten(0, 1)


def there_and_back(m: ScoredModel) -> dict[str, float]:
    """For every picture, y itself and one sample at temperature 1: how many of the log p(y|x) are
    not finite (a sample without labels counts), and the worst |v - f^-1(f(v))|."""
    model = m.model

    def compute():
        bad, worst = 0, 0.0
        for indices, y, x, _ in m.batches("log p"):
            y, x = middle(model, y, x)
            keyed = noise.keyed(m.options.seed, indices, DRAW)
            for target in (y, model.sample(x, 1, 1.0, keyed)[0]):
                whole = target.isfinite().flatten(1).all(1)
                bad += int((~whole).sum())
                given = [index for index, fine in zip(indices, whole, strict=True) if fine]
                if not given:
                    worst = LOST
                    continue
                pair = target[whole], x[whole]
                keyed = noise.keyed(m.options.seed, given)
                bad += int((~model.log_prob(*pair, keyed).isfinite()).sum())
                if not m.has_mean:
                    keyed = noise.keyed(m.options.seed, given)
                    error = model.reconstruction_error(*pair, keyed)
                    worst = max(worst, min(error, LOST) if math.isfinite(error) else LOST)
        return {"nonfinite_log_probs": bad, "reconstruction_error": worst}

    return m.once(("there and back",), compute)


def middle(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """At most SIDE pixels of y a side, and the x below them."""
    step = math.lcm(model.multiple, model.factor)
    most = max(step, SIDE // step * step)
    sides = [(max(0, s - most) // 2 // step * step, min(s, most)) for s in y.shape[-2:]]
    (top, height), (left, width) = sides
    y = y[..., top : top + height, left : left + width]
    (top, height), (left, width) = ((a // model.factor, b // model.factor) for a, b in sides)
    return y, x[..., top : top + height, left : left + width]
