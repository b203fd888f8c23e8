"""`python -m cnf sample`: a reader's own pictures, of any size."""

import csv
import json
import os
import re
import shutil
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from scipy import ndimage

import cnf
from cnf import noise
from cnf.errors import ConfigError, DataError
from cnf.replication import cli, releases
from cnf.replication.answers import progress, tiling
from cnf.replication.answers import sample as sampling
from cnf.replication.answers.formats import Deep, save
from cnf.replication.config import build, load_config, to_dict
from cnf.replication.data import fundus
from cnf.replication.data.images import read_photograph
from cnf.replication.plotting import to_uint8
from cnf.replication.scored.model import SAMPLES_DRAW
from cnf.resample import imresize_double

EIGHT = np.ones((3, 3))  # diagonal neighbours are connected


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Answers in float32, whatever this processor has."""
    monkeypatch.setattr(sampling, "has_bf16", lambda device: False)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path, pixels):
    path = tmp_path / "cat.png"
    Image.fromarray(pixels).save(path)
    return path


def opened(paths):
    """{what a file shows: its array}, without the sheet."""
    found = {}
    for path in paths:
        if path.suffix == ".csv":
            continue
        name = path.stem.removeprefix("cat-") + ("-levels" if path.suffix == ".npy" else "")
        found[name] = np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))
    assert found.pop("sheet").ndim == 3
    return found


def test_super_resolution_doubles_a_picture_of_odd_size(make_run, picture, tmp_path):
    run = str(make_run("sr-flow"))
    paths = sampling.sample(run, [picture], samples=2, mean=True, out=tmp_path / "out")
    assert sorted(paths) == sorted((tmp_path / "out").iterdir())
    found = opened(paths)
    assert list(found) == ["sample1", "sample2", "mean"]
    assert {image.shape for image in found.values()} == {(38, 46, 3)}
    assert (found["sample1"] != found["sample2"]).any()
    again = opened(sampling.sample(run, [picture], samples=1, out=tmp_path / "again"))
    assert np.array_equal(found["sample1"], again["sample1"])
    other = opened(sampling.sample(run, [picture], samples=1, seed=1, out=tmp_path / "other"))
    assert (found["sample1"] != other["sample1"]).any()
    cold = sampling.sample(run, [picture], samples=2, temperature=0, out=tmp_path / "cold")
    cold = opened(cold)
    assert np.array_equal(cold["sample1"], cold["sample2"])


def test_vessels_are_masks_whose_mean_and_spread_are_marginal_and_deviation(
    make_run, picture, tmp_path
):
    run = str(make_run("vessels-flow"))
    found = opened(sampling.sample(run, [picture], whole=True, out=tmp_path / "out"))
    masks = np.stack([found[f"sample{n}"] for n in range(1, 17)]) / 255
    assert "sample17" not in found and set(np.unique(masks)) == {0, 1}
    assert masks.shape == (16, 19, 23)
    assert np.array_equal(found["marginal"], np.floor(255 * masks.mean(0) + 0.5))
    # float16 has 11 bits
    levels, expected = found["deviation-levels"], masks.std(0, ddof=1)
    np.testing.assert_allclose(levels, expected, rtol=1e-3, atol=1e-6)


def test_the_table_counts_the_masks_that_are_written(make_run, picture, tmp_path, capsys):
    run, out = str(make_run("vessels-flow")), tmp_path / "out"
    found = opened(sampling.sample(run, [picture], samples=5, mean_samples=5, whole=True, out=out))
    masks = [found[f"sample{n}"] > 0 for n in range(1, 6)]
    lines = list(csv.DictReader((out / "cat-table.csv").open()))
    for line, values in zip(
        lines, ([m.mean() for m in masks], [ndimage.label(m, EIGHT)[1] for m in masks]), strict=True
    ):
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95), method="weibull")
        shown = [float(line[key]) for key in ("spread_low", "median", "spread_high")]
        np.testing.assert_allclose(shown, [low, median, high], atol=0.051 if median > 1 else 6e-6)
        assert line["samples"] == "5" and line["field_of_view"] == str(19 * 23)
    assert [line["quantity"] for line in lines] == ["vessel_area", "components"]
    said = capsys.readouterr().out
    assert "cat.png: all of the picture counts as field of view (--whole)" in said
    assert "median and spread (smallest to largest) of 5 samples at temperature 1" in said
    assert "nobody measured how often the truth, the area of vessels, lies in the spread" in said


def test_samples_at_another_temperature_do_not_enter_marginal_and_table(
    make_run, picture, tmp_path
):
    run, found, tables = str(make_run("vessels-flow")), [], []
    for temperature in (1.0, 0.3):
        out = tmp_path / str(temperature)
        paths = sampling.sample(
            run, [picture], samples=2, temperature=temperature, mean_samples=6, whole=True, out=out
        )
        found.append(opened(paths))
        tables.append((out / "cat-table.csv").read_text())
    assert tables[0] == tables[1] and np.array_equal(found[0]["marginal"], found[1]["marginal"])
    assert (found[0]["sample1"] != found[1]["sample1"]).any()


@pytest.fixture
def smallest(tmp_path):
    path = tmp_path / "cat.png"
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(path)
    return path


@pytest.mark.parametrize(
    ("samples", "mean_samples", "drawn"), [(2, None, 16), (18, None, 18), (0, 20, 20)]
)
def test_more_samples_than_are_written_can_be_asked_for(
    make_run, smallest, tmp_path, samples, mean_samples, drawn
):
    run, out = str(make_run("vessels-flow")), tmp_path / "out"
    paths = sampling.sample(
        run, [smallest], samples=samples, mean_samples=mean_samples, whole=True, out=out
    )
    assert sum("sample" in path.name for path in paths) == samples
    (_, components) = csv.DictReader((out / "cat-table.csv").open())
    assert components["samples"] == str(drawn)


def test_vessels_of_a_factorised_model_come_with_its_own_marginal(
    make_run, pixels, picture, tmp_path
):
    run = make_run("vessels-baseline")
    model = releases.load(run / "weights.safetensors")
    with torch.no_grad():
        model.head.weight.normal_(0, 5, generator=torch.manual_seed(0))  # it starts at zero
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run" / "weights.safetensors")
    found = opened(
        sampling.sample(str(tmp_path / "run"), [picture], whole=True, out=tmp_path / "out")
    )
    x = tiling.fitted(model, torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    with torch.no_grad():
        expected = to_uint8(255 * model.mean(x)[0])[:19, :23]
    assert np.array_equal(found["marginal"], expected) and len(np.unique(expected)) > 17
    assert "sample1" not in found  # the mean is the answer, unless samples are asked for


def test_nothing_is_marked_outside_a_field_of_view_that_is_given(
    make_run, picture, tmp_path, capsys
):
    mask = np.zeros((19, 23), np.uint8)
    mask[3:16, 4:20] = 1
    Image.fromarray(mask).save(tmp_path / "fov.png")
    run, out = str(make_run("vessels-flow")), tmp_path / "out"
    options = {"samples": 4, "mean_samples": 4, "fov": tmp_path / "fov.png"}
    found = opened(sampling.sample(run, [picture], fit=False, whole=True, out=out, **options))
    everything = opened(
        sampling.sample(
            run, [picture], samples=4, mean_samples=4, fit=False, whole=True, out=tmp_path / "all"
        )
    )
    for name in ("sample1", "marginal", "deviation-levels"):
        assert found[name][mask == 0].max() == 0
        assert np.array_equal(found[name][mask == 1], everything[name][mask == 1])
    assert "field of view given by fov.png: 16 pixels across, 48 % of" in capsys.readouterr().out
    line = next(csv.DictReader((out / "cat-table.csv").open()))
    assert line["field_of_view"] == str(13 * 16)


def test_a_resized_eye_comes_back_at_its_own_size(make_run, tmp_path, capsys):
    eye = fundus.generate(3, 384)
    path = tmp_path / "cat.png"
    Image.fromarray(eye.x.permute(1, 2, 0).numpy()).save(path)
    run, sizes = str(make_run("vessels-flow")), []
    options = {"samples": 1, "mean_samples": 2, "overwrite": True, "out": tmp_path / "out"}
    for fit, said in ((None, "it sees this one at 19"), (False, "do not trust it at this size")):
        found = opened(sampling.sample(run, [path], fit=fit, **options))
        assert said in capsys.readouterr().out
        assert found["sample1"].shape == found["marginal"].shape == (384, 384)
        assert found["overlay"].shape == (384, 384, 3)
        sizes.append(found["sample1"])
    assert (sizes[0] != sizes[1]).any()


@torch.no_grad()
def test_the_first_sample_is_that_of_an_evaluation():
    model, x = cnf.load("vessels"), fundus.generate(1, 64).x[None, :, :61, :58].float()
    y = model.sample(F.pad(x, (0, 2, 0, 3)), 1, 0.8, noise.keyed(4, [2], SAMPLES_DRAW))[0, 0]
    found = [next(sampling.draw_samples(model, x, 1, 0.8, 4, index)) for index in (2, 0)]
    assert torch.equal(found[0], y[:, :61, :58]) and not torch.equal(*found)


def test_the_precision_that_is_asked_for_is_taken(make_run, smallest, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sampling, "set_precision", lambda model, how: asked.append(how))
    run = str(make_run("sr-flow"))
    for how in ("bf16", "fp32", None):
        sampling.sample(run, [smallest], samples=1, precision=how, out=tmp_path / str(how))
    monkeypatch.setattr(sampling, "has_bf16", lambda device: True)
    table = tmp_path / "fast.json"
    sampling.sample(run, [smallest], samples=1, out=tmp_path / "fast", json=table)
    assert json.loads(table.read_text())["pictures"][0]["precision"] == "bf16"
    assert asked == ["bf16", "fp32", "fp32", "bf16"]


def test_bfloat16_draws_the_same_masks_but_for_pixels_at_the_threshold():
    model = cnf.load("vessels")
    x = fundus.generate(1, 128).x[None].float()
    exact = torch.stack(list(sampling.draw_samples(model, x, 4, 1.0)))
    sampling.set_precision(model, "bf16")
    rounded = torch.stack(list(sampling.draw_samples(model, x, 4, 1.0)))
    differ = (exact != rounded).float().mean()
    # a pixel in thousands; two samples differ in one of 25
    assert 0 < differ < 0.005 < 0.01 < (exact[0] != exact[1]).float().mean()


@pytest.mark.slow("the seconds that samples of a fundus photograph take")
def test_sixteen_samples_of_a_fundus_photograph_take_less_than_20_seconds_of_one_core():
    model = cnf.load("vessels")
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 584, 565))).float()
    next(sampling.draw_samples(model, x, 1, 1.0))  # fills the caches
    before = time.process_time()
    masks = list(sampling.draw_samples(model, x, 3, 1.0))
    assert masks[0].shape == (1, 584, 565)
    # three of 16, the features with them; of a processor that is not busy under 2 seconds
    assert time.process_time() - before < 20 * 3 / 16


def test_uncertainty_is_mean_and_deviation_of_32_samples(
    make_run, pixels, picture, tmp_path, capsys
):
    run = make_run("sr-flow")
    options = {"samples": 0, "uncertainty": True, "out": tmp_path / "out"}
    found = opened(sampling.sample(str(run), [picture], **options))
    assert list(found) == ["mean", "deviation", "deviation-levels"]
    assert "cat-deviation.png: black 0, white 32 grey levels or more" in capsys.readouterr().out
    model = releases.load(run / "weights.safetensors")
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    drawn = torch.stack(list(sampling.draw_samples(model, x, 32, 1.0)))
    assert np.array_equal(found["mean"], to_uint8(drawn.mean(0)))
    levels = found["deviation-levels"]
    assert levels.dtype == np.float16 and levels.shape == (38, 46)
    expected = drawn.double().var(0).mean(0).sqrt().numpy()
    # float16 has 11 bits, and is exact to 1e-7 below 1e-4
    np.testing.assert_allclose(levels, expected, rtol=1e-3, atol=1e-6)
    # half a step of 1/8 grey level, and what float16 leaves of it
    shown = found["deviation"] / 255 * 32
    np.testing.assert_allclose(shown, np.minimum(levels, 32), atol=0.07, rtol=1e-3)


def test_a_factorised_model_says_its_own_mean(make_run, pixels, picture, tmp_path):
    run = make_run("sr-baseline")
    found = opened(sampling.sample(str(run), [picture], samples=0, mean=True, out=tmp_path / "out"))
    model = releases.load(run / "weights.safetensors")
    x = tiling.fitted(model, torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    with torch.no_grad():
        assert np.array_equal(found["mean"], to_uint8(model.mean(x)[0])[:38, :46])


# -- what a file holds is kept ---------------------------------------------------------------------


def test_alpha_is_doubled_and_attached_again(make_run, pixels, tmp_path, capsys):
    alpha = np.zeros((19, 23), np.uint8)
    alpha[4:15, 5:20] = 255
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "cat.png")
    run, out = str(make_run("sr-flow")), tmp_path / "out"
    found = opened(sampling.sample(run, [tmp_path / "cat.png"], samples=1, mean=True, out=out))
    doubled = to_uint8(imresize_double(torch.from_numpy(alpha)[None]))
    for image in found.values():
        assert image.shape == (38, 46, 4) and np.array_equal(image[..., 3], doubled)
    assert "cat.png: 62 % fully transparent, coloured like" in capsys.readouterr().out


def test_a_grey_picture_stays_grey_and_is_the_luma_of_what_is_drawn(make_run, pixels, tmp_path):
    run, grey = make_run("sr-flow"), pixels[..., 0]
    Image.fromarray(grey).save(tmp_path / "cat.png")
    out = tmp_path / "out"
    found = opened(sampling.sample(str(run), [tmp_path / "cat.png"], samples=1, out=out))
    assert found["sample1"].shape == (38, 46)
    model = releases.load(run / "weights.safetensors")
    x = torch.from_numpy(grey).float().expand(1, 3, -1, -1)
    red, green, blue = next(sampling.draw_samples(model, x, 1, 0.8))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    # a luma within rounding of a half may go either way
    assert np.abs(found["sample1"].astype(int) - to_uint8(luma)).max() <= 1


def test_a_phone_photograph_comes_out_upright_with_its_colour_profile(
    make_run, pixels, tmp_path, capsys
):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "cat.jpg", exif=exif, icc_profile=b"colours")
    run, out = str(make_run("sr-flow")), tmp_path / "out"
    paths = sampling.sample(run, [tmp_path / "cat.jpg"], samples=1, out=out)
    assert opened(paths)["sample1"].shape == (38, 46, 3)
    with Image.open(paths[0]) as image:
        assert image.info["icc_profile"] == b"colours" and not image.getexif()
    assert "cat.jpg: turned upright (EXIF orientation 6)" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_file_of_16_bits_is_read_and_its_mean_written_with_all_of_them(
    make_run, tmp_path, capsys, kind, channels
):
    shape = (10, 12) if channels == 1 else (10, 12, channels)
    levels = np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16)
    if channels == 4:
        levels[..., 3] |= 1 << 15  # no pixel is hidden
    path, run = tmp_path / f"cat.{kind}", make_run("sr-baseline")
    shown = Image.fromarray(np.zeros((10, 12), np.uint8))
    shown.info["icc_profile"] = b"colours"
    save(Deep(levels, shown), path)
    options = {"format": kind, "suffix": "_x2", "samples": 1, "mean": True, "out": tmp_path / "out"}
    paths = sampling.sample(str(run), [path], **options)
    ends = [f"sample1.{kind}", f"mean.{kind}", f"sheet.{kind}"]
    assert [file.name for file in paths] == [f"cat_x2-{end}" for end in ends]
    assert "16 bits a channel: the mean has 16, too; samples are" in capsys.readouterr().out
    model, mean = releases.load(run / "weights.safetensors"), read_photograph(paths[1])
    colours = levels[..., None].repeat(3, 2) if channels == 1 else levels[..., :3]
    x = torch.from_numpy(colours / 257).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        expected = 257 * model.mean(tiling.fitted(model, x))[0].permute(1, 2, 0)[:20, :24].numpy()
    if channels == 1:
        expected = (expected @ np.array([0.299, 0.587, 0.114]))[..., None]
    assert np.abs(mean.deep - expected).max() <= 1 and mean.profile == b"colours"
    assert (mean.alpha is not None) == (channels == 4)
    assert read_photograph(paths[0]).deep is None


def test_a_mean_beyond_black_and_white_stays_there_in_16_bits(make_run, tmp_path):
    path, shown = tmp_path / "deep.png", Image.fromarray(np.zeros((10, 12), np.uint8))
    save(Deep(np.full((10, 12, 3), 40000, np.uint16), shown), path)
    picture = sampling.request_of(str(make_run("sr-baseline")), sampling.Options()).picture(path)
    y = torch.full((3, 20, 24), 255.5)
    y[:, 0] = -1
    levels = picture.deep(y).levels
    assert levels[0].max() == 0 and levels[1:].min() == 65535


@pytest.mark.parametrize("kind", ["flow", "baseline"])
def test_the_features_of_a_picture_are_computed_once(make_run, smallest, kind):
    request, seen = sampling.request_of(str(make_run(f"sr-{kind}")), sampling.Options()), []
    request.model.features.register_forward_hook(lambda *_: seen.append(1))
    assert len(list(request.draw_files(request.picture(smallest), 0))) > 1
    assert len(seen) == 1


def test_no_format_changes_a_grey_level(make_run, smallest, tmp_path):
    run, found = str(make_run("sr-flow")), []
    for kind in ("png", "tiff", "webp"):
        answer = cnf.upscale(smallest, run, samples=1)
        path = answer.save(tmp_path, format=kind)[0]
        assert path.name == f"cat-sample1.{kind}"
        found.append(np.asarray(Image.open(path)))
    assert all(np.array_equal(found[0], other) for other in found)


def test_all_that_is_printed_is_in_a_table(make_run, picture, tmp_path, capsys):
    run, out = str(make_run("vessels-flow")), tmp_path / "out"
    options = {
        "samples": 2,
        "mean_samples": 2,
        "whole": True,
        "out": out,
        "json": tmp_path / "table.json",
    }
    paths = sampling.sample(run, [picture], **options)
    lines, table = capsys.readouterr().out.splitlines(), json.loads(options["json"].read_text())
    [cat] = table["pictures"]
    said = [f"cat.png: {note}" for note in cat["notes"]]
    assert lines == [*table["notes"], *said, *cat["answers"]]
    assert cat["files"] == list(map(str, paths))
    area = cat["vessel_area"]
    assert f"samples: {100 * area['median']:.2f} ({100 * area['spread_low']:.2f} to" in lines[-1]
    assert area["low"] is None and area["not_calibrated"] in lines[-1]
    assert cat["samples"] == 2 and cat["field_of_view"] == 19 * 23 and cat["threshold"] == 0.5
    assert table["spread_held_the_truth"] == {} and table["model"] == "vessels-flow"
    sampling.sample(run, [picture], **options | {"overwrite": True, "json": "-"})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == table and captured.err.splitlines() == lines


def test_lines_say_how_far_it_is_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0)
    assert list(progress.watched("ab", "cat.png", 2)) == ["a", "b"]
    assert capsys.readouterr().err == "cat.png: 1 of 2, 0 s\n"


# -- what is announced -----------------------------------------------------------------------------


def test_tiles_are_announced_and_change_no_sample(make_run, picture, tmp_path, capsys):
    run, large = str(make_run("vessels-flow")), tmp_path / "large" / "cat.png"
    large.parent.mkdir()
    Image.open(picture).resize((45, 37)).save(large)
    whole = opened(sampling.sample(run, [large], samples=1, whole=True, out=tmp_path / "whole"))
    assert "tiles" not in capsys.readouterr().out
    tiled = sampling.sample(run, [large], samples=1, whole=True, out=tmp_path / "tiles", tile=23)
    # 37x45 is extended to 38x46, and 23 to 24
    line = r"cat.png: 38x46 in 2x2 tiles of 24 pixels a side, margin 20 \(--tile\)\n"
    assert re.search(line, capsys.readouterr().out)
    for name, image in opened(tiled).items():
        # a label may flip where v is within rounding of the threshold, in one of 16 samples
        assert (image != whole[name]).mean() < (0.01 if name == "sample1" else 0.1)


@pytest.mark.parametrize("round_x, is_told", [(False, True), (True, False), ("mixed", False)])
def test_a_model_of_unrounded_inputs_says_that_files_are_rounded(
    smallest, tmp_path, capsys, round_x, is_told
):
    config = load_config("sr-flow-smoke", [f"data.round_x={str(round_x).lower()}"])
    metadata = {"config": json.dumps(to_dict(config))}
    build(config).save(tmp_path / "weights.safetensors", metadata)
    found = opened(sampling.sample(str(tmp_path), [smallest], samples=1, out=tmp_path / "out"))
    assert found["sample1"].shape == (8, 10, 3)
    assert ("less to be trusted" in capsys.readouterr().out) == is_told


# -- what goes wrong, before anything is drawn -----------------------------------------------------


def test_files_that_are_there_are_replaced_only_if_asked_to(make_run, picture, tmp_path):
    run, out = str(make_run("sr-flow")), tmp_path / "out"
    sampling.sample(run, [picture], samples=1, out=out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ConfigError, match=r"cat-sample1.png and 1 more would be .* --overwrite"):
        sampling.sample(run, [picture], samples=2, seed=1, out=out)
    assert before == {path: path.read_bytes() for path in out.iterdir()}
    sampling.sample(run, [picture], samples=1, seed=1, out=out, overwrite=True)
    assert before.keys() == set(out.iterdir())
    assert all(path.read_bytes() != content for path, content in before.items())


def test_a_bad_picture_stops_before_the_good_one_is_drawn(make_run, picture, tmp_path, monkeypatch):
    run, out = str(make_run("sr-flow")), tmp_path / "out"
    deep, cut, small = (tmp_path / name for name in ("deep.png", "cut.jpg", "small.png"))
    deep = deep.with_suffix(".tif")
    Image.fromarray(np.zeros((8, 8), np.float32)).save(deep)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:300])
    Image.fromarray(np.zeros((3, 8, 3), np.uint8)).save(small)
    says = {
        tmp_path / "dog.png": "no such file",
        deep: "more than 8 bits a channel .F., and is none of grey",
        cut: "truncated",
        small: "3x8 .HxW.: sides must be at least 4 pixels",
    }
    for bad, message in says.items():
        with pytest.raises(DataError, match=message):
            sampling.sample(run, [picture, bad], out=out)
    monkeypatch.setattr(sampling, "trained", None)  # no model is loaded
    with pytest.raises(DataError, match="no such file"):
        sampling.sample(run, [picture, tmp_path / "dog.png"], out=out)
    assert not out.exists()


def test_what_is_bad_in_a_folder_is_skipped_and_listed_at_the_end(make_run, tmp_path, capsys):
    run, folder, out = str(make_run("sr-flow")), tmp_path / "album", tmp_path / "out"
    folder.mkdir()
    for n in range(3):
        Image.fromarray(np.full((8, 8, 3), n, np.uint8)).save(folder / f"b{n}.png")
    (folder / "a.jpg").write_bytes(b"these are words")  # the first, seen before the model is there
    Image.fromarray(np.zeros((3, 8, 3), np.uint8)).save(folder / "small.png")  # and after
    options = ["--samples", "1", "--out", str(out), "--json", str(tmp_path / "said.json")]
    assert cli.main(["sample", run, str(folder), *options]) == 1
    assert {path.name.split("-")[0] for path in out.iterdir()} == {"b0", "b1", "b2"}
    said = capsys.readouterr()
    head, *lines = said.err.splitlines()
    assert head == "skipped 2 of 5 pictures:" and len(lines) == 2
    assert lines[0].startswith(f"{folder / 'a.jpg'}: no picture that can be read (15 bytes)")
    assert lines[1].startswith(f"{folder / 'small.png'} is 3x8 (HxW): sides must be at least 4")
    assert said.out.splitlines()[-1] == str(out / "b2-sheet.png")
    assert json.loads((tmp_path / "said.json").read_text())["skipped"] == lines
    named = ["sample", run, str(folder / "a.jpg"), str(folder / "b0.png"), "--out", str(out / "n")]
    assert cli.main(named) == 2 and not (out / "n").exists()
    for n in range(3):
        (folder / f"b{n}.png").unlink()
    with pytest.raises(DataError, match="15 bytes.*, or get it again, nor can 1 more picture"):
        sampling.sample(run, [folder], out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_archives_and_films_say_what_to_do(make_run, tmp_path):
    run, says = str(make_run("sr-flow")), {"album.zip": "unpack it", "film.MP4": "ffmpeg -i film"}
    for name, remedy in says.items():
        folder = tmp_path / name[:2]
        folder.mkdir()
        (folder / name).write_bytes(b"no picture")
        with pytest.raises(DataError, match=remedy):
            sampling.sample(run, [folder / name], out=tmp_path / "out")
        with pytest.raises(ConfigError, match=f"no picture in this folder; {name} is .*{remedy}"):
            sampling.sample(run, [folder], out=tmp_path / "out")


def test_a_folder_that_cannot_be_written_to_is_named(make_run, picture, tmp_path):
    (tmp_path / "out").write_text("a file of this name")
    with pytest.raises(ConfigError, match="cat-sample1.png cannot be written .* another --out"):
        sampling.sample(str(make_run("sr-flow")), [picture], samples=1, out=tmp_path / "out")


def test_a_mask_that_is_given_is_not_replaced(make_run, picture, tmp_path):
    run, options = str(make_run("vessels-flow")), {"out": tmp_path, "overwrite": True}
    mask = tmp_path / "cat-mask.png"
    Image.fromarray(np.full((19, 23), 255, np.uint8)).save(mask)
    with pytest.raises(ConfigError, match="is a file that is given: give another --out"):
        sampling.sample(run, [picture], fov=mask, **options)
    (tmp_path / "other").mkdir()
    second = shutil.copy(picture, tmp_path / "other" / "cat-mask.png")
    with pytest.raises(ConfigError, match="cat-mask.png is a file that is given"):  # the second's
        sampling.sample(run, [picture, second], fov=tmp_path, **options)


@pytest.mark.parametrize("name", [b"cat\xff.png", b"cat\n.png"])
def test_a_name_that_is_no_text_is_refused(make_run, picture, tmp_path, name):
    renamed = picture.rename(tmp_path / os.fsdecode(name))
    with pytest.raises(DataError, match="a name with control characters, or not in UTF-8: rename"):
        sampling.sample(str(make_run("sr-flow")), [renamed], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_of_any_letters_is_taken(make_run, picture, tmp_path):
    renamed = picture.rename(tmp_path / "10.00\u202fAM\u3000é😀.png")
    paths = sampling.sample(str(make_run("sr-flow")), [renamed], samples=1, out=tmp_path / "out")
    assert paths[0].name == f"{renamed.stem}-sample1.png"


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_may_be_an_end_of_the_range(threshold):
    assert sampling.Options(threshold=threshold).threshold == threshold
    with pytest.raises(ConfigError, match=r"--threshold 1.1: give a probability between 0 and 1"):
        sampling.Options(threshold=1.1)


def test_moments_of_many_samples_are_exact():
    """Of grey levels near white, whose sums of squares float32 cannot hold."""
    y = torch.randint(200, 203, (600, 3, 4, 4), generator=torch.manual_seed(0)).float()
    moments = sampling.Moments()
    for sample in y:
        moments.add(sample)
    exact = y.double().var(0).mean(0).sqrt()
    torch.testing.assert_close(moments.deviation, exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(moments.mean, y.double().mean(0).float(), rtol=0, atol=0)


def test_a_picture_or_an_answer_is_not_written_over_a_file_that_is_given(
    make_run, picture, tmp_path
):
    mean = picture.rename(tmp_path / "cat-sample1.png")
    picture.write_bytes(mean.read_bytes())
    with pytest.raises(ConfigError, match="cat-sample1.png is a file that is given"):
        run = str(make_run("sr-flow"))
        sampling.sample(run, [picture, mean], samples=1, out=tmp_path, overwrite=True)


def test_transparent_pixels_of_an_eye_are_named(make_run, tmp_path):
    transparent = np.zeros((8, 8, 4), np.uint8)
    transparent[0, 0] = 255
    Image.fromarray(transparent).save(tmp_path / "eye.png")
    with pytest.raises(DataError, match="eye.png: has transparent pixels"):
        sampling.sample(str(make_run("vessels-flow")), [tmp_path / "eye.png"], out=tmp_path)
