"""The area of vessels that a released model answers for photographs of three cameras, beside the
area that was drawn, and how wide the answer's interval has to be.

    CNF_DATA=... python experiments/conformal_repair/cameras.py RUN ... --samples 4

This draws answers as `python -m cnf sample` does, from whole photographs with the field of view
that is found in them, and writes a line for each into cameras.jsonl; lines of other runs stay.
Without a run, the factors and what they held are computed from these lines into
cnf/replication/answers/areas.yml, from which `sample` and `cnf.segment` take their intervals.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import ndimage
from torch import Tensor

from cnf.nets import set_precision
from cnf.replication import plugs, releases, results
from cnf.replication.answers.answer import read_picture
from cnf.replication.answers.areas import AREAS
from cnf.replication.answers.sample import Options, Request, draw_samples, expectation, request_of
from cnf.replication.data import load
from cnf.replication.data.catalogue import has_learned
from cnf.replication.data.examples import Example
from cnf.replication.records import data_before, read_record
from cnf.replication.run_folder import file_sha256

metrics = plugs.module("conformal_repair", "metrics")
SCORES = Path(__file__).with_name("cameras.jsonl")
RIMS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03)  # shares of the diameter that are left out at the edge
CAMERAS = ("drive", "stare", "chasedb1-all")  # test photographs, whole


def mean_answer(request: Request, picture: Any, samples: int, index: int) -> Tensor:
    """The probability of every pixel, (1,H,W): the model's own, or the mean of its first
    samples."""
    model = request.model
    if model.has_mean:
        return picture.output(expectation(model, picture.x, picture.tiles))
    draws = draw_samples(model, picture.x, samples, 1.0, 0, index, picture.tiles)
    return sum(map(picture.output, draws)) / samples


def line(request: Request, example: Example, samples: int, index: int) -> dict[str, Any]:
    """What is kept of one photograph: areas, answered and drawn, as shares of the field of view;
    and for each of RIMS, of the pixels that are nearer to the edge, how many there are, the
    vessels answered and drawn, and the pixels of the mask that are right and wrong."""
    pixels = example.part("x").permute(1, 2, 0).numpy()
    picture = read_picture(request, pixels, example.name)
    set_precision(request.model, "fp32")
    p = mean_answer(request, picture, samples, index)[0].numpy().astype(float)
    fov, drawn = picture.view.fov, example.y[0].numpy() > 0
    mask = (p >= picture.threshold) & fov
    far = ndimage.distance_transform_edt(np.pad(fov, 1))[1:-1, 1:-1]
    diameter = max(np.ptp(np.flatnonzero(fov.any(axis))) + 1 for axis in (0, 1))
    rims = []
    for rim in RIMS:
        ring = fov & (far <= rim * diameter)
        counts = (ring, p * ring, drawn & ring, mask & drawn & ring, mask & ~drawn & ring)
        rims.append([rim, *(round(float(c.sum()), 1) for c in counts)])
    whole = (fov, p * fov, drawn & fov, mask & drawn & fov, mask & ~drawn & fov)
    return {
        "photograph": example.name,
        "answered": round(float((p * fov).sum() / fov.sum()), 6),
        "drawn": round(float((drawn & fov).sum() / fov.sum()), 6),
        "whole": [round(float(c.sum()), 1) for c in whole],
        "rims": rims,
    }


def lines(run: str, samples: int, step: int) -> Iterator[dict[str, Any]]:
    """A line for every `step`-th photograph of each camera of which the model learned from none of
    the photographs that are scored."""
    request = request_of(run, Options(device="cpu"))
    record = read_record(request.run)
    learned = [record["config"]["data"], *data_before(request.run)]
    for camera in CAMERAS:
        if camera != "drive" and has_learned(learned, camera):
            continue
        images = load(camera, "test")
        for index in range(0, len(images), step):
            found = line(request, images[index], samples, index)
            kept = 0 if request.model.has_mean else samples
            yield {"run": request.run.name, "camera": camera, "samples": kept} | found


def calibration(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The factor from all lines of a run, rounded up to 1e-4, and for each camera: how many of its
    areas the factor of the other cameras alone holds, of how many, and that factor."""
    scores = {
        camera: np.array(
            [
                abs(math.log(one["drawn"] / one["answered"]))
                for one in found
                if one["camera"] == camera
            ]
        )
        for camera in dict.fromkeys(one["camera"] for one in found)
    }
    held = {}
    for camera, left_out in scores.items():
        others = metrics.quantile(np.concatenate([scores[c] for c in scores if c != camera]))
        count = int((left_out <= others).sum())
        factor = round(math.exp(others), 4)
        held[camera] = {"held": count, "of": len(left_out), "factor": factor}
    factor = math.exp(metrics.quantile(np.concatenate(list(scores.values()))))
    return {"factor": math.ceil(1e4 * factor) / 1e4, "held": held}


def table() -> str:
    """The file of the calibrations of all runs of cameras.jsonl, by names of runs."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for one in map(json.loads, SCORES.read_text("utf-8").splitlines()):
        by_run.setdefault(one["run"], []).append(one)
    known = {}
    for run, found in by_run.items():
        sha256 = file_sha256(results.RESULTS / run / releases.WEIGHTS)
        facts = {"weights_sha256": sha256, "samples": found[0]["samples"]}
        known[run] = facts | calibration(found)
    said = (
        "# Written by experiments/conformal_repair/cameras.py, whose README says what it means.\n"
    )
    said += (
        "# held: for each camera, the areas held, of so many, by the factor of the others alone\n"
    )
    return said + yaml.safe_dump(known, sort_keys=False, default_flow_style=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="*", help="names of runs of results/")
    parser.add_argument("--samples", type=int, default=4, help="of a model without a mean")
    parser.add_argument("--step", type=int, default=1, help="2: every second photograph")
    asked = parser.parse_args()
    if not asked.runs:
        results.rows.write_text(AREAS, table())
        return
    for run in asked.runs:
        found = []
        for one in lines(run, asked.samples, asked.step):
            found.append(one)
            print(json.dumps(one), flush=True)
        names = {one["run"] for one in found}
        old = SCORES.read_text("utf-8").splitlines() if SCORES.exists() else []
        kept = [one for one in map(json.loads, old) if one["run"] not in names]
        text = "".join(json.dumps(one) + "\n" for one in kept + found)
        results.rows.write_text(SCORES, text)


if __name__ == "__main__":
    main()
