"""`python -m cnf sample`: a reader's own pictures, of any size."""

import math

import numpy as np
import pytest
from PIL import Image

from cnf import sampling, tiling
from cnf.errors import CheckpointError, ConfigError, DataError


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "cat.png"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (19, 23, 3), dtype=np.uint8)).save(path)
    return path


def opened(paths):
    return {path.stem.split("-")[1]: np.asarray(Image.open(path)) for path in paths}


def test_super_resolution_doubles_a_picture_of_odd_size(make_run, picture, tmp_path):
    run = str(make_run("sr-flow"))
    paths = sampling.sample(run, [picture], num=2, mean=True, out=tmp_path / "out")
    found = opened(paths)
    assert list(found) == ["sample1", "sample2", "mean"]
    assert {image.shape for image in found.values()} == {(38, 46, 3)}
    assert (found["sample1"] != found["sample2"]).any()
    again = opened(sampling.sample(run, [picture], num=1, out=tmp_path / "again"))
    assert np.array_equal(found["sample1"], again["sample1"])
    other = opened(sampling.sample(run, [picture], num=1, seed=1, out=tmp_path / "other"))
    assert (found["sample1"] != other["sample1"]).any()


def test_vessels_are_masks_with_a_marginal(make_run, picture, tmp_path):
    found = opened(sampling.sample(str(make_run("vessels-flow")), [picture], num=1, out=tmp_path))
    assert set(np.unique(found["sample1"])) <= {0, 255}
    assert found["marginal"].shape == (19, 23)
    assert len(np.unique(found["marginal"])) > 2


def test_temperature_zero_leaves_no_choice(make_run, picture, tmp_path):
    paths = sampling.sample(
        str(make_run("sr-flow")), [picture], num=2, temperature=0, out=tmp_path / "out"
    )
    found = opened(paths)
    assert np.array_equal(found["sample1"], found["sample2"])


def test_too_little_memory_is_announced_and_changes_no_sample(
    make_run, picture, tmp_path, monkeypatch, capsys
):
    run = str(make_run("vessels-flow"))
    whole = opened(sampling.sample(run, [picture], num=1, out=tmp_path / "whole"))
    assert capsys.readouterr().out == ""
    cut = tiling.Tiles((20, 24), 12, 8, 20)  # 19x23 is extended to 20x24
    monkeypatch.setattr(sampling, "plan", lambda model, size, memory: cut)
    tiled = sampling.sample(run, [picture], num=1, out=tmp_path / "tiles", memory=0.5)
    line = capsys.readouterr().out
    assert line == "cat.png: 20x24 in 2x3 tiles of 12x8, margin 20, for --memory 0.5\n"
    for name, image in opened(tiled).items():
        # a label may flip where v is within rounding of the threshold
        assert (image != whole[name]).mean() < 0.01


def test_bad_requests_are_named(make_run, picture, tmp_path):
    run = str(make_run("sr-flow"))
    for temperature in (-0.1, math.nan):
        with pytest.raises(DataError, match=f"temperature = {temperature}"):
            sampling.sample(run, [picture], temperature=temperature, out=tmp_path)
    with pytest.raises(ConfigError, match="--num -1"):
        sampling.sample(run, [picture], num=-1, out=tmp_path)
    for memory in (0, -1, math.nan, math.inf):
        with pytest.raises(ConfigError, match=f"--memory {memory}"):
            sampling.sample(run, [picture], memory=memory, out=tmp_path)
    with pytest.raises(ConfigError, match="--memory 1e-06: the smallest tile .* is 40x48"):
        sampling.sample(run, [picture], memory=1e-6, out=tmp_path)
    with pytest.raises(ConfigError, match="no picture given"):
        sampling.sample(run, [], out=tmp_path)
    with pytest.raises(ConfigError, match="two pictures are called 'cat'"):
        sampling.sample(run, [picture, tmp_path / "other" / "cat.jpg"], out=tmp_path)
    with pytest.raises(DataError, match="no such file"):
        sampling.sample(run, [tmp_path / "dog.png"], out=tmp_path)
    with pytest.raises(CheckpointError, match="holds no weights.safetensors"):
        sampling.sample(str(tmp_path), [picture], out=tmp_path)
    with pytest.raises(CheckpointError, match="no trained flow for 'vessels'"):
        sampling.sample("vessels", [picture], out=tmp_path, results=tmp_path)
