"""Pictures that are no photographs of daily life: what a likelihood says of them.

Patches of 32x32 as those of `embedded-sr`, to be compared with its test split: fundus photographs,
noise, text, and the photograph of that split blurred. Made here, nothing to download; test sets
only.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from cnf.data.embedded import PICTURES, SIZE, embedded_vessels, photograph
from cnf.data.examples import ImageSet, Split, Stack
from cnf.errors import DataError

BLUR = 2.0  # pixels, standard deviation of the Gaussian
PAGE = (288, 448)  # (height, width) of the pages of noise and text, cut into 126 patches
LINE = 12  # pixels from a line of text to the next
TEXT = (
    "A picture is worth a thousand words, and a page of words is no picture of a thousand things: "
    "its edges are sharp, its grounds are flat, and 0123456789 of its letters repeat (again). "
)
NAMES = {
    "odd-vessels": "fundus photographs of embedded-vessels",
    "odd-noise": "independent uniform grey levels",
    "odd-text": "black letters on white",
    "odd-blur": "the test photograph of embedded-sr, blurred by a Gaussian of 2 pixels",
}


@lru_cache(maxsize=4)
def oddity(name: str, split: Split) -> ImageSet:
    """One of NAMES. Raises DataError for a split other than test."""
    if split != "test":
        raise DataError(f"{name} has no {split} split: it is a test set, never trained on")
    names, patches = [], []
    for page, pixels in _pages(name):
        for top in range(0, pixels.shape[0] - SIZE + 1, SIZE):
            for left in range(0, pixels.shape[1] - SIZE + 1, SIZE):
                names.append(f"{page}-{top}-{left}")
                patches.append(pixels[top : top + SIZE, left : left + SIZE])
    y = torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).contiguous()
    return ImageSet(name, split, "sr", Stack(names, y), NAMES[name], stand_in=True)


def _pages(name: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, uint8 (H,W,3)) of the pictures that are cut."""
    if name == "odd-vessels":
        for example in embedded_vessels("test"):  # the middle: its corners are black
            pixels = example.x.numpy().transpose(1, 2, 0)
            top, left = ((side - 4 * SIZE) // 2 for side in pixels.shape[:2])
            yield example.name, pixels[top : top + 4 * SIZE, left : left + 4 * SIZE]
    elif name == "odd-noise":
        yield "noise", np.random.default_rng(0).integers(0, 256, (*PAGE, 3), np.uint8)
    elif name == "odd-text":
        yield "text", _text()
    else:
        for picture, _ in PICTURES["test"]:
            pixels = photograph(picture).astype(np.float64)
            blurred = gaussian_filter(pixels, (BLUR, BLUR, 0), mode="reflect")
            yield picture, np.floor(blurred + 0.5).astype(np.uint8)


def _text() -> np.ndarray:
    """A page of TEXT in Pillow's bitmap font, which looks the same on every machine."""
    page = Image.new("L", PAGE[::-1], 255)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default_imagefont()
    for number, top in enumerate(range(0, PAGE[0], LINE)):
        start = 7 * number % len(TEXT)  # no two lines begin alike
        pen.text((0, top), (TEXT[start:] + TEXT)[:100], fill=0, font=font)
    return np.stack([np.asarray(page)] * 3, -1)
