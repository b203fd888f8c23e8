"""One picture that shows what a model made of a photograph: the contact sheet of `sample`.

Pixels stay pixels: panels are enlarged by whole numbers. Of a large picture the sheet shows places
where its answers differ most, a line each, and where those are.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PANEL = 256  # screen pixels of a panel
DETAIL = 128  # pixels of y a side of a detail of a large picture
DETAILS = "ABC"
COLUMNS = 4  # panels side by side where a picture is shown whole
GAP, INK, MARK = 8, "#222222", "#d55e00"
CHECKERS = 8  # pixels a side of the squares behind what is transparent

Box = tuple[slice, slice]  # rows, columns


def contact_sheet(
    overview: np.ndarray,
    panels: Mapping[str, np.ndarray],
    interest: np.ndarray,
    why: str,
    lines: Sequence[str],
    scale: str | None = None,
) -> np.ndarray:
    """Draw a sheet, uint8 (h,w,3).

    Args:
        overview: the whole picture, uint8 as a panel, of any size.
        panels: {title: picture of y's size, uint8 (H,W), (H,W,3) or RGBA (H,W,4)}; transparency
            shows a chequerboard.
        interest: (H,W), >= 0: details are where it is largest. why: says what it is.
        lines: of text, beneath. scale: what white means in the last panel, drawn under it.
    """
    boxes = details(interest)
    height, width = interest.shape
    whole = len(boxes) == 1 and (boxes[0][0].stop, boxes[0][1].stop) == (height, width)
    tall, wide = (axis.stop - axis.start for axis in boxes[0])
    zoom = max(1, PANEL // max(tall, wide))
    cell = (max(zoom * wide, 120), zoom * tall)  # width, height; titles need some width
    font = _font()
    head = font.size + GAP
    columns = min(len(panels), COLUMNS) if whole else len(panels)
    lines_of_panels = -(-len(panels) // columns) if whole else len(boxes)
    step = cell[1] + (head if whole else GAP)  # from a line of panels to the next
    rows_high = (lines_of_panels - 1) * step + cell[1]
    left = 0
    if not whole:
        shrunk = _shrink(flatten(overview), rows_high, 3 * PANEL)
        ratio = shrunk.shape[0] / height, shrunk.shape[1] / width
        left = shrunk.shape[1] + 3 * GAP
    text_width = max((font.getlength(line) for line in lines), default=0)
    size = (
        int(max(left + columns * (cell[0] + GAP) - GAP, text_width)) + 2 * GAP,
        2 * GAP + head + rows_high + (head if scale else 0) + head * len(lines),
    )
    sheet = Image.new("RGB", size, "white")
    ink = ImageDraw.Draw(sheet)
    if not whole:
        sheet.paste(Image.fromarray(shrunk), (GAP, GAP + head))
        ink.text((GAP, GAP), f"{why}: {', '.join(DETAILS[: len(boxes)])}", INK, font)
        for name, (down, across) in zip(DETAILS, boxes, strict=False):
            corner = [GAP + across.start * ratio[1], GAP + head + down.start * ratio[0]]
            corner += [GAP + across.stop * ratio[1] - 1, GAP + head + down.stop * ratio[0] - 1]
            ink.rectangle(corner, outline=MARK, width=2)
            ink.text((corner[0] + 4, corner[1] + 2), name, MARK, font, **_HALO)
    for place, (title, panel) in enumerate(panels.items()):
        line, column = divmod(place, columns)
        x, y = GAP + left + column * (cell[0] + GAP), GAP + head + line * step
        ink.text((x, y - head), title, INK, font)
        for row, box in enumerate(boxes):
            part = flatten(panel[box]).repeat(zoom, 0).repeat(zoom, 1)
            sheet.paste(Image.fromarray(part), (x, y + row * step))
            if not whole and column == 0:
                ink.text((x + 4, y + row * step + 2), DETAILS[row], MARK, font, **_HALO)
    bottom = GAP + head + rows_high
    if scale:
        ramp = np.tile(np.linspace(0, 255, cell[0]).round().astype(np.uint8), (GAP, 1))
        sheet.paste(Image.fromarray(ramp).convert("RGB"), (x, bottom + GAP // 2))
        before = x - GAP - font.getlength(scale)
        ink.text((before if before > 0 else x + cell[0] + GAP, bottom), scale, INK, font)
        bottom += head
    for line in lines:
        ink.text((GAP, bottom + GAP // 2), line, INK, font)
        bottom += head
    return np.asarray(sheet)


def details(interest: np.ndarray) -> list[Box]:
    """Where to look: the whole of a picture of up to PANEL pixels a side; of a larger one up to
    three windows of DETAIL that do not overlap, where the mean of `interest` is largest."""
    height, width = interest.shape
    if max(height, width) <= PANEL:
        return [(slice(0, height), slice(0, width))]
    tall, wide = min(DETAIL, height), min(DETAIL, width)
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = interest.cumsum(0, dtype=np.float64).cumsum(1)
    tops, lefts = (_starts(*sides) for sides in ((height, tall), (width, wide)))
    down, across = np.ix_(tops, lefts)
    sums = total[down + tall, across + wide] - total[down, across + wide]
    sums += total[down, across] - total[down + tall, across]
    found: list[Box] = []
    for place in np.argsort(-sums, axis=None, kind="stable"):
        row, column = np.unravel_index(place, sums.shape)
        top, left = int(tops[row]), int(lefts[column])
        if all(abs(top - b[0].start) >= tall or abs(left - b[1].start) >= wide for b in found):
            found.append((slice(top, top + tall), slice(left, left + wide)))
        if len(found) == len(DETAILS):
            break
    return found


def _starts(side: int, window: int) -> np.ndarray:
    """Where windows may start: every quarter of one, and at the end."""
    return np.unique([*range(0, side - window + 1, window // 4 or 1), side - window])


def flatten(picture: np.ndarray) -> np.ndarray:
    """uint8 (H,W), (H,W,1 to 4) -> RGB (H,W,3): grey as grey, alpha over a chequerboard."""
    if picture.ndim == 2:
        picture = picture[..., None]
    colour, alpha = picture, None
    if picture.shape[2] in (2, 4):
        colour, alpha = picture[..., :-1], picture[..., -1:] / 255
    colour = np.broadcast_to(colour, (*picture.shape[:2], 3))
    if alpha is None:
        return np.ascontiguousarray(colour)
    rows, columns = np.indices(picture.shape[:2]) // CHECKERS
    board = np.where((rows + columns) % 2, 204, 255)[..., None]
    return (alpha * colour + (1 - alpha) * board + 0.5).astype(np.uint8)


def _shrink(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture at most so high and wide, its shape kept; never enlarged beyond the height."""
    ratio = min(height / picture.shape[0], width / picture.shape[1])
    size = tuple(max(1, round(ratio * side)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


_HALO = {"stroke_width": 2, "stroke_fill": "white"}


@cache
def _font() -> ImageFont.FreeTypeFont:
    """The font of the book's figures."""
    fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 15)
