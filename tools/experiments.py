"""The data of the small widgets of lessons 10 to 17: pictures, masks and numbers of their pages.

`python -m tools.widgets NAME` writes what the function NAME returns to
book/_static/draws/NAME.mjs; the lessons and tests/book/test_experiments.py compare it with models
and rows.
"""

import base64
import itertools
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from book import one_eye
from cnf.replication import results
from cnf.replication.data.embedded import photograph

FACE = np.s_[78:142, 188:252]  # of scikit-image's astronaut, as in lesson 10
PART = np.s_[..., 56:168, 28:140]  # of the eye of lessons 14 and 15
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"

BITS = {
    "split": "test",
    "noise_seed": 0,
    "bound": ["*dequantization", "exact"],
    "draws": [5, 1, 0],
}
EYES = BITS | {"data": "drive", "metric": "bits_per_pixel", "divided_by": "all pixels"}
PICTURES = BITS | {
    "data": "tinyimagenet32",
    "metric": "bits_per_dim",
    "limit": None,
    "rounded_x": True,
}
# tones of lessons.js: 1 a factorised model, 2 a control, 0 a flow, 3 the exact yardstick
VESSEL_MODELS = [
    ("factorised", "vessels-baseline-muon-s0", 1),
    ("counts of labels, no photograph", "vessels-control-counts", 2),
    ("counts, and the factorised logit", "vessels-control-logit", 2),
    ("flow of couplings", "vessels-flow-lambda0-s0", 0),
    ("flow, autoregressive prior", "vessels-flow-ar-cpu-s0", 0),
    ("autoregressive, exact", "vessels-autoregressive-cpu-s0", 3),
]
PICTURE_MODELS = [
    ("factorised", "sr-baseline-muon-s0", 1),
    ("one Gaussian", "sr-control-gaussian-x8", 2),
    ("a mixture of sixteen", "sr-control-mixture-x8", 2),
    ("flow of couplings", "sr-flow-cpu-s0", 0),
    ("flow, autoregressive prior", "sr-flow-ar-cpu-s0", 0),
]


def rolled(mask: np.ndarray) -> str:
    """A mask as the lengths of its runs row by row, of 0 first: a digit each. The last digit means
    that the run goes on."""
    text, most = "", len(DIGITS) - 1
    pixels = mask.astype(int).ravel()
    runs = [(value, len(list(run))) for value, run in itertools.groupby(pixels)]
    for _, length in runs if pixels[0] == 0 else [(0, 0), *runs]:
        text += DIGITS[most] * (length // most) + DIGITS[length % most]
    return text


def jpeg(pixels: np.ndarray) -> str:
    """RGB uint8 (H,W,3) as a file in base64."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode()


def from_jpeg(text: str) -> np.ndarray:
    """The pixels (H,W,3) of such a file, as floats."""
    return np.asarray(Image.open(BytesIO(base64.b64decode(text)))).astype(float)


def face() -> dict:
    """A square of a photograph for `halves`: its side, and its RGB values row by row in base64."""
    part = photograph("astronaut")[FACE]
    return {"side": len(part), "rgb": base64.b64encode(part.tobytes()).decode()}


def observers() -> dict:
    """A part of the eye of lesson 14 for `observers`: the photograph, by how many grey levels (0 to
    15) green is darker than around a pixel, as hexadecimal digits, and two drawings."""
    eye = one_eye.load()
    photograph_part = eye.x[0][PART].byte().permute(1, 2, 0).numpy()
    green = eye.x[0, 1].double().numpy()
    deeper = ndimage.uniform_filter(green, 15) - ndimage.uniform_filter(green, 3)
    levels = np.clip(np.floor(deeper[PART] + 1e-6), 0, 15).astype(int)
    return {
        "side": len(levels),
        "photograph": jpeg(np.ascontiguousarray(photograph_part)),
        "dark": "".join(f"{level:x}" for level in levels.ravel()),
        "first": rolled(eye.first[PART].numpy()),
        "second": rolled(eye.second[PART].numpy()),
    }


def marginals() -> dict:
    """Of the eye of lesson 15, for `threshold`: for every k the number of pixels where k samples
    have a vessel, and how many of those the first observer drew."""
    eye = one_eye.load()
    n, k = len(eye.samples), eye.samples.sum(0).flatten()
    counts = torch.bincount(k, minlength=n + 1)
    vessels = torch.bincount(k[eye.first.flatten() > 0], minlength=n + 1)
    return {"samples": n, "counts": counts.tolist(), "vessels": vessels.tolist()}


def controls() -> dict:
    """Bits of the models of lesson 17, for `controls`."""
    rows = results.read_rows()

    def models(named: list[tuple[str, str, int]], wanted: dict) -> list[dict]:
        found = []
        for name, run, tone in named:
            row = results.one(rows, run=run, **wanted)
            bits = float(np.mean([seed.value for seed in results.seeds_of(row, rows)]))
            is_bound = row.bound != "exact"
            found.append({"name": name, "bits": round(bits, 5), "isBound": is_bound, "tone": tone})
        return found

    return {
        "vessels": {"unit": "bits/pixel", "digits": 4, "models": models(VESSEL_MODELS, EYES)},
        "pictures": {"unit": "bits/dim", "digits": 2, "models": models(PICTURE_MODELS, PICTURES)},
    }


MAKERS = (face, observers, marginals, controls)
