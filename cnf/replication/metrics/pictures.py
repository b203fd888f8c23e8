"""PSNR and SSIM of super-resolved pictures, under two protocols.

"standard", of the benchmarks: x rounded to 8 bits, output rounded to 8 bits, two border pixels
removed, Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 (BT.601), peak 255. One file of Set14,
`bridge`, holds a single channel, and the scripts behind published numbers score it by its grey
levels, 1.32 dB below its Y: 0.09 dB of their mean over the set. Here all are scored by Y.

"released", of the first author's code: x not rounded, output clipped to [0, 255/256] on the scale
of y/256 and not rounded, no border removed, Y without the 16, peak 1. Its pixels span 255/256 of
the peak, which alone adds 20 log10(256/255) = 0.034 dB.

On Y, or jointly on the three channels of RGB. SSIM has an 11x11 Gaussian window of sigma 1.5 and is
averaged where the window lies inside the picture.
"""

from typing import Literal

import numpy as np
import skimage
from torch import Tensor

from cnf.resample import imresize_half

SCALE = 2  # of the super-resolution; so many border pixels are removed
WINDOW = 11  # pixels a side, of SSIM
MAX_PSNR = 100.0  # dB, of pictures that are equal


def protocol(rounded_x: bool | None) -> Literal["standard", "released"]:
    """The protocol that goes with an x that is rounded, or not."""
    return "standard" if rounded_x else "released"


def rounded(image: Tensor) -> np.ndarray:
    """Grey levels (3,H,W) -> uint8 (H,W,3)."""
    from cnf.replication.plotting import to_uint8  # loads matplotlib

    return to_uint8(image)


def luma(image: Tensor) -> np.ndarray:
    """Grey levels (3,H,W) -> rounded to 8 bits -> the Y channel, 16..235, unrounded, (H,W).

    Bicubic interpolation reaches 33.68 dB on Set5 so; the 33.66 of the literature is made from Y
    alone: Y rounded, halved unrounded, doubled, rounded.
    """
    return skimage.color.rgb2ycbcr(rounded(image))[..., 0]


def fidelity(
    truth: Tensor, ours: Tensor, protocol: Literal["standard", "released"]
) -> dict[str, float]:
    """PSNR in dB and SSIM on Y ("psnr", "ssim") and on RGB ("psnr_rgb", "ssim_rgb") of a picture in
    grey levels, (3,H,W), see the top of this file."""
    if protocol == "standard":
        peak = 255.0
        y = [inside(luma(p)) for p in (truth, ours)]
        rgb = [inside(rounded(p).astype(float)) for p in (truth, ours)]
    else:
        peak = 1.0
        clipped = [(p.double() / 256).clamp(0, 255 / 256) for p in (truth, ours)]
        rgb = [p.permute(1, 2, 0).numpy() for p in clipped]
        y = [p @ np.array([65.481, 128.553, 24.966]) / 255 for p in rgb]
    return {
        "psnr": psnr(y[0], y[1], peak),
        "ssim": ssim(y[0], y[1], peak),
        "psnr_rgb": psnr(rgb[0], rgb[1], peak),
        "ssim_rgb": ssim(rgb[0], rgb[1], peak),
    }


def inside(pixels: np.ndarray) -> np.ndarray:
    """(H,W) or (H,W,3) without the border of the standard protocol."""
    return pixels[SCALE:-SCALE, SCALE:-SCALE]


def psnr(truth: np.ndarray, ours: np.ndarray, peak: float) -> float:
    """Peak signal-to-noise ratio in dB, at most MAX_PSNR."""
    with np.errstate(divide="ignore"):
        decibels = skimage.metrics.peak_signal_noise_ratio(truth, ours, data_range=peak)
    return float(min(decibels, MAX_PSNR))


def variance(samples: Tensor) -> float:
    """The unbiased variance over samples (n,3,H,W), n >= 2, of Y in the standard protocol, the mean
    over pixels, in grey levels squared."""
    levels = [inside(luma(sample)) for sample in samples]
    mean = sum(levels) / len(levels)
    return float(sum(((y - mean) ** 2).mean() for y in levels) / (len(levels) - 1))


def limit(decibels: float, variance: float, n: int) -> float | None:
    """The PSNR in dB of the mean of infinitely many samples, from that of n of them and their
    `variance`: E |mean of n - y|^2 = |mean - y|^2 + variance / n. An estimate from few samples may
    have a squared error of 0 or less: None."""
    squared_error = 255.0**2 * 10 ** (-decibels / 10) - variance / n
    return None if squared_error <= 0 else float(10 * np.log10(255.0**2 / squared_error))


def ssim(truth: np.ndarray, ours: np.ndarray, peak: float) -> float:
    """Structural similarity of (H,W), or of (H,W,3) averaged over channels."""
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    axis = -1 if truth.ndim == 3 else None
    similarity = skimage.metrics.structural_similarity(
        truth, ours, data_range=peak, channel_axis=axis, **window
    )
    return float(similarity)


def consistency(picture: Tensor, x: Tensor) -> float:
    """PSNR in dB of D(y) against x, of a picture y (3,H,W) in grey levels: D the halving that makes
    x from y, not rounded, peak 255, all pixels and channels. (A rounded x differs from D of the
    truth by 58.9 dB.)"""
    return psnr(x.double().numpy(), imresize_half(picture.double()).numpy(), 255.0)
