"""Misuse of scoring and of answers: each line is a wrong call, and the words of its message, which
name the value and what to do instead. Whoever adds an error adds a line."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import cnf
from cnf.errors import CheckpointError, ConfigError, DataError
from cnf.replication import plugs, tasks, training
from cnf.replication.answers import export
from cnf.replication.answers.sample import sample
from cnf.replication.answers.tiling import plan
from cnf.replication.config import build, load_config
from cnf.replication.data import load
from cnf.replication.evaluation.evaluate import evaluate
from cnf.replication.metrics import shapes
from cnf.replication.metrics.calibration import calibration_error, joint
from cnf.replication.scored.options import Options
from cnf.replication.scored.variants import variant_of
from cnf.replication.training import cost
from tests.messages import table

tightness = plugs.module("label_dequantization", "tightness")
COUNTS = "experiments/controls/runs/smoke.yml"
MIXTURES = "experiments/gaussian_mixtures/runs/smoke.yml"
FULL = np.ones((40, 50), bool)


def model(preset):
    return build(load_config(preset)).eval()


@pytest.fixture
def cat(tmp_path):
    path = tmp_path / "cat.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def draw(make_run, cat, tmp_path):
    """`sample` of a super-resolution flow for one picture."""
    return lambda **options: sample(str(make_run("sr-flow")), [cat], out=tmp_path, **options)


@pytest.fixture
def upscale(make_run):
    """`cnf.upscale` by a run."""
    return lambda picture, run="sr-baseline": cnf.upscale(picture, str(make_run(run)))


# fmt: off
test_a_request_for_answers_is_told_what_to_change = table(
    ConfigError,
    ("--samples -1", lambda draw: draw(samples=-1)),
    ("--mean-samples 1: give 2 or more", lambda draw: draw(mean_samples=1)),
    ("--samples 0 alone draws nothing", lambda draw: draw(samples=0)),
    ("format 'jpg': choose png, tiff, webp", lambda draw: draw(format="jpg")),
    ("suffix 'a/b': give a part of a file's name", lambda draw: draw(suffix="a/b")),
    ("--fov, --fit and --whole are for", lambda draw, cat: draw(fov=cat)),
    ("--fov, --fit and --whole are for", lambda draw: draw(fit=True)),
    ("--fov, --fit and --whole are for", lambda draw: draw(fit=False)),
    ("cat.png is a file that is given", lambda draw, cat: draw(json=cat, overwrite=True)),
    ("cat-sample1.png would be written twice",
     lambda draw, tmp_path: draw(samples=1, json=tmp_path / "cat-sample1.png")),
    ("two pictures are called 'cat'",
     lambda make_run, cat, tmp_path: sample(str(make_run("sr-flow")), [cat, Path("other/cat.jpg")],
                                            out=tmp_path)),
    (r"\(sr\) draws no masks", lambda make_run, cat: cnf.segment(cat, str(make_run("sr-flow")))),
    (r"\(vessels\) does not enlarge a picture", lambda upscale: upscale("dog.png", "vessels-flow")),
    ("unknown option 'sampels': the nearest are samples", lambda cat: cnf.upscale(cat, sampels=3)),
    ("cannot draw in tiles, .* --tile 0",
     lambda: plan(model("experiments/controls/runs/counts.yml"), (192, 192), 64)),
    ("has no graph: ", lambda: export.graphs(model(COUNTS))),
    ("has no graph: ", lambda: export.graphs(model(MIXTURES))),
)

test_a_file_that_is_no_picture_or_no_weights_is_told = table(
    (DataError, CheckpointError),
    ("dog.png: no such file", lambda upscale, tmp_path: upscale(tmp_path / "dog.png")),
    ("a folder: give the path of a picture", lambda upscale, tmp_path: upscale(tmp_path)),
    ("picture is an array of float64: give whole grey levels, 0 to 255",
     lambda upscale: upscale(np.zeros((8, 8, 3)))),
    (r"picture is an array of shape \(3, 8, 8\): give \(H,W\)",
     lambda upscale: upscale(np.zeros((3, 8, 8), np.uint8))),
    ("picture of mode F: convert it to one of 1, L, ",
     lambda upscale: upscale(Image.new("F", (8, 8)))),
    (r"picture: no picture that can be read \(4 bytes\)", lambda upscale: upscale(b"text")),
    ("picture is a int: give a path, bytes, a picture of Pillow, an array",
     lambda upscale: upscale(7)),
    (r"picture2: no picture that can be read \(0 bytes\)",
     lambda upscale, cat: upscale([cat, b""])),
    ("vessels holds no weights.safetensors",
     lambda cat, tmp_path: sample("vessels", [cat], out=tmp_path, results=tmp_path)),
)

test_options_of_an_evaluation_are_told_what_to_change = table(
    (ConfigError, DataError),
    ("temperature = -0.5: choose a finite value >= 0", lambda: Options(temperature=-0.5)),
    ("temperature = nan", lambda: Options(temperature=math.nan)),
    ("--full has temperatures of its own", lambda: Options(temperature=0.5, full=True)),
    ("--draws 0: give 1 or more", lambda: Options(draws=0)),
    ("--limit 0: give 1 or more", lambda: Options(limit=0)),
    ("--samples -1: give 0 or more", lambda: Options(samples=-1)),
    ("--importance -1: give 0 or more", lambda: Options(importance=-1)),
    ("--threshold 1.5: give a probability", lambda: Options(threshold=1.5)),
    ("contradict each other", lambda: Options(threshold=0.5, threshold_from="x")),
    ("is a set of pictures, the run is one of vess",
     lambda scored: scored("vessels-flow", load("embedded-sr", "test"))),
    ("sr has no threshold",
     lambda scored: scored("sr-flow", load("embedded-sr", "test"), threshold=0.5)),
    ("a value for this model on .* other --metrics or",  # it has its own mean
     lambda make_run: evaluate(make_run("sr-baseline"), metrics="psnr_limit")),
    ("--metrics f_sample: of the task vessels, and this model is of sr",
     lambda make_run: evaluate(make_run("sr-baseline"), metrics="bits_per_dim,f_sample")),
    ("--metrics bits_per_pixel: the task sr has bits_per_dim",
     lambda make_run: evaluate(make_run("sr-baseline"), metrics="psnr,bits_per_pixel")),
    ("a random intercept needs one logit",
     lambda loaded: variant_of(loaded("vessels-flow")[0], "random_intercept/intercept=0.2")),
    ("give one, such as vessels-flow-ar-cpu-s0",
     lambda: variant_of(model("vessels-flow-smoke"), "sequential_bound/sequential")),
    ("needs a Bernoulli model, or a flow with Gaussian",
     lambda: variant_of(torch.nn.Identity(), "baseline_temperature/t05")),
    ("fitted in one step: leave --minutes and --steps out",
     lambda tmp_path: training.train(load_config(COUNTS), tmp_path / "run", minutes=5)),
    ("fitted in one step: leave --minutes and --steps out",
     lambda tmp_path: training.train(load_config(COUNTS), tmp_path / "run", steps=3)),
    ("just train it", lambda: cost.estimate(load_config(COUNTS))),
    ("task = 'depth': choose one of sr, vessels", lambda: tasks.find_task("depth")),
    ("--metrics '' names no metric",
     lambda make_run: evaluate(make_run("sr-baseline"), metrics="")),
)

test_what_a_metric_cannot_use_is_told = table(
    ValueError,
    (r"\(40, 50\).*\(50, 40\)", lambda: shapes.shape(FULL, FULL.T)),
    ("empty", lambda: shapes.shape(FULL, ~FULL)),
    ("in view", lambda: shapes.circle_around((500.0, 500.0), FULL)),
    (r"photograph \(40, 50\)", lambda: shapes.disc(np.zeros((40, 50)), FULL)),
    ("empty", lambda: shapes.disc(np.zeros((40, 50, 3)), ~FULL)),
    ("3 probabilities and 2 labels",
     lambda: calibration_error(np.zeros(3), np.zeros(2))),
    (r"outside \[0, 1\]", lambda: calibration_error(np.array([0.5, 1.2]), np.zeros(2))),
    (r"outside \[0, 1\]", lambda: calibration_error(np.array([0.5, -0.1]), np.zeros(2))),
    (r"outside \[0, 1\]", lambda: calibration_error(np.array([math.nan]), np.zeros(1))),
    (r"\(3, 4\).*\(4,\)", lambda: joint(np.zeros((3, 4)), np.zeros(4))),
    ("finite", lambda: joint(np.full((3, 4), math.nan), np.zeros(3))),
    (r"M = \[", lambda: tightness.curve(np.zeros((2, 64)), 4, (0,))),
    (r"M = \[", lambda: tightness.curve(np.zeros((2, 64)), 4, (65,))),
    (r"M = \[", lambda: tightness.curve(np.zeros((2, 64)), 4, (1.5,))),
    ("there is a task 'sr' already", lambda: tasks.register(tasks.SR)),
)
# fmt: on
