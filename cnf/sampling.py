"""`python -m cnf sample`: what a trained model makes of a reader's own pictures."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from cnf import models, noise, plotting
from cnf import results as ledger
from cnf.data.images import read_image
from cnf.errors import CheckpointError, ConfigError
from cnf.evaluation import SAMPLES_DRAW, choose_device, extend
from cnf.factorised import Factorised
from cnf.model import ConditionalModel, check_temperature
from cnf.results import RESULTS

TILE, MARGIN = 512, 32  # pixels of x; multiples of 32, so that tiles lie on the grid of any model
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

    Raises DataError (unreadable picture, negative temperature), CheckpointError, ConfigError.
    """
    check_temperature(temperature)
    if num < 0:
        raise ConfigError(f"--num {num}: give 0 or more")
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
        for n in range(num):
            y = draw(model, x, temperature, seed, index, n)
            written.append(_write(y * 255 if vessels else y, stem, f"sample{n + 1}"))
        if mean or vessels:
            y = expectation(model, x, seed, index)
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


@torch.no_grad()
def draw(
    model: ConditionalModel, x: Tensor, temperature: float, seed: int, index: int, n: int
) -> Tensor:
    """Sample number n for one picture x (1,3,H,W) of any size: y (C, factor H, factor W)."""
    generator = noise.keyed(seed, [index], SAMPLES_DRAW - n)
    return in_tiles(model, x, lambda part: model.sample(part, 1, temperature, generator)[0])


@torch.no_grad()
def expectation(model: ConditionalModel, x: Tensor, seed: int, index: int) -> Tensor:
    """The mean of y for one picture x (1,3,H,W): the model's own, or that of 32 samples."""
    if isinstance(model, Factorised):
        return in_tiles(model, x, model.mean)
    total = 0.0
    for n in range(MARGINAL):
        total = total + draw(model, x, 1.0, seed, index, n)
    return total / MARGINAL


def in_tiles(model: ConditionalModel, x: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """`apply`, which maps x (1,3,h,w) to y, on a picture of any size, tile by tile.

    A tile sees MARGIN pixels around itself, and beyond the right and bottom of the picture what
    `extend` puts there; only the tile itself is kept. Returns y (C, factor H, factor W).
    """
    height, width = x.shape[-2:]
    factor = model.factor
    step = math.lcm(model.multiple, factor) // factor
    device = next(model.parameters()).device
    rows = []
    for top in range(0, height, TILE):
        row = []
        for left in range(0, width, TILE):
            above, before = max(0, top - MARGIN), max(0, left - MARGIN)
            part = x[..., above : top + TILE + MARGIN, before : left + TILE + MARGIN]
            bottom, right = (-side % step for side in part.shape[-2:])
            y = apply(extend(part, bottom, right, factor > 1).to(device))[0].cpu()
            inside = [
                slice(factor * (start - first), factor * (min(start + TILE, side) - first))
                for start, first, side in ((top, above, height), (left, before, width))
            ]
            row.append(y[:, inside[0], inside[1]])
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)
