"""`python -m cnf sample`: samples of a trained model for a reader's own pictures.

A picture is drawn in one pass, a large one in tiles that share the picture's noise; the samples are
the same. `picture` and the task define how a file becomes x, and what is written of an answer.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from cnf import noise
from cnf.errors import ConfigError
from cnf.flow import ConditionalModel, check_draws
from cnf.nets import set_precision
from cnf.replication import releases
from cnf.replication.data.folders import pictures as pictures_of
from cnf.replication.distributed import choose_device
from cnf.replication.evaluation.scored_model import SAMPLES_DRAW
from cnf.replication.options import Count, Device, Flag, Maybe, Number, Real, option
from cnf.replication.panels import Deviation, contact_sheet
from cnf.replication.plotting import to_uint8
from cnf.replication.results.rows import RESULTS, read, select
from cnf.replication.run_folder import replaced, trained
from cnf.replication.sampling.picture import Picture
from cnf.replication.sampling.tiling import Tiles, fitted, in_tiles
from cnf.replication.tasks.task import Task, find

SHOWN = 4  # samples on a contact sheet


@dataclass(frozen=True)
class Options:
    """What to draw for every picture.

    Args:
        num: samples a picture; by default 4, 16 for vessels, and none of a model that has a mean
            of its own, which is written instead.
        temperature: of the samples, 0 or more; 1 samples the model. 0.8 by default, 1 for vessels.
        many: samples at temperature 1 for mean, probability, deviation and table; 32 by default,
            for vessels 16 or those of num if they are more. What is written at temperature 1 are
            the first of them.
        mean: write the mean of these samples too; vessels always get it, as their probability,
            black 0, white 1.
        uncertainty: write that mean and the deviation of the samples, the root of its mean square
            over the channels, as picture (black 0, white 32 grey levels or, of vessels, 0.5) and as
            array, float16 (H,W), in grey levels or, of vessels, in probability, 0 to about 0.5;
            vessels always get both.
        fov: vessels: a mask of the field of view, or a folder of masks named like the pictures;
            without it the field of view is found in the picture, and what was found is printed.
        fit: vessels: resize the picture for the model so that the field of view is as wide as in
            the training data, and the answers back; --no-fit: never. By default if it differs by
            more than a quarter.
        whole: vessels: all of the picture counts; without it, and without a mask, a picture that
            does not show an eye in a dark border is refused.
        threshold: vessels: the mask is where the probability is this or more; by default the one
            that was chosen for the model on validation pictures, and 0.5 for a model without one.
        out: folder for the files; samples by default.
        seed: of the noise, keyed by it and the place of the picture; 0 by default.
        tile: draw in tiles of SIDE x SIDE pixels, which changes no sample and takes less memory; 0:
            in one pass. By default, results of more than 4 million pixels are drawn in tiles
            of 1536, and a line says so.
        precision: fp32 (the default, as the scores are), or bf16: up to twice as fast on processors
            that have it. Of a mask one pixel in thousands then differs, of a photograph up to one
            in five, by a grey level, or by a few if the priors are autoregressive.
        overwrite: replace files of an earlier call; else they stop this one before it draws.
    """

    num: Number = None
    temperature: Real = None
    many: Number = None
    mean: Flag = False
    uncertainty: Flag = False
    fov: Annotated[Path | None, option("MASK")] = None
    fit: Maybe = None
    whole: Flag = False
    threshold: Real = None
    out: Annotated[Path, option("DIR")] = Path("samples")
    seed: Count = 0
    tile: Annotated[int | None, option("SIDE")] = None
    precision: Annotated[Literal["fp32", "bf16"], option()] = "fp32"
    overwrite: Flag = False
    device: Device = "auto"

    def __post_init__(self):
        check_draws(self.temperature or 0)
        for name, least in (("num", 0), ("many", 2), ("tile", 0)):
            number = getattr(self, name)
            if number is not None and number < least:
                raise ConfigError(f"--{name} {number}: give {least} or more")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ConfigError(f"--threshold {self.threshold}: give a probability between 0 and 1")


def sample(run: str, pictures: Sequence[Path], *, results: Path = RESULTS, **options) -> list[Path]:
    """Write samples of each picture as PNG files, and a contact sheet; returns their paths:
    NAME-sample1.png, ..., NAME-mean.png, NAME-deviation.png and .npy, NAME-sheet.png. Vessels:
    masks of 0 and 255, black outside the field of view; NAME-marginal.png in the place of the mean,
    the deviation, NAME-mask.png, NAME-overlay.png and NAME-table.csv, always.

    Args:
        run: a run folder, or a name of `releases.RELEASES`: "sr", "vessels".
        pictures: files of any size, or folders of them. Super-resolution: the picture is x, and
            doubles in size.
        options: see `Options`.

    Raises, before anything is drawn, DataError (a picture that cannot be read or is below 4 pixels
    a side, negative temperature), CheckpointError, ConfigError (files that are there; a model that
    cannot draw in tiles).
    """
    choices = Options(**options)
    pictures = files(map(Path, pictures))
    stems = [path.stem for path in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"two pictures are called '{stem}': sample them into two --out")
    request = ready(run, choices, results)
    if choices.fov is not None and len(pictures) > 1 and not Path(choices.fov).is_dir():
        raise ConfigError(
            f"--fov {choices.fov} for {len(pictures)} pictures: give a folder of masks"
        )
    paths = [Path(choices.out, f"{stem}-{name}") for stem in stems for name in request.names()]
    if not choices.overwrite:
        refuse_existing(paths, "give another --out, or --overwrite")
    for path in pictures:
        request.picture(path)  # raises before anything is drawn
    for note in request.notes:
        print(note)
    for index, path in enumerate(pictures):
        picture = request.picture(path)
        for note in picture.notes:
            print(f"{path.name}: {note}")
        for name, content in request.answer(picture, index):
            save(content, Path(choices.out, f"{path.stem}-{name}"))
        for line in picture.said:
            print(line)
    return paths


def files(paths: Iterable[Path]) -> list[Path]:
    """The picture files that are given, and those in folders that are. Raises ConfigError if there
    are none."""
    found: list[Path] = []
    for path in paths:
        inside = pictures_of(path) if path.is_dir() else [path]
        if not inside:
            raise ConfigError(f"{path}: no picture in this folder: name another, or files")
        found += inside
    if not found:
        raise ConfigError("no picture given: name one or more files")
    return found


def refuse_existing(paths: Sequence[Path], remedy: str) -> None:
    """Raise ConfigError if a file is there already."""
    existing = [path for path in paths if path.exists()]
    if existing:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ConfigError(f"{existing[0]}{others} would be replaced: {remedy}")


def own_threshold(run: Path, task: Task) -> tuple[float, str]:
    """The threshold of this model's probabilities, and where it is from: of its rows of test
    pictures, that of the most pictures, where it was chosen on others."""
    rows = select(read(run.parent, run.name), split="test", variant=None, **task.threshold)
    rows = [row for row in rows if row.threshold is not None]
    if not rows:
        return 0.5, "nobody chose one for this model"
    row = max(rows, key=lambda row: row.num_images)
    return row.threshold, f"chosen for this model, not on the test pictures of {row.data}"


def trust(run: Path, task: Task) -> str:
    """How often the spread of this model's samples (5 to 95 %) holds the truth, by its rows of test
    pictures: of each set the row of the most samples."""
    rows = select(read(run.parent, run.name), split="test", **task.spread)
    rows.sort(key=lambda row: (row.num_images, row.samples or 0))
    by_set = {row.data: f"{100 * row.value:.0f} % on {row.data}" for row in rows}
    if not by_set:
        return (
            f"nobody measured how often the truth, {task.spread_of}, lies in the spread of these "
            f"samples: `python -m cnf evaluate {run} --on SET --full` does"
        )
    shares = ", ".join(by_set.values())
    return (
        f"the spread (5 to 95 %) of this model's samples holds the truth, {task.spread_of}, in "
        f"{shares} (test pictures): only where this is near 90 % is it an interval of confidence"
    )


def save(content: Image.Image | np.ndarray | str, path: Path) -> None:
    """Write a file in one move: text, a picture as PNG, or an array as NumPy's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as part, part.open("wb") as file:
            if isinstance(content, str):
                file.write(content.encode())
            elif isinstance(content, Image.Image):
                content.save(file, "png")
            else:
                np.save(file, content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error}): give another --out") from None


def ready(run: str, options: Options, results: Path = RESULTS) -> "Request":
    """The request of these options to a model, which is loaded."""
    path = releases.find(run, results)
    model = trained(path).to(choose_device(options.device))
    set_precision(model, options.precision)
    return Request(model, options, path.parent)


class Request:
    """What is drawn for every picture: `num` samples that are written, and `many` samples at
    temperature 1 for mean and deviation; `many` is 0 where these are not needed. `notes` say how
    far the model is to be trusted."""

    def __init__(self, model: ConditionalModel, options: Options, run: Path):
        self.model, self.task, self.notes = model, find(model.config.task), []
        task = self.task
        self.kind = task.picture or Picture
        self.kind.check(options, task.name)
        self.uncertainty = options.uncertainty or self.kind.shows_uncertainty
        one_answer = model.has_mean and options.num is None and options.temperature is None
        self.mean = options.mean or self.uncertainty or one_answer
        default = 0 if one_answer else task.num
        self.num = default if options.num is None else options.num
        self.temperature = task.temperature if options.temperature is None else options.temperature
        self.many = task.many if options.many is None else options.many
        if self.num == 0 and not self.mean:
            raise ConfigError("--num 0 alone draws nothing: add --mean or --uncertainty")
        if not self.uncertainty and (model.has_mean or not self.mean):
            self.many = 0
        elif self.temperature == 1:
            self.many = max(self.num, self.many)
        # whether the samples that are written are the first of the many
        self.is_shared = self.temperature == 1 and self.many > 0
        if task.has_low_resolution and model.config.data.round_x is False:
            self.notes.append(
                "this model learned from x that is not rounded to whole grey levels, as files are: "
                "its samples are less to be trusted than its scores say"
            )
        if self.uncertainty and task.spread:
            self.notes.append(trust(run, task))
        if task.threshold:
            threshold, self.origin = options.threshold, "given"
            if threshold is None:
                threshold, self.origin = own_threshold(run, task)
            options = replace(options, threshold=threshold)
        self.options = options

    def picture(self, path: Path) -> Picture:
        """A reader's picture as input of this model."""
        return self.kind(path, self.model, self.options)

    def names(self) -> list[str]:
        """The ends of the names of all files, in the order of `answer`."""
        names = [f"sample{n + 1}.png" for n in range(self.num)]
        if self.mean:
            names.append(f"{self.task.mean}.png")
        if self.uncertainty:
            names += ["deviation.png", "deviation.npy"]
        return [*names, *self.kind.files, "sheet.png"]

    def draw(self, picture: Picture, index: int) -> Iterator[Tensor]:
        """The samples that are written, then the many; see `is_shared`."""
        groups = [(self.many, 1.0)]
        if not self.is_shared:
            groups.insert(0, (self.num, self.temperature))
        total = sum(count for count, _ in groups)
        seed, tiles = self.options.seed, picture.tiles
        with tqdm(desc=picture.path.name, total=total, leave=False, disable=None) as bar:
            for count, tau in groups:
                for y in draw_samples(self.model, picture.x, count, tau, seed, index, tiles):
                    bar.update()
                    yield picture.output(y)

    def answer(self, picture: Picture, index: int) -> Iterator[tuple[str, Any]]:
        """Draw everything for one picture: ends of the names of files, and what they hold."""
        task, panels, mean, deviation, moments = self.task, {}, None, None, Moments()
        for n, y in enumerate(self.draw(picture, index)):
            if self.is_shared or n >= self.num or not self.many:
                moments.add(y)
                picture.observe(y)
            if n < self.num:
                image = picture.image(y)
                if n < SHOWN:
                    panels[f"sample {n + 1}, τ = {self.temperature:g}"] = np.asarray(image)
                yield f"sample{n + 1}.png", image
        if self.mean and self.model.has_mean:
            mean = picture.output(expectation(self.model, picture.x, picture.tiles))
            title = task.mean
        elif self.mean:
            mean, title = moments.mean, f"{task.mean} of {self.many}, τ = 1"
        if mean is not None:
            picture.mean, image = mean, picture.image(mean)
            panels[title] = np.asarray(image)
            yield f"{task.mean}.png", image
        if moments.count > 1:
            deviation, tau = moments.deviation, 1 if self.many else self.temperature
            panels[f"deviation of {moments.count}, τ = {tau:g}"] = Deviation(deviation, task)
        if self.uncertainty:
            yield "deviation.png", Image.fromarray(to_uint8(deviation * (255 / task.white)))
            yield "deviation.npy", deviation.numpy().astype(np.float16)
            scale = f"black 0, white {task.white:g}{task.unit} or more; the .npy has them"
            picture.said.append(f"{picture.path.stem}-deviation.png: {scale}")
        if task.threshold:
            begins = f"where the probability is {self.options.threshold:.3g} or more"
            picture.said.append(f"{picture.path.stem}-mask.png: {begins} ({self.origin})")
        yield from picture.extras(mean)
        interest, reason = deviation, "where samples differ most"
        if deviation is None:
            interest, reason = picture.interest(moments.mean if mean is None else mean)
        panels = picture.panels() | panels
        sheet = contact_sheet(picture.overview(), panels, interest, reason, picture.lines())
        yield "sheet.png", Image.fromarray(sheet)


class Moments:
    """Sums over samples y (C,H,W): exact in float32 for whole grey levels up to 250 samples."""

    count, total, squares = 0, 0.0, 0.0

    def add(self, y: Tensor) -> None:
        self.count += 1
        self.total, self.squares = self.total + y, self.squares + y**2

    @property
    def mean(self) -> Tensor:
        """(C,H,W)."""
        return self.total / self.count

    @property
    def deviation(self) -> Tensor:
        """The root of the unbiased variance, averaged over channels, (H,W)."""
        channels = zip(self.total, self.squares, strict=True)  # differences need float64
        n, total = self.count, sum(self.count * s.double() - t.double() ** 2 for t, s in channels)
        return (total / (len(self.total) * n * (n - 1))).clamp_min(0).sqrt()


@torch.no_grad()
def draw_samples(
    model: ConditionalModel,
    x: Tensor,
    count: int,
    temperature: float,
    seed: int = 0,
    index: int = 0,
    tiles: Tiles | None = None,
) -> Iterator[Tensor]:
    """Draw samples 0 .. count - 1 for one picture x (1,3,H,W) of any size, one after the other: y
    (C, factor H, factor W) on the CPU."""
    device = next(model.parameters()).device
    h = model.condition(fitted(model, x).to(device)) if tiles is None else None  # once for all

    def apply(tile_x: Tensor, generator: noise.Generator) -> Tensor:
        features = model.condition(tile_x) if h is None else h
        return model.labels(model.sample_given(features, 1, temperature, generator))[0]

    for n in range(count):
        make_noise = functools.partial(noise.keyed, seed, [index], SAMPLES_DRAW - n)
        yield in_tiles(model, x, apply, make_noise, tiles)


def expectation(model: ConditionalModel, x: Tensor, tiles: Tiles | None = None) -> Tensor:
    """The mean of y for one picture x (1,3,H,W), of a model that has one."""
    return in_tiles(model, x, lambda part, _: model.mean(part), list, tiles)
