"""Does a model stay finite? Many samples, every temperature, inputs that it has never seen.

A flow promises an inverse; float32 keeps the promise only as far as scales, shifts and matrices
allow (derived in the chapter on why flows blow up). Nothing in a likelihood shows when it is
broken: so it is counted here, before a floor, a threshold or a clip hides it.
"""

import math
from typing import Any

from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError
from cnf.factorised import HALF_WIDTH, DiscretisedLogistic
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.replication.metrics import Setting, Value, metric
from cnf.replication.scored_model import ScoredModel, once, per_pass

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


# -- what is counted -------------------------------------------------------------------------------


@once
def sampled(m: ScoredModel, temperature: float, each: int) -> dict[str, float]:
    """`each` samples of v of every picture at one of TEMPERATURES, before the floor or the
    threshold: how many hold a value that is not finite, the share of values outside [0, 1), the
    largest |v|."""
    bad, outside, values, largest = 0, 0, 0, 0.0
    low = -HALF_WIDTH if isinstance(m.model, DiscretisedLogistic) else 0.0  # it rounds
    for indices, y, x, _ in m.batches(f"temperature {temperature:g}"):
        y, x = middle(m.model, y, x)
        h, at_once = m.model.condition(x), per_pass(y.numel())
        keyed = noise.keyed(m.options.seed, indices, DRAW - TEMPERATURES.index(temperature))
        keyed = noise.repeated(keyed, each)
        for start in range(0, each, at_once):  # a few in memory at once
            n = min(at_once, each - start)
            part = keyed[start * len(x) : (start + n) * len(x)]
            v = m.model.draw(h, n, temperature, part).flatten(0, 1)
            finite = v.isfinite()
            bad += int((~finite.flatten(1).all(1)).sum())
            outside += int((~((v >= low) & (v < 1 + low))).sum())
            values += v.numel()
            largest = max(largest, v[finite].abs().max().item() if finite.any() else LOST)
    found = {"nonfinite_samples": bad, "outside_range": outside / values}
    return found | {"largest_value": min(largest, LOST)}


@once
def there_and_back(m: ScoredModel) -> dict[str, float]:
    """For every picture, y itself and one sample at temperature 1: how many of the log p(y|x) are
    not finite (a sample that is not finite itself counts), and the worst |v - f^-1(f(v))|: LOST if
    any of these is not finite."""
    model, bad, worst = m.model, 0, 0.0
    for indices, y, x, _ in m.batches("log p"):
        y, x = middle(model, y, x)
        sample = model.sample(x, 1, 1.0, noise.keyed(m.options.seed, indices, DRAW))[0]
        for target in (y, sample):
            whole = target.isfinite().flatten(1).all(1)
            if not whole.all():
                bad, worst = bad + int((~whole).sum()), LOST
            if not whole.any():
                continue
            given = [index for index, fine in zip(indices, whole, strict=True) if fine]
            pair = target[whole], x[whole]
            log_p = model.log_prob(*pair, noise.keyed(m.options.seed, given))
            bad += int((~log_p.isfinite()).sum())
            if isinstance(model, ConditionalFlow):
                error = model.reconstruction_error(*pair, noise.keyed(m.options.seed, given))
                worst = max(worst, min(error, LOST) if math.isfinite(error) else LOST)
    return {"nonfinite_log_probs": bad, "reconstruction_error": worst}


def middle(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """At most SIDE pixels of y a side, and the x below them."""
    step = math.lcm(model.multiple, model.factor)
    most = max(step, SIDE // step * step)
    starts = [max(0, side - most) // 2 // step * step for side in y.shape[-2:]]
    cut = [slice(start, start + most) for start in starts]
    below = [slice(s.start // model.factor, s.stop // model.factor) for s in cut]
    return y[..., *cut], x[..., *below]


# -- metrics ---------------------------------------------------------------------------------------

_STRESS: dict[str, Any] = {"task": ("sr", "vessels"), "tag": "stress"}


@metric("samples that are not finite", "samples", 0, 0, of="stress", **_STRESS)
def nonfinite_samples(m: ScoredModel, s: Setting) -> Value:
    each = s.samples // (len(m.indices) * len(TEMPERATURES))
    return Value(float(sum(sampled(m, t, each)["nonfinite_samples"] for t in TEMPERATURES)))


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
    is_flow = isinstance(m.model, ConditionalFlow)
    return Value(there_and_back(m)["reconstruction_error"]) if is_flow else None
