"""Metrics of the literature of segmentation: by hand on tiny masks, and against other code."""

import numpy as np
import pytest
import sklearn.metrics
import torch

from cnf.errors import ConfigError
from cnf.replication import plugs
from cnf.replication.data import Example, ImageSet
from cnf.replication.metrics.masks import Masks
from tests.evaluation.toys import eyes, told, value

observers, mask_sets = (plugs.module("observers", name) for name in ("metrics", "mask_sets"))


def masks(*rows):
    return np.array([[pixel == "#" for pixel in row] for row in rows])


# A is two of B's three pixels: IoU 2/3. C meets A in one of three pixels, B in one of four.
A, B, C, NOTHING = "##..", "###.", ".#.#", "...."


def test_iou_by_hand():
    found = mask_sets.iou(masks(A, B, NOTHING), masks(A, C, NOTHING))
    np.testing.assert_allclose(found, [[1, 1 / 3, 0], [2 / 3, 1 / 4, 0], [0, 0, 1]], atol=1e-7)


def test_diversity_is_of_different_samples():
    assert mask_sets.diversity(masks(A)) == 0
    assert mask_sets.diversity(masks(A, A)) == 0
    assert mask_sets.diversity(masks(A, B)) == pytest.approx(1 / 3)
    assert mask_sets.diversity(masks(A, B, C)) == pytest.approx((1 / 3 + 2 / 3 + 3 / 4) / 3)


def test_energy_distance_by_hand():
    assert mask_sets.energy_distance(masks(A), masks(A)) == 0
    # one mask against one: 2 d
    assert mask_sets.energy_distance(masks(B), masks(A)) == pytest.approx(2 / 3)
    # a model that copies one of two observers: 2 * (1/3) / 2 - 0 - (1/3) / 2
    assert mask_sets.energy_distance(masks(A), masks(A, B)) == pytest.approx(1 / 6)
    # samples A and C of drawings A and B: 2 * (0 + 1/3 + 2/3 + 3/4) / 4 - 2/3 - 1/6
    expected = 2 * (7 / 4) / 4 - 2 / 3 - 1 / 6
    assert mask_sets.energy_distance(masks(A, C), masks(A, B)) == pytest.approx(expected)


def test_energy_distance_has_no_bias_in_the_number_of_samples():
    """The mean over every pair that a model of two masks draws is that of its distribution, 0."""
    both = masks(A, B)
    pairs = [both[[i, j]] for i in (0, 1) for j in (0, 1)]
    assert np.mean([mask_sets.energy_distance(pair, both) for pair in pairs]) == pytest.approx(0)


def test_matched_iou_repeats_both_sets():
    assert mask_sets.matched_iou(masks(B), masks(A)) == pytest.approx(2 / 3)
    assert mask_sets.matched_iou(masks(B, A), masks(A, B)) == 1
    # four samples, each drawing twice: B and A meet themselves, the others their better rest
    samples, drawings = masks(A, A, C, C), masks(A, B)
    best = max(1 + 1 + 1 / 4 + 1 / 4, 1 + 2 / 3 + 1 / 3 + 1 / 4)
    assert mask_sets.matched_iou(samples, drawings) == pytest.approx(best / 4)
    # two samples and three drawings, six pairs: A and B meet themselves twice, each meets C once
    found = mask_sets.matched_iou(masks(A, B), masks(A, B, C))
    assert found == pytest.approx((4 * 1 + 1 / 3 + 1 / 4) / 6)


@pytest.fixture
def m(scored):
    def make(name="flow", images=None, **options):
        return scored(f"vessels-{name}", images or eyes(), **{"samples": 4, "full": True} | options)

    return make


def test_values_are_means_over_pictures_in_view(m, monkeypatch):
    """Samples that are the drawings of both observers have distance 0; what is out of view never
    counts."""
    one = m(samples=2)
    drawings = [np.concatenate([e.y.numpy(), e.second.numpy()]) > 0 for e in one.images]
    views = [e.fov.numpy() for e in one.images]
    pairs = list(zip(views, drawings, strict=True))
    seen = [np.where(view, both, True) for view, both in pairs]
    monkeypatch.setattr(Masks, "samples", lambda self, n: iter(seen))
    in_view = [both[:, view] for view, both in pairs]
    d = [1 - sklearn.metrics.jaccard_score(*both) for both in in_view]
    assert value(one, "sample_diversity").value == pytest.approx(np.mean(d))
    # 2 * (d / 2) - d - d / 2, where two samples are all there are
    assert value(one, "energy_distance").value == pytest.approx(-np.mean(d) / 2)
    assert value(one, "energy_distance_first").value == pytest.approx(0, abs=1e-7)
    assert value(one, "matched_iou").value == 1
    observer = one.reference_of("second observer")
    assert value(observer, "energy_distance_first").value == pytest.approx(2 * np.mean(d))
    assert value(observer, "sample_diversity").value == pytest.approx(np.mean(d))


def test_pixels_are_counted_as_scikit_learn_does(m):
    one = m("baseline")
    labels = np.concatenate([e.y[0][e.fov].numpy() for e in one.images])
    pairs = zip(one.means(0), one.images, strict=True)
    p = np.concatenate([p[0][e.fov] for p, e in pairs]) >= 0.5
    recall = sklearn.metrics.recall_score
    assert value(one, "sensitivity").value == pytest.approx(recall(labels, p))
    assert value(one, "specificity").value == pytest.approx(recall(labels, p, pos_label=0))
    assert value(one, "accuracy").value == pytest.approx(sklearn.metrics.accuracy_score(labels, p))
    assert value(one, "accuracy").also == {"threshold": 0.5}


def test_betti_errors_by_hand(m):
    """A ring and a dot of the truth, one square without a hole of the second observer; and the
    other way round: errors do not cancel."""
    ring = masks("###..", "#.#..", "###.#")
    square = masks("##...", "##...", ".....")
    pair = [(ring, square), (square, ring)]
    examples = [
        Example(
            f"eye-{n}",
            torch.from_numpy(y[None]).byte(),
            torch.zeros(3, 3, 5, dtype=torch.uint8),
            torch.ones(3, 5, dtype=torch.bool),
            torch.from_numpy(second[None]).byte(),
        )
        for n, (y, second) in enumerate(pair)
    ]
    images = ImageSet("embedded-vessels", "test", "labelled", examples, "drawn")
    observer = m(images=images).reference_of("second observer")
    observer.statistics(Masks).circle = lambda index: None
    assert value(observer, "components_error").value == 1  # 2 and 1 pieces
    assert value(observer, "holes_error").value == 1  # 1 hole and none
    shape = observer.statistics(Masks).true_shapes()[0]
    assert (observers.pieces(shape), observers.holes(shape)) == (2, 1)


def test_some_metrics_alone(m):
    """Of whatever tag, and without --full at one temperature."""
    one = m(metrics="accuracy,energy_distance", full=False)
    assert told(one, "basic") == {"accuracy", "energy_distance"}
    assert told(one, "stress") == set()
    assert told(one.reference_of("second observer"), "basic") == {"accuracy"}
    with pytest.raises(ConfigError, match="--metrics accurate: no such metric"):
        told(m(metrics="accurate"), "basic")
