"""Sets far from photographs: what is in them, and that it never changes."""

import numpy as np
import pytest
import torch

from cnf.data import load, oddities, registry
from cnf.errors import DataError

# rows of the ledger name these
HASHES = {
    "odd-vessels": "43d6884001fe",
    "odd-noise": "f46bfc544c3e",
    "odd-text": "39fee70cb4d1",
    "odd-blur": "de6347a90cda",
}


@pytest.mark.parametrize("name", oddities.NAMES)
def test_pixels_are_those_of_the_ledger(name):
    images = load(name, "test")
    assert images.sha256.startswith(HASHES[name])
    assert images.experiment == "sr" and images.stand_in and not images.is_photographs
    assert images[0].y.shape == load("embedded-sr", "test")[0].y.shape
    assert len(images) >= 126 and len({e.sha256 for e in images}) == len(images)


def test_noise_is_uniform_and_independent():
    y = load("odd-noise", "test").stacked[0].double()
    # 387,072 values: sd of the mean 0.12, of a correlation 0.0016
    assert y.mean() == pytest.approx(127.5, abs=0.5)
    assert y.std() == pytest.approx((256**2 / 12) ** 0.5, abs=0.5)
    pairs = np.corrcoef(y[..., 1:].flatten(), y[..., :-1].flatten())
    assert abs(pairs[0, 1]) < 0.008


def test_text_is_black_on_white_in_every_patch():
    y = load("odd-text", "test").stacked[0]
    assert set(y.unique().tolist()) == {0, 255}
    ink = (y == 0).double().mean((1, 2, 3))
    assert ink.min() > 0.02 and ink.max() < 0.6


def test_blur_takes_the_fine_detail_of_the_same_patches():
    sharp, blurred = (load(n, "test") for n in ("embedded-sr", "odd-blur"))
    assert [e.name for e in sharp] == [e.name for e in blurred]
    a, b = (s.stacked[0].float() for s in (sharp, blurred))
    assert (a - b).abs().mean() < 12  # the same places
    fine = [(t[..., 1:] - t[..., :-1]).abs().mean() for t in (a, b)]
    assert fine[1] < 0.6 * fine[0]


def test_fundus_patches_come_from_the_middle():
    y = load("odd-vessels", "test").stacked[0].float()
    assert y.mean((1, 2, 3)).min() > 20  # no black corner
    assert (y[:, 0] > y[:, 2]).float().mean() > 0.95  # red
    assert not torch.equal(y[0], y[16])


def test_they_are_test_sets_that_are_listed():
    with pytest.raises(DataError, match="odd-text has no train split: it is a test set"):
        load("odd-text", "train")
    lines = "\n".join(registry.list_sets())
    assert all(f"{name} " in lines for name in oddities.NAMES)
