"""What the literature of segmentation reports: samples beside the drawings of two observers, and
errors of Betti numbers. Everything inside the field of view.

The second observer is a yardstick: a drawing of a person, scored against the first observer's."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from cnf.replication import plugs
from cnf.replication.measures import Setting
from cnf.replication.metrics import Value, mean_se
from cnf.replication.metrics.masks import Masks
from cnf.replication.scored.model import ScoredModel

mask_sets = plugs.module("observers", "mask_sets")

# -- sets of masks ---------------------------------------------------------------------------------


def in_view(m: ScoredModel, maps: Sequence[Tensor]) -> list[np.ndarray]:
    """The pixels in view of one mask a picture: bool (1,P) each. Maps are vessel from 1/2 on."""
    pairs = zip(m.indices, maps, strict=True)
    return [(mask[0].numpy() >= 0.5)[m.fov(index)][None] for index, mask in pairs]


def drawn_by_model(m: ScoredModel, s: Setting) -> list[np.ndarray]:
    """The samples of each picture, bool (n,P)."""
    samples = m.statistics(Masks).samples(s.samples)
    return [masks[:, m.fov(i)] for i, masks in zip(m.indices, samples, strict=True)]


def drawn_by_first(m: ScoredModel) -> list[np.ndarray]:
    """The first observer's drawing of each picture, bool (1,P)."""
    return [m.mask(i)[m.fov(i)][None] for i in m.indices]


def drawn_by_both(m: ScoredModel) -> list[np.ndarray]:
    """The drawings of both observers of each picture, bool (2,P); there must be a second one."""
    pairs = zip(drawn_by_first(m), in_view(m, m.second_masks), strict=True)
    return [np.concatenate(pair) for pair in pairs]


def mean_over_pictures(function: Callable[..., float], *sets: Sequence[np.ndarray]) -> Value:
    """The mean over pictures of a function of sets of masks."""
    return mean_se([function(*of_picture) for of_picture in zip(*sets, strict=True)])


def energy_distance(m: ScoredModel, s: Setting) -> Value | None:
    if m.second_masks is None:
        return None
    return mean_over_pictures(mask_sets.energy_distance, drawn_by_model(m, s), drawn_by_both(m))


def energy_distance_mask(m: ScoredModel, s: Setting) -> Value | None:
    """Of a model that always answers with the mask where the marginals are at least 1/2."""
    if m.second_masks is None:
        return None
    masks = in_view(m, m.statistics(Masks).answers(s))
    return mean_over_pictures(mask_sets.energy_distance, masks, drawn_by_both(m))


def energy_distance_first(m: ScoredModel, s: Setting) -> Value | None:
    """2 E d(s,y) - E d(s,s'). Of the second observer, who drew once: 2 d(s,y)."""
    if m.reference is None:
        samples = drawn_by_model(m, s)
    elif m.second_masks is not None:
        samples = in_view(m, m.second_masks)
    else:
        return None
    return mean_over_pictures(mask_sets.energy_distance, samples, drawn_by_first(m))


def matched_iou(m: ScoredModel, s: Setting) -> Value | None:
    if m.second_masks is None:
        return None
    return mean_over_pictures(mask_sets.matched_iou, drawn_by_model(m, s), drawn_by_both(m))


def sample_diversity(m: ScoredModel, s: Setting) -> Value | None:
    """Of the second observer: 1 - IoU of the drawings of both observers."""
    if m.reference is None:
        drawings = drawn_by_model(m, s)
    elif m.second_masks is not None:
        drawings = drawn_by_both(m)
    else:
        return None
    return mean_over_pictures(mask_sets.diversity, drawings)


# -- Betti numbers ---------------------------------------------------------------------------------


def pieces(measures: dict[str, float]) -> float:
    """Betti number 0 of a mask: its 8-connected pieces."""
    return measures["components"]


def holes(measures: dict[str, float]) -> float:
    """Betti number 1 of a mask: the 4-connected regions of background that its pieces enclose."""
    return measures["components"] - measures["euler"]


def betti_error(
    m: ScoredModel, s: Setting, number: Callable[[dict[str, float]], float]
) -> Value | None:
    """The mean over pictures of |Betti number of the answer - that of the truth|. A picture is
    counted as a whole, not by patches."""
    masks = m.statistics(Masks)
    answers, truth = masks.shapes_of_answers(s), masks.true_shapes()
    if answers is None:
        return None
    return mean_se([abs(number(a) - number(b)) for a, b in zip(answers, truth, strict=True)])


def components_error(m: ScoredModel, s: Setting) -> Value | None:
    return betti_error(m, s, pieces)


def holes_error(m: ScoredModel, s: Setting) -> Value | None:
    return betti_error(m, s, holes)
