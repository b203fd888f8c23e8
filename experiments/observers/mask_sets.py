"""How far one set of masks is from another: samples of a model from the drawings of observers.

The distance of two masks is d = 1 - IoU. A set of n masks is an array bool (n,P) of the pixels in
view. All values are without unit, in [0, 1] but for the energy distance."""

import math

import numpy as np
import scipy


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every mask of a, bool (n,P), and every mask of b, bool (m,P):
    (n,m); 1 of two empty masks."""
    counts = a.astype(np.float32) @ b.astype(np.float32).T  # exact below 2^24 pixels
    union = a.sum(1)[:, None] + b.sum(1) - counts
    return np.where(union == 0, 1.0, counts / np.maximum(union, 1))


def diversity(masks: np.ndarray) -> float:
    """E d(s,s'), the mean distance of two different masks of a set; 0 of a single mask, which
    stands for a model that always gives the same answer."""
    n = len(masks)
    if n == 1:
        return 0.0
    distances = 1 - iou(masks, masks)
    return float(distances.sum() / (n * (n - 1)))  # the diagonal is 0


def energy_distance(samples: np.ndarray, drawings: np.ndarray) -> float:
    """Generalised energy distance 2 E d(s,y) - E d(s,s') - E d(y,y') (Kohl et al. 2018,
    arXiv:1806.05034), 0 where a model draws exactly as the observers do.

    The samples stand for a distribution, so s and s' are different samples: the value has no bias
    in their number and can be slightly negative. The drawings are themselves the distribution of
    y, each as probable as the others, so y and y' may be the same. The original also pairs a
    sample with itself, which adds E d(s,s') / n.
    """
    between_drawings = float((1 - iou(drawings, drawings)).mean())
    across = float((1 - iou(samples, drawings)).mean())
    return 2 * across - diversity(samples) - between_drawings


def matched_iou(samples: np.ndarray, drawings: np.ndarray) -> float:
    """Hungarian-matched IoU (Kohl et al. 2019, arXiv:1905.13077): both sets are repeated to their
    least common multiple and paired one to one such that the mean IoU of the pairs is largest."""
    pairs = iou(samples, drawings)
    length = math.lcm(*pairs.shape)
    repeated = pairs.repeat(length // len(samples), 0).repeat(length // len(drawings), 1)
    return float(repeated[scipy.optimize.linear_sum_assignment(repeated, maximize=True)].mean())
