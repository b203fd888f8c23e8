"""What observers drew: formulas against other programs, and the committed numbers."""

import json
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, mutual_info_score, precision_score, recall_score

from cnf.errors import DataError
from cnf.replication import plugs
from cnf.replication.data import Example, ImageSet, load

observers = plugs.module("observers", "labels")


@pytest.fixture(scope="module")
def rows():
    found = json.loads((observers.FOLDER / "observers.json").read_text())
    return {(row["set"], row["split"]): row for row in found}


def masks(seed: int = 0, shape=(40, 50)):
    rng = np.random.default_rng(seed)
    first = rng.random(shape) < 0.12
    return first, np.where(rng.random(shape) < 0.1, rng.random(shape) < 0.5, first)


def images(second: bool = True) -> ImageSet:
    """Three eyes of noise; labels lie out of view too."""
    examples = []
    for seed in range(3):
        first, other = masks(seed)
        x = np.random.default_rng(seed).integers(20, 200, (3, *first.shape), dtype=np.uint8)
        fov = np.zeros(first.shape, bool)
        fov[4:-4, 6:-6] = True
        parts = [torch.from_numpy(m[None].astype(np.uint8)) for m in (first, other)]
        label, other = parts
        examples.append(
            Example(
                f"{seed}", label, torch.from_numpy(x), torch.from_numpy(fov),
                other if second else None,
            )
        )  # fmt: skip
    return ImageSet("made-up", "test", "labelled", examples, "noise")


@pytest.mark.equation("eq-structures-coin")
def test_bits_of_a_rate_are_its_entropy():
    rates = np.array([0.1, 0.127, 0.5])
    expected = -rates * np.log2(rates) - (1 - rates) * np.log2(1 - rates)
    assert np.allclose(observers.bits(rates), expected, atol=1e-12)
    assert observers.bits(0) == observers.bits(1) == 0
    # the reference points that papers quote
    assert observers.bits(0.10) == pytest.approx(0.469, abs=5e-4)
    assert observers.bits(0.127) == pytest.approx(0.549, abs=5e-4)


@pytest.mark.equation("eq-retina-conditional")
def test_bits_given_a_context_are_the_entropy_less_the_mutual_information():
    first, other = masks()
    context = other.ravel() + 2 * (np.arange(other.size) % 3)  # with a gap-free and a useless part
    mutual = mutual_info_score(context, first.ravel()) / np.log(2)
    expected = observers.bits(first.mean()) - mutual
    assert observers.bits_given(first.ravel(), context) == pytest.approx(expected, abs=1e-12)
    assert observers.bits_given(first.ravel(), 7 * context) == pytest.approx(expected, abs=1e-12)


def test_f_is_that_of_scikit_learn():
    first, other = masks()
    truth, drawn = first.ravel(), other.ravel()
    found = observers.tolerant_f(other, first)
    expected = [s(truth, drawn) for s in (f1_score, precision_score, recall_score)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_tolerance_forgives_a_line_beside_the_line_up_to_its_pixels():
    truth, drawn = np.zeros((2, 20, 20), bool)
    truth[:, 8], drawn[:, 10] = True, True
    assert [observers.tolerant_f(drawn, truth, t)[0] for t in (0, 1, 2)] == [0, 0, 1]
    # it forgives no vessel that was left out
    truth[:, 15] = True
    assert observers.tolerant_f(drawn, truth, 2) == pytest.approx((2 / 3, 1, 1 / 2))


def test_empty_masks_have_a_score():
    nothing, first = np.zeros((9, 9), bool), masks(1, (9, 9))[0]
    for tolerance in (0, 1):
        assert observers.tolerant_f(nothing, nothing, tolerance)[0] == 1
        for pair in ((nothing, first), (first, nothing)):
            assert observers.tolerant_f(*pair, tolerance)[0] == 0


def test_distance_to_a_contour_by_brute_force():
    mask = np.zeros((12, 13), bool)
    mask[3:9, 2:7] = True
    mask[10, 11] = True
    found = observers.contour_distance(mask)
    places = np.argwhere(np.ones_like(mask))
    for row, column in places:
        others = np.argwhere(mask != mask[row, column])
        nearest = np.sqrt(((others - (row, column)) ** 2).sum(1)).min()
        expected = min(int(nearest), observers.NEAR) * (1 if mask[row, column] else -1)
        assert found[row, column] == expected
    assert (observers.contour_distance(np.zeros((4, 4), bool)) == -observers.NEAR).all()
    assert (observers.contour_distance(np.ones((4, 4), bool)) == observers.NEAR).all()


def test_facts_count_inside_the_field_of_view():
    found, made = observers.numbers_of(images()), images()
    view = np.stack([e.fov.numpy() for e in made])
    y, other = (np.stack([getattr(e, k)[0].numpy() for e in made]) > 0 for k in ("y", "second"))
    assert found["vessel_share"] == pytest.approx(y[view].mean(), rel=1e-5)
    assert found["outside"] == (y & ~view).sum() > 0
    assert found["bits_frame"] == pytest.approx(found["bits"] * view.mean(), rel=1e-5)
    assert found["second"]["f"] == pytest.approx(f1_score(y[view], other[view]), rel=1e-5)
    green = np.stack([e.x[1].numpy() for e in made]).astype(float)
    contrast = [
        1 - g[v & t].mean() / g[v & ~t].mean() for g, v, t in zip(green, view, y, strict=True)
    ]
    assert found["contrast"] == pytest.approx(np.mean(contrast), abs=1e-5)
    assert "second" not in observers.numbers_of(images(second=False))


def test_knowing_more_of_the_other_drawing_never_costs_bits(rows):
    for row in [observers.numbers_of(images()), *rows.values()]:
        if "second" in row:
            second = row["second"]
            assert second["bits_near"] <= second["bits"] <= row["bits"]


def test_photographs_of_other_sets_are_not_drawn():
    with pytest.raises(DataError, match="made-up are not ours to show"):
        observers.draw_observers(images())


def test_every_set_has_its_committed_numbers(rows):
    assert set(rows) == set(observers.SETS)
    second = {("drive", "test"), ("chasedb1-all", "test")}
    assert {key for key, row in rows.items() if "second" in row} == second


def same(found, expected, where=""):
    """Equal up to the last of six digits."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        for i, pair in enumerate(zip(found, expected, strict=True)):
            same(*pair, f"{where}/{i}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=2e-5), where
    else:
        assert found == expected, where


def test_numbers_of_the_embedded_eyes_are_those_committed(rows):
    key = ("embedded-vessels", "test")
    same(observers.numbers_of(load(*key)), rows[key])


@pytest.mark.parametrize(
    "name, split", [key for key in observers.SETS if key[0] != "embedded-vessels"]
)
def test_numbers_of_real_sets_are_those_committed(rows, name, split):
    if not os.environ.get("CNF_DATA"):
        pytest.skip("CNF_DATA is not set: the numbers of real sets were not derived again")
    same(observers.numbers_of(load(name, split)), rows[name, split])
