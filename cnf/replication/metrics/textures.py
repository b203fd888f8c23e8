"""Textures: power spectra and gradients of a picture, compared with those of the truth.

Both are of the Y channel of the picture rounded to 8 bits, in grey levels (`pictures.luma`).

Power: the picture less its mean, under a Hann window w; |Fourier transform|^2 / sum w^2, so that
white noise of variance s^2 has power s^2 at every frequency. Frequencies are in cycles a pixel; a
half-size x holds those up to 1/4. Powers below FLOOR, about the power of rounding, count as FLOOR.

Gradients: differences of neighbours to the right and below, all pixels of a set together. Those of
photographs are mostly small and sometimes large: a kurtosis far above the 3 of a Gaussian.

LPIPS is not computed: no package ships the weights that it needs.
"""

import numpy as np
import scipy

ANNULI = 16  # of 1/32 cycle a pixel each, up to 1/2
BANDS = {"low": slice(0, 4), "mid": slice(4, 8), "high": slice(8, 16)}  # to 1/8, 1/4, 1/2
FLOOR = 0.01  # grey levels squared
STEP = 1 / 4  # grey levels: gradients are counted to the nearest multiple
LARGEST = 220  # grey levels, above every difference of Y
WIDE = 8  # so many counts are one of a plotted histogram, from -LARGEST to LARGEST and a bit beyond
EDGES = np.arange(-LARGEST - 3.5 * STEP, LARGEST + 5 * STEP, WIDE * STEP)


def spectrum(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(power summed over the frequencies of each annulus, their number), each (ANNULI,), of Y
    (H,W). Annulus i holds i/32 < |f| <= (i+1)/32; the corners beyond 1/2 are left out."""
    window = np.outer(*(scipy.signal.windows.hann(side, sym=False) for side in y.shape))
    flat = y - (window * y).sum() / window.sum()
    power = np.abs(np.fft.fft2(window * flat)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(y.shape[0])[:, None], np.fft.fftfreq(y.shape[1]))
    annulus = np.ceil(radius * 2 * ANNULI - 1e-9).astype(int)  # 0 holds the mean alone
    is_inside = annulus <= ANNULI
    number = np.bincount(annulus[is_inside], minlength=ANNULI + 1)[1:]
    return np.bincount(annulus[is_inside], power[is_inside], ANNULI + 1)[1:], number


def decibels(power: np.ndarray, number: np.ndarray) -> np.ndarray:
    """10 log10 of the mean power; that of FLOOR where there is no frequency."""
    return 10 * np.log10(np.maximum(power / np.maximum(number, 1), FLOOR))


def band(power: np.ndarray, number: np.ndarray, name: str) -> float:
    """Mean power of one of BANDS, dB over 1 grey level squared."""
    return float(decibels(power[BANDS[name]].sum(), number[BANDS[name]].sum()))


def gradients(y: np.ndarray) -> np.ndarray:
    """Histogram of the gradients of Y (H,W), a bin for each multiple of STEP from -LARGEST to
    LARGEST. Histograms of several pictures may be summed."""
    g = np.concatenate([np.diff(y, axis=axis).ravel() for axis in (0, 1)])
    bin_index = np.floor(g / STEP + 0.5).astype(int) + round(LARGEST / STEP)
    return np.bincount(bin_index, minlength=round(2 * LARGEST / STEP) + 1)


def shares(sums: np.ndarray) -> np.ndarray:
    """The share of gradients between each two of EDGES, of a histogram of `gradients`."""
    parts = np.pad(sums, (3, 4)).reshape(-1, WIDE).sum(1)
    return parts / parts.sum()


def distance(sums: np.ndarray) -> np.ndarray:
    """Wasserstein distance of two distributions of gradients, in grey levels. `sums` holds both
    histograms, one after the other along the last axis."""
    first, second = (half / half.sum(-1, keepdims=True) for half in np.split(sums, 2, -1))
    return STEP * np.abs(np.cumsum(first - second, -1)).sum(-1)
