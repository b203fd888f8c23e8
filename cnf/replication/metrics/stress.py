"""Does a model stay finite? Many samples, every temperature, inputs that it has never seen.

A flow promises an inverse; float32 keeps the promise only as far as scales, shifts and matrices
allow (derived in the chapter on why flows blow up). Nothing in a likelihood shows when it is
broken: so it is counted here, before a floor, a threshold or a clip hides it.
"""

import math

from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError
from cnf.factorised import HALF_WIDTH, DiscretisedLogistic
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.replication.evaluation.scored_model import ScoredModel, computed_once, per_pass
from cnf.replication.metrics import Setting, Value, metric

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


class StressTest:
    """What is counted of a model, each once."""

    def __init__(self, scored: ScoredModel):
        self.scored = scored

    @computed_once
    def sampled(self, temperature: float, each: int) -> dict[str, float]:
        """`each` samples of v of every picture at one of TEMPERATURES, before the floor or the
        threshold: how many hold a value that is not finite, the share of values outside [0, 1), the
        largest |v|."""
        m = self.scored
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
                v = m.model.sample_given(h, n, temperature, part).flatten(0, 1)
                finite = v.isfinite()
                bad += int((~finite.flatten(1).all(1)).sum())
                outside += int((~((v >= low) & (v < 1 + low))).sum())
                values += v.numel()
                largest = max(largest, v[finite].abs().max().item() if finite.any() else LOST)
        found = {"nonfinite_samples": bad, "outside_range": outside / values}
        return found | {"largest_value": min(largest, LOST)}

    @computed_once
    def there_and_back(self) -> dict[str, float]:
        """For every picture, y itself and one sample at temperature 1: how many of the log p(y|x)
        are not finite (a sample that is not finite itself counts), and the worst |v - f^-1(f(v))|:
        LOST if any of these is not finite."""
        m, model, bad, worst = self.scored, self.scored.model, 0, 0.0
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


@metric(
    title="samples that are not finite",
    unit="samples",
    digits=0,
    tolerance=0,
    of="all temperatures",
    tag="stress",
)
def nonfinite_samples(m: ScoredModel, s: Setting) -> Value:
    each = s.samples // (len(m.indices) * len(TEMPERATURES))
    found = [m.statistics(StressTest).sampled(t, each) for t in TEMPERATURES]
    return Value(float(sum(one["nonfinite_samples"] for one in found)))


@metric(
    title="sampled values outside [0, 1), before clipping",
    unit="1",
    digits=5,
    tolerance=1e-5,
    of="each temperature",
    tag="stress",
)
def outside_range(m: ScoredModel, s: Setting) -> Value | None:
    if m.task.is_binary:  # a threshold, and no cells of equal width
        return None
    found = m.statistics(StressTest).sampled(s.temperature, s.samples // len(m.indices))
    return Value(found["outside_range"])


@metric(
    title="largest |v| sampled",
    unit="1",
    digits=2,
    tolerance=0,
    factor=1.1,
    of="each temperature",
    tag="stress",
)
def largest_value(m: ScoredModel, s: Setting) -> Value:
    found = m.statistics(StressTest).sampled(s.temperature, s.samples // len(m.indices))
    return Value(found["largest_value"])


@metric(
    title="log p that are not finite",
    unit="pictures",
    digits=0,
    tolerance=0,
    of="inverse",
    tag="stress",
)
def nonfinite_log_probs(m: ScoredModel, s: Setting) -> Value:
    return Value(float(m.statistics(StressTest).there_and_back()["nonfinite_log_probs"]))


@metric(
    title="worst |v - f^-1(f(v))| in float32",
    unit="1",
    digits=None,
    tolerance=1e-6,
    factor=10,
    of="inverse",
    tag="stress",
)
def reconstruction_error(m: ScoredModel, s: Setting) -> Value | None:
    if not isinstance(m.model, ConditionalFlow):
        return None
    return Value(m.statistics(StressTest).there_and_back()["reconstruction_error"])
