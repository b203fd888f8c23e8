"""The bound of a vessel flow by the number of importance samples, on small crops of photographs.

    python experiments/label_dequantization/crops.py vessels-flow-lambda0-s0 drive

writes `m_curve.json`: the curve of a run whose weights are in `results/`, on the test pictures of
an image set."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnf import noise
from cnf.errors import DataError
from cnf.flow import ConditionalFlow
from cnf.replication import plugs, releases, run_folder
from cnf.replication.data import ImageSet, load
from cnf.replication.metrics import numbers
from cnf.replication.places import RESULTS

tightness = plugs.module("label_dequantization", "tightness")

SIDE = 8  # pixels a side of a crop
COUNT = 64  # crops
DRAW = -3001  # the `draw` of their noise, which no evaluation has
FILE = Path(__file__).with_name("m_curve.json")


def crops(images: ImageSet, count: int, side: int = SIDE, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`count` crops of side x side, anywhere inside the field of view, from each picture in turn:
    y float (B,1,side,side), x float (B,3,side,side). Raises DataError if there is no room for one.
    """
    rng = np.random.default_rng(seed)
    pairs, places = [], {}
    for k in range(count):
        index = k % len(images)
        example = images[index]
        if index not in places:
            fov = np.ones(example.y.shape[-2:]) if example.fov is None else example.fov.numpy()
            places[index] = corners(fov > 0, side)
        if not len(places[index]):
            raise DataError(f"no crop of {side}x{side} fits into the view of '{example.name}'")
        top, left = rng.choice(places[index])
        window = np.s_[:, top : top + side, left : left + side]
        pairs.append((example.y[window].float(), example.x[window].float()))
    y, x = map(torch.stack, zip(*pairs, strict=True))
    return y, x


def corners(fov: np.ndarray, side: int) -> np.ndarray:
    """Upper left corners of all squares inside, (n,2)."""
    if min(fov.shape) < side:
        return np.zeros((0, 2), int)
    squares = np.lib.stride_tricks.sliding_window_view(fov, (side, side))
    return np.argwhere(squares.all((2, 3)))


def curve_of(model: ConditionalFlow, images: ImageSet, count: int = COUNT) -> dict[str, Any]:
    """Bits per pixel by the number of importance samples, on `count` crops, for JSON: the fields of
    `tightness.MCurve`, the number of crops, and their side."""
    side = math.lcm(SIDE, model.multiple)
    y, x = crops(images, count, side)
    curve = tightness.m_curve(model, y, x, generator=noise.keyed(0, range(len(y)), DRAW))
    return {"crops": len(y), "side": side} | numbers(curve._asdict())


def main(run: str, data: str) -> None:
    path, images = RESULTS / run / releases.WEIGHTS, load(data, "test")
    facts = {
        "run": run,
        "weights_sha256": run_folder.file_sha256(path),
        "data": data,
        "split": "test",
        "data_sha256": images.sha256,
    }
    curve = curve_of(releases.load(path), images)
    FILE.write_text(json.dumps(facts | curve, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
