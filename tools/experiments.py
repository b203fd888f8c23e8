"""The data of the small widgets of lessons 10 to 17: pictures, masks and numbers of their pages.

`python -m tools.widgets NAME` writes what the function NAME returns to
book/_static/draws/NAME.mjs; the lessons and tests/book/test_experiments.py compare it with models
and rows.
"""

import base64
import itertools
import math
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from book import one_eye
from cnf.noise import keyed
from cnf.replication import releases, results
from cnf.replication.data import load
from cnf.replication.data.embedded import photograph
from cnf.replication.places import REPOSITORY
from cnf.replication.plotting import to_uint8
from cnf.resample import low_resolution

FACE = np.s_[78:142, 188:252]  # of scikit-image's astronaut, as in lesson 10
PART = np.s_[..., 56:168, 28:140]  # of the eye of lessons 14 and 15
CAT, TILE = np.s_[..., 40:136, 180:276], np.s_[..., 16:80, 16:80]  # of lesson 13
NUM_MEANS = 16
EYE_PART, ENDS = np.s_[..., 40:136, 16:112], [(38, 23), (34, 53)]  # of lesson 16: its A and B
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


def cat_samples() -> tuple[torch.Tensor, torch.Tensor]:
    """The crop of lesson 13 (3,H,W) and the sixteen samples (16,3,H,W) of its flow at temperature
    1, in grey levels."""
    flow = releases.load("sr-flow-cpu-s0")
    pixels = torch.from_numpy(photograph("chelsea").copy()).permute(2, 0, 1)
    y = pixels[None][CAT].float()
    x = low_resolution(y, round_x=False)
    many = x.expand(NUM_MEANS, -1, -1, -1)
    return y[0], flow.sample(many, 1, 1.0, keyed(0, range(NUM_MEANS)))[0]


def mean_tiles(y: torch.Tensor, samples: torch.Tensor) -> np.ndarray:
    """The means of the first 1, 2, ... samples and the truth, uint8 (17,64,64,3)."""
    counts = torch.arange(1, NUM_MEANS + 1).reshape(-1, 1, 1, 1)
    tiles = torch.cat([samples.cumsum(0) / counts, y[None]])[TILE]
    return np.stack([to_uint8(tile) for tile in tiles])


def means() -> dict:
    """For `means`: PSNR of the mean of the first n samples, and A and V that predict it. Writes the
    sheet of pictures as well."""
    y, samples = cat_samples()
    tiles = [*mean_tiles(y, samples), np.zeros((64, 64, 3), np.uint8)]
    rows = [np.concatenate(tiles[k : k + 6], 1) for k in range(0, 18, 6)]
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.save(REPOSITORY / "book/_static/stills/means.webp", quality=75, method=6)
    return mean_errors(y, samples)


def mean_errors(y: torch.Tensor, samples: torch.Tensor) -> dict:
    n = len(samples)
    errors = [(samples[:k].mean(0) - y).square().mean().item() for k in range(1, n + 1)]
    variance = samples.var(0).mean().item()
    return {
        "psnr": [round(10 * math.log10(255**2 / error), 2) for error in errors],
        "A": round(errors[-1] - variance / n, 1),
        "V": round(variance, 1),
    }


def pieces() -> dict:
    """The samples of lesson 16 for `connect`, its two places, the pairs of its exercise. A pixel
    is its number, row by row."""
    example = load("embedded-vessels", "test")[1]
    flow = releases.load("vessels-flow-lambda0-s0").double().eval().requires_grad_(False)
    x = example.x[None][EYE_PART].float()
    truth, view = (t[EYE_PART].numpy() > 0 for t in (example.y[0], example.fov))
    samples = flow.sample(x, 24, generator=keyed(0, [1]))[:, 0, 0].numpy() * view > 0
    places = np.argwhere(truth & view)
    rng = np.random.default_rng(3)
    pairs = [rng.choice(places, 2) for _ in range(60)]
    side = len(truth)
    return {
        "side": side,
        "photograph": jpeg(x[0].byte().permute(1, 2, 0).numpy().copy()),
        "truth": rolled(truth & view),
        "samples": [*map(rolled, samples)],
        "ends": [side * row + column for row, column in ENDS],
        "pairs": [[int(side * row + column) for row, column in pair] for pair in pairs],
    }


MAKERS = (face, observers, marginals, controls, means, pieces)
