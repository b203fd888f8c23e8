"""Pictures unlike those that a model learned from: what it says of them. Test sets only.

Super-resolution: patches of 32x32 as those of `embedded-sr`, to be compared with its test split:
fundus photographs, noise, text, and the photograph of that split blurred.

Vessels: the eyes of another set with one thing changed, the labels as they were, and pictures
without a vessel, all labels 0. `odd-eye-...` change `embedded-vessels`, `odd-drive-...` change
DRIVE, to be compared with the test split of each. Made here, nothing more to download.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import gaussian_filter

from cnf.errors import DataError
from cnf.replication.data import fundus
from cnf.replication.data.embedded import (
    FUNDUS_SIZE,
    PICTURES,
    SEEDS,
    SIZE,
    embedded_vessels,
    photograph,
)
from cnf.replication.data.examples import Example, ImageSet, Split, Stack

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


class OddEyes(NamedTuple):
    """A changed set of eyes."""

    of: str  # the set whose test split is changed
    change: str  # blur, inverted, colour, none or bare
    what: str


OUT_OF_FOCUS = 0.01  # of the photograph's width, standard deviation of the Gaussian
CHANGES = {
    "blur": "blurred by a Gaussian of 1 % of the width",
    "inverted": "as negatives, vessels bright",
    "colour": "with red and blue exchanged",
}
# what is seen through the window of an eye in `none`; CC0 or public domain, all in scikit-image
SCENES = (
    *("astronaut", "chelsea", "coffee", "rocket", "immunohistochemistry", "hubble_deep_field"),
    *("brick", "grass"),
)
ODD_EYES = {
    f"odd-{short}-{change}": OddEyes(of, change, f"the test photographs of {of}, {what}")
    for short, of in (("eye", "embedded-vessels"), ("drive", "drive"))
    for change, what in CHANGES.items()
} | {
    "odd-eye-bare": OddEyes(
        "embedded-vessels", "bare", "the test eyes of embedded-vessels without their vessels"
    ),
    "odd-eye-none": OddEyes(
        "embedded-vessels", "none", "no eye: other pictures behind the window of embedded-vessels"
    ),
    "odd-drive-none": OddEyes("drive", "none", "no eye: other pictures behind the window of DRIVE"),
}


@lru_cache(maxsize=4)
def oddity(name: str, split: Split) -> ImageSet:
    """One of NAMES, of patches. Raises DataError for a split other than test."""
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


def odd_eyes(name: str, eyes: ImageSet) -> ImageSet:
    """One of ODD_EYES from the test split of the set that it changes.

    Every picture keeps the field of view; blur, inverted and colour keep the labels, the pictures
    of bare and none have no vessel. Outside the field of view nothing is changed.
    """
    change = ODD_EYES[name].change
    if change == "none":
        examples = [_scene(*pair) for pair in zip(SCENES, eyes, strict=False)]
    elif change == "bare":
        examples = [fundus.generate(seed, FUNDUS_SIZE, vessels=False) for seed in SEEDS["test"]]
    else:
        examples = [replace(eye, x=_changed(eye, change)) for eye in eyes]
    return ImageSet(name, "test", "vessels", examples, ODD_EYES[name].what, eyes.stand_in)


def _changed(eye: Example, change: str) -> torch.Tensor:
    x, fov = eye.x.numpy().astype(np.float64), eye.fov.numpy()
    if change == "inverted":
        new = 255 - x
    elif change == "colour":
        new = x[::-1]
    else:  # within the field of view: the dark outside does not leak in
        sigma = OUT_OF_FOCUS * x.shape[-1]
        seen = gaussian_filter(fov.astype(np.float64), sigma)
        new = gaussian_filter(x * fov, (0, sigma, sigma)) / np.maximum(seen, 1e-9)
        new = np.floor(new + 0.5)
    return torch.from_numpy(np.where(fov, new, x).astype(np.uint8))


def _scene(scene: str, eye: Example) -> Example:
    """A picture, cut to the shape of the frame, where the eye was."""
    pixels = getattr(skimage.data, scene)()
    pixels = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels
    size = eye.x.shape[:0:-1]  # (width, height), as Pillow has it
    pixels = np.asarray(ImageOps.fit(Image.fromarray(pixels), size, Image.Resampling.BILINEAR))
    x = torch.where(eye.fov, torch.from_numpy(pixels.transpose(2, 0, 1).copy()), eye.x)
    return Example(scene, torch.zeros_like(eye.y), x, eye.fov)


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
