"""`python -m cnf sample`: what a trained model makes of a reader's own pictures.

A picture is drawn in one pass; where that would take more memory than allowed, in tiles that share
the picture's noise, and the samples are the same.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cnf import models, noise, plotting
from cnf import results as ledger
from cnf.data.images import read_image
from cnf.errors import CheckpointError, ConfigError
from cnf.factorised import Factorised
from cnf.model import ConditionalModel, check_temperature
from cnf.results import RESULTS
from cnf.subject import SAMPLES_DRAW, choose_device, extend
from cnf.tiling import Tiles, grid, plan

MEMORY = 4.0  # GB for one pass, beside Python and its libraries
MARGINAL = 32  # samples for a mean or a marginal


def sample(
    run: str,
    pictures: Sequence[Path],
    *,
    num: int = 4,
    temperature: float = 0.8,
    mean: bool = False,
    out: Path = Path("samples"),
    seed: int = 0,
    memory: float = MEMORY,
    device: str = "auto",
    results: Path = RESULTS,
) -> list[Path]:
    """Write `num` samples for each picture as PNG files into `out`; returns their paths.

    Args:
        run: a run folder, or "sr" or "vessels": the newest committed flow.
        pictures: files of any size. Super-resolution: the picture is x, and doubles in size.
        temperature: of the samples, >= 0; 1 samples the model, 0 is its centre.
        mean: also write the mean of 32 samples at temperature 1. Vessels always get that, as the
            marginal probability of a vessel, black 0, white 1.
        seed: of the noise, which is keyed by (seed, place in `pictures`).
        memory: what one pass may take, in GB; a picture that needs more is drawn in tiles, which
            is announced and changes no sample.

    Raises DataError (unreadable picture, negative temperature), CheckpointError, ConfigError (also
    if not even the smallest tile fits into `memory`).
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
    folder = find_run(run, results)
    model, config, _ = models.load_model(folder / "weights.safetensors")
    model.to(choose_device(device))
    vessels = config.experiment == "vessels"
    written = []
    for index, path in enumerate(pictures):
        x = torch.from_numpy(read_image(Path(path)).transpose(2, 0, 1).copy()).float()[None]
        stem = Path(out) / Path(path).stem
        size = tuple(model.factor * side for side in fitted(model, x).shape[-2:])
        tiles = plan(model, size, memory * 1e9)
        if tiles is not None:
            print(f"{Path(path).name}: {size[0]}x{size[1]} in {tiles}, for --memory {memory:g}")
        for n in range(num):
            y = draw(model, x, temperature, seed, index, n, tiles)
            written.append(_write(y * 255 if vessels else y, stem, f"sample{n + 1}"))
        if mean or vessels:
            y = expectation(model, x, seed, index, tiles)
            name = "marginal" if vessels else "mean"
            written.append(_write(y * 255 if vessels else y, stem, name))
    return written


def _write(y: Tensor, stem: Path, name: str) -> Path:
    return plotting.save_image(plotting.to_uint8(y), stem.with_name(f"{stem.name}-{name}.png"))


def find_run(run: str, results: Path = RESULTS) -> Path:
    """A run folder, or for "sr" and "vessels" the committed flow with the newest row."""
    if run not in ("sr", "vessels"):
        if not (Path(run) / "weights.safetensors").exists():
            raise CheckpointError(
                f"{run} holds no weights.safetensors: give a run folder, 'sr' or 'vessels'"
            )
        return Path(run)
    for row in reversed(ledger.read(results)):
        if row.experiment == run and row.model == "flow" and row.weights is not None:
            folder = (results.parent / row.weights).parent
            if (folder / "weights.safetensors").exists():
                return folder
    raise CheckpointError(
        f"no trained flow for '{run}' is in the repository: train one with "
        f"`python -m cnf train {run}` and give its folder"
    )


# --- one picture ----------------------------------------------------------------------------------


@torch.no_grad()
def draw(
    model: ConditionalModel,
    x: Tensor,
    temperature: float,
    seed: int,
    index: int,
    n: int,
    tiles: Tiles | None = None,
) -> Tensor:
    """Sample number n for one picture x (1,3,H,W) of any size: y (C, factor H, factor W)."""
    return in_tiles(
        model,
        x,
        lambda part, generator: model.sample(part, 1, temperature, generator)[0],
        lambda: noise.keyed(seed, [index], SAMPLES_DRAW - n),
        tiles,
    )


@torch.no_grad()
def expectation(
    model: ConditionalModel, x: Tensor, seed: int, index: int, tiles: Tiles | None = None
) -> Tensor:
    """The mean of y for one picture x (1,3,H,W): the model's own, or that of 32 samples."""
    if isinstance(model, Factorised):
        return in_tiles(model, x, lambda part, _: model.mean(part), list, tiles)
    draws = (draw(model, x, 1.0, seed, index, n, tiles) for n in range(MARGINAL))
    return sum(draws) / MARGINAL


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
