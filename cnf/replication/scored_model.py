"""A model on an image set: everything that scores are made of, each computed once.

All noise is keyed by (seed, image index, draw) and drawn on the CPU: batch size, device and number
of processes change no number beyond float rounding.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from cnf import noise
from cnf.baselines import Factorised
from cnf.config import Config
from cnf.errors import ConfigError, DataError, LedgerError, TrainingError
from cnf.flow import ConditionalModel, check_temperature
from cnf.replication.data import ImageSet
from cnf.replication.data.batches import make_batch
from cnf.resample import imresize_double

SAMPLES_DRAW = -1  # the `draw` of sampling noise; noise of likelihoods has draws 0, 1, ...
SAMPLES = {"sr": 16, "vessels": 32}  # for the mean, for the marginals
SAMPLES_FULL = {"sr": 32, "vessels": 64}  # for everything that `full` asks for
CHUNK = 1_500_000  # entries of y at once, pictures times samples: under 1.5 GB


def per_pass(entries: int) -> int:
    """How many pictures of so many entries a model takes at once."""
    return max(1, CHUNK // entries)


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate.

    Args:
        limit: only the first images.
        seed: of the noise. `draws`: noise draws an image, their log-probabilities averaged.
        samples: model samples for means and marginals; default 16 for photographs, 0 for patches
            (no PSNR), 32 for vessels; with `full` 32 for super-resolution, 64 for vessels.
        importance: samples of an importance-weighted bound beside the plain one; 0: none.
        temperature: of the single sample; default 0.8 for super-resolution, 1 for vessels. Means
            and marginals are of samples at temperature 1.
        round_x: whether x is rounded to 8 bits; default: as in training, "mixed" not rounded.
        full: whether everything is told that `scores.survey`, of vessels `scores.vessel_survey`,
            knows.
        threshold: of probabilities, for the F of vessels that is reported as that of the validation
            threshold; default: the best on the validation split, if the model did not train on it.
            A model that trained on all pictures needs the one that a sister run, trained without
            the validation split, has there: `threshold_from` is the folder of such a run.
    """

    limit: int | None = None
    seed: int = 0
    draws: int = 1
    samples: int | None = None
    importance: int = 0
    temperature: float | None = None
    round_x: bool | None = None
    full: bool = False
    threshold: float | None = None
    threshold_from: str | None = None

    def __post_init__(self):
        for name, least in (("limit", 1), ("seed", 0), ("draws", 1), ("samples", 0)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise ConfigError(f"--{name} {given}: give {least} or more")
        if self.importance < 0:
            raise ConfigError(f"--importance {self.importance}: give 0 or more")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"--threshold {self.threshold}: give a probability, 0 to 1")
        if self.threshold is not None and self.threshold_from is not None:
            raise ConfigError("--threshold and --threshold-from contradict each other: give one")
        if self.temperature is not None:
            check_temperature(self.temperature)
            if self.full:
                raise ConfigError("--full has temperatures of its own: leave --temperature out")


class Subject:
    """A model on an image set: everything the metrics are made of, each computed once."""

    def __init__(
        self,
        model: ConditionalModel,
        config: Config,
        images: ImageSet,
        options: Options | None = None,
        batch_size: int = 50,
    ):
        if images.experiment != config.experiment:
            raise ConfigError(
                f"'{images.name}' is a set for {images.experiment}, the run is one of "
                f"{config.experiment}: see `python -m cnf data list`"
            )
        self.model, self.config, self.images = model.eval(), config, images
        self.options, self.batch_size = options or Options(), batch_size
        self.experiment = config.experiment
        self.device = next(model.parameters()).device
        self.indices = range(min(self.options.limit or len(images), len(images)))
        round_x = self.options.round_x
        round_x = config.data.round_x is True if round_x is None else round_x
        self.data_config = dataclasses.replace(config.data, round_x=round_x)
        given = (self.options.threshold, self.options.threshold_from)
        if given != (None, None) and self.experiment != "vessels":
            raise ConfigError("thresholds are for vessels: leave --threshold out")
        self.keep: Path | None = None  # where what was drawn is kept for a later call
        self._cache: dict[tuple, Any] = {}

    @property
    def rounded_x(self) -> bool | None:
        return self.data_config.round_x if self.experiment == "sr" else None

    @property
    def samples(self) -> int:
        """How many samples for means and marginals."""
        if self.options.samples is not None:
            return self.options.samples
        if self.options.full:
            return SAMPLES_FULL[self.experiment]
        if self.experiment == "sr" and not self.images.is_photographs:
            return 0
        return SAMPLES[self.experiment]

    @property
    def temperature(self) -> float:
        """Of the single sample."""
        given = self.options.temperature
        return (0.8 if self.experiment == "sr" else 1.0) if given is None else given

    @property
    def bound(self) -> str:
        """What makes the bits of the model a bound."""
        if self.model.exact:
            return "exact"
        return f"{self.config.model.dequantization} dequantization"

    def batches(self, what: str, size: int | None = None) -> Iterator[tuple[list[int], ...]]:
        """(indices, y, x, (height, width)), y and x padded to sizes the model takes; at most
        `size` pictures of one size and at most CHUNK entries of y, or one picture, at a time."""
        size = (size or self.batch_size) if self.images.stacked is not None else 1
        size = min(size, per_pass(self.images[0].y.numel()))
        starts = range(0, len(self.indices), size)
        for start in tqdm(starts, desc=f"{self.images.name}: {what}", disable=None, leave=False):
            indices = list(self.indices[start : start + size])
            y, x = make_batch(self.images, indices, self.data_config)
            height, width = y.shape[-2:]
            y, x = pad(y, x, self.model)
            yield indices, y.to(self.device), x.to(self.device), (height, width)

    def has(self, key: tuple) -> bool:
        """Whether `once` has computed it."""
        return key in self._cache

    def once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """The value under `key`, computed the first time, without gradients."""
        if key not in self._cache:
            with torch.no_grad():
                self._cache[key] = compute()
        return self._cache[key]

    def log_probs(self, draws: int = 1) -> np.ndarray:
        """log P(y|x) an image, nats, (N,): the mean over noise draws 0 .. draws - 1."""

        def compute():
            found = []
            for indices, y, x, size in self.batches("likelihood"):
                repeats = 1 if self.model.exact else draws
                total = sum(
                    log_prob(self.model, y, x, size, noise.keyed(self.options.seed, indices, d))
                    for d in range(repeats)
                )
                found += self._finite(total / repeats, indices)
            return np.array(found)

        return self.once(("log_probs", draws), compute)

    def mask_log_probs(self, index: int, masks: Tensor, draw: int = 0) -> np.ndarray:
        """log P(y|x) of several y (n,C,H,W) of one picture, nats, (n,); the noise of each is its
        own, that of the first is the draw `draw` of `log_probs`."""
        _, x = make_batch(self.images, [index], self.data_config)
        height, width = masks.shape[-2:]
        y, x = (t.to(self.device) for t in pad(masks.float(), x, self.model))
        keyed = noise.repeated(noise.keyed(self.options.seed, [index], draw), len(y))
        size, found = per_pass(y[0].numel()), []
        with torch.no_grad():
            h = None if isinstance(self.model, Factorised) else self.model.condition(x)
            for start in range(0, len(y), size):
                part, generator = y[start : start + size], keyed[start : start + size]
                if h is None:
                    log_p = log_prob(self.model, part, x, (height, width), generator)
                else:
                    many = [maps.repeat(len(part), 1, 1, 1) for maps in h]
                    log_p = self.model.encode(part, many, generator)[1]
                found += self._finite(log_p, [index] * len(part))
        return np.array(found)

    def importance_log_probs(self, num_samples: int) -> np.ndarray:
        """The importance-weighted bound on log P(y|x), nats, (N,)."""

        def compute():
            found = []
            for indices, y, x, _ in self.batches("importance bound"):
                generator = noise.keyed(self.options.seed, indices)
                found += self._finite(
                    self.model.importance_log_prob(y, x, num_samples, generator), indices
                )
            return np.array(found)

        return self.once(("importance", num_samples), compute)

    def _finite(self, log_probs: Tensor, indices: Sequence[int]) -> list[float]:
        values = log_probs.double().tolist()
        for index, found in zip(indices, values, strict=True):
            if not math.isfinite(found):
                raise LedgerError(
                    f"log P of picture '{self.images[index].name}' is {found}: not evaluated; "
                    "the weights or the picture hold values the model cannot take"
                )
        return values

    def sizes(self, fov: bool = False) -> np.ndarray:
        """D an image: entries of y, or its pixels inside the field of view, (N,)."""
        if fov:
            return np.array([int(self.fov(i).sum()) for i in self.indices])
        return np.array([self.images[i].y.numel() for i in self.indices])

    def fov(self, index: int) -> np.ndarray:
        """Field of view, bool (H,W); everything where the set has none."""
        example = self.images[index]
        if example.fov is None:
            return np.ones(example.y.shape[-2:], bool)
        return example.fov.numpy()

    def means(self, samples: int) -> list[Tensor]:
        """The point estimate an image, (C,H,W): the model's own mean, or that of samples."""

        def compute():
            found = []
            for indices, y, x, (height, width) in self.batches("mean"):
                if isinstance(self.model, Factorised):
                    mean = self.model.mean(x)
                else:
                    generator = noise.keyed(self.options.seed, indices, SAMPLES_DRAW)
                    mean = sum(sample(self.model, x, samples, 1.0, generator, y)) / samples
                found += list(mean[..., :height, :width].cpu())
            return found

        return self.once(("means", samples), compute)

    def singles(self, temperature: float) -> list[Tensor]:
        """One sample an image, (C,H,W): the first draw."""

        def compute():
            found = []
            for indices, _, x, (height, width) in self.batches("sample"):
                generator = noise.keyed(self.options.seed, indices, SAMPLES_DRAW)
                drawn = self.model.sample(x, 1, temperature, generator)[0]
                found += list(drawn[..., :height, :width].cpu())
            return found

        return self.once(("singles", temperature), compute)

    def drawn(self, temperature: float, n: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(index, x (3,h,w), n samples uint8 (n,C,H,W)) an image; the first is that of `singles`.

        Not kept: the samples of a set may not fit into memory.
        """
        for indices, y, x, (height, width) in self.batches(f"{n} x temperature {temperature:g}"):
            generator = noise.keyed(self.options.seed, indices, SAMPLES_DRAW)
            one_by_one = sample(self.model, x, n, temperature, generator, y)
            samples = [s[..., :height, :width].to(torch.uint8).cpu() for s in one_by_one]
            x = x[..., : height // self.model.factor, : width // self.model.factor].cpu()
            yield from zip(indices, x, torch.stack(samples, 1), strict=True)

    def bicubic(self) -> list[Tensor]:
        """The low-resolution input doubled by the cubic kernel, (3,H,W)."""

        def compute():
            found = []
            for index in self.indices:
                _, x = make_batch(self.images, [index], self.data_config)
                found.append(imresize_double(x)[0])
            return found

        return self.once(("bicubic",), compute)


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA if there is one. Raises TrainingError for a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: there is no CUDA GPU here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pad(y: Tensor, x: Tensor, model: ConditionalModel) -> tuple[Tensor, Tensor]:
    """Extend y and x to the right and bottom until the model takes them, see `extend`."""
    bottom, right = (-side % model.multiple for side in y.shape[-2:])
    if bottom % model.factor or right % model.factor:
        raise DataError(
            f"a picture of {y.shape[-2]}x{y.shape[-1]} cannot be padded: crop it to even sides"
        )
    mirror = model.factor > 1
    y = extend(y, bottom, right, mirror)
    return y, extend(x, bottom // model.factor, right // model.factor, mirror)


def extend(t: Tensor, bottom: int, right: int, mirror: bool) -> Tensor:
    """Append rows and columns to (B,C,H,W): zeros, or the picture mirrored at its edge.

    Photographs are mirrored as the degradation mirrors them: x and y then still fit each other.
    Vessel labels and the black around a fundus photograph go on as zeros.
    """
    if not mirror:
        return F.pad(t, (0, right, 0, bottom))
    for dim, more in ((-2, bottom), (-1, right)):
        index = torch.arange(t.shape[dim] + more, device=t.device)
        t = t.index_select(dim, torch.minimum(index, 2 * t.shape[dim] - 1 - index))
    return t


def log_prob(
    model: ConditionalModel, y: Tensor, x: Tensor, size: tuple[int, int], generator: noise.Generator
) -> Tensor:
    """log P(y|x), (B,), nats, of pictures of `size` padded to y: see the top of this file."""
    height, width = size
    if tuple(y.shape[-2:]) == (height, width) or not isinstance(model, Factorised):
        return model.log_prob(y, x, generator)
    terms = model.entries(y, model.condition(x))
    return terms[..., :height, :width].flatten(1).sum(1)


def sample(
    model: ConditionalModel,
    x: Tensor,
    samples: int,
    temperature: float,
    generator: Sequence[torch.Generator],
    like: Tensor,
) -> Iterator[Tensor]:
    """Samples one after the other, (B,C,H,W), a few in memory at once; y is `like` this tensor."""
    chunk, batch = per_pass(like.numel()), len(x)
    keyed = noise.repeated(generator, samples)  # once: how many are drawn at once is no matter
    h = model.condition(x)
    for start in range(0, samples, chunk):
        stop = min(start + chunk, samples)
        part = keyed[start * batch : stop * batch]
        yield from model.labels(model.draw(h, stop - start, temperature, part))
