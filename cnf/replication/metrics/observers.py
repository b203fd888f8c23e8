"""What people drew on the photographs of a vessel set, and where two of them differ.

`python -m cnf.replication.metrics.observers` writes `results/eyes/observers.json`, the numbers of
every set and split that is there, and `results/eyes/chasedb1.png`, a photograph of CHASE_DB1 with
what its two observers drew. Nothing of DRIVE and STARE is kept but numbers.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import distance_transform_edt
from scipy.stats import entropy
from skimage.morphology import skeletonize

from cnf.errors import DataError
from cnf.replication import plotting
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.metrics import mean_se
from cnf.replication.metrics.shapes import shape

FOLDER = Path(__file__).resolve().parents[3] / "results" / "eyes"
SETS = (
    ("embedded-vessels", "test"),
    ("drive", "train"),
    ("drive", "valid"),
    ("drive", "test"),
    ("chasedb1-all", "test"),
    ("stare", "test"),
)
TOLERANCES = (0, 1, 2, 3)  # pixels
NEAR = 4  # pixels: farther from the other's contour all pixels are alike
SHOWN, PLACE = "chasedb1-08L", (420, 420, 240)  # of the figure: an eye; row, column and side
BOTH, FIRST, SECOND = (40, 40, 40), (0, 114, 178), (213, 94, 0)  # black, blue and orange


def bits(rate: float | np.ndarray) -> float | np.ndarray:
    """Entropy of a Bernoulli variable with this rate, bits, :eq:`eq-structures-coin`."""
    return entropy([rate, 1 - rate], base=2)


def bits_given(y: np.ndarray, context: np.ndarray) -> float:
    """Bits that binary y, (N,), still costs a pixel to someone who knows its context, integers >= 0
    of shape (N,), and the rate of y in each: the conditional entropy of the counts,
    :eq:`eq-retina-conditional`."""
    ones, count = np.bincount(context, weights=y), np.bincount(context)
    there = count > 0
    return float((count[there] * bits(ones[there] / count[there])).sum() / len(y))


def contour_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the nearest pixel of the other kind, bool (H,W) -> int (H,W), rounded down:
    positive in the mask, negative outside, cut at NEAR; all -NEAR if the mask is empty, NEAR if it
    is full."""
    signed = np.where(mask, _far(~mask), -_far(mask))
    return np.trunc(np.clip(signed, -NEAR, NEAR)).astype(int)


def _far(mask: np.ndarray) -> np.ndarray:
    """Pixels to the nearest one of the mask."""
    return distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)


def f_score(
    drawn: np.ndarray, truth: np.ndarray, tolerance: float = 0
) -> tuple[float, float, float]:
    """(F, precision, recall) of a mask, bool, against another. A pixel is right where the other
    mask, (H,W) then, has one at most `tolerance` pixels away; precision and recall are 1 where
    there is nothing to be wrong about."""
    near = [_far(mask) <= tolerance if tolerance else mask for mask in (truth, drawn)]
    pairs = zip((drawn, truth), near, strict=True)
    precision, recall = (float((a & b).sum() / a.sum()) if a.any() else 1.0 for a, b in pairs)
    return 2 * precision * recall / (precision + recall or 1.0), precision, recall


class Eye(NamedTuple):
    """An example as arrays: x (3,H,W), the rest bool (H,W), labels without what is out of view."""

    x: np.ndarray
    fov: np.ndarray
    y: np.ndarray
    second: np.ndarray | None


def eye_of(example: Example) -> Eye:
    fov = example.fov.numpy()
    labels = (None if t is None else (t[0].numpy() > 0) & fov for t in (example.y, example.second))
    return Eye(example.x.numpy(), fov, *labels)


def facts(images: ImageSet) -> dict[str, Any]:
    """The numbers of one set and split, see `results/eyes/observers.json`.

    fov_share: of the frame's pixels. vessel_share: of the pixels in view, all images together;
    vessel_shares: by image. outside: label pixels out of view. bits, bits_frame: what the best rate
    that knows the field of view costs a pixel, over the pixels in view and over all. colours: mean
    grey levels (R,G,B) in view, by image. contrast: 1 - green of vessels / green of the rest.
    width: vessel pixels over pixels of their centre lines. components: pieces of a label, mean.
    second: the second observer against the first, where there is one.
    """
    eyes = [eye_of(example) for example in images]
    seen, frame = sum(int(e.fov.sum()) for e in eyes), sum(e.fov.size for e in eyes)
    vessel = sum(int(e.y.sum()) for e in eyes)
    contrasts = [1 - e.x[1][e.y].mean() / e.x[1][e.fov & ~e.y].mean() for e in eyes]
    found = {
        "set": images.name,
        "split": images.split,
        "sha256": images.sha256,
        "num_images": len(images),
        "size": list(images[0].y.shape[-2:]),
        "fov_share": seen / frame,
        "vessel_share": vessel / seen,
        "vessel_shares": [float(e.y.sum() / e.fov.sum()) for e in eyes],
        "outside": sum(int((example.y > 0).sum()) for example in images) - vessel,
        "bits": bits(vessel / seen),
        "bits_frame": bits(vessel / seen) * seen / frame,
        "names": [example.name for example in images],
        "colours": [e.x[:, e.fov].mean(1).tolist() for e in eyes],
        "contrast": float(np.mean(contrasts)),
    }
    found |= drawing([e.y for e in eyes], eyes)
    if all(e.second is not None for e in eyes):
        found["second"] = against(eyes, frame)
    # six digits: enough for every table, and the same on every machine
    return json.loads(json.dumps(found), parse_float=lambda number: float(f"{float(number):.6g}"))


def drawing(masks: Sequence[np.ndarray], eyes: Sequence[Eye]) -> dict[str, float]:
    """Width of the vessels of some masks, and their pieces."""
    lines = sum(int(skeletonize(mask).sum()) for mask in masks)
    pieces = [shape(mask, e.fov).components for mask, e in zip(masks, eyes, strict=True)]
    return {
        "width": float(sum(mask.sum() for mask in masks) / lines),
        "components": float(np.mean(pieces)),
    }


def against(eyes: Sequence[Eye], frame: int) -> dict[str, Any]:
    """The second observer against the first.

    f, precision, recall: all images together. f_images: by image; f_mean, f_standard_error over
    them. f_tolerance: mean by image, with TOLERANCES of pixels. bits: what the first observer's
    label costs a pixel in view to one who knows the second's label of that pixel; bits_near: to one
    who knows the distance to the second's contour; *_frame: over all pixels.
    """
    y, other = (np.concatenate([getattr(e, k)[e.fov] for e in eyes]) for k in ("y", "second"))
    near = np.concatenate([contour_distance(e.second)[e.fov] for e in eyes]) + NEAR
    f, precision, recall = f_score(other, y)
    within = np.array([[f_score(e.second, e.y, t)[0] for t in TOLERANCES] for e in eyes])
    mean, error, _ = mean_se(within[:, 0])
    alone, contour = bits_given(y, other.astype(int)), bits_given(y, near)
    return {
        "vessel_share": float(other.mean()),
        "f": f,
        "precision": precision,
        "recall": recall,
        "f_images": within[:, 0].tolist(),
        "f_mean": mean,
        "f_standard_error": error,
        "f_tolerance": within.mean(0).tolist(),
        "bits": alone,
        "bits_frame": alone * len(y) / frame,
        "bits_near": contour,
        "bits_near_frame": contour * len(y) / frame,
    } | drawing([e.second for e in eyes], eyes)


def draw_observers(images: ImageSet) -> Figure:
    """An eye of CHASE_DB1, a place of it, and there what both, one and the other observer drew."""
    if not images.name.startswith("chasedb1"):
        raise DataError(f"photographs of {images.name} are not ours to show: draw chasedb1-all")
    eye = eye_of(next(e for e in images if e.name == SHOWN))
    top, left, side = PLACE
    place = np.s_[top : top + side, left : left + side]
    drawn = np.full((*eye.fov.shape, 3), 255, np.uint8)
    drawn[eye.y], drawn[eye.second], drawn[eye.y & eye.second] = FIRST, SECOND, BOTH
    photograph = eye.x.transpose(1, 2, 0)
    panels = {
        "CHASE_DB1 08L (CC BY 4.0)": photograph,
        "the place in the frame": photograph[place],
        "both black, 1st blue, 2nd orange": drawn[place],
    }
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(9, 3.1))
        for axis, (title, pixels) in zip(axes, panels.items(), strict=True):
            axis.imshow(pixels, interpolation="antialiased")
            axis.set_axis_off()
            axis.set_title(title, fontsize=10)
        axes[0].add_patch(plt.Rectangle((left, top), side, side, fill=False, color="white", lw=1.2))
    return figure


def main() -> None:
    """Write the numbers of the sets that are there; those of the others stay as they are."""
    path = FOLDER / "observers.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else []
    by_set = {(f["set"], f["split"]): f for f in known}
    for name, split in SETS:
        try:
            by_set[name, split] = facts(load(name, split))
        except DataError as error:
            print(f"{name} {split} stays as it is: {error}")
    rows = [by_set[key] for key in SETS if key in by_set]
    FOLDER.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    print(f"{path}: {len(rows)} sets and splits")
    try:
        figure = draw_observers(load("chasedb1-all", "test"))
        print(plotting.save_figure(figure, FOLDER / "chasedb1.png"))
    except DataError as error:
        print(f"no figure: {error}")


if __name__ == "__main__":
    main()
