"""Pictures unlike those that a model was trained on. Test sets only, made here without a download.

Patches of 32x32 (`odd-vessels` and others) are compared with the test split of `embedded-sr`. The
eyes of another set with one thing changed (`odd-eye-...`, `odd-drive-blur`) are compared with that
set. The catalogue of image sets names the functions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from scipy.ndimage import gaussian_filter

from cnf.replication.data import fundus
from cnf.replication.data.catalogue import Entry
from cnf.replication.data.embedded import FUNDUS_SIZE, PICTURES, SEEDS, SIDE, photograph
from cnf.replication.data.examples import Example, ImageSet, Split
from cnf.replication.data.photographs import grid

BLUR = 2.0  # pixels, standard deviation of the Gaussian
PAGE = (288, 448)  # (height, width) of the pages of noise and text, cut into 126 patches
LINE = 12  # pixels from a line of text to the next
TEXT = (
    "A picture is worth a thousand words, and a page of words is no picture of a thousand things: "
    "its edges are sharp, its grounds are flat, and 0123456789 of its letters repeat (again). "
)
# pictures that `scenes` puts in place of an eye; CC0 or public domain, from scikit-image
SCENES = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "immunohistochemistry",
    "hubble_deep_field",
    "brick",
    "grass",
)

Pages = Iterator[tuple[str, np.ndarray]]  # name, uint8 (H,W,3)


def read_patches(entry: Entry, split: Split, folder: Path | None, kind: str) -> ImageSet:
    """Patches of pages, side by side."""
    pages = {"eyes": eyes, "noise": noise, "text": text, "blurred": blurred}[kind]()
    return ImageSet.of(entry, split, grid(((name, pixels, SIDE) for name, pixels in pages), SIDE))


def eyes() -> Pages:
    """The middle of fundus pictures, whose corners are black."""
    low, high = FUNDUS_SIZE // 2 - 2 * SIDE, FUNDUS_SIZE // 2 + 2 * SIDE
    for seed in SEEDS["test"]:
        example = fundus.generate(seed, FUNDUS_SIZE)
        yield example.name, example.x.numpy().transpose(1, 2, 0)[low:high, low:high]


def noise() -> Pages:
    """Independent uniform grey levels."""
    yield "noise", np.random.default_rng(0).integers(0, 256, (*PAGE, 3), np.uint8)


def text() -> Pages:
    """A page of TEXT in Pillow's bitmap font, which looks the same on every machine."""
    page = Image.new("L", PAGE[::-1], 255)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default_imagefont()
    for number, top in enumerate(range(0, PAGE[0], LINE)):
        start = 7 * number % len(TEXT)  # no two lines begin alike
        pen.text((0, top), (TEXT[start:] + TEXT)[:100], fill=0, font=font)
    yield "text", np.stack([np.asarray(page)] * 3, -1)


def blurred() -> Pages:
    """The test photograph of embedded-sr, out of focus."""
    for picture, _ in PICTURES["test"]:
        pixels = photograph(picture).astype(np.float64)
        pixels = gaussian_filter(pixels, (BLUR, BLUR, 0), mode="reflect")
        yield picture, np.floor(pixels + 0.5).astype(np.uint8)


# Eyes with one thing changed. Outside the field of view nothing changes. Labels stay as they are
# unless the vessels are gone.


def blur(eyes: Sequence[Example]) -> list[Example]:
    """The eyes out of focus. The blur stays inside the field of view, so that the dark outside does
    not enter."""
    blurred_eyes = []
    for eye in eyes:
        x, fov = eye.x.double().numpy(), eye.fov.double().numpy()
        sigma = 0.01 * x.shape[-1]  # standard deviation of the Gaussian in pixels
        weighted, weight = gaussian_filter(x * fov, (0, sigma, sigma)), gaussian_filter(fov, sigma)
        blurred_eyes.append(_within(eye, np.floor(weighted / np.maximum(weight, 1e-9) + 0.5)))
    return blurred_eyes


def inverted(eyes: Sequence[Example]) -> list[Example]:
    """The eyes as negatives: vessels are bright."""
    return [_within(eye, 255 - eye.x.numpy()) for eye in eyes]


def colour(eyes: Sequence[Example]) -> list[Example]:
    """Red and blue exchanged."""
    return [_within(eye, eye.x.numpy()[::-1]) for eye in eyes]


def bare(eyes: Sequence[Example]) -> list[Example]:
    """The eyes of embedded-vessels without their vessels."""
    return [fundus.generate(seed, FUNDUS_SIZE, vessels=False) for seed in SEEDS["test"]]


def scenes(eyes: Sequence[Example]) -> list[Example]:
    """SCENES, cut to the shape of the frame, where the eye was."""
    examples = []
    for scene, eye in zip(SCENES, eyes, strict=False):
        pixels = Image.fromarray(photograph(scene)).convert("RGB")
        size = eye.x.shape[:0:-1]  # (width, height), as Pillow has it
        pixels = np.asarray(ImageOps.fit(pixels, size, Image.Resampling.BILINEAR))
        eye = _within(eye, pixels.transpose(2, 0, 1))
        examples.append(Example(scene, torch.zeros_like(eye.y), eye.x, eye.fov))
    return examples


def _within(eye: Example, new: np.ndarray) -> Example:
    """An eye with other pixels (3,H,W) within its field of view."""
    x = np.where(eye.fov.numpy(), new, eye.x.numpy())
    return replace(eye, x=torch.from_numpy(x.astype(np.uint8)))
