"""Sets far from photographs: what is in them, and that it never changes."""

import pytest
import torch

from cnf.errors import DataError
from cnf.replication.data import inventory, load

# Rows of results/ name these. They are grey levels that were computed in float64 and rounded: a
# processor changes one where it lies within 1e-13 of a half, in one of a million sets.
HASHES = {
    "odd-vessels": "43d6884001fe",
    "odd-noise": "f46bfc544c3e",
    "odd-text": "39fee70cb4d1",
    "odd-blur": "de6347a90cda",
}

EYES = {
    "odd-eye-blur": "25d2026ea90b",
    "odd-eye-inverted": "7ed74f6c2eaa",
    "odd-eye-colour": "90053b445863",
    "odd-eye-bare": "eb8826f3dbc9",
    "odd-eye-none": "d5e27a1f3271",
}


@pytest.mark.parametrize("name", HASHES)
def test_pixels_are_those_of_the_rows(name):
    images = load(name, "test")
    assert images.sha256.startswith(HASHES[name])
    assert images.kind == "pictures" and images.stand_in and not images.is_photographs
    assert images[0].y.shape == load("embedded-sr", "test")[0].y.shape
    assert len(images) >= 126 and len({e.sha256 for e in images}) == len(images)


@pytest.mark.parametrize("name", EYES)
def test_odd_eyes_are_those_of_the_rows_in_the_window_of_the_others(name):
    images, usual = load(name, "test"), load("embedded-vessels", "test")
    assert images.sha256.startswith(EYES[name])
    assert images.kind == "labelled" and images.stand_in and len(images) == 8
    for odd, eye in zip(images, usual, strict=True):
        assert torch.equal(odd.fov, eye.fov)
        assert not torch.equal(odd.x, eye.x) and odd.x.dtype == torch.uint8
        has_vessels = name.split("-")[2] in ("blur", "inverted", "colour")
        assert torch.equal(odd.y, eye.y) if has_vessels else not odd.y.any()


def test_inverted_and_colour_undo_themselves_inside_and_change_nothing_outside():
    usual = load("embedded-vessels", "test")
    for name, undo in (
        ("odd-eye-inverted", lambda x: 255 - x),
        ("odd-eye-colour", lambda x: x.flip(0)),
    ):
        for odd, eye in zip(load(name, "test"), usual, strict=True):
            assert torch.equal(undo(odd.x)[:, eye.fov], eye.x[:, eye.fov])
            assert torch.equal(odd.x[:, ~eye.fov], eye.x[:, ~eye.fov])


def test_drive_out_of_focus_is_made_from_its_test_photographs(benchmark_root):
    usual = load("drive", "test", benchmark_root)
    odd = load("odd-drive-blur", "test", benchmark_root)
    assert len(odd) == 20 and not odd.stand_in and odd.kind == "labelled"
    assert torch.equal(odd[3].x[:, ~odd[3].fov], usual[3].x[:, ~usual[3].fov])
    assert torch.equal(odd[3].y, usual[3].y) and torch.equal(odd[3].second, usual[3].second)


def test_they_are_test_sets_that_are_listed():
    with pytest.raises(DataError, match="odd-text has no train split: it is a test set"):
        load("odd-text", "train")
    with pytest.raises(DataError, match="odd-eye-none has no valid split: it is a test set"):
        load("odd-eye-none", "valid")
    lines = "\n".join(inventory.list_sets())
    assert all(f"{name} " in lines for name in (*HASHES, *EYES, "odd-drive-blur", "far-sr"))


def test_far_pictures_are_what_they_are_called():
    for experiment in ("sr", "vessels"):
        images = load(f"far-{experiment}", "test")
        pictures = {e.name: e.y if e.x is None else e.x for e in images}
        assert list(pictures) == ["black", "white", "noise", "checkerboard", "other"]
        assert all(p.shape == (3, 64, 64) for p in pictures.values())
        assert pictures["black"].max() == 0 and pictures["white"].min() == 255
        board = pictures["checkerboard"].int()
        assert (board[:, :, 1:] - board[:, :, :-1]).abs().min() == 255
        assert 40 < pictures["other"].float().std() + pictures["other"].float().mean() < 255
    assert {e.y.max().item() for e in load("far-vessels", "test")} == {0, 1}
