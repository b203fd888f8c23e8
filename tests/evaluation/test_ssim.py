"""SSIM is that of Wang et al. (2004), written out for a small picture."""

import numpy as np

from cnf.replication.metrics.pictures import ssim


def by_hand(a: np.ndarray, b: np.ndarray, peak: float) -> float:
    """The mean over all places of an 11x11 Gaussian window of sigma 1.5, moments weighted by it."""
    k = np.arange(-5, 6)
    window = np.exp(-(k[:, None] ** 2 + k**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    found = []
    for i in range(a.shape[0] - 10):
        for j in range(a.shape[1] - 10):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mean_p, mean_q = (window * p).sum(), (window * q).sum()
            var_p, var_q = (window * (p - mean_p) ** 2).sum(), (window * (q - mean_q) ** 2).sum()
            both = (window * (p - mean_p) * (q - mean_q)).sum()
            same = (2 * mean_p * mean_q + c1) / (mean_p**2 + mean_q**2 + c1)
            found.append(same * (2 * both + c2) / (var_p + var_q + c2))
    return float(np.mean(found))


def test_ssim_has_a_gaussian_window_and_its_own_covariance():
    rng = np.random.default_rng(0)
    truth = 255 * rng.random((16, 19))
    ours = (truth + 40 * rng.standard_normal(truth.shape)).clip(0, 255)
    assert abs(ssim(truth, ours, 255) - by_hand(truth, ours, 255)) < 1e-9
    channels = [np.stack([t, t[::-1], t[:, ::-1]], -1) for t in (truth, ours)]
    each = [by_hand(*(c[..., n] for c in channels), 255) for n in range(3)]
    assert abs(ssim(*channels, 255) - np.mean(each)) < 1e-9
