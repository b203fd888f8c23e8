"""`python -m cnf sample`: what a trained model makes of a reader's own pictures.

A picture is drawn in one pass; where that would take more memory than allowed, in tiles that share
the picture's noise, and the samples are the same.

What a file holds is kept: size (doubled), transparency (the alpha channel, doubled by cubic
interpolation), colour profile, and grey: the model is given three equal channels, and of what it
draws the luma is written. Files hold whole grey levels, so that x is a rounded one.
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

from cnf import models, noise, releases
from cnf.config import Config
from cnf.data.degrade import imresize_double
from cnf.data.images import Photograph, check_size, read_photograph
from cnf.errors import ConfigError, DataError
from cnf.factorised import Factorised
from cnf.model import ConditionalModel, check_temperature
from cnf.plotting import to_uint8
from cnf.results import RESULTS
from cnf.sheet import contact_sheet
from cnf.subject import SAMPLES_DRAW, choose_device, extend
from cnf.tiling import Tiles, grid, plan

MEMORY = 4.0  # GB for one pass, beside Python and its libraries
MANY = 32  # samples for a mean, a marginal or a deviation
SHOWN = 4  # samples on a contact sheet
LEAST = 4  # pixels a side of a picture
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
WHITE = {"sr": 32.0, "vessels": 0.5}  # the deviation that is drawn white: grey levels; probability


def sample(
    run: str,
    pictures: Sequence[Path],
    *,
    num: int = 4,
    temperature: float = 0.8,
    mean: bool = False,
    uncertainty: bool = False,
    out: Path = Path("samples"),
    seed: int = 0,
    memory: float = MEMORY,
    device: str = "auto",
    overwrite: bool = False,
    results: Path = RESULTS,
) -> list[Path]:
    """Write `num` samples for each picture as PNG files into `out`, and a contact sheet; returns
    their paths: NAME-sample1.png, ..., NAME-mean.png, NAME-deviation.png and .npy, NAME-sheet.png.

    Args:
        run: a run folder, or a name of `releases`: "sr", "vessels".
        pictures: files of any size. Super-resolution: the picture is x, and doubles in size.
        temperature: of the samples, >= 0; 1 samples the model, 0 is its centre.
        mean: also write the mean of 32 samples at temperature 1. Vessels always get that, as the
            marginal probability of a vessel, black 0, white 1.
        uncertainty: also write that mean, and the standard deviation of the 32 samples, the root of
            its mean square over the channels: as PNG, black 0, white 32 grey levels (vessels: 0.5),
            clipped, and as NumPy array, float16 (H,W), in grey levels (vessels: probability).
        seed: of the noise, which is keyed by (seed, place in `pictures`).
        memory: what one pass may take, in GB; a picture that needs more is drawn in tiles, which
            is announced and changes no sample.
        overwrite: replace files that are there.

    Raises, before anything is drawn, DataError (a picture that cannot be read or is below 4 pixels
    a side, negative temperature), CheckpointError, ConfigError (files that are there; also if not
    even the smallest tile fits into `memory`).
    """
    check_temperature(temperature)
    if num < 0:
        raise ConfigError(f"--num {num}: give 0 or more")
    if not 0 < memory < math.inf:
        raise ConfigError(f"--memory {memory:g}: give a number of GB above 0")
    if not pictures:
        raise ConfigError("no picture given: name one or more files")
    stems = [Path(path).stem for path in pictures]
    for stem in stems:
        if stems.count(stem) > 1:
            raise ConfigError(f"two pictures are called '{stem}': sample them into two --out")
    model, config, _ = models.load_model(releases.find(run, results) / releases.WEIGHTS)
    model.to(choose_device(device))
    vessels = config.experiment == "vessels"
    if not (num or mean or uncertainty or vessels):
        raise ConfigError("--num 0 alone draws nothing: add --mean or --uncertainty")
    names = [f"sample{n + 1}.png" for n in range(num)]
    names += [("marginal" if vessels else "mean") + ".png"] * (mean or uncertainty or vessels)
    names += ["deviation.png", "deviation.npy"] * uncertainty + ["sheet.png"]
    if not overwrite:
        check_absent(Path(out), [f"{stem}-{name}" for stem in stems for name in names])
    plans = []
    for path in map(Path, pictures):
        x = to_input(_read(path, vessels))
        size = tuple(model.factor * side for side in fitted(model, x).shape[-2:])
        plans.append((size, plan(model, size, memory * 1e9)))
    if not vessels and config.data.round_x is False:
        print(
            "this model learned from x that is not rounded to whole grey levels, as files are: "
            "its samples are less to be trusted than its scores say"
        )
    written = []
    for index, (path, (size, tiles)) in enumerate(zip(map(Path, pictures), plans, strict=True)):
        photo = _read(path, vessels)
        for note in photo.notes:
            print(f"{path.name}: {note}")
        if tiles is not None:
            print(f"{path.name}: {size[0]}x{size[1]} in {tiles}, for --memory {memory:g}")
        target = Target(Path(out), path, photo, model.factor)
        written += _answer(
            model, config, target, (num, temperature, seed, index), mean, uncertainty, tiles
        )
    return written


def _read(path: Path, vessels: bool) -> Photograph:
    photo = read_photograph(path)
    check_size(path, *photo.pixels.shape[:2], multiple=1, least=LEAST)
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


def to_input(photo: Photograph) -> Tensor:
    """x of a picture, float32 (1,3,H,W), grey levels."""
    return torch.from_numpy(photo.pixels.transpose(2, 0, 1).copy()).float()[None]


# --- what is written for one picture --------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Where the files of one picture go, and what they keep of it."""

    out: Path
    path: Path
    photo: Photograph
    factor: int

    def seen(self, y: Tensor) -> Tensor:
        """What of y (C,H,W) is written: its luma (1,H,W) if the picture is grey."""
        if len(y) == 1 or not self.photo.is_grey:
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
    options: tuple[int, float, int, int],
    mean: bool,
    uncertainty: bool,
    tiles: Tiles | None,
) -> list[Path]:
    """Draw and write everything of one picture; returns the paths."""
    num, temperature, seed, index = options
    photo, vessels = target.photo, config.experiment == "vessels"
    x, grey_levels = to_input(photo), 255 if vessels else 1
    many = 0
    if mean or uncertainty or vessels:
        many = MANY if uncertainty or not isinstance(model, Factorised) else 0
    tiling = 1 if tiles is None else len(list(tiles))
    bar = tqdm(total=tiling * (num + many), desc=target.path.name, disable=None, leave=False)
    written, panels, few, answer = [], {}, Moments(), None
    with bar:
        for n, y in enumerate(draws(model, x, num, temperature, seed, index, tiles, bar.update)):
            answer = target.seen(y)
            pixels = target.with_alpha(to_uint8(grey_levels * answer))
            written.append(target.write(pixels, f"sample{n + 1}", profile=not vessels))
            if n < SHOWN:
                if not many:
                    few.add(answer)
                panels[f"sample {n + 1}"] = pixels
        found, title = None, ""
        if mean or uncertainty or vessels:
            moments = Moments()
            for y in draws(model, x, many, 1.0, seed, index, tiles, bar.update):
                moments.add(target.seen(y))
            if isinstance(model, Factorised):
                found, title = target.seen(expectation(model, x, tiles)), "mean"
            else:
                found, title = moments.mean, f"mean of {many}"
            few, answer = moments if many else few, found
    deviation = few.deviation if few.count > 1 else None
    lines = [_size(target), f"samples at temperature {temperature:g}"] if num else [_size(target)]
    if found is not None:
        pixels = target.with_alpha(to_uint8(grey_levels * found))
        name = "marginal" if vessels else "mean"
        written.append(target.write(pixels, name, profile=not vessels))
        panels[title.replace("mean", name)] = pixels
        also = "" if isinstance(model, Factorised) else f" and deviation of {many} samples"
        lines[-1] += f"; {name}{also}" + " at temperature 1" * bool(also)
    scale = None
    if deviation is not None:
        white = WHITE[config.experiment]
        unit = "" if vessels else " grey levels"
        drawn = to_uint8(deviation * (255 / white))
        panels[f"deviation of {few.count}"] = drawn
        scale = f"deviation: black 0, white {white:g}{unit} or more"
        if uncertainty:
            written.append(target.write(drawn, "deviation", profile=False))
            levels = deviation[0].numpy().astype(np.float16)
            written.append(target.write_array(levels, "deviation"))
            print(f"{written[-2].name}: black 0, white {white:g}{unit} or more; the .npy has them")
    if vessels:
        smooth = torch.zeros(())
        panels = {"photograph": photo.pixels} | panels
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
        why = "where vessels are" if vessels else "where it differs most from bicubic"
    overview = target.with_alpha(photo.pixels)
    sheet = contact_sheet(overview, panels, interest[0].numpy(), why, lines, scale)
    written.append(target.write(sheet, "sheet", profile=False))
    return written


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
