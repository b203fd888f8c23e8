"""Every number that is reported: from a run folder and an image set to rows of the ledger.

Likelihood: bits = -log P(y|x) / (D log 2), D the entries of y, or the pixels in the field of
view. Padding never counts in D; a factorised model leaves it out of log P too, a flow pays for it,
so that its figure stays an upper bound.

Super-resolution: PSNR and SSIM on the Y channel under the standard protocol: output rounded to 8
bits, two border pixels removed, peak 255.

Vessels: F = 2 TP / (2 TP + FP + FN) inside the field of view; a pixel is vessel where its
probability is at least the threshold.

All noise is keyed by (seed, image index, draw) and drawn on the CPU: batch size, device and number
of processes change no number beyond float rounding.
"""

import dataclasses
import datetime
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor
from tqdm import tqdm

from cnf import models, noise, plotting, publishing
from cnf import results as ledger
from cnf.config import Config
from cnf.data import ImageSet, load
from cnf.data.batches import make_batch
from cnf.data.degrade import imresize_double
from cnf.errors import ConfigError, DataError, LedgerError, TrainingError
from cnf.factorised import DiscretisedLogistic, Factorised, discretised_logistic
from cnf.model import ConditionalModel, check_temperature
from cnf.results import RESULTS, Row

SCALE = 2  # of the super-resolution; so many border pixels are removed
SAMPLES_DRAW = -1  # the `draw` of sampling noise; noise of likelihoods has draws 0, 1, ...
SAMPLES = {"sr": 16, "vessels": 32}  # for the mean, for the marginals
PHOTOGRAPHS = ("set5", "folder")  # super-resolution sets of whole pictures
MAX_PSNR = 100.0  # dB, of pictures that are equal
CHUNK = 1_500_000  # entries of y at once, pictures times samples: under 1.5 GB


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate.

    Args:
        limit: only the first images.
        seed: of the noise. `draws`: noise draws an image, their log-probabilities averaged.
        samples: model samples for means and marginals; default 16 for photographs, 0 for patches
            (no PSNR), 32 for vessels.
        importance: samples of an importance-weighted bound beside the plain one; 0: none.
        temperature: of the single sample; default 0.8 for super-resolution, 1 for vessels. Means
            and marginals are of samples at temperature 1.
        round_x: whether x is rounded to 8 bits; default: as in training.
    """

    limit: int | None = None
    seed: int = 0
    draws: int = 1
    samples: int | None = None
    importance: int = 0
    temperature: float | None = None
    round_x: bool | None = None

    def __post_init__(self):
        for name, least in (("limit", 1), ("seed", 0), ("draws", 1), ("samples", 0)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise ConfigError(f"--{name} {given}: give {least} or more")
        if self.importance < 0:
            raise ConfigError(f"--importance {self.importance}: give 0 or more")
        if self.temperature is not None:
            check_temperature(self.temperature)


class Score(NamedTuple):
    """One metric. `model` names a reference; None is the model evaluated."""

    metric: str
    value: float
    standard_error: float | None = None
    bound: str | None = None
    divided_by: str | None = None
    temperature: float | None = None
    draws: int | None = None
    samples: int | None = None
    threshold: float | None = None
    model: str | None = None


def evaluate(
    run: Path,
    on: str,
    split: str = "test",
    *,
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
        on, split: the image set, as for `cnf.data.load`; `root` is the folder that holds the sets.
        figures: write pictures into `figures/` of the folder that was evaluated.
        publish: copy the run to `results/<name>/` first, weights as float16, and evaluate those.
        name: of the run in the ledger; default: the name of its folder.
        batch_size: for pictures of one size; changes no number. `device`: "auto", "cpu" or "cuda".
        supersede: append although there are such rows; the new rows name those they supersede.
        deviation: how the run departs from the paper, in words, kept in the row.
        Others: see `Options`.

    Raises DataError, CheckpointError, ConfigError, LedgerError (rows already there).
    """
    options = Options(limit, seed, draws, samples, importance, temperature, round_x)
    run = Path(run)
    images = load(on, split, root)
    name = name or run.resolve().name
    publishing.check_name(name)
    if publish:
        run = publishing.publish(run, results / name)
    model, config, _ = models.load_model(run / "weights.safetensors")
    model.to(choose_device(device))
    subject = Subject(model, config, images, options, batch_size)
    scores = list(score(subject, validation(subject, root)))
    rows = record(scores, subject, name, run, supersede, deviation, results)
    if figures:
        draw_figures(subject, run / "figures")
    return rows


def validation(subject: "Subject", root: Path | None) -> "Subject | None":
    """The same model on the validation split, to choose a threshold on; None without such a split,
    or if the model was trained on it."""
    if subject.experiment != "vessels" or subject.images.split != "test":
        return None
    if subject.config.data.use_valid:
        return None
    try:
        images = load(subject.images.name, "valid", root)
    except DataError:
        return None
    options = dataclasses.replace(subject.options, limit=None)
    return Subject(subject.model, subject.config, images, options, subject.batch_size)


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA if there is one. Raises TrainingError for a GPU that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise TrainingError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("--device cuda: there is no CUDA GPU here: use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


# --- what is computed once an image ---------------------------------------------------------------


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
        round_x = config.data.round_x if round_x is None else round_x
        self.data_config = dataclasses.replace(config.data, round_x=round_x)
        self._cache: dict[tuple, Any] = {}

    @property
    def rounded_x(self) -> bool | None:
        return self.data_config.round_x if self.experiment == "sr" else None

    @property
    def is_photographs(self) -> bool:
        return self.images.name.split(":")[0] in PHOTOGRAPHS

    @property
    def samples(self) -> int:
        """How many samples for means and marginals."""
        if self.options.samples is not None:
            return self.options.samples
        if self.experiment == "sr" and not self.is_photographs:
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
        size = max(1, min(size, CHUNK // self.images[0].y.numel()))
        starts = range(0, len(self.indices), size)
        for start in tqdm(starts, desc=f"{self.images.name}: {what}", disable=None, leave=False):
            indices = list(self.indices[start : start + size])
            y, x = make_batch(self.images, indices, self.data_config)
            height, width = y.shape[-2:]
            y, x = pad(y, x, self.model)
            yield indices, y.to(self.device), x.to(self.device), (height, width)

    def _once(self, key: tuple, compute) -> Any:
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

        return self._once(("log_probs", draws), compute)

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

        return self._once(("importance", num_samples), compute)

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

        return self._once(("means", samples), compute)

    def singles(self, temperature: float) -> list[Tensor]:
        """One sample an image, (C,H,W): the first draw."""

        def compute():
            found = []
            for indices, _, x, (height, width) in self.batches("sample"):
                generator = noise.keyed(self.options.seed, indices, SAMPLES_DRAW)
                drawn = self.model.sample(x, 1, temperature, generator)[0]
                found += list(drawn[..., :height, :width].cpu())
            return found

        return self._once(("singles", temperature), compute)

    def bicubic(self) -> list[Tensor]:
        """The low-resolution input doubled by the cubic kernel, (3,H,W)."""

        def compute():
            found = []
            for index in self.indices:
                _, x = make_batch(self.images, [index], self.data_config)
                found.append(imresize_double(x)[0])
            return found

        return self._once(("bicubic",), compute)

    def per_image(self) -> dict[str, np.ndarray]:
        """What was computed, an image: {metric: (N,)}. Written beside the weights."""
        found = {}
        if ("log_probs", self.options.draws) in self._cache:
            bits = -self.log_probs(self.options.draws) / (self.sizes() * math.log(2))
            found["bits_per_dim" if self.experiment == "sr" else "bits_per_pixel"] = bits
        key = ("means", 0 if isinstance(self.model, Factorised) else self.samples)
        if key in self._cache:
            if self.experiment == "sr":
                found["psnr"], found["ssim"] = quality(self, self._cache[key])
            else:
                found["f_half"] = f_score(counts(self, self._cache[key], 0.5))
        return found


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
    if isinstance(model, DiscretisedLogistic):
        terms = discretised_logistic(y, *model.logistic(x))
    else:
        terms = F.logsigmoid((2 * y - 1) * model.logit(x))
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
    chunk, batch = max(1, CHUNK // like.numel()), len(x)
    keyed = noise.repeated(generator, samples)  # once: how many are drawn at once is no matter
    for start in range(0, samples, chunk):
        stop = min(start + chunk, samples)
        part = keyed[start * batch : stop * batch]
        yield from model.sample(x, stop - start, temperature, part)


# --- metrics --------------------------------------------------------------------------------------


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


def likelihoods(subject: Subject, only: str = "") -> Iterator[Score]:
    """Bits, plain and importance-weighted, divided by each D. Mean over images."""
    options = subject.options
    sr = subject.experiment == "sr"
    metric = "bits_per_dim" if sr else "bits_per_pixel"
    if only not in ("", metric):
        return
    divisors = {"sub-pixels": False} if sr else {"all pixels": False, "field of view": True}
    draws = 0 if subject.model.exact else options.draws
    passes = [(subject.bound, draws, subject.log_probs(options.draws))]
    if options.importance and not subject.model.exact:
        bound = f"{subject.bound}, importance-weighted"
        log_p = subject.importance_log_probs(options.importance)
        passes.append((bound, options.importance, log_p))
    for bound, number, log_p in passes:
        for divided_by, fov in divisors.items():
            bits = -log_p / (subject.sizes(fov) * math.log(2))
            yield Score(metric, *mean_se(bits), bound, divided_by, draws=number)


def picture_scores(subject: Subject, only: str = "") -> Iterator[Score]:
    """PSNR and SSIM of the point estimate and of one sample."""
    samples = 0 if isinstance(subject.model, Factorised) else subject.samples
    if not subject.samples:
        return
    if only in ("", "psnr", "ssim"):
        psnr, ssim = quality(subject, subject.means(samples))
        yield Score("psnr", *mean_se(psnr), temperature=1.0, samples=samples)
        yield Score("ssim", *mean_se(ssim), temperature=1.0, samples=samples)
    if only in ("", "psnr_sample", "ssim_sample"):
        tau = subject.temperature
        psnr, ssim = quality(subject, subject.singles(tau))
        yield Score("psnr_sample", *mean_se(psnr), temperature=tau, samples=1)
        yield Score("ssim_sample", *mean_se(ssim), temperature=tau, samples=1)


def vessel_scores(
    subject: Subject, valid: Subject | None = None, only: str = ""
) -> Iterator[Score]:
    """F, area under the ROC curve, average precision; all inside the field of view."""
    samples = 0 if isinstance(subject.model, Factorised) else subject.samples
    common = {"samples": samples, "temperature": 1.0}
    marginal = ("f_half", "f_half_image", "f_valid", "f_valid_image", "f_best", "auc", "ap")
    if (only in marginal or not only) and (samples or isinstance(subject.model, Factorised)):
        means = subject.means(samples)
        if only in ("", "f_half", "f_half_image"):
            yield from f_scores("f_half", counts(subject, means, 0.5), threshold=0.5, **common)
        if only in ("", "f_valid", "f_valid_image") and valid:
            chosen = best_threshold(*pooled(valid, valid.means(samples)))
            found = counts(subject, means, chosen)
            yield from f_scores("f_valid", found, threshold=chosen, **common)
        if only in ("", "f_best", "auc", "ap"):
            labels, p = pooled(subject, means)
            best = best_threshold(labels, p)
            found = pooled_f(counts(subject, means, best))
            yield Score("f_best", *found, threshold=best, **common)
            yield Score("auc", float(roc_auc_score(labels, p)), **common)
            yield Score("ap", float(average_precision_score(labels, p)), **common)
    if only in ("", "f_sample", "f_sample_image"):
        tau = subject.temperature
        found = counts(subject, subject.singles(tau), 0.5)
        yield from f_scores("f_sample", found, temperature=tau, samples=1)


def reference_scores(subject: Subject, only: str = "") -> Iterator[Score]:
    """Bicubic interpolation, or the second observer; the model is not looked at."""
    if subject.experiment == "sr" and subject.samples and only in ("", "psnr", "ssim"):
        psnr, ssim = quality(subject, subject.bicubic())
        yield Score("psnr", *mean_se(psnr), model="bicubic")
        yield Score("ssim", *mean_se(ssim), model="bicubic")
    seconds = [subject.images[i].second for i in subject.indices]
    if only in ("", "f_half", "f_half_image") and all(s is not None for s in seconds):
        found = counts(subject, seconds, 0.5)
        yield from f_scores("f_half", found, threshold=0.5, model="second observer")


def f_scores(metric: str, found: np.ndarray, **fields: Any) -> Iterator[Score]:
    """Pooled over all pixels, and the mean over images."""
    yield Score(metric, *pooled_f(found), **fields)
    yield Score(f"{metric}_image", *mean_se(f_score(found)), **fields)


def mean_se(values: np.ndarray) -> tuple[float, float | None]:
    """(mean, its standard error over images)."""
    if len(values) == 1:
        return float(values[0]), None
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def luma(image: Tensor) -> np.ndarray:
    """Grey levels (3,H,W) -> rounded to 8 bits -> the Y channel, 16..235, unrounded, (H,W).

    Bicubic interpolation reaches 33.68 dB on Set5 so; the 33.66 of the literature is made from Y
    alone: Y rounded, halved unrounded, doubled, rounded.
    """
    return rgb2ycbcr(plotting.to_uint8(image))[..., 0]


def quality(subject: Subject, pictures: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(PSNR in dB, SSIM) an image under the standard protocol."""
    border = (slice(SCALE, -SCALE),) * 2
    psnr, ssim = [], []
    for index, picture in zip(subject.indices, pictures, strict=True):
        truth, ours = luma(subject.images[index].y)[border], luma(picture)[border]
        with np.errstate(divide="ignore"):
            db = peak_signal_noise_ratio(truth, ours, data_range=255)
        psnr.append(min(db, MAX_PSNR))
        ssim.append(
            structural_similarity(
                truth,
                ours,
                data_range=255,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )
    return np.array(psnr), np.array(ssim)


def counts(subject: Subject, maps: Sequence[Tensor], threshold: float) -> np.ndarray:
    """(N, 3): true positives, false positives, false negatives inside the field of view."""
    found = []
    for index, p in zip(subject.indices, maps, strict=True):
        fov = subject.fov(index)
        ours, truth = p[0].numpy()[fov] >= threshold, subject.images[index].y[0].numpy()[fov] > 0
        found.append([(ours & truth).sum(), (ours & ~truth).sum(), (~ours & truth).sum()])
    return np.array(found)


def f_score(found: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) along the last axis; 1 where there is no vessel and none is found."""
    tp, fp, fn = np.moveaxis(found, -1, 0)
    total = 2 * tp + fp + fn
    return np.where(total == 0, 1.0, 2 * tp / np.maximum(total, 1))


def pooled_f(found: np.ndarray) -> tuple[float, float | None]:
    """F of all pixels together; its standard error by leaving out one image at a time."""
    total = found.sum(0)
    if len(found) == 1:
        return float(f_score(total)), None
    without, n = f_score(total - found), len(found)
    variance = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    return float(f_score(total)), float(np.sqrt(variance))


def pooled(subject: Subject, maps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(labels bool, probabilities) of all pixels in the field of view."""
    labels, p = [], []
    for index, m in zip(subject.indices, maps, strict=True):
        fov = subject.fov(index)
        labels.append(subject.images[index].y[0].numpy()[fov] > 0)
        p.append(m[0].numpy()[fov])
    labels = np.concatenate(labels)
    if labels.all() or not labels.any():
        raise DataError(f"{subject.images.name}: labels are all alike, F and ROC are undefined")
    return labels, np.concatenate(p)


def best_threshold(labels: np.ndarray, p: np.ndarray) -> float:
    """The probability that, as threshold, gives the largest F."""
    precision, recall, thresholds = precision_recall_curve(labels, p, drop_intermediate=True)
    f = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.argmax(f[:-1])])


# --- rows -----------------------------------------------------------------------------------------


def record(
    scores: Sequence[Score],
    subject: Subject,
    name: str,
    run: Path,
    supersede: bool,
    deviation: str | None,
    results: Path,
) -> list[Row]:
    """Append scores to the ledger, and write the card of a committed run and what was computed an
    image again; returns the rows."""
    rows = _rows(scores, subject, name, run, supersede, deviation, results)
    ledger.append(rows, results)
    if run.resolve().is_relative_to(results.resolve()):
        if subject.options.limit is None:
            publishing.write_scores(run, subject.images, subject.per_image())
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
    rows = []
    for s in scores:
        reference = s.model is not None
        owner = s.model.replace(" ", "-") if reference else name
        row_id = _row_id(owner, data, images.split, subject, s)
        if reference and row_id in taken:
            continue
        newest = None
        if supersede and row_id in taken:
            version = 2
            while f"{row_id}-v{version}" in taken:
                version += 1
            newest = row_id if version == 2 else f"{row_id}-v{version - 1}"
            row_id = f"{row_id}-v{version}"
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
            "weights_sha256": None if reference else publishing.file_sha256(path),
            "command": _command(folder, data, subject) + " --stress" * (s.metric in ledger.STRESS),
            "date": datetime.date.today().isoformat(),
            "deviation": None if reference else deviation,
            "supersedes": newest,
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
    if s.samples not in (None, 0, 1, SAMPLES[subject.experiment]):
        parts.append(f"s{s.samples}")
    if s.temperature is not None and (
        s.metric in ledger.STRESS or (s.samples == 1 and options.temperature is not None)
    ):
        parts.append(f"t{s.temperature:g}")
    if subject.rounded_x is not None and (s.model or options.round_x is not None):
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
            words.append(f"--{field.name} {given:g}")
    if options.round_x is not None:
        words.append("--round-x" if options.round_x else "--no-round-x")
    return " ".join(words)


# --- figures --------------------------------------------------------------------------------------

FIGURE_SETS = ("set5", "embedded-sr", "embedded-vessels", "drive")
FIGURE_PICTURES, FIGURE_SAMPLES, CROP = 3, 16, 96


def draw_figures(subject: Subject, folder: Path) -> list[Path]:
    """Write a figure of the first pictures: samples, mean or marginal, deviation, and more.

    Photographs and human labels are shown for embedded sets and Set5 only; DRIVE and other vessel
    sets show nothing but what the model made.
    Raises DataError for a set whose pictures may not be shown.
    """
    name = subject.images.name
    if name not in FIGURE_SETS:
        raise DataError(
            f"no figures of '{name}': its pictures are not ours to show; use one of "
            f"{', '.join(FIGURE_SETS)}"
        )
    images, titles = [], []
    for index in list(subject.indices)[:FIGURE_PICTURES]:
        panels = _panels(subject, index, show_truth=name != "drive")
        images += panels.values()
        titles += panels.keys()
    size = min(4.0, max(2.0, max(image.shape[-2] for image in images) / 100))  # inches of 100 dots
    figure = plotting.show_grid(images, titles, columns=len(panels), size=size)
    return [plotting.save_figure(figure, folder / f"{name}-{subject.images.split}.png")]


def _panels(subject: Subject, index: int, show_truth: bool) -> dict[str, Tensor]:
    """{title: picture in grey levels} of one image, the middle of it where it is large."""
    y, x = make_batch(subject.images, [index], subject.data_config)
    height, width = y.shape[-2:]
    padded, x_padded = (t.to(subject.device) for t in pad(y, x, subject.model))
    generator = noise.keyed(subject.options.seed, [index], SAMPLES_DRAW)
    with torch.no_grad():
        drawn = torch.stack(
            list(sample(subject.model, x_padded, FIGURE_SAMPLES, 1.0, generator, padded))
        )[:, 0, :, :height, :width].cpu()
    spread = drawn.std(0, correction=0)
    if subject.experiment == "vessels":
        panels = {f"sample {n + 1}": 255 * drawn[n] for n in range(3)}
        panels |= {f"marginal of {FIGURE_SAMPLES}": 255 * drawn.mean(0), "deviation": 510 * spread}
        if show_truth:
            panels = {"photograph": x[0]} | panels | {"truth": 255 * y[0]}
        return panels
    panels = {
        "input": x[0].repeat_interleave(2, -1).repeat_interleave(2, -2),
        "bicubic": imresize_double(x)[0],
        **{f"sample {n + 1}": drawn[n] for n in range(3)},
        f"mean of {FIGURE_SAMPLES}": drawn.mean(0),
        "deviation x 8": 8 * spread.mean(0, keepdim=True),
        "truth": y[0],
    }
    top, left = max(0, height - CROP) // 2, max(0, width - CROP) // 2
    return {k: p[..., top : top + CROP, left : left + CROP] for k, p in panels.items()}
