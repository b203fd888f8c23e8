"""`python -m cnf sample`: samples of a trained model for a reader's own pictures.

A picture is drawn in one pass, a large one in tiles that share the picture's noise; the samples are
the same. `picture` and the task define how a file becomes x, and what is written of an answer.
"""

import functools
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO, TypedDict, Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cnf import noise
from cnf.errors import ConfigError, DataError, known_options
from cnf.inputs import check_draws
from cnf.model import ConditionalModel
from cnf.nets import set_precision
from cnf.replication import releases
from cnf.replication.answers.areas import calibration
from cnf.replication.answers.formats import (
    check_format,
    check_suffix,
    named,
    refuse_existing,
    save,
)
from cnf.replication.answers.picture import Picture
from cnf.replication.answers.pictures import PICTURES
from cnf.replication.answers.progress import watched
from cnf.replication.answers.sheet import contact_sheet
from cnf.replication.answers.tiling import Tiles, fitted, in_tiles
from cnf.replication.data.folders import partner
from cnf.replication.data.folders import pictures as pictures_of
from cnf.replication.data.images import check_is_picture, of_many
from cnf.replication.distributed import choose_device, has_bf16
from cnf.replication.options import Count, Device, Flag, Maybe, Number, Real, option
from cnf.replication.panels import Deviation, Panel, unit, white
from cnf.replication.plotting import to_uint8
from cnf.replication.presentation import Presentation, presentation_of
from cnf.replication.results.rows import RESULTS, read_rows, select
from cnf.replication.run_folder import refuse_unwritable, trained
from cnf.replication.scored.model import SAMPLES_DRAW
from cnf.replication.tasks.task import find_task

SHOWN = 4  # samples on a contact sheet


@dataclass(frozen=True)
class Options:
    """What to draw for every picture.

    Args:
        samples: how many are written of a picture; by default 4, 16 for vessels, and none of a
            model that has a mean of its own, which is written instead.
        temperature: of the samples, 0 or more; 1 samples the model. By default 0.8 in
            super-resolution, 1 elsewhere.
        mean_samples: how many, at temperature 1, mean, probability, deviation and table are made
            of; 32 by default, for vessels 16 or `samples` if that is more. What is written at
            temperature 1 are the first of them.
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
        format: of pictures: png (the default), tiff or webp; none of them changes a grey level. The
            mean of a file of 16 bits a channel has 16 (png, tiff); samples are of 8.
        suffix: comes after a picture's name: with _x2 PHOTO_x2-mean.png; none by default.
        json: a file for everything that is printed, as JSON; -: to the standard output, which then
            holds nothing else.
        seed: of the noise, keyed by it and the place of the picture; 0 by default.
        tile: draw in tiles of SIDE x SIDE pixels, which changes no sample and takes less memory; 0:
            in one pass. By default, results of more than 4 million pixels are drawn in tiles
            of 1536, and a line says so.
        precision: fp32, as the scores are, or bf16: up to twice as fast on processors that have it,
            and the default where a measurement of milliseconds finds it faster; the JSON says which
            was taken. Of a mask one pixel in thousands then differs, of a photograph up to one in
            five, by a grey level, or by a few if the priors are autoregressive. Pictures of 16 bits
            a channel are answered in fp32.
        overwrite: replace files of an earlier call; else they stop this one before it draws.

    Raises ConfigError, and DataError for a temperature that is negative or not finite.
    """

    samples: Number = None
    temperature: Real = None
    mean_samples: Number = None
    mean: Flag = False
    uncertainty: Flag = False
    fov: Annotated[Path | None, option("MASK")] = None
    fit: Maybe = None
    whole: Flag = False
    threshold: Real = None
    out: Annotated[Path, option("DIR")] = Path("samples")
    format: Annotated[str, option("{png,tiff,webp}")] = "png"
    suffix: Annotated[str, option("TEXT")] = ""
    json: Annotated[Path | None, option("FILE")] = None
    seed: Count = 0
    tile: Annotated[int | None, option("SIDE")] = None
    precision: Annotated[Literal["fp32", "bf16"] | None, option("{fp32,bf16}")] = None
    overwrite: Flag = False
    device: Device = "auto"

    def __post_init__(self):
        check_draws(self.temperature or 0)
        for name, least in (("samples", 0), ("mean_samples", 2), ("tile", 0)):
            number = getattr(self, name)
            if number is not None and number < least:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} {number}: give {least} or more")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"--threshold {self.threshold}: give a probability between 0 and 1")
        check_format(self.format)
        check_suffix(self.suffix)

    @property
    def is_piped(self) -> bool:
        """Whether the JSON goes to the standard output."""
        return self.json is not None and str(self.json) == "-"

    @property
    def tables(self) -> list[Path]:
        """The file of the JSON, if there is one."""
        return [] if self.json is None or self.is_piped else [Path(self.json)]

    def masks(self, pictures: Sequence[Path]) -> list[Path]:
        """The masks of `fov` that belong to these pictures."""
        if self.fov is None:
            return []
        fov = Path(self.fov)
        return [partner(fov, path) for path in pictures] if fov.is_dir() else [fov]


class AnswerOptions(TypedDict, total=False):
    """The fields of `Options` that say what is drawn, as keywords, so that tools find one that is
    misspelt."""

    samples: int | None
    temperature: float | None
    mean_samples: int | None
    mean: bool
    uncertainty: bool
    fov: Path | str | None
    fit: bool | None
    whole: bool
    threshold: float | None
    seed: int
    tile: int | None
    precision: Literal["fp32", "bf16"] | None
    device: Literal["auto", "cpu", "cuda"]


class SampleOptions(AnswerOptions, total=False):
    """All fields of `Options`: those that say how answers are written, too."""

    out: Path | str
    format: str
    suffix: str
    json: Path | str | None
    overwrite: bool


class SkippedError(DataError):
    """Raised when everything else is written: a line for each picture that could not be used. The
    files that were written are `paths`."""

    def __init__(self, skipped: dict[Path, str], total: int, paths: Sequence[Path]):
        lines = "".join(f"\n{why}" for why in skipped.values())
        super().__init__(f"skipped {len(skipped)} of {total} pictures:{lines}")
        self.paths = list(paths)


def sample(
    run: str,
    pictures: Sequence[Path],
    *,
    results: Path = RESULTS,
    **options: Unpack[SampleOptions],
) -> list[Path]:
    """Write samples of each picture as PNG files, and a contact sheet; returns their paths:
    NAME-sample1.png, ..., NAME-mean.png, NAME-deviation.png and .npy, NAME-sheet.png. Vessels:
    masks of 0 and 255, black outside the field of view; NAME-marginal.png in the place of the mean,
    the deviation, NAME-mask.png, NAME-overlay.png and NAME-table.csv, always.

    Args:
        run: a run folder, or a name of `releases.RELEASES`: "sr", "vessels".
        pictures: files of any size, or folders of them. Super-resolution: the picture is x, and
            doubles in size. A file of a folder that cannot be used is skipped, if another can be.
        options: see `Options`.

    Raises SkippedError, at the end, if pictures of a folder were skipped. Raises, before anything
    is drawn, DataError (a picture that cannot be read or is below 4 pixels a side, negative
    temperature), CheckpointError, ConfigError (files that are there; a model that cannot draw in
    tiles).
    """
    choices = Options(**known_options(options, Options.__dataclass_fields__))
    given = list(map(Path, pictures))
    pictures, skipped = files(given), dict[Path, str]()
    total = len(pictures)
    refuse_same_names(pictures)
    releases.find_weights(run, results)  # raises, as the next lines do, before the model is loaded
    pictures = usable(pictures, check_is_picture, given, skipped)
    request = request_of(run, choices, results)
    refuse_to_lose(request, pictures)
    opened: dict[Path, Picture] = {}  # the first alone, as all may not fit into memory

    def open_picture(path: Path) -> None:
        picture = request.picture(path)  # raises before anything is drawn
        if not opened:
            opened[path] = picture

    pictures = usable(pictures, open_picture, given, skipped)
    paths = request.paths(pictures)
    for path in (paths[0], *choices.tables):
        refuse_unwritable(path)
    out, records = sys.stderr if choices.is_piped else sys.stdout, []
    for note in request.notes:
        print(note, file=out)
    for index, path in enumerate(pictures):
        picture = opened.pop(path, None) or request.picture(path)
        write_answers(request, picture, index, out)
        records.append(picture.record(request.paths([path])))
    if choices.is_piped:
        print(request.table(records, skipped), end="")
    for path in choices.tables:
        save(request.table(records, skipped), path)
    if skipped:
        raise SkippedError(skipped, total, paths)
    return paths


def refuse_same_names(pictures: Sequence[Path]) -> None:
    """Raise ConfigError if the answers for two pictures would have the same names."""
    stems = [path.stem for path in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"two pictures are called '{stem}': sample them into two --out")


def refuse_to_lose(request: "Request", pictures: Sequence[Path]) -> None:
    """Raise ConfigError if a file would be lost that is given, or is there, or for a single mask of
    several pictures."""
    choices = request.options
    if choices.fov is not None and len(pictures) > 1 and not Path(choices.fov).is_dir():
        raise ConfigError(
            f"--fov {choices.fov} for {len(pictures)} pictures: give a folder of masks"
        )
    written = [*request.paths(pictures), *choices.tables]
    refuse_given([*pictures, *choices.masks(pictures)], written)
    if not choices.overwrite:
        refuse_existing(written, "give another name or --out, or --overwrite")


def write_answers(request: "Request", picture: Picture, index: int, out: TextIO) -> None:
    """Draw everything for one picture, write its files, and print what is said to `out`."""
    for note in picture.notes:
        print(f"{picture.path.name}: {note}", file=out)
    for name, content in request.draw_files(picture, index):
        save(content, request.path(picture.path.stem, name))
    for line in picture.said:
        print(line, file=out)


def usable(
    pictures: Sequence[Path],
    use: Callable[[Path], None],
    given: Sequence[Path],
    skipped: dict[Path, str],
) -> list[Path]:
    """The pictures that `use` accepts. Others are added to `skipped`, with the reason, if they are
    of a folder. Raises DataError for one that is `given` by its name, or if there is no other."""
    accepted = []
    for path in pictures:
        try:
            use(path)
        except DataError as error:
            if path in given:
                raise
            skipped[path] = str(error)
        else:
            accepted.append(path)
    if not accepted:
        more = f", nor can {len(skipped) - 1} more pictures be used" if len(skipped) > 1 else ""
        raise DataError(next(iter(skipped.values())) + more)
    return accepted


def refuse_given(given: Iterable[Path], written: Sequence[Path]) -> None:
    """Raise ConfigError if what is written would replace what is given, or itself."""
    targets = [path.resolve() for path in written]
    if lost := {path.resolve() for path in given} & set(targets):
        raise ConfigError(f"{lost.pop()} is a file that is given: give another --out or --json")
    if twice := [path for path, count in Counter(targets).items() if count > 1]:
        raise ConfigError(f"{twice[0]} would be written twice: give another --json")


def files(paths: Iterable[Path]) -> list[Path]:
    """The picture files that are given, and those in folders that are. Raises ConfigError if there
    are none."""
    found: list[Path] = []
    for path in paths:
        inside = pictures_of(path) if path.is_dir() else [path]
        if not inside:
            for other in sorted(filter(of_many, path.iterdir())):
                raise ConfigError(
                    f"{path}: no picture in this folder; {other.name} is {of_many(other)}"
                )
            raise ConfigError(f"{path}: no picture in this folder: name another, or files")
        found += inside
    if not found:
        raise ConfigError("no picture given: name one or more files")
    return found


def own_threshold(run: Path, shown: Presentation) -> tuple[float, str]:
    """The threshold of this model's probabilities, and where it is from: of its rows of test
    pictures, that of the most pictures, where it was chosen on others."""
    rows = select(read_rows(run.parent, run.name), split="test", variant=None, **shown.threshold)
    rows = [row for row in rows if row.threshold is not None]
    if not rows:
        return 0.5, "nobody chose one for this model"
    row = max(rows, key=lambda row: row.num_images)
    return row.threshold, f"chosen for this model, not on the test pictures of {row.data}"


def coverage(run: Path, shown: Presentation) -> dict[str, float]:
    """How often the spread of this model's samples (5 to 95 %) held the truth, by its rows of test
    pictures: of each set the row of the most samples."""
    rows = (
        select(read_rows(run.parent, run.name), split="test", **shown.spread)
        if shown.spread
        else []
    )
    rows.sort(key=lambda row: (row.num_images, row.samples or 0))
    return {row.data: row.value for row in rows}


def how_far_to_trust(run: Path, shown: Presentation) -> str:
    """The same in a sentence."""
    shares_by_set = coverage(run, shown)
    if not shares_by_set:
        return (
            f"nobody measured how often the truth, {shown.spread_of}, lies in the spread of these "
            f"samples: `python -m cnf evaluate {run} --on SET --full` does"
        )
    shares = ", ".join(f"{100 * share:.0f} % on {name}" for name, share in shares_by_set.items())
    return (
        f"the spread (5 to 95 %) of this model's samples holds the truth, {shown.spread_of}, in "
        f"{shares} (test pictures): only where this is near 90 % is it an interval of confidence"
    )


def request_of(run: str, options: Options, results: Path = RESULTS) -> "Request":
    """The request of these options to a model, which is loaded."""
    path = releases.find_weights(run, results)
    model = trained(path).to(choose_device(options.device))
    return Request(model, options, path.parent)


class Request:
    """What is drawn for every picture: `samples` are written, and `mean_samples`, at temperature 1,
    are for mean and deviation; it is 0 where these are not needed. `notes` say how far the model is
    to be trusted."""

    def __init__(self, model: ConditionalModel, options: Options, run: Path):
        self.model, self.run = model, run
        self.task, self.notes = find_task(model.config.task), []
        task, shown = self.task, presentation_of(model.config.task)
        self.shown = shown
        self.kind = PICTURES.get(task.name, Picture)
        self.calibration = calibration(run / releases.WEIGHTS) if task.is_binary else None
        self.kind.check(options, task.name)
        self.uncertainty = options.uncertainty or self.kind.shows_uncertainty
        one_answer = model.has_mean and options.samples is None and options.temperature is None
        self.mean = options.mean or self.uncertainty or one_answer
        default = 0 if one_answer else shown.written_samples
        self.samples = default if options.samples is None else options.samples
        self.temperature = shown.temperature if options.temperature is None else options.temperature
        behind = options.mean_samples
        self.mean_samples = shown.mean_samples if behind is None else behind
        if self.samples == 0 and not self.mean:
            raise ConfigError("--samples 0 alone draws nothing: add --mean or --uncertainty")
        if not self.uncertainty and (model.has_mean or not self.mean):
            self.mean_samples = 0
        elif self.temperature == 1:
            self.mean_samples = max(self.samples, self.mean_samples)
        # whether the samples that are written are the first of these
        self.is_shared = self.temperature == 1 and self.mean_samples > 0
        if task.has_low_resolution and model.config.data.round_x is False:
            self.notes.append(
                "this model learned from x that is not rounded to whole grey levels, as files are: "
                "its samples are less to be trusted than its scores say"
            )
        if self.uncertainty and shown.spread:
            self.notes.append(how_far_to_trust(run, shown))
        if shown.threshold:
            threshold, self.origin = options.threshold, "given"
            if threshold is None:
                threshold, self.origin = own_threshold(run, shown)
            options = replace(options, threshold=threshold)
        self.options = options

    def picture(self, path: Path, content: bytes | None = None) -> Picture:
        """A reader's picture as input of this model: a file, or its content and name."""
        picture = self.kind(path, self.model, self.options, content)
        picture.calibration = self.calibration
        return picture

    def names(self) -> list[str]:
        """The ends of the names of all files, in the order of `draw_files`."""
        names = [f"sample{n + 1}.png" for n in range(self.samples)]
        if self.mean:
            names.append(f"{self.shown.mean}.png")
        if self.uncertainty:
            names += ["deviation.png", "deviation.npy"]
        return [*names, *self.kind.files, "sheet.png"]

    def path(self, stem: str, name: str) -> Path:
        """The file that holds one of `names`, of the picture of that stem."""
        return named(self.options.out, stem, name, self.options.suffix, self.options.format)

    def paths(self, pictures: Sequence[Path]) -> list[Path]:
        """All files of these pictures."""
        return [self.path(path.stem, name) for path in pictures for name in self.names()]

    def table(
        self, pictures: Sequence[dict[str, Any]], skipped: Mapping[Path, str] | None = None
    ) -> str:
        """What was done and said, with `Picture.record` of every picture, and why others were
        skipped, as JSON."""
        asked = {"samples": self.samples, "temperature": self.temperature}
        asked["mean_samples"] = self.mean_samples
        said = {"notes": self.notes, "spread_held_the_truth": coverage(self.run, self.shown)}
        content = {"model": self.run.name, "task": self.task.name, "seed": self.options.seed}
        said["terms"] = releases.terms(self.model)
        said["skipped"] = [str(why) for why in (skipped or {}).values()]
        return json.dumps(content | asked | said | {"pictures": list(pictures)}, indent=1) + "\n"

    def precision(self, picture: Picture) -> str:
        """That of the networks for one picture: the one that is asked for, or the faster one, but
        for 16 bits."""
        is_fast = has_bf16(next(self.model.parameters()).device) and not picture.is_deep
        return self.options.precision or ("bf16" if is_fast else "fp32")

    def draw(self, picture: Picture, index: int) -> Iterator[Tensor]:
        """The samples that are written, then those of the mean; see `is_shared`."""
        groups = [(self.mean_samples, 1.0)]
        if not self.is_shared:
            groups.insert(0, (self.samples, self.temperature))
        total = sum(n for n, _ in groups)
        seed, tiles = self.options.seed, picture.tiles
        samples = itertools.chain.from_iterable(
            draw_samples(self.model, picture.x, n, tau, seed, index, tiles)
            for n, tau in groups
            if n  # else its features would be computed for nothing
        )
        for y in watched(samples, picture.path.name, total):
            yield picture.output(y)

    def draw_files(self, picture: Picture, index: int) -> Iterator[tuple[str, Any]]:
        """Draw everything for one picture: ends of the names of files, and what they hold."""
        picture.precision = self.precision(picture)
        set_precision(self.model, picture.precision)
        drawn = Drawn()
        yield from self.sample_files(picture, index, drawn)
        yield from self.mean_file(picture, drawn)
        yield from self.deviation_files(picture, drawn)
        if self.shown.threshold:
            begins = f"where the probability is {self.options.threshold:.3g} or more"
            mask = self.path(picture.path.stem, "mask.png").name
            picture.said.append(f"{mask}: {begins} ({self.origin})")
        yield from picture.extras(drawn.mean)
        yield "sheet.png", self.sheet(picture, drawn)

    def sample_files(
        self, picture: Picture, index: int, drawn: "Drawn"
    ) -> Iterator[tuple[str, Image.Image]]:
        """The samples that are written; what mean and deviation need of the others is kept."""
        for n, y in enumerate(self.draw(picture, index)):
            if self.is_shared or n >= self.samples or not self.mean_samples:
                drawn.moments.add(y)
                picture.observe(y)
            if n < self.samples:
                image = picture.image(y)
                if n < SHOWN:
                    title = f"sample {n + 1}, τ = {self.temperature:g}"
                    drawn.panels[title] = np.asarray(image)
                yield f"sample{n + 1}.png", image

    def mean_file(self, picture: Picture, drawn: "Drawn") -> Iterator[tuple[str, Any]]:
        """The model's own mean, or that of samples, if it is asked for."""
        if not self.mean:
            return
        if self.model.has_mean:
            mean = picture.output(expectation(self.model, picture.x, picture.tiles))
            title = self.shown.mean
        else:
            mean, title = drawn.moments.mean, f"{self.shown.mean} of {self.mean_samples}, τ = 1"
        drawn.mean = picture.mean = mean
        image = picture.image(mean)
        drawn.panels[title] = np.asarray(image)
        yield f"{self.shown.mean}.png", picture.deep(mean) if picture.is_deep else image

    def deviation_files(self, picture: Picture, drawn: "Drawn") -> Iterator[tuple[str, Any]]:
        """The deviation of samples, as picture and as array, if it is asked for."""
        moments, brightest = drawn.moments, white(self.task)
        if moments.n > 1:
            tau = 1 if self.mean_samples else self.temperature
            drawn.deviation = moments.deviation
            title = f"deviation of {moments.n}, τ = {tau:g}"
            drawn.panels[title] = Deviation(drawn.deviation, self.task)
        if not self.uncertainty:
            return
        if drawn.deviation is None:
            raise ConfigError(
                f"--mean-samples {self.mean_samples}: a deviation needs 2 samples or more"
            )
        yield "deviation.png", Image.fromarray(to_uint8(drawn.deviation * (255 / brightest)))
        yield "deviation.npy", drawn.deviation.numpy().astype(np.float16)
        scale = f"black 0, white {brightest:g}{unit(self.task)} or more; the .npy has them"
        name = self.path(picture.path.stem, "deviation.png").name
        picture.said.append(f"{name}: {scale}")

    def sheet(self, picture: Picture, drawn: "Drawn") -> Image.Image:
        """The contact sheet of what was drawn."""
        if drawn.deviation is not None:
            interest, reason = drawn.deviation, "where samples differ most"
        else:
            answer = drawn.moments.mean if drawn.mean is None else drawn.mean
            interest, reason = picture.interest(answer)
        panels = picture.panels() | drawn.panels
        sheet = contact_sheet(picture.overview(), panels, interest, reason, picture.lines())
        return Image.fromarray(sheet)


class Moments:
    """Sums over samples y (C,H,W) of whole grey levels, exact: of float32, which takes half the
    memory, as long as it holds them (255^2 EXACT < 2^24), then of float64."""

    n, total, squares = 0, torch.zeros(()), torch.zeros(())
    EXACT = 250

    def add(self, y: Tensor) -> None:
        if self.n == self.EXACT:
            self.total, self.squares = self.total.double(), self.squares.double()
        self.n += 1
        self.total, self.squares = self.total + y, self.squares + y**2

    @property
    def mean(self) -> Tensor:
        """(C,H,W)."""
        return (self.total / self.n).float()

    @property
    def deviation(self) -> Tensor:
        """The root of the unbiased variance, averaged over channels, (H,W)."""
        channels = zip(self.total, self.squares, strict=True)  # differences need float64
        n, total = self.n, sum(self.n * s.double() - t.double() ** 2 for t, s in channels)
        return (total / (len(self.total) * n * (n - 1))).clamp_min(0).sqrt()


@dataclass
class Drawn:
    """What was drawn for one picture: moments of its samples, their mean (or the model's own) and
    deviation where there is one, and the panels of the contact sheet by their titles."""

    moments: Moments = field(default_factory=Moments)
    mean: Tensor | None = None
    deviation: Tensor | None = None
    panels: dict[str, Panel] = field(default_factory=dict)


@torch.no_grad()
def draw_samples(
    model: ConditionalModel,
    x: Tensor,
    n: int,
    temperature: float,
    seed: int = 0,
    index: int = 0,
    tiles: Tiles | None = None,
) -> Iterator[Tensor]:
    """Draw samples 0 .. n - 1 for one picture x (1,3,H,W) of any size, one after the other: y
    (C, factor H, factor W) on the CPU."""
    device = next(model.parameters()).device
    h = model.condition(fitted(model, x).to(device)) if tiles is None else None  # once for all

    def apply(tile_x: Tensor, generator: noise.Generator) -> Tensor:
        features = model.condition(tile_x) if h is None else h
        return model.labels(model.sample_given(features, 1, temperature, generator))[0]

    for number in range(n):
        make_noise = functools.partial(noise.keyed, seed, [index], SAMPLES_DRAW - number)
        yield in_tiles(model, x, apply, make_noise, tiles)


def expectation(model: ConditionalModel, x: Tensor, tiles: Tiles | None = None) -> Tensor:
    """The mean of y for one picture x (1,3,H,W), of a model that has one."""
    return in_tiles(model, x, lambda part, _: model.mean(part), list, tiles)
