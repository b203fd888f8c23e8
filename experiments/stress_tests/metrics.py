"""Stress test: whether a model stays finite, over many samples, temperatures and unusual inputs.

A flow is invertible, but in float32 only as far as its scales, shifts and matrices allow (derived
in the chapter on why flows blow up). A likelihood does not show where the inverse fails. So
failures are counted here, before a floor, a threshold or a clip hides them."""

import math
from collections.abc import Iterator

from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError
from cnf.factorised import HALF_WIDTH, DiscretisedLogistic
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.replication.measures import Setting
from cnf.replication.metrics import Value
from cnf.replication.scored.model import ScoredModel, computed_once, pictures_at_once

TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.2)
SAMPLES = 2000  # of a set, at least
SIDE = 64  # pixels of y a side; larger pictures are cut to their middle
DRAW = -1000  # the `draw` of the noise at the first temperature; the next ones have -1001, ...
LOST = 1e9  # stands for an error or a value that is larger or not finite


def per_picture(m: ScoredModel) -> int:
    """Samples of each picture at each temperature."""
    samples = SAMPLES if m.options.samples is None else m.options.samples
    if samples < 1:
        raise ConfigError(f"--samples {samples}: --stress needs 1 or more")
    return -(-samples // (len(m.indices) * len(TEMPERATURES)))


def at_all_temperatures(m: ScoredModel) -> Iterator[Setting]:
    """The samples of all temperatures together."""
    yield Setting(samples=per_picture(m) * len(m.indices) * len(TEMPERATURES))


def at_each_temperature(m: ScoredModel) -> Iterator[Setting]:
    """The samples of one temperature after the other."""
    yield from (Setting(t, per_picture(m) * len(m.indices)) for t in TEMPERATURES)


def at_inverse(m: ScoredModel) -> Iterator[Setting]:
    """y and a sample of every picture, mapped to the latents and back."""
    yield Setting(draws=1)


# -- what is counted -------------------------------------------------------------------------------


class StressTest:
    """The counts of a model, each computed once."""

    def __init__(self, scored: ScoredModel):
        self.scored = scored

    @computed_once
    def sampled(self, temperature: float, each: int) -> dict[str, float]:
        """Counts over `each` samples of v of every picture at one of TEMPERATURES, before the floor
        or the threshold: how many samples hold a value that is not finite, the share of values
        outside [0, 1), and the largest |v|."""
        m = self.scored
        nonfinite, outside, values, largest = 0, 0, 0, 0.0
        low = -HALF_WIDTH if isinstance(m.model, DiscretisedLogistic) else 0.0  # it rounds
        for indices, y, x, _ in m.batches(f"temperature {temperature:g}"):
            y, x = middle(m.model, y, x)
            h, at_once = m.model.condition(x), pictures_at_once(y.numel())
            generators = noise.keyed(
                m.options.seed, indices, DRAW - TEMPERATURES.index(temperature)
            )
            generators = noise.repeated(generators, each)
            for start in range(0, each, at_once):  # a few in memory at once
                n = min(at_once, each - start)
                some = generators[start * len(x) : (start + n) * len(x)]
                v = m.model.sample_given(h, n, temperature, some).flatten(0, 1)
                finite = v.isfinite()
                nonfinite += int((~finite.flatten(1).all(1)).sum())
                outside += int((~((v >= low) & (v < 1 + low))).sum())
                values += v.numel()
                largest = max(largest, v[finite].abs().max().item() if finite.any() else LOST)
        counts = {"nonfinite_samples": nonfinite, "outside_range": outside / values}
        return counts | {"largest_value": min(largest, LOST)}

    @computed_once
    def there_and_back(self) -> dict[str, float]:
        """Counts over y and one sample at temperature 1 of every picture: how many log p(y|x) are
        not finite (or of a sample that is not finite itself), and the largest |v - f^-1(f(v))|,
        which is LOST if any of these is not finite."""
        m, model, nonfinite, worst = self.scored, self.scored.model, 0, 0.0
        for indices, y, x, _ in m.batches("log p"):
            y, x = middle(model, y, x)
            sample = model.sample(x, 1, 1.0, noise.keyed(m.options.seed, indices, DRAW))[0]
            for target in (y, sample):
                is_finite = target.isfinite().flatten(1).all(1)
                if not is_finite.all():
                    nonfinite, worst = nonfinite + int((~is_finite).sum()), LOST
                if not is_finite.any():
                    continue
                finite_indices = [
                    index for index, fine in zip(indices, is_finite, strict=True) if fine
                ]
                pair = target[is_finite], x[is_finite]
                log_p = model.log_prob(*pair, noise.keyed(m.options.seed, finite_indices))
                nonfinite += int((~log_p.isfinite()).sum())
                if isinstance(model, ConditionalFlow):
                    error = model.reconstruction_error(
                        *pair, noise.keyed(m.options.seed, finite_indices)
                    )
                    worst = max(worst, min(error, LOST) if math.isfinite(error) else LOST)
        return {"nonfinite_log_probs": nonfinite, "reconstruction_error": worst}


def middle(model: ConditionalModel, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of y, at most SIDE pixels a side, and the part of x that belongs to it."""
    step = math.lcm(model.multiple, model.factor)
    most = max(step, SIDE // step * step)
    starts = [max(0, side - most) // 2 // step * step for side in y.shape[-2:]]
    cut = [slice(start, start + most) for start in starts]
    below = [slice(s.start // model.factor, s.stop // model.factor) for s in cut]
    return y[..., *cut], x[..., *below]


# -- metrics ---------------------------------------------------------------------------------------


def nonfinite_samples(m: ScoredModel, s: Setting) -> Value:
    each = s.samples // (len(m.indices) * len(TEMPERATURES))
    counts = [m.statistics(StressTest).sampled(t, each) for t in TEMPERATURES]
    return Value(float(sum(count["nonfinite_samples"] for count in counts)))


def outside_range(m: ScoredModel, s: Setting) -> Value | None:
    if m.task.is_binary:  # a threshold, and no cells of equal width
        return None
    counts = m.statistics(StressTest).sampled(s.temperature, s.samples // len(m.indices))
    return Value(counts["outside_range"])


def largest_value(m: ScoredModel, s: Setting) -> Value:
    counts = m.statistics(StressTest).sampled(s.temperature, s.samples // len(m.indices))
    return Value(counts["largest_value"])


def nonfinite_log_probs(m: ScoredModel, s: Setting) -> Value:
    return Value(float(m.statistics(StressTest).there_and_back()["nonfinite_log_probs"]))


def reconstruction_error(m: ScoredModel, s: Setting) -> Value | None:
    if not isinstance(m.model, ConditionalFlow):
        return None
    return Value(m.statistics(StressTest).there_and_back()["reconstruction_error"])
