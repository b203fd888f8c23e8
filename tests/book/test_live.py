"""What the live pages run is what its sources make."""

import base64
import importlib.util
import json
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cnf.replication.data.embedded import photograph
from tools import live


def value(name: str):
    """What a script that holds one JSON value holds."""
    return json.loads((live.OUT / name).read_text("utf-8").split(" = ", 1)[1].rstrip(";\n"))


def picture(src: str) -> np.ndarray:
    """The pixels of an address that holds its own file."""
    return np.asarray(Image.open(BytesIO(base64.b64decode(src.split(",")[1]))))


def parts(script: str) -> tuple[str, np.ndarray, np.ndarray, bytes]:
    """An exported flow: its text without what is computed; the log-determinants; the folded
    matrices and biases; the weights, which are only rounded."""
    log_det, weights = r'"log_det":([^,]*)', 'weights: "(.*)"'
    halves = int(re.search('"halves":([0-9]*)', script)[1])
    data = base64.b64decode(re.search(weights, script)[1])
    text = re.sub(weights, "", re.sub(log_det, "", script))
    log_dets = np.array(re.findall(log_det, script), float)
    return text, log_dets, np.frombuffer(data[:halves], "<f4"), data[halves:]


@pytest.mark.parametrize("name", live.RUNS)
def test_the_exported_flow_is_that_of_results(name):
    experiment, script = live.exported(live.RUNS[name])
    ours, committed = parts(script), parts((live.OUT / f"{name}-model.mjs").read_text("utf-8"))
    assert (experiment, *ours[::3]) == (name, *committed[::3])
    # In float64, sums over at most 48 channels of numbers up to 100: 48 times 100 times epsilon is
    # 1e-12. The folded parts are then rounded to float32, which may move their last digit.
    np.testing.assert_allclose(ours[1], committed[1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours[2], committed[2], rtol=np.finfo(np.float32).eps, atol=1e-12)


def test_the_committed_kernel_says_the_source_it_was_made_from():
    assert value("kernel.mjs")["source"] == live.kernel_source(), "run make live"


@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None,
    reason="no Zig compiler (make live installs it): the kernel was not compiled again",
)
def test_the_committed_kernel_is_what_its_source_gives():
    for name, flags in live.KERNELS.items():
        assert live.compiled(flags) == base64.b64decode(value("kernel.mjs")[name]), name


def test_the_photographs_are_those_of_scikit_image():
    for found in value("photographs.mjs"):
        rows, columns = live.PHOTOGRAPHS[found["name"]][2:]
        assert np.array_equal(picture(found["src"]), photograph(found["name"])[rows, columns])


def test_the_eyes_are_those_of_the_package():
    shown = live.eye_pictures()
    for found in value("eyes.mjs"):
        _, x, y = shown.pop(found["name"])
        assert np.array_equal(picture(found["src"]), x)
        assert y is None or np.array_equal(picture(found["truth"]), y)
    assert not shown
