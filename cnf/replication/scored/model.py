"""A model on an image set: everything that metrics are computed from, each computed once.

All noise is keyed by (seed, image index, draw) and drawn on the CPU: batch size, device and number
of processes change no number beyond float rounding.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from cnf import noise
from cnf.errors import ConfigError, ResultsError
from cnf.model import ConditionalModel
from cnf.replication.config import Config, DataConfig
from cnf.replication.data import ImageSet
from cnf.replication.measures import Setting
from cnf.replication.presentation import presentation_of
from cnf.replication.scored.options import Options
from cnf.replication.scored.variants import variant_of
from cnf.replication.tasks.task import find_task, of_kind

SAMPLES_DRAW = -1  # the `draw` of sampling noise; noise of likelihoods has draws 0, 1, ...
Statistics = TypeVar("Statistics")
CHUNK = 1_500_000  # entries of y at once, pictures times samples: under 1.5 GB


def computed_once(method: Callable) -> Callable:
    """A method that is computed once for each set of arguments: its object keeps the answers.
    Computed without gradients."""

    @functools.wraps(method)
    def answer(self: Any, *arguments: Any) -> Any:
        answers = vars(self).setdefault("_computed", {})
        key = (method.__name__, *arguments)
        if key not in answers:
            with torch.no_grad():
                answers[key] = method(self, *arguments)
        return answers[key]

    return answer


class ScoredModel:
    """A model on an image set.

    `valid` holds the models on validation splits on which a threshold is chosen: the same model, or
    those of `threshold_from`; empty where no threshold can be chosen.

    With a `reference` there is no model: "bicubic" interpolation, the "second observer" or the
    "truth" itself gives the answers, see `Presentation.references`.
    """

    def __init__(
        self,
        model: ConditionalModel | None,
        images: ImageSet,
        options: Options | None = None,
        batch_size: int = 50,
        reference: str | None = None,
    ):
        self.trained, self._model, self.images = model, model, images
        self.options, self.batch_size = options or Options(), batch_size
        if self.options.limit is not None and self.options.limit >= len(images):
            self.options = dataclasses.replace(self.options, limit=None)  # all pictures
        self.valid: Sequence[ScoredModel] = ()
        self.reference = reference
        self.task = of_kind(images.kind) if model is None else find_task(model.config.task)
        self.presentation = presentation_of(self.task.name)
        self.indices = range(self.options.limit or len(images))
        self._statistics: dict[Callable[[ScoredModel], Any], Any] = {}
        round_x = self.options.round_x
        if model is None:
            self.data_config = DataConfig(round_x=bool(round_x))
            return
        config: Config = model.config
        if images.kind != self.task.kind:
            raise ConfigError(
                f"'{images.name}' is a set of {images.kind}, the run is one of "
                f"{config.task}: see `python -m cnf data list`"
            )
        thresholds = (self.options.threshold, self.options.threshold_from)
        if thresholds != (None, None) and not self.presentation.has_threshold:
            raise ConfigError(f"{self.task.name} has no threshold: leave --threshold out")
        self.device = next(model.eval().parameters()).device
        if self.options.variant is not None:
            self._model = variant_of(model, self.options.variant)
        if self.options.importance and self.model.exact:
            raise ConfigError("--importance is a bound and this model is exact: leave it out")
        if round_x is not None and not self.task.has_low_resolution:
            raise ConfigError(f"{self.task.name} has no x that is rounded: leave --round-x out")
        round_x = config.data.round_x is True if round_x is None else round_x
        self.data_config = dataclasses.replace(config.data, round_x=round_x)

    @property
    def model(self) -> ConditionalModel:
        """The model, or its variant that the options name. Raises ResultsError of a reference."""
        return self._there(self._model)

    @property
    def config(self) -> Config:
        """That of the run which trained the model. Raises ResultsError of a reference."""
        config: Config = self._there(self.trained).config
        return config

    def _there(self, model: ConditionalModel | None) -> ConditionalModel:
        if model is None:
            raise ResultsError(f"'{self.reference}' answers without a model: ask a run for this")
        return model

    def reference_of(self, name: str) -> "ScoredModel":
        """The reference on the same pictures."""
        options = dataclasses.replace(
            self.options, round_x=self.rounded_x, threshold=None, threshold_from=None
        )
        return ScoredModel(None, self.images, options, reference=name)

    def statistics(self, kind: "Callable[[ScoredModel], Statistics]") -> Statistics:
        """The object of class `kind` in which metrics of one family share what they compute, such
        as `masks.Masks`. It is made when it is first asked for; its methods are
        `computed_once`."""
        if kind not in self._statistics:
            self._statistics[kind] = kind(self)
        return self._statistics[kind]

    def forget(self) -> None:
        """Forget all that was computed."""
        self._statistics.clear()
        vars(self).pop("_computed", None)

    @property
    def rounded_x(self) -> bool | None:
        return self.data_config.round_x is True if self.task.has_low_resolution else None

    @property
    def has_mean(self) -> bool:
        """Whether the model computes its mean itself; else it is the mean of samples."""
        return self.reference is not None or self.model.has_mean

    @property
    def samples(self) -> int:
        """How many samples means and marginals are made of; 0: nothing is drawn."""
        o, shown = self.options, self.presentation
        if o.samples is not None or o.full:
            return shown.full_samples if o.samples is None else o.samples
        return shown.samples if self.images.is_photographs else shown.samples_of_patches

    @property
    def computes_bits_alone(self) -> bool:
        """Whether bits are all that is computed: nothing is drawn, and all else needs samples."""
        return not self.samples and (self.options.full or self.presentation.needs_samples)

    @property
    def mean_setting(self) -> Setting:
        """The setting of the point estimate: the model's own mean, or that of samples."""
        return Setting(temperature=1.0, samples=0 if self.has_mean else self.samples)

    def batches(
        self, description: str
    ) -> Iterator[tuple[list[int], Tensor, Tensor, tuple[int, int]]]:
        """(indices, y, x, (height, width)), y and x padded to sizes the model takes; at most
        `batch_size` pictures of one size and at most CHUNK entries of y, or one picture, at a
        time."""
        size = min(self.batch_size, pictures_at_once(self.size(0)))
        size = size if self.images.stacked is not None else 1
        starts = range(0, len(self.indices), size)
        for start in tqdm(
            starts, desc=f"{self.images.name}: {description}", disable=None, leave=False
        ):
            indices = list(self.indices[start : start + size])
            y, x = self.task.batch(self.images, indices, self.data_config)
            height, width = y.shape[-2:]
            y, x = self.pad(y, x)
            yield indices, y.to(self.device), x.to(self.device), (height, width)

    # -- likelihoods -------------------------------------------------------------------------------

    @computed_once
    def log_probs(self, draws: int = 1) -> np.ndarray:
        """log P(y|x) an image, nats, (N,): the mean over noise draws 0 .. draws - 1."""
        values = []
        for indices, y, x, size in self.batches("likelihood"):
            repeats = 1 if self.model.exact else draws
            h = self.model.condition(x)
            total = torch.zeros(())
            for draw in range(repeats):
                keyed = noise.keyed(self.options.seed, indices, draw)
                total = total + log_prob_inside(self.model, y, h, size, keyed)
            values += self._finite(total / repeats, indices)
        return np.array(values)

    @torch.no_grad()
    def mask_log_probs(self, index: int, masks: Tensor, draw: int = 0) -> np.ndarray:
        """log P(y|x) of several y (n,C,H,W) given the x of one picture, nats, (n,). Each y has its
        own noise; the first has the noise that `log_probs` uses in draw `draw`."""
        _, x = self.pair(index)
        y, x = (t.to(self.device) for t in self.pad(masks.float(), x))
        generators = noise.repeated(noise.keyed(self.options.seed, [index], draw), len(y))
        (height, width), h, values = masks.shape[-2:], self.model.condition(x), []
        at_once = pictures_at_once(y[0].numel())
        for start in range(0, len(y), at_once):
            chunk = slice(start, start + at_once)
            n = len(y[chunk])
            repeated_h = [maps.repeat(n, 1, 1, 1) for maps in h]
            part = noise.part(generators, start, start + n)
            log_p = log_prob_inside(self.model, y[chunk], repeated_h, (height, width), part)
            values += self._finite(log_p, [index] * n)
        return np.array(values)

    @computed_once
    def importance_log_probs(self, draws: int) -> np.ndarray:
        """The importance-weighted bound on log P(y|x), nats, (N,)."""
        values = []
        for indices, y, x, _ in self.batches("importance bound"):
            generator = noise.keyed(self.options.seed, indices)
            log_p = self.model.importance_log_prob(y, x, draws, generator)
            values += self._finite(log_p, indices)
        return np.array(values)

    def _finite(self, log_probs: Tensor, indices: Sequence[int]) -> list[float]:
        values = log_probs.double().tolist()
        for index, value in zip(indices, values, strict=True):
            if not math.isfinite(value):
                raise ResultsError(
                    f"log P of picture '{self.images[index].name}' is {value}: not evaluated; "
                    "the weights or the picture hold values the model cannot take"
                )
        return values

    # -- pictures ----------------------------------------------------------------------------------

    def size(self, index: int) -> int:
        """The entries of y of a picture."""
        height, width = self.task.y_size(*self.images[index].y.shape[-2:])
        return self.task.channels * height * width

    def sizes(self, fov: bool = False) -> np.ndarray:
        """D of each image: the entries of y, or its pixels inside the field of view, (N,)."""
        return np.array([int(self.fov(i).sum()) if fov else self.size(i) for i in self.indices])

    def in_bits(self, log_probs: np.ndarray, fov: bool = False) -> np.ndarray:
        """log P (N,) in nats -> bits divided by each of `sizes`, (N,)."""
        return -log_probs / (self.sizes(fov) * math.log(2))

    def fov(self, index: int) -> np.ndarray:
        """Field of view, bool (H,W); all True where the set has none."""
        fov, y = self.images[index].fov, self.images[index].y
        return np.ones(y.shape[-2:], bool) if fov is None else fov.numpy()

    def mask(self, index: int) -> np.ndarray:
        """Vessels: the first observer's mask, bool (H,W)."""
        return self.images[index].y[0].numpy() > 0

    @functools.cached_property
    def has_vessels(self) -> bool:
        """Whether any mask of the set has a vessel in view: else F and ROC are undefined."""
        return any(self.mask(i)[self.fov(i)].any() for i in self.indices)

    @property
    def second_masks(self) -> list[Tensor] | None:
        """Masks of the second observer, (1,H,W) each; None unless all pictures have one."""
        masks = [self.images[i].second for i in self.indices]
        return None if any(mask is None for mask in masks) else masks

    def x(self, index: int) -> Tensor:
        """The input of a picture, (3,H,W)."""
        return self.pair(index)[1][0]

    def pair(self, index: int) -> tuple[Tensor, Tensor]:
        """y (1,C,H,W) and x of a picture, in grey levels."""
        return self.task.batch(self.images, [index], self.data_config)

    def pad(
        self, y: Tensor, x: Tensor, model: ConditionalModel | None = None
    ) -> tuple[Tensor, Tensor]:
        """Extend y and x to the right and bottom until the model (or another one) takes them, see
        `extend`."""
        model = self.model if model is None else model
        bottom, right = (-side % model.multiple for side in y.shape[-2:])
        y = extend(y, bottom, right, self.task.pads)
        x_rows_columns = bottom // model.factor, right // model.factor
        return y, extend(x, *x_rows_columns, self.task.pads)

    @computed_once
    def reference_answers(self) -> list[Tensor] | None:
        """The answer of the reference for each image, (C,H,W); None where it has no answers."""
        name = self.reference
        return None if name is None else self.presentation.references[name](self)

    @computed_once
    def means(self, n: int) -> list[Tensor]:
        """The point estimate for each image, (C,H,W): the model's own, or that of n samples."""
        return self._answers("mean", lambda x, keyed: self.model.mean(x, n, keyed))

    @computed_once
    def single_samples(self, temperature: float) -> list[Tensor]:
        """One sample for each image, (C,H,W): the first draw."""
        return self._answers(
            "sample", lambda x, keyed: self.model.sample(x, 1, temperature, keyed)[0]
        )

    def _answers(self, description: str, answer: Callable) -> list[Tensor]:
        answers = []
        for indices, _, x, (height, width) in self.batches(description):
            y = answer(x, noise.keyed(self.options.seed, indices, SAMPLES_DRAW))
            answers += list(y[..., :height, :width].cpu())
        return answers

    def draw_samples(self, temperature: float, n: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(index, x (3,h,w), n samples uint8 (n,C,H,W)) for each image. The first sample is that of
        `single_samples`. Nothing is kept, because the samples of a set may not fit into memory.
        """
        for indices, _, x, (height, width) in self.batches(f"{n} x temperature {temperature:g}"):
            generator = noise.keyed(self.options.seed, indices, SAMPLES_DRAW)
            one_by_one = self.model.samples(x, n, temperature, generator)
            samples = [s[..., :height, :width].to(torch.uint8).cpu() for s in one_by_one]
            x = x[..., : height // self.model.factor, : width // self.model.factor].cpu()
            yield from zip(indices, x, torch.stack(samples, 1), strict=True)


def pictures_at_once(entries: int) -> int:
    """How many pictures with this many entries of y go through a model at once."""
    return max(1, CHUNK // entries)


def extend(t: Tensor, bottom: int, right: int, pads: bool) -> Tensor:
    """Append rows and columns to (B,C,H,W): zeros, or the picture mirrored at its edge.

    Photographs are mirrored as the degradation mirrors them: x and y then still fit each other.
    Vessel labels and the black around a fundus photograph go on as zeros.
    """
    if pads:
        return F.pad(t, (0, right, 0, bottom))
    for dim, extra in ((-2, bottom), (-1, right)):
        side = t.shape[dim]
        index = torch.arange(side + extra, device=t.device) % (2 * side)
        t = t.index_select(dim, torch.minimum(index, 2 * side - 1 - index))
    return t


@runtime_checkable
class HasEntries(Protocol):
    """A model that has the log-probability of each entry of y, of the shape of y."""

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor: ...


@runtime_checkable
class LeavesPaddingOut(Protocol):
    """A model that leaves the padding out in a way of its own."""

    def log_prob_inside(
        self, y: Tensor, h: list[Tensor], size: tuple[int, int], generator: noise.Generator
    ) -> Tensor: ...


def log_prob_inside(
    model: ConditionalModel,
    y: Tensor,
    h: list[Tensor],
    size: tuple[int, int],
    generator: noise.Generator,
) -> Tensor:
    """log P(y|x), (B,), nats, of pictures of `size` that were padded to y.

    An exact model leaves the padding out. If it is autoregressive, the padding is given: the value
    is a probability of y whose padding is known to be 0. Its samples draw the padding, too, before
    it is cut off, so they follow another law; the total variation between the two is at most the
    probability that anything but 0 is drawn there. A flow cannot leave the padding out, so that its
    value is a bound on the law of its samples. A model made of other models has a method
    `log_prob_inside`, which asks each of them.
    """
    if model.exact and isinstance(model, HasEntries):
        return model.entries(y, h)[..., : size[0], : size[1]].flatten(1).sum(1)
    if isinstance(model, LeavesPaddingOut):
        return model.log_prob_inside(y, h, size, generator)
    return model.log_prob_given(y, h, generator)
