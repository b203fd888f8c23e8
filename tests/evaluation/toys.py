"""Image sets of a few small pictures, and values of metrics on them."""

import numpy as np
import skimage.data
import torch

from cnf.replication.data import Example, ImageSet
from cnf.replication.evaluation.scoring import settings_of, values
from cnf.replication.measures import MEASURES
from cnf.replication.metrics import compute


def photographs(name="embedded-sr", split="test"):
    """Three crops of a photograph, larger than patches, of two sizes."""
    pixels = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)
    sizes = ((68, 32), (68, 32), (72, 28))
    places = [(100, 60 * n, *size) for n, size in enumerate(sizes)]
    ys = [pixels[:, r : r + h, c : c + w].contiguous() for r, c, h, w in places]
    examples = [Example(f"crop-{n}", y) for n, y in enumerate(ys)]
    return ImageSet(name, split, "pictures", examples, "cut from a cat", stand_in=True)


def patches(name="patches", split="test"):
    return ImageSet(
        name, split, "pictures", [Example("one", photographs()[0].y[:, :32, :32])], "cut"
    )


def eyes(name="embedded-vessels", split="test", count=3, size=(16, 20), seconds=True, bare=False):
    """Thick lines for vessels, drawn by two observers; the right edge is not in view."""
    examples = []
    for n in range(count):
        rng = np.random.default_rng([n, len(split)])
        y, second = (torch.zeros(1, *size, dtype=torch.uint8) for _ in range(2))
        if not bare:
            y[0, 3 + n : 6 + n, :], y[0, :, 8] = 1, 1
        second[0, 4 + n : 6 + n, :] = 1
        x = torch.from_numpy(rng.integers(0, 60, (3, *size)).astype(np.uint8)) + 150 * y
        fov = torch.ones(size, dtype=torch.bool)
        fov[:, -4:] = False
        examples.append(Example(f"picture-{n}", y, x, fov, second if seconds else None))
    return ImageSet(name, split, "labelled", examples, "drawn", stand_in=True)


def value(m, name, **fields):
    """The value of a metric at the only setting of an evaluation that has these fields."""
    measure = MEASURES[name]
    found = [
        s for s in settings_of(measure, m) if all(getattr(s, k) == v for k, v in fields.items())
    ]
    (setting,) = found
    return compute(measure, m, setting)


def told(m, *tags):
    """The metrics that an evaluation of these tags tells of a model or a reference."""
    return {measure.name for measure, _, _ in values(m, tags)}
