"""PSNR and SSIM under both protocols: formulas by hand, pairs whose difference is known."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cnf.replication.data import load
from cnf.replication.metrics.pictures import (
    MAX_PSNR,
    fidelity,
    inside,
    limit,
    luma,
    protocol,
    psnr,
    ssim,
    variance,
)
from cnf.resample import imresize_double, imresize_half
from tests.evaluation.toys import photographs, value


@pytest.fixture
def pair():
    """A photograph and a worse one, both of whole grey levels, with equal borders."""
    y = load("embedded-sr", "test")[5].y
    ours = y.clone()
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(-9, 10, (3, 28, 28)))
    ours[:, 2:-2, 2:-2] = (y[:, 2:-2, 2:-2] + noise).clamp(0, 255).to(torch.uint8)
    return y, ours.float()


def test_psnr_is_that_of_the_rounded_y_channel_without_border():
    y = torch.full((3, 20, 20), 100, dtype=torch.uint8)
    shifted = y.float() + 10.4  # is rounded to 10
    shifted[:, :2] = 255  # the border does not count
    # Y weighs equal channels with (65.481 + 128.553 + 24.966) / 255 = 219 / 255
    expected = 20 * np.log10(255 / (10 * 219 / 255))
    assert fidelity(y, shifted, "standard")["psnr"] == pytest.approx(expected, abs=1e-6)


def test_few_samples_give_the_psnr_of_the_mean_of_infinitely_many():
    """Samples scatter by 20 grey levels around a mean that is 6 off."""
    rng = np.random.default_rng(0)
    y = torch.full((3, 132, 132), 100, dtype=torch.uint8)
    noise = torch.from_numpy(rng.normal(106, 20, (8, 3, 132, 132))).round()
    samples = noise.clamp(0, 255).to(torch.uint8)
    exact = fidelity(y, y.float() + 6, "standard")["psnr"]
    for n in (2, 8):
        of_mean = fidelity(y, samples[:n].float().mean(0), "standard")["psnr"]
        assert of_mean < exact - 1
        assert limit(of_mean, variance(samples[:n]), n) == pytest.approx(exact, abs=0.25)
    assert limit(20.0, 2 * 255**2 / 10**2, 2) is None  # noise alone


def test_what_samples_do_in_the_border_has_no_variance():
    """As in PSNR, from which `limit` takes it off. Inside, equal channels 100 and 110 differ in Y
    by 10 x 219 / 255, and two values that are d apart have the variance d^2 / 2."""
    samples = torch.full((2, 3, 20, 20), 100.0)
    samples[1, :, :2], samples[1, :, -2:] = 255, 0
    samples[1, :, :, :2], samples[1, :, :, -2:] = 255, 0
    assert variance(samples) == 0
    samples[1, :, 2:-2, 2:-2] = 110
    assert variance(samples) == pytest.approx((10 * 219 / 255) ** 2 / 2, abs=1e-9)


def test_equal_pictures_have_finite_psnr_and_ssim_one(pair):
    found = fidelity(pair[0], pair[0].float(), "standard")
    assert found == pytest.approx(
        {"psnr": MAX_PSNR, "psnr_rgb": MAX_PSNR, "ssim": 1, "ssim_rgb": 1}
    )


@pytest.mark.parametrize("metric", ["psnr", "psnr_rgb"])
def test_the_released_pixel_scale_adds_0_034_db_and_its_border_dilutes_errors(pair, metric):
    standard, released = (fidelity(*pair, name)[metric] for name in ("standard", "released"))
    # the border holds no error: it only enters the number of pixels that is divided by
    border = 10 * np.log10(32**2 / 28**2)
    scale = 20 * np.log10(256 / 255)
    assert scale == pytest.approx(0.034, abs=5e-5)  # two printed digits
    assert released - standard == pytest.approx(scale + border, abs=1e-9)


def test_an_output_between_grey_levels_is_rounded_by_the_standard_protocol_alone(pair):
    y, _ = pair
    near = y.float() + 0.4
    assert fidelity(y, near, "standard")["psnr"] == MAX_PSNR
    # Y weighs an equal change of all channels with 219/255; 255 is clipped and hides nothing here
    expected = 20 * np.log10(256 / (0.4 * 219 / 255))
    assert y.max() < 255
    assert fidelity(y, near, "released")["psnr"] == pytest.approx(expected, abs=1e-4)  # float32


def test_the_released_output_is_clipped_to_255_grey_levels():
    y = torch.full((3, 16, 16), 255, dtype=torch.uint8)
    assert fidelity(y, y.float() + 90, "released")["psnr_rgb"] == MAX_PSNR
    assert fidelity(255 - y, y.float() - 900, "released")["psnr_rgb"] == MAX_PSNR


def test_the_missing_offset_moves_ssim_and_not_psnr(pair):
    y = pair[0][:, 2:-2, 2:-2]
    framed = torch.nn.functional.pad(y.float()[None], (2, 2, 2, 2), "replicate")[0]
    brighter = framed.clone()
    brighter[:, 2:-2, 2:-2] += 9  # the border is the same, and what stays inside it is compared
    standard = fidelity(framed, brighter, "standard")
    released = fidelity(y, y + 9.0, "released")
    scale = 20 * np.log10(256 / 255)
    assert released["psnr"] - standard["psnr"] == pytest.approx(scale, abs=1e-6)  # float32 inputs
    # brightness counts by the ratio of means, which the 16 brings nearer to one
    assert standard["ssim"] - released["ssim"] > 1e-4


def test_psnr_of_rgb_is_of_the_joint_error():
    y = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    ours = y.float()
    ours[0] += 9  # one channel of three: a mean square error of 27
    found = fidelity(y, ours, "standard")["psnr_rgb"]
    assert found == pytest.approx(10 * np.log10(255**2 / 27), abs=1e-9)


@pytest.mark.parametrize("round_x", [True, False])
def test_protocol_follows_x_and_without_full_it_is_the_standard_one(scored, round_x):
    images = photographs()
    m = scored("sr-baseline", images, round_x=round_x)
    assert protocol(m.rounded_x) == ("standard" if round_x else "released")
    with torch.no_grad():
        means = [m.model.mean(m.x(i)[None])[0] for i in range(3)]
    pairs = zip(images, means, strict=True)
    expected = [fidelity(e.y, mean, "standard")["psnr"] for e, mean in pairs]
    assert value(m, "psnr").value == pytest.approx(np.mean(expected), abs=1e-4)  # float32


@pytest.mark.skipif("CNF_DATA" not in os.environ, reason="Set5 is not here: CNF_DATA is not set")
def test_bicubic_row_of_set5(scored):
    m = scored("sr-baseline", load("set5", "test"), round_x=True).reference_of("bicubic")
    # two printed digits; see `pictures.luma`
    assert value(m, "psnr").value == pytest.approx(33.68, abs=0.005)
    assert value(m, "ssim").value == pytest.approx(0.9305, abs=5e-5)


@pytest.mark.skipif("CNF_DATA" not in os.environ, reason="benchmarks: CNF_DATA is not set")
@pytest.mark.parametrize(
    ("name", "db", "similarity"),
    [("set5", 33.66, 0.9299), ("set14", 30.24, 0.8688), ("bsd100", 29.56, 0.8431)],
)
def test_published_bicubic_rows_are_reproduced_from_y_alone(name, db, similarity):
    """As the benchmarks' scripts do it: Y rounded, halved unrounded, doubled, rounded."""
    if not (Path(os.environ["CNF_DATA"]) / name).exists():
        pytest.skip(f"{name} is not there")
    found = []
    for example in load(name, "test"):
        one_channel = name == "set14" and example.name == "bridge"  # of its file
        y = example.y[0].numpy() if one_channel else luma(example.y)
        y = torch.from_numpy(np.floor(y + 0.5))
        up = imresize_double(imresize_half(y)).clamp(0, 255).add(0.5).floor()
        a, b = inside(y.numpy()), inside(up.numpy())
        found.append((psnr(a, b, 255), ssim(a, b, 255)))
    assert np.mean(found, 0)[0] == pytest.approx(db, abs=0.02)  # the tolerance we promise
    assert np.mean(found, 0)[1] == pytest.approx(similarity, abs=1e-3)
