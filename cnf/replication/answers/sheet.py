"""The contact sheet: what a model makes of one picture, in one picture."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from cnf.replication.panels import (
    GAP,
    HEADING,
    Box,
    Panel,
    busiest,
    compose,
    font,
    line_of_text,
    to_image,
)

SIDE, COLUMNS = 256, 4  # dots of a panel, panels side by side
DETAIL, DETAILS = 128, "ABC"  # pixels of y a side of a place in a large picture; their names
OVERVIEW = 512  # dots, the height of a large picture shown whole
MARK = "#d55e00"


def contact_sheet(
    overview: np.ndarray,
    panels: Mapping[str, Panel],
    interest: Tensor,
    why: str,
    lines: Sequence[str],
) -> np.ndarray:
    """The answers of a model for one picture, uint8 (h,w,3): the whole picture if it is small, else
    the places where `interest` is largest.

    Args:
        overview: the whole picture, uint8, of any size.
        panels: {title: uint8 or `Deviation`, of y's size (H,W)}.
        interest: (H,W), >= 0. why: what it shows, in words.
        lines: of text, below.
    """
    if max(interest.shape) <= SIDE:
        return compose([("", panels)], SIDE, COLUMNS, lines)
    places = dict(zip(DETAILS, busiest(interest, DETAIL, DETAIL // 4, len(DETAILS)), strict=False))
    blocks = [(k, {title: p[box] for title, p in panels.items()}) for k, box in places.items()]
    sheet = compose(blocks, SIDE, COLUMNS, lines)
    heading = line_of_text(f"{why}: {', '.join(places)}", sheet.shape[1], HEADING, bold=True)
    height, width = interest.shape
    overview_strip = marked(overview, places, (height, width), sheet.shape[1])
    return np.concatenate([heading, overview_strip, sheet])


def marked(
    picture: np.ndarray, places: Mapping[str, Box], size: tuple[int, int], width: int
) -> np.ndarray:
    """A picture made small where it does not fit, with the places of y, of `size`, marked."""
    image = to_image(picture)
    image.thumbnail((width - 2 * GAP, OVERVIEW), Image.Resampling.LANCZOS)
    strip = Image.new("RGB", (width, image.height), "white")
    strip.paste(image, (GAP, 0))
    ink = ImageDraw.Draw(strip)
    for name, (rows, columns) in places.items():
        left, right = (GAP + n * image.width / size[1] for n in (columns.start, columns.stop))
        top, bottom = (n * image.height / size[0] for n in (rows.start, rows.stop))
        box = left, top, max(left, right - 1), max(top, bottom - 1)
        ink.rectangle(box, outline=MARK, width=2)
        ink.text((left + 4, top + 2), name, MARK, font(), stroke_width=2, stroke_fill="white")
    return np.asarray(strip)
