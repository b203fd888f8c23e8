"""The model card: a line a set, and where a model does worst."""

import pytest

from cnf.replication import results
from cnf.replication.cards import card, listing
from cnf.replication.presentation import SUPER_RESOLUTION, VESSEL_MASKS, presentation_of
from tests.results.rows import EYE, PICTURE, row


def test_a_set_is_a_line_and_empty_columns_fall_away():
    tiny, set5 = {"data": "tiny"}, {"data": "set5", "num_images": 5, "stand_in": False}
    standard = set5 | {"protocol": "standard", "rounded_x": True}
    rows = [
        row(**tiny),
        row(**tiny, rounded_x=True, value=2.7),
        row(**tiny, bound="a, importance-weighted", draws=64, value=2.4),
        row(**PICTURE | standard, temperature=1.0, value=36.1),
        row(**PICTURE | set5, protocol="released", temperature=1.0, value=35.9),
        row(**PICTURE | standard | {"metric": "psnr_sample"}, temperature=0.8, value=33.0),
        row(**PICTURE | standard | {"metric": "psnr_sample"}, temperature=1.0, value=32.0),
        row(**PICTURE | set5 | {"metric": "power_low", "data": "far-sr"}),
    ]
    assert card._scores(rows, SUPER_RESOLUTION.scores).splitlines() == [
        "| pictures | number | bits/dim given x not rounded | given x of 8 bits | "
        "PSNR of the mean | PSNR of a sample |",
        "| --- | --- | --- | --- | --- | --- |",
        "| tiny test (stand-in) | 2000 | ≤ 2.505 ± 0.012 | ≤ 2.700 ± 0.012 |  |  |",
        "| set5 test | 5 |  |  | 36.10 ± 0.01 | 33.00 ± 0.01 |",
    ]
    assert card._scores([], SUPER_RESOLUTION.scores) == ""


def test_a_number_of_fewer_pictures_says_so_and_the_most_samples_count():
    coverage = PICTURE | {"metric": "coverage_90", "temperature": 1.0, "num_images": 10}
    rows = [row(), row(**coverage, value=0.8, limit=10)]
    assert "0.800 ± 0.012 (of 10)" in card._scores(rows, SUPER_RESOLUTION.scores)
    rows = [row(**EYE, value=0.8), row(**EYE | {"samples": 32}, value=0.7)]
    text = card._scores(rows, VESSEL_MASKS.scores)
    assert "0.800 ± 0.012" in text and "0.700" not in text
    few = {"samples": 99, "num_images": 3, "limit": 3}
    rows = [row(**EYE, value=0.8), row(**EYE | few, value=0.6)]
    text = card._scores(rows, VESSEL_MASKS.scores)
    assert "0.800 ± 0.012" in text and "0.600" not in text


def test_the_list_of_models_shows_test_pictures_alone(tmp_path):
    eye = EYE | {"run": "mine"}
    results.write([row(**eye, value=0.8)], tmp_path)
    results.write([row(**eye | {"split": "valid", "num_images": 9999}, value=0.9)], tmp_path)
    expected = "drive: F of the marginals at 0.5 0.800 ± 0.012"
    assert listing.scores(tmp_path / "mine", "vessels") == expected


@pytest.mark.parametrize(
    ("head", "lines", "said"),
    [
        ("bits_per_dim,psnr_standard", ["a,1,30", "b,9,20", "c,2,25"], "`b`: PSNR of the point es"),
        ("bits_per_dim", ["a,1", "b,3", "c,2"], "`b`: bits/dim 3.000 (median 2.000)"),
        ("bits_per_dim", ["a,1", "b,3"], "`b`: bits/dim 3.000 (median 2.000)"),
        ("bits_per_pixel,f_half", ["a,1,0.9", "b,2,0.8", "c,9,0.95"], "`b`: F at 0.5 0.800 (med"),
        ("colour", ["a,1"], None),
    ],
)
def test_the_worst_picture_is_that_of_least_fidelity_or_most_bits(tmp_path, head, lines, said):
    (tmp_path / "evaluations").mkdir()
    text = "\n".join([f"image,{head}", *lines]) + "\n"
    (tmp_path / "evaluations" / "set-test.csv").write_text(text)
    task = "sr" if "dim" in head else "vessels"
    found = card._worst(tmp_path, presentation_of(task).worst)
    assert len(found) == (said is not None)
    if said:
        assert found[0].startswith(f"On set-test it does worst on {said}")
