"""Drawings of strokes given the means of their quarters, and a small network: as in one_file.py."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRUTH = 0.056  # bits per pixel: the entropy of y given x, or a little less (tools/strokes_truth.py)


def strokes(n: int) -> tuple[Tensor, Tensor]:
    """n random curves y (n, 1, 16, 16), labels 0 and 1, and the means x of their quarters
    (n, 1, 4, 4): four values, each at four positions."""
    a, b, c = (15 * torch.rand(3, n, 1, 2)).unbind()
    y = painted(a, b, c, 16, 1.1)
    return y, F.interpolate(F.avg_pool2d(y, 8), scale_factor=2)


def painted(a: Tensor, b: Tensor, c: Tensor, size: int, brush: float) -> Tensor:
    """(n, 1, size, size): 1 where a pixel is nearer than `brush` to the curve from a to c that is
    drawn towards b, points (n, 1, 2)."""
    t = torch.linspace(0, 1, 24, dtype=a.dtype)[:, None]
    curve = a * (1 - t) ** 2 + b * 2 * t * (1 - t) + c * t**2
    side = torch.arange(size, dtype=a.dtype)
    pixels = torch.cartesian_prod(side, side)
    return (torch.cdist(pixels, curve).amin(2) < brush).to(a).view(-1, 1, size, size)


def network(channels_in: int, channels_out: int, width: int = 32) -> nn.Sequential:
    """(B, channels_in, H, W) -> (B, channels_out, H, W). At first its output does not depend on its
    input. Raises ValueError for 0 channels_in: num_a + num_h is 1 at least."""
    if channels_in == 0:
        raise ValueError("a network of 0 channels sees nothing: num_a + num_h is to be 1 at least")
    last = nn.Conv2d(width, channels_out, 3, padding=1)
    nn.init.zeros_(last.weight)
    first, middle = nn.Conv2d(channels_in, width, 3, padding=1), nn.Conv2d(width, width, 1)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)
