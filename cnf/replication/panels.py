"""Pictures made of panels with titles, maps of deviations with their scale, and the places of a
large picture where there is most to see.

Pixels stay pixels: panels are enlarged by whole numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import EllipsisType

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from cnf.replication.plotting import to_uint8
from cnf.replication.tasks.task import Task

SIDE, COLUMNS = 192, 3  # dots of a panel, panels side by side: what a phone shows
GAP, TITLE, SCALE, HEADING = 10, 24, 22, 44  # dots
CHECKERS = 8  # pixels a side of the squares behind what is transparent
INK = "#222222"

Box = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, eq=False)
class Deviation:
    """A map of deviations (H,W), in units of y. It is shown in colours, up to the `white` of its
    task, above a scale."""

    values: Tensor
    task: Task

    def __getitem__(self, box: tuple[slice | EllipsisType, ...]) -> "Deviation":
        return Deviation(self.values[box], self.task)


# as in a file, uint8 (H,W), (H,W,3), with alpha (H,W,2), (H,W,4); grey levels (1,H,W), (3,H,W)
Panel = np.ndarray | Tensor | Deviation


def white(task: Task) -> float:
    """The deviation that is shown white, in units of y."""
    return max(task.bins / 8, 0.5)


def unit(task: Task) -> str:
    """How a deviation of y is followed in a sentence."""
    return "" if task.is_binary else " grey levels"


def compose(
    blocks: Sequence[tuple[str, Mapping[str, Panel]]],
    side: int = SIDE,
    columns: int = COLUMNS,
    lines: Sequence[str] = (),
) -> np.ndarray:
    """Blocks of (heading, {title: panel}) below one another, panels of at most `side` dots side by
    side, and lines of text at the end; uint8 (h,w,3)."""
    columns = min(columns, max(len(panels) for _, panels in blocks))
    texts = [GAP + int(font().getlength(line)) for line in lines]
    width = max([columns * (side + GAP), *texts]) + GAP
    strips = []
    for heading, panels in blocks:
        if heading:
            strips.append(line_of_text(heading, width, HEADING, bold=True))
        row = list(panels.items())
        for start in range(0, len(row), columns):
            strips.append(_row(row[start : start + columns], side, width))
    strips += [line_of_text(line, width, TITLE) for line in lines]
    return np.concatenate([*strips, line_of_text("", width, GAP)])


def busiest(interest: Tensor, side: int, step: int, count: int = 1) -> list[Box]:
    """Up to `count` windows of `side` pixels (or of the picture, if that is smaller) that do not
    overlap and start at multiples of `step`, where the mean of `interest` (H,W), >= 0, is largest.
    """
    tall, wide = (min(side, length) for length in interest.shape)
    means = F.avg_pool2d(interest[None].double(), (tall, wide), step)[0]
    boxes: list[Box] = []
    # windows at most so many steps apart overlap
    rows_apart, columns_apart = (tall - 1) // step, (wide - 1) // step
    while len(boxes) < count and means.max() >= 0:
        row, column = divmod(int(means.argmax()), means.shape[1])
        top, left = step * row, step * column
        boxes.append((slice(top, top + tall), slice(left, left + wide)))
        rows = slice(max(0, row - rows_apart), row + rows_apart + 1)
        means[rows, max(0, column - columns_apart) : column + columns_apart + 1] = -1
    return boxes


def to_image(panel: Panel) -> Image.Image:
    """A panel as RGB; transparent pixels show a chequerboard."""
    if isinstance(panel, Deviation):
        colours = matplotlib.colormaps["inferno"](panel.values.double().numpy() / white(panel.task))
        pixels = to_uint8(255 * colours[..., :3].transpose(2, 0, 1))
    else:
        pixels = to_uint8(panel) if isinstance(panel, Tensor) else panel
    image = Image.fromarray(pixels)
    squares = np.indices(pixels.shape[:2]) // CHECKERS
    board = Image.fromarray(np.where(squares.sum(0) % 2, 204, 255).astype(np.uint8))
    return Image.alpha_composite(board.convert("RGBA"), image.convert("RGBA")).convert("RGB")


def _row(panels: Sequence[tuple[str, Panel]], side: int, width: int) -> np.ndarray:
    images = [to_image(panel) for _, panel in panels]
    nearest = Image.Resampling.NEAREST
    scaled = [ImageOps.scale(image, max(1, side // max(image.size)), nearest) for image in images]
    height = TITLE + max(image.height for image in scaled)
    has_maps = any(isinstance(panel, Deviation) for _, panel in panels)
    strip = Image.new("RGB", (width, height + SCALE * has_maps), "white")
    ink = ImageDraw.Draw(strip)
    for column, ((title, panel), image) in enumerate(zip(panels, scaled, strict=True)):
        left = GAP + column * (side + GAP)
        ink.text((left + side / 2, TITLE / 2), title, INK, font(), anchor="mm")
        strip.paste(image, (left + (side - image.width) // 2, TITLE))
        if isinstance(panel, Deviation):
            end, long = white(panel.task), max(image.width, 3 * side // 4)
            start, middle = left + (side - long) // 2, height + SCALE / 2
            ramp = torch.linspace(0, end, long).expand(SCALE, long)
            strip.paste(to_image(Deviation(ramp, panel.task)), (start, height))
            ink.text((start + 4, middle), "0", "white", font(), anchor="lm")
            text = f"{end:g}{unit(panel.task)}"
            ink.text((start + long - 4, middle), text, "black", font(), anchor="rm")
    return np.asarray(strip)


def line_of_text(text: str, width: int, height: int, bold: bool = False) -> np.ndarray:
    strip = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(strip).text((GAP, height / 2), text, INK, font(bold), anchor="lm")
    return np.asarray(strip)


@cache
def font(bold: bool = False) -> ImageFont.FreeTypeFont:
    """The fonts of the book's figures."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    return ImageFont.truetype(str(path), 19 if bold else 16)
