"""`python -m cnf sample`: what a trained model makes of a reader's own pictures.

A picture is drawn in one pass; where that would take more memory than allowed, in tiles that share
the picture's noise, and the samples are the same.

What a file holds is kept: size (doubled), transparency (the alpha channel, doubled by cubic
interpolation), colour profile, and grey: the model is given three equal channels, and of what it
draws the luma is written. Files hold whole grey levels, so that x is a rounded one. What is
different for vessels is in `view`.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from cnf import build, noise, releases
from cnf.baselines import Factorised
from cnf.config import Config
from cnf.errors import ConfigError, DataError
from cnf.flow import ConditionalModel, check_temperature
from cnf.nets import set_precision
from cnf.replication.data.images import LUMA, Photograph, check_size, read_photograph
from cnf.replication.fundus_view import SURE, View, overlay, phrases, summary, to_csv, to_text, view
from cnf.replication.plotting import to_uint8
from cnf.replication.results import RESULTS
from cnf.replication.scored_model import SAMPLES_DRAW, choose_device, extend
from cnf.replication.sheet import contact_sheet
from cnf.replication.tiling import Tiles, grid, plan
from cnf.resample import imresize_double

MEMORY = 4.0  # GB for one pass, beside Python and its libraries
NUM = {"sr": 4, "vessels": 16}  # samples that are written
TEMPERATURE = {"sr": 0.8, "vessels": 1.0}
MANY = {"sr": 32, "vessels": 16}  # samples for a mean, a marginal, a deviation, a table
SHOWN = 4  # samples on a contact sheet
LEAST = 4  # pixels a side of a picture
WHITE = {"sr": 32.0, "vessels": 0.5}  # the deviation that is drawn white: grey levels; probability


def sample(
    run: str,
    pictures: Sequence[Path],
    *,
    num: int | None = None,
    temperature: float | None = None,
    many: int | None = None,
    mean: bool = False,
    uncertainty: bool = False,
    fov: Path | None = None,
    fit: bool | None = None,
    out: Path = Path("samples"),
    seed: int = 0,
    memory: float = MEMORY,
    device: str = "auto",
    precision: str = "fp32",
    overwrite: bool = False,
    results: Path = RESULTS,
) -> list[Path]:
    """Write `num` samples for each picture as PNG files into `out`, and a contact sheet; returns
    their paths: NAME-sample1.png, ..., NAME-mean.png, NAME-deviation.png and .npy, NAME-sheet.png.
    Vessels: masks of 0 and 255, black outside the field of view; NAME-marginal.png in the place of
    the mean, the deviation, NAME-overlay.png and NAME-table.csv, always.

    Args:
        run: a run folder, or a name of `releases`: "sr", "vessels".
        pictures: files of any size. Super-resolution: the picture is x, and doubles in size.
        num: 4 by default, vessels 16.
        temperature: of the samples, >= 0; 1 samples the model, 0 is its centre. By default 0.8,
            vessels 1.
        many: how many samples at temperature 1 the mean, the marginal, the deviation and the table
            are of. By default 32, vessels 16. If the samples that are written are at temperature 1,
            they are the first of these, and `many` is at least `num`.
        mean: also write that mean. Vessels always get it, as the marginal probability of a vessel,
            black 0, white 1.
        uncertainty: also write that mean, and the standard deviation of the samples, the root of
            its mean square over the channels: as PNG, black 0, white 32 grey levels (vessels: 0.5),
            clipped, and as NumPy array, float16 (H,W), in grey levels (vessels: probability).
        fov, fit: vessels: the field of view, and whether the picture is resized for the model: see
            `view.view`. What was found and done is printed.
        seed: of the noise, which is keyed by (seed, place in `pictures`).
        memory: what one pass may take, in GB; a picture that needs more is drawn in tiles, which
            is announced and changes no sample.
        precision: "bf16" runs the networks in bfloat16: on processors that have it up to twice as
            fast, with other pixels where v is within rounding of the threshold (0.04 % of those of
            a fundus photograph; two samples differ in 4.5 %). Scores are of "fp32".
        overwrite: replace files that are there.

    Raises, before anything is drawn, DataError (a picture that cannot be read or is below 4 pixels
    a side, negative temperature), CheckpointError, ConfigError (files that are there; also if not
    even the smallest tile fits into `memory`).
    """
    if temperature is not None:
        check_temperature(temperature)
    if num is not None and num < 0:
        raise ConfigError(f"--num {num}: give 0 or more")
    if many is not None and many < 2:
        raise ConfigError(f"--many {many}: give 2 or more")
    if not 0 < memory < math.inf:
        raise ConfigError(f"--memory {memory:g}: give a number of GB above 0")
    if not pictures:
        raise ConfigError("no picture given: name one or more files")
    stems = [Path(path).stem for path in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"two pictures are called '{stem}': sample them into two --out")
    model, config, _ = build.load_model(releases.find(run, results) / releases.WEIGHTS)
    model.to(choose_device(device))
    set_precision(model, precision)
    vessels = config.experiment == "vessels"
    if not vessels and (fov is not None or fit is not None):
        raise ConfigError("--fov and --fit are for vessels: leave them out for super-resolution")
    if fov is not None and len(pictures) > 1 and not Path(fov).is_dir():
        raise ConfigError(f"--fov {fov} for {len(pictures)} pictures: give a folder of masks")
    order = Order.of(config, num, temperature, many, mean, uncertainty, seed)
    if not (order.num or order.mean or order.uncertainty):
        raise ConfigError("--num 0 alone draws nothing: add --mean or --uncertainty")
    if not overwrite:
        names = order.names(vessels)
        check_absent(Path(out), [f"{stem}-{name}" for stem in stems for name in names])

    plans = []
    for path in map(Path, pictures):
        photo = _read(path, vessels)
        seen = view(photo, config, path, fov and Path(fov), fit) if vessels else None
        size = tuple(
            model.factor * side for side in fitted(model, to_input(photo, seen)).shape[-2:]
        )
        plans.append((seen, size, plan(model, size, memory * 1e9)))
    if not vessels and config.data.round_x is False:
        print(
            "this model learned from x that is not rounded to whole grey levels, as files are: "
            "its samples are less to be trusted than its scores say"
        )
    written, lines = [], []
    for index, (path, (seen, size, tiles)) in enumerate(
        zip(map(Path, pictures), plans, strict=True)
    ):
        photo = _read(path, vessels)
        for note in (*photo.notes, *(seen.notes if seen else ())):
            print(f"{path.name}: {note}")
        if tiles is not None:
            print(f"{path.name}: {size[0]}x{size[1]} in {tiles}, for --memory {memory:g}")
        target = Target(Path(out), path, photo, model.factor, seen)
        files, counted = _answer(model, config, target, order, index, tiles)
        written, lines = written + files, lines + counted
    if lines:
        print(to_text(lines))
    return written


@dataclass(frozen=True)
class Order:
    """What is wanted of every picture; `many` is 0 where no sample is needed beyond `num`."""

    num: int
    temperature: float
    many: int
    mean: bool
    uncertainty: bool
    seed: int

    @classmethod
    def of(
        cls,
        config: Config,
        num: int | None,
        temperature: float | None,
        many: int | None,
        mean: bool,
        uncertainty: bool,
        seed: int,
    ) -> "Order":
        """With the defaults of the experiment."""
        kind, vessels = config.experiment, config.experiment == "vessels"
        num = NUM[kind] if num is None else num
        temperature = TEMPERATURE[kind] if temperature is None else temperature
        many = MANY[kind] if many is None else many
        flow = config.model.kind == "flow"  # a factorised model says its own mean
        if not (vessels or uncertainty or mean and flow):
            many = 0
        elif temperature == 1:
            many = max(num, many)
        return cls(num, temperature, many, mean or vessels, uncertainty or vessels, seed)

    @property
    def is_shared(self) -> bool:
        """Whether the samples that are written are the first of the many."""
        return self.temperature == 1 and self.many > 0

    def names(self, vessels: bool) -> list[str]:
        """The ends of the names of all files."""
        names = [f"sample{n + 1}.png" for n in range(self.num)]
        names += [("marginal" if vessels else "mean") + ".png"] * (self.mean or self.uncertainty)
        names += ["deviation.png", "deviation.npy"] * self.uncertainty
        return names + ["overlay.png", "table.csv"] * vessels + ["sheet.png"]


def _read(path: Path, vessels: bool) -> Photograph:
    photo = read_photograph(path)
    check_size(path, *photo.pixels.shape[:2], least=LEAST)
    if vessels and photo.alpha is not None:
        raise DataError(f"{path}: has transparent pixels: give the photograph as it was taken")
    return photo


def check_absent(folder: Path, names: Sequence[str]) -> None:
    """Raise ConfigError if one of the files is there."""
    there = [name for name in names if (folder / name).exists()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ConfigError(
            f"{folder / there[0]}{more} would be replaced: give another --out, or --overwrite"
        )


def to_input(photo: Photograph, seen: View | None = None) -> Tensor:
    """x of a picture, float32 (1,3,H,W), grey levels."""
    if seen is not None:
        return seen.input(photo)
    return torch.from_numpy(photo.pixels.transpose(2, 0, 1).copy()).float()[None]


# --- what is written for one picture --------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Where the files of one picture go, and what they keep of it."""

    out: Path
    path: Path
    photo: Photograph
    factor: int
    view: View | None = None

    def seen(self, y: Tensor) -> Tensor:
        """What of y (C,H,W) is written: its luma (1,H,W) if the picture is grey; of a mask what is
        in the field of view."""
        if self.view is not None:
            return self.view.back(y)
        if not self.photo.is_grey:
            return y
        return (torch.tensor(LUMA)[:, None, None] * y).sum(0, keepdim=True)

    def with_alpha(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H,W) or (H,W,3) with the picture's alpha channel, if it has one."""
        if self.photo.alpha is None:
            return pixels
        alpha = torch.from_numpy(self.photo.alpha.copy())[None]
        if pixels.shape[:2] != alpha.shape[1:]:
            alpha = imresize_double(alpha)
        return np.dstack([pixels, to_uint8(alpha)])

    def write(self, pixels: np.ndarray, name: str, profile: bool = True) -> Path:
        """Write a PNG file, atomically."""
        given = {"icc_profile": self.photo.profile} if profile and self.photo.profile else {}
        image = Image.fromarray(pixels)
        return self._replace(f"{name}.png", lambda f: image.save(f, "png", **given))

    def write_array(self, array: np.ndarray, name: str) -> Path:
        return self._replace(f"{name}.npy", lambda file: np.save(file, array))

    def write_text(self, text: str, name: str) -> Path:
        return self._replace(name, lambda file: file.write(text.encode()))

    def _replace(self, name: str, save: Callable) -> Path:
        path = self.out / f"{self.path.stem}-{name}"
        partial = path.with_name(path.name + ".tmp")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                save(file)
            os.replace(partial, path)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written ({error}): give another --out") from None
        finally:
            if self.out.is_dir():
                partial.unlink(missing_ok=True)
        return path


def _answer(
    model: ConditionalModel,
    config: Config,
    target: Target,
    order: Order,
    index: int,
    tiles: Tiles | None,
) -> tuple[list[Path], list[dict]]:
    """Draw and write everything of one picture; returns the paths, and the lines of its table."""
    photo, vessels = target.photo, target.view is not None
    x = to_input(photo, target.view)
    num, many, white = order.num, order.many, 255 if vessels else 1
    passes = max(num, many) if order.is_shared else num + many
    tiling = 1 if tiles is None else len(list(tiles))
    bar = tqdm(total=tiling * passes, desc=target.path.name, disable=None, leave=False)
    written, panels, counts, few, answer = [], {}, [], Moments(), None
    moments = Moments()

    def drawn(count: int, temperature: float) -> Iterator[Tensor]:
        options = (temperature, order.seed, index, tiles, bar.update)
        return map(target.seen, draws(model, x, count, *options))

    def add(y: Tensor) -> None:
        moments.add(y)
        if vessels:
            counts.append(target.view.count(y))

    with bar:
        for n, answer in enumerate(drawn(passes if order.is_shared else num, order.temperature)):
            if order.is_shared:
                add(answer)
            if n >= num:
                continue
            pixels = target.with_alpha(to_uint8(white * answer))
            written.append(target.write(pixels, f"sample{n + 1}", profile=not vessels))
            if n < SHOWN:
                if not many:
                    few.add(answer)
                panels[f"sample {n + 1}"] = pixels
        if many and not order.is_shared:
            for y in drawn(many, 1.0):
                add(y)
    found, name = None, "marginal" if vessels else "mean"
    if order.mean or order.uncertainty:
        if isinstance(model, Factorised):
            found, title = target.seen(expectation(model, x, tiles)), name
        else:
            found, title = moments.mean, f"{name} of {many}"
        few, answer = moments if many else few, found
    deviation = few.deviation if few.count > 1 else None
    lines = [_size(target)]
    if num:
        lines.append(f"samples at temperature {order.temperature:g}")
    if found is not None:
        pixels = target.with_alpha(to_uint8(white * found))
        written.append(target.write(pixels, name, profile=not vessels))
        panels[title] = pixels
        also = "" if isinstance(model, Factorised) else f" and deviation of {many} samples"
        lines[-1] += f"; {name}{also}" + " at temperature 1" * bool(also)
    scale = None
    if deviation is not None:
        bright = WHITE[config.experiment]
        unit = "" if vessels else " grey levels"
        shown = to_uint8(deviation * (255 / bright))
        panels[f"deviation of {few.count}"] = shown
        scale = f"deviation: black 0, white {bright:g}{unit} or more"
        if order.uncertainty:
            written.append(target.write(shown, "deviation", profile=False))
            levels = deviation[0].numpy().astype(np.float16)
            written.append(target.write_array(levels, "deviation"))
            print(f"{written[-2].name}: black 0, white {bright:g}{unit} or more; the .npy has them")
    overview, table = target.with_alpha(photo.pixels), []
    if vessels:
        overview = overlay(photo, found[0].numpy())
        written.append(target.write(overview, "overlay", profile=False))
        smooth, panels = torch.zeros(()), {"photograph": photo.pixels, "overlay": overview} | panels
        lines.append(
            f"overlay: blue where the marginal is {SURE[1]:g} or more, orange from {SURE[0]:g} on"
        )
        table = summary(target.path.name, counts, target.view.fov)
        written.append(target.write_text(to_csv(table), "table.csv"))
        area, components = phrases(*table)
        lines.append(
            f"vessels: {area} % of the field of view; components: {components}: median and 90 % "
            f"interval over {len(counts)} samples at temperature 1"
        )
    else:
        first = photo.pixels[..., :1] if photo.is_grey else photo.pixels
        smooth = target.seen(imresize_double(x)[0])
        panels = {
            "input": target.with_alpha(first).repeat(2, 0).repeat(2, 1),
            "bicubic": target.with_alpha(to_uint8(smooth)),
        } | panels
    interest, why = deviation, "where samples differ most"
    if interest is None:
        interest = (answer - smooth).abs().mean(0, keepdim=True)
        why = "where it differs most from bicubic"
    sheet = contact_sheet(overview, panels, interest[0].numpy(), why, lines, scale)
    written.append(target.write(sheet, "sheet", profile=False))
    return written, table


def _size(target: Target) -> str:
    height, width = target.photo.pixels.shape[:2]
    larger = f", drawn at {2 * width}x{2 * height}" if target.factor == 2 else ""
    return f"{target.path.name}: {width}x{height} pixels{larger}"


class Moments:
    """Sums over samples y (C,H,W): exact in float32 for whole grey levels up to 250 samples."""

    def __init__(self):
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def add(self, y: Tensor) -> None:
        self.count += 1
        self.total, self.squares = self.total + y, self.squares + y**2

    @property
    def mean(self) -> Tensor:
        """(C,H,W)."""
        return self.total / self.count

    @property
    def deviation(self) -> Tensor:
        """The root of the unbiased variance, averaged over channels, (1,H,W)."""
        channels = zip(self.total, self.squares, strict=True)  # differences need float64
        n, total = self.count, sum(self.count * s.double() - t.double() ** 2 for t, s in channels)
        variance = total / (len(self.total) * n * (n - 1))
        return variance.clamp_min(0).sqrt()[None]


# --- one picture ----------------------------------------------------------------------------------


@torch.no_grad()
def draws(
    model: ConditionalModel,
    x: Tensor,
    count: int,
    temperature: float,
    seed: int = 0,
    index: int = 0,
    tiles: Tiles | None = None,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Tensor]:
    """Samples 0 .. count - 1 for one picture x (1,3,H,W) of any size, one after the other: y
    (C, factor H, factor W) on the CPU. `tick` is called after every pass."""
    device, h = next(model.parameters()).device, None
    if tiles is None and count and not isinstance(model, Factorised):
        h = model.condition(fitted(model, x).to(device))  # once for all samples

    def apply(part: Tensor, generator: noise.Generator) -> Tensor:
        if h is None:
            y = model.sample(part, 1, temperature, generator)[0]
        else:
            y = model.labels(model.sample_v(h, 1, temperature, generator))
        tick()
        return y

    for n in range(count):
        keyed = functools.partial(noise.keyed, seed, [index], SAMPLES_DRAW - n)
        yield in_tiles(model, x, apply, keyed, tiles)


@torch.no_grad()
def expectation(model: Factorised, x: Tensor, tiles: Tiles | None = None) -> Tensor:
    """The mean of y for one picture x (1,3,H,W), as the model says it."""
    return in_tiles(model, x, lambda part, _: model.mean(part), list, tiles)


def in_tiles(
    model: ConditionalModel,
    x: Tensor,
    apply: Callable[[Tensor, noise.Generator], Tensor],
    keyed: Callable[[], Sequence[torch.Generator]],
    tiles: Tiles | None = None,
) -> Tensor:
    """`apply`, which maps x (1,3,h,w) and noise to y, on a picture of any size, (C, factor H,
    factor W): in one pass, or tile by tile; `keyed` makes the noise of the picture anew each time.

    Beyond the right and bottom of the picture there is what `extend` puts there. The two ways agree
    up to rounding and up to what `FADE` leaves of the resampling kernels.
    """
    height, width = (model.factor * side for side in x.shape[-2:])
    device, factor = next(model.parameters()).device, model.factor
    x = fitted(model, x)
    if tiles is None:
        return apply(x.to(device), keyed())[0, :, :height, :width].cpu()
    whole = None
    for (tall, wide), (high, broad) in tiles:
        part = x[..., *(slice(s.start // factor, s.stop // factor) for s in (tall, wide))]
        shape = tall.stop - tall.start, wide.stop - wide.start
        window = noise.Window(keyed(), tiles.size, shape, tall.start, wide.start)
        y = apply(part.to(device), window)[0].cpu()
        whole = y.new_empty(len(y), *tiles.size) if whole is None else whole
        inside = (
            slice(core.start - tile.start, core.stop - tile.start)
            for tile, core in ((tall, high), (wide, broad))
        )
        whole[:, high, broad] = y[:, *inside]
    return whole[:, :height, :width]


def fitted(model: ConditionalModel, x: Tensor) -> Tensor:
    """x extended to the right and bottom to a size that the model takes, see `extend`."""
    step = grid(model) // model.factor
    bottom, right = (-side % step for side in x.shape[-2:])
    return extend(x, bottom, right, model.factor > 1)
