"""The labels that people drew on the photographs of a vessel set, and where two of them differ.

`python experiments/observers/labels.py` writes `results/eyes/observers.json`, the numbers of
every set and split that is available, and `results/eyes/chasedb1.png`, a photograph of CHASE_DB1
with the labels of its two observers. Of DRIVE and STARE only numbers are kept.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import scipy
from matplotlib.figure import Figure
from skimage.morphology import skeletonize

from cnf.errors import DataError
from cnf.replication import plotting
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.metrics import mean_se
from cnf.replication.metrics.shapes import shape
from cnf.replication.places import RESULTS

FOLDER = RESULTS / "eyes"
SETS = (
    ("embedded-vessels", "test"),
    ("drive", "train"),
    ("drive", "valid"),
    ("drive", "test"),
    ("chasedb1-all", "test"),
    ("stare", "test"),
)
TOLERANCES = (0, 1, 2, 3)  # pixels
NEAR = 4  # pixels: distances from a contour are cut at this
SHOWN, PLACE = "chasedb1-08L", (420, 420, 240)  # the figure's eye; row, column, side of the detail
BOTH, FIRST, SECOND = (40, 40, 40), (0, 114, 178), (213, 94, 0)  # black, blue and orange


def bits(rate: float | np.ndarray) -> float | np.ndarray:
    """Entropy of a Bernoulli variable with this rate, bits, :eq:`eq-structures-coin`."""
    return scipy.stats.entropy([rate, 1 - rate], base=2)


def bits_given(y: np.ndarray, context: np.ndarray) -> float:
    """Conditional entropy of binary y (N,) given a context, integers >= 0 of shape (N,), in bits
    per pixel. Probabilities are the frequencies in the data, :eq:`eq-retina-conditional`."""
    ones, count = np.bincount(context, weights=y), np.bincount(context)
    is_seen = count > 0
    return float((count[is_seen] * bits(ones[is_seen] / count[is_seen])).sum() / len(y))


def contour_distance(mask: np.ndarray) -> np.ndarray:
    """Signed distance in pixels to the nearest pixel of the other kind, bool (H,W) -> int (H,W),
    rounded towards zero: positive in the mask, negative outside, cut at NEAR. All -NEAR if the mask
    is empty, all NEAR if it is full."""
    signed = np.where(mask, _far(~mask), -_far(mask))
    return np.trunc(np.clip(signed, -NEAR, NEAR)).astype(int)


def _far(mask: np.ndarray) -> np.ndarray:
    """Distance in pixels to the nearest pixel of the mask."""
    distance = scipy.ndimage.distance_transform_edt
    return distance(~mask) if mask.any() else np.full(mask.shape, np.inf)


def tolerant_f(
    mask: np.ndarray, truth: np.ndarray, tolerance: float = 0
) -> tuple[float, float, float]:
    """(F, precision, recall) of a mask, bool, against another.

    With a `tolerance`, masks are (H,W), and a pixel is right where the other mask has one at most
    `tolerance` pixels away. Precision and recall are 1 of an empty mask.
    """

    def share_near(pixels: np.ndarray, other: np.ndarray) -> float:
        if not pixels.any():
            return 1.0
        near = _far(other) <= tolerance if tolerance else other
        return float((pixels & near).sum() / pixels.sum())

    precision, recall = share_near(mask, truth), share_near(truth, mask)
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


def numbers_of(images: ImageSet) -> dict[str, Any]:
    """The numbers of one set and split, see `results/eyes/observers.json`.

    fov_share: share of the frame's pixels that are in view.
    vessel_share: share of the pixels in view that are vessel, all images together; vessel_shares:
        by image.
    outside: label pixels out of view.
    bits, bits_frame: entropy of one vessel rate for all pixels in view, in bits per pixel in view
        and per pixel of the frame.
    colours: mean grey levels (R,G,B) in view, by image.
    contrast: 1 - green of vessels / green of the rest.
    width: vessel pixels over pixels of their centre lines.
    components: mean number of pieces of a label.
    second: the second observer against the first, where there is one.
    """
    eyes = [eye_of(example) for example in images]
    in_view, frame = sum(int(e.fov.sum()) for e in eyes), sum(e.fov.size for e in eyes)
    vessel = sum(int(e.y.sum()) for e in eyes)
    contrasts = [1 - e.x[1][e.y].mean() / e.x[1][e.fov & ~e.y].mean() for e in eyes]
    numbers = {
        "set": images.name,
        "split": images.split,
        "sha256": images.sha256,
        "num_images": len(images),
        "size": list(images[0].y.shape[-2:]),
        "fov_share": in_view / frame,
        "vessel_share": vessel / in_view,
        "vessel_shares": [float(e.y.sum() / e.fov.sum()) for e in eyes],
        "outside": sum(int((example.y > 0).sum()) for example in images) - vessel,
        "bits": bits(vessel / in_view),
        "bits_frame": bits(vessel / in_view) * in_view / frame,
        "names": [example.name for example in images],
        "colours": [e.x[:, e.fov].mean(1).tolist() for e in eyes],
        "contrast": float(np.mean(contrasts)),
    }
    numbers |= vessel_shape([e.y for e in eyes], eyes)
    if all(e.second is not None for e in eyes):
        numbers["second"] = agreement(eyes, frame)
    # Six digits are enough for every table, and the same on every machine.
    return json.loads(json.dumps(numbers), parse_float=lambda number: float(f"{float(number):.6g}"))


def vessel_shape(masks: Sequence[np.ndarray], eyes: Sequence[Eye]) -> dict[str, float]:
    """Width of the vessels in masks, and their number of pieces."""
    lines = sum(int(skeletonize(mask).sum()) for mask in masks)
    pieces = [shape(mask, e.fov).components for mask, e in zip(masks, eyes, strict=True)]
    return {
        "width": float(sum(mask.sum() for mask in masks) / lines),
        "components": float(np.mean(pieces)),
    }


def agreement(eyes: Sequence[Eye], frame: int) -> dict[str, Any]:
    """The second observer against the first.

    f, precision, recall: over the pixels of all images together.
    f_images: by image; f_mean, f_standard_error: over images.
    f_tolerance: mean over images, for each of TOLERANCES.
    bits: entropy of the first observer's label given the second's label of the same pixel, in bits
        per pixel in view; bits_near: given the distance to the second's contour; *_frame: in bits
        per pixel of the frame.
    """
    y, second = (np.concatenate([getattr(e, k)[e.fov] for e in eyes]) for k in ("y", "second"))
    near = np.concatenate([contour_distance(e.second)[e.fov] for e in eyes]) + NEAR
    f, precision, recall = tolerant_f(second, y)
    f_by_tolerance = np.array([[tolerant_f(e.second, e.y, t)[0] for t in TOLERANCES] for e in eyes])
    mean, error, _ = mean_se(f_by_tolerance[:, 0])
    bits_alone, bits_near = bits_given(y, second.astype(int)), bits_given(y, near)
    return {
        "vessel_share": float(second.mean()),
        "f": f,
        "precision": precision,
        "recall": recall,
        "f_images": f_by_tolerance[:, 0].tolist(),
        "f_mean": mean,
        "f_standard_error": error,
        "f_tolerance": f_by_tolerance.mean(0).tolist(),
        "bits": bits_alone,
        "bits_frame": bits_alone * len(y) / frame,
        "bits_near": bits_near,
        "bits_near_frame": bits_near * len(y) / frame,
    } | vessel_shape([e.second for e in eyes], eyes)


def draw_observers(images: ImageSet) -> Figure:
    """An eye of CHASE_DB1, a detail of it, and the labels of both observers there."""
    if not images.name.startswith("chasedb1"):
        raise DataError(f"photographs of {images.name} are not ours to show: draw chasedb1-all")
    eye = eye_of(next(e for e in images if e.name == SHOWN))
    top, left, side = PLACE
    place = np.s_[top : top + side, left : left + side]
    labels = np.full((*eye.fov.shape, 3), 255, np.uint8)
    labels[eye.y], labels[eye.second], labels[eye.y & eye.second] = FIRST, SECOND, BOTH
    photograph = eye.x.transpose(1, 2, 0)
    panels = {
        "CHASE_DB1 08L (CC BY 4.0)": photograph,
        "the place in the frame": photograph[place],
        "both black, 1st blue, 2nd orange": labels[place],
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
    """Write the numbers of the sets that are available; those of the others stay as they are."""
    path = FOLDER / "observers.json"
    old_numbers = json.loads(path.read_text("utf-8")) if path.is_file() else []
    by_set = {(f["set"], f["split"]): f for f in old_numbers}
    for name, split in SETS:
        try:
            by_set[name, split] = numbers_of(load(name, split))
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
