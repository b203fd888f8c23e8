"""The calibrated interval of the area of vessels: where it is, what it is computed from, and where
there is none."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

import cnf
from cnf.replication import plugs, releases
from cnf.replication.answers import areas
from cnf.replication.answers import sample as sampling
from cnf.replication.answers.view import FOR_OTHER_CAMERAS
from cnf.replication.data import fundus
from cnf.replication.places import RESULTS

cameras = plugs.module("conformal_repair", "cameras")


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    path = tmp_path_factory.mktemp("eyes") / "eye.png"
    Image.fromarray(fundus.generate(3, 256).x.permute(1, 2, 0).numpy()).save(path)
    return path


def test_the_model_for_other_cameras_is_calibrated_on_three():
    found = areas.calibration(RESULTS / FOR_OTHER_CAMERAS / releases.WEIGHTS)
    assert found is not None and 1 < found.factor < 2
    assert list(found.held) == list(cameras.CAMERAS)


def test_the_calibrations_are_those_of_the_scores_that_are_kept():
    assert areas.AREAS.read_text("utf-8") == cameras.table()


def test_a_calibrated_interval_is_in_the_line_the_table_and_the_json(eye, tmp_path, capsys):
    out, table = tmp_path / "out", tmp_path / "table.json"
    sampling.sample(FOR_OTHER_CAMERAS, [eye], mean_samples=2, out=out, json=table)
    said = capsys.readouterr().out.splitlines()[-1]
    [found] = json.loads(table.read_text())["pictures"]
    area = found["vessel_area"]
    known = areas.calibration(RESULTS / FOR_OTHER_CAMERAS / releases.WEIGHTS)
    assert area["low"] == area["mean"] / known.factor
    assert area["high"] == area["mean"] * known.factor
    ends = f"calibrated 90 % interval {100 * area['low']:.2f} to {100 * area['high']:.2f} %; "
    assert ends + str(known) in said and area["calibration"] == str(known)
    assert all(f"{held} of {n} on {name}" in said for name, (held, n) in known.held.items())
    line = next(csv.DictReader((out / "eye-table.csv").open()))
    for name in areas.Area._fields:
        assert float(line[name]) == pytest.approx(area[name], abs=5e-6)  # five digits
    answered = cnf.segment(str(eye), FOR_OTHER_CAMERAS, mean_samples=2)
    assert answered.area._asdict() == {name: area[name] for name in areas.Area._fields}
    share = answered.probability[answered.picture.view.fov].mean(dtype=float)
    assert answered.area.mean == pytest.approx(share)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"whole": True}, "whole=True"), ({"fit": False}, "fit=False"), ({}, "is grey")],
)
def test_what_was_not_compared_with_drawings_is_not_calibrated(eye, options, why):
    picture = Image.open(eye)
    picture = picture if options else picture.convert("L")
    found = cnf.segment(picture, FOR_OTHER_CAMERAS, mean_samples=2, **options)
    assert found.area.low is None and found.area.high is None
    assert "not calibrated: " in found.notes[-1] and why in found.notes[-1]


def test_other_weights_under_the_name_of_a_calibrated_model_are_not_calibrated(tmp_path):
    """A run that was trained on, under the old name."""
    path = tmp_path / FOR_OTHER_CAMERAS / releases.WEIGHTS
    path.parent.mkdir()
    shutil.copy(RESULTS / "vessels-baseline-muon-s0" / releases.WEIGHTS, path)
    assert areas.calibration(path) is None
    assert areas.calibration(RESULTS / FOR_OTHER_CAMERAS / releases.WEIGHTS) is not None


def test_a_camera_is_judged_by_the_factor_of_the_others():
    """One camera is right within 10 %, the other twice too large."""
    scores = {"near": np.linspace(0.9, 1.1, 20), "far": np.full(20, 2.0)}
    found = cameras.calibration(
        [
            {"camera": camera, "drawn": 1.0, "answered": ratio}
            for camera, ratios in scores.items()
            for ratio in ratios
        ]
    )
    near, far = found["held"]["near"], found["held"]["far"]
    assert near == {"held": 20, "of": 20, "factor": 2.0}
    assert (far["held"], far["of"]) == (0, 20)
    nineteenth = np.sort(np.abs(np.log(scores["near"])))[18]  # 0.9 x 21, rounded up
    assert far["factor"] == pytest.approx(math.exp(nineteenth), abs=5e-5)
    assert found["factor"] == 2


def test_an_interval_ends_at_the_whole_field_of_view():
    assert areas.Calibration(1.5, 0, {}).ends(0.9) == (pytest.approx(0.6), 1.0)
