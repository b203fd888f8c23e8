"""Spectra and gradients of pictures whose answer is known."""

import numpy as np
import pytest
import scipy.stats

from cnf.replication.metrics import textures


@pytest.mark.parametrize("cycles", [3, 11, 20, 31])
def test_a_wave_has_its_power_at_its_frequency(cycles):
    y = 100 + 20 * np.cos(2 * np.pi * cycles / 128 * np.arange(128))[None].repeat(64, 0)
    power, _ = textures.spectrum(y)
    # the window spreads a wave over two frequencies of 1/128 and 1/64 on each side: one annulus
    place = int(np.ceil(cycles / 4)) - 1
    around = power[max(place - 1, 0) : place + 2].sum()
    assert around > 0.999 * power.sum()
    names = list(textures.BANDS)
    band = [textures.band(*textures.spectrum(y), name) for name in names]
    assert names[int(np.argmax(band))] == (
        "low" if cycles < 16 else "mid" if cycles < 32 else "high"
    )


def test_white_noise_has_its_variance_at_every_frequency():
    rng = np.random.default_rng(0)
    power, number = np.sum([textures.spectrum(rng.normal(90, 5, (96, 80))) for _ in range(40)], 0)
    # annulus 0 loses the mean; the smallest of the others is of 40 x 90 exponential powers: 2 %
    np.testing.assert_allclose((power / number)[1:], 25, rtol=0.08)


def test_contrast_a_moves_every_band_by_20_log10_a():
    y = np.random.default_rng(0).normal(0, 9, (40, 56)).cumsum(1)
    for name in textures.BANDS:
        moved = textures.band(*textures.spectrum(0.5 * y + 7), name)
        assert moved - textures.band(*textures.spectrum(y), name) == pytest.approx(
            20 * np.log10(0.5), abs=1e-9
        )


def test_a_band_has_the_mean_power_of_its_frequencies():
    """Not the mean of the decibels of its annuli, which differ in power and in number."""
    power, number = np.zeros(16), np.ones(16)
    power[:4], number[:4] = (100, 800, 300, 2000), (1, 2, 3, 4)
    assert textures.band(power, number, "low") == pytest.approx(10 * np.log10(3200 / 10))


def test_a_flat_picture_has_the_power_of_rounding():
    y = np.full((32, 32), 128.0)
    assert all(textures.band(*textures.spectrum(y), b) == -20.0 for b in textures.BANDS)


def test_annuli_hold_every_frequency_up_to_one_half_once():
    _, number = textures.spectrum(np.zeros((64, 48)))
    f = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(48))
    assert number.sum() == (f <= 0.5).sum() - 1  # without the mean


def test_gradients_of_a_ramp_are_its_slopes():
    y = 3.0 * np.arange(20)[:, None] + 1.5 * np.arange(10)
    counts = textures.gradients(y)
    middle, places = round(textures.LARGEST / textures.STEP), np.flatnonzero(counts)
    assert ((places - middle) * textures.STEP).tolist() == [1.5, 3.0]
    assert counts[places].tolist() == [20 * 9, 19 * 10]


def test_distance_is_that_of_wasserstein():
    rng = np.random.default_rng(0)
    one, other = rng.normal(100, 3, (40, 40)), rng.laplace(100, 5, (30, 50))
    found = textures.distance(np.concatenate([textures.gradients(p) for p in (one, other)]))
    g = [np.concatenate([np.diff(p, axis=a).ravel() for a in (0, 1)]) for p in (one, other)]
    # gradients are counted to the nearest quarter: each distribution moves by at most an eighth
    assert found == pytest.approx(scipy.stats.wasserstein_distance(*g), abs=0.25)
    quarters = [np.round(4 * p) / 4 for p in (one, other)]
    found = textures.distance(np.concatenate([textures.gradients(p) for p in quarters]))
    g = [np.concatenate([np.diff(p, axis=a).ravel() for a in (0, 1)]) for p in quarters]
    assert found == pytest.approx(scipy.stats.wasserstein_distance(*g), abs=1e-9)
    assert textures.distance(np.concatenate([textures.gradients(one)] * 2)) == 0
