"""A row that is right, for tests to change."""

from cnf.replication.results.rows import Row

GOOD = {
    "run": "sr-flow-cpu",
    "task": "sr",
    "model": "flow",
    "data": "tinyimagenet32",
    "split": "test",
    "stand_in": True,
    "num_images": 2000,
    "limit": None,
    "rounded_x": False,
    "noise_seed": 0,
    "data_sha256": "a" * 64,
    "weights": None,
    "weights_sha256": "d" * 64,
    "preset": "cpu",
    "config_sha256": "b" * 64,
    "seed": 0,
    "steps": 6000,
    "wall_s": 1500.5,
    "hardware": "a CPU, 1 threads",
    "command": "python -m cnf evaluate runs/sr-flow-cpu --on tinyimagenet32",
    "git": "c" * 40,
    "dirty": False,
    "torch": "2.9.0",
    "date": "2026-01-31",
    "metric": "bits_per_dim",
    "value": 2.50512,
    "standard_error": 0.0123,
    "bound": "uniform dequantization",
    "divided_by": "sub-pixels",
    "draws": 1,
}
PICTURE = {"metric": "psnr", "bound": None, "divided_by": None, "draws": None}
EYE = {"task": "vessels", "data": "drive", "rounded_x": None, "stand_in": False}
EYE |= PICTURE | {"metric": "f_half", "temperature": 1.0, "samples": 64}
ALONE = {"weights_sha256": None, "config_sha256": None, "preset": None, "seed": None}
ALONE |= {"steps": None, "wall_s": None, "hardware": None}


def row(**changes):
    return Row(**GOOD | changes)


def reference(model, **changes):
    """A row of what needs no model."""
    return row(model=model, run=model.replace(" ", "-"), **ALONE | changes)
