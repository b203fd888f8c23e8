"""Keyed noise: a number depends on (seed, image index, draw) and on nothing else."""

from unittest import mock

import pytest
import scipy.stats
import torch

from cnf import noise

KINDS = {"normal": "norm", "uniform": "uniform", "logistic": "logistic"}
LIKE = torch.zeros((), dtype=torch.float64)
every_kind = pytest.mark.parametrize("kind", KINDS)


def draw(kind: str, shape, generator, like=LIKE) -> torch.Tensor:
    return getattr(noise, kind)(shape, generator, like)


@every_kind
def test_noise_has_its_law(kind):
    for generator in (torch.Generator().manual_seed(0), noise.keyed(0, range(4))):
        e = draw(kind, (4, 5000), generator).flatten().numpy()
        # fixed seed: at 20000 draws a shift or scale of 2 % gives a p-value below 1e-3
        assert scipy.stats.kstest(e, KINDS[kind]).pvalue > 0.01


@every_kind
def test_keyed_noise_does_not_depend_on_the_batch(kind):
    together = draw(kind, (3, 2, 5), noise.keyed(7, [4, 11, 2]))
    alone = draw(kind, (1, 2, 5), noise.keyed(7, [11]))
    assert torch.equal(together[1:2], alone)


@every_kind
def test_keyed_noise_differs_by_seed_index_and_draw(kind):
    generators = [*noise.keyed(0, [0, 1]), *noise.keyed(1, [0]), *noise.keyed(0, [0], draw=1)]
    generators += noise.keyed(0, [10]) + noise.keyed(1, [0], draw=1) + noise.keyed(10, [0])
    e = draw(kind, (7, 5), generators)
    assert len(e.unique()) == e.numel()


@every_kind
def test_a_stream_goes_on(kind):
    generators = noise.keyed(0, [0, 1])
    first, second = (draw(kind, (2, 5), generators) for _ in range(2))
    assert not (first == second).any()


@every_kind
def test_float32_noise_is_float64_noise_rounded(kind):
    exact, rounded = (
        draw(kind, (2, 50), noise.keyed(0, [0, 1]), torch.zeros((), dtype=dtype))
        for dtype in (torch.float64, torch.float32)
    )
    assert rounded.dtype == torch.float32 and torch.equal(exact.float(), rounded)


def test_these_very_numbers_are_drawn():
    """Ledger rows rest on them: another hash or sampler would change every published number."""
    e = draw("normal", (4, 2), noise.repeated(noise.keyed(0, [0, 1]), 2))
    e = torch.cat([e, draw("uniform", (1, 2), noise.keyed(0, [0]))])
    torch.testing.assert_close(e, torch.tensor(PINNED, dtype=torch.float64), rtol=0, atol=1e-6)


PINNED = [
    *([-0.565921, 0.402159], [0.242469, -0.235786]),  # the first sample of two pictures
    *([2.915684, -0.772228], [-0.970013, 1.152519]),  # the second
    [0.401670, 0.214158],
]


def test_uniform_noise_stays_below_one_when_it_is_rounded():
    almost = torch.full((2, 3), 1 - 2**-53, dtype=torch.float64)
    with mock.patch.object(torch, "rand", lambda *a, **k: almost):
        assert (noise.uniform((2, 3), None, torch.zeros(())) < 1).all()


def test_logistic_noise_is_finite_at_the_ends_of_the_unit_interval():
    for u in (0.0, 1 - 2**-53):
        with mock.patch.object(torch, "rand", lambda *a, u=u, **k: torch.full((2,), u).double()):
            assert noise.logistic((2,), None, LIKE).isfinite().all()


@every_kind
def test_one_generator_a_sample_is_asked_for(kind):
    with pytest.raises(ValueError, match="2 generators for a batch of 3.*one a sample"):
        draw(kind, (3, 4), noise.keyed(0, [0, 1]))


@every_kind
def test_samples_of_a_batch_have_their_own_noise(kind):
    for generator in (None, torch.Generator().manual_seed(0), noise.keyed(0, range(3))):
        e = draw(kind, (3, 4), generator)
        assert len(e.unique()) == 12


def test_the_parts_of_a_batch_see_the_noise_of_the_whole():
    whole, again = (torch.Generator().manual_seed(0) for _ in range(2))
    part = draw("normal", (2, 3), noise.Rows(again, total=5, start=2))
    assert torch.equal(part, draw("normal", (5, 3), whole)[2:4])


def window(seed, top=8, left=4, tile=(16, 12), size=(32, 24)):
    return noise.Window(noise.keyed(seed, [3]), size, tile, top, left)


@every_kind
def test_a_tile_sees_its_part_of_the_noise_of_the_picture(kind):
    """Draws at several levels, one after the other, as a flow makes them."""
    whole, tile = noise.keyed(0, [3]), window(0)
    for channels, f in ((6, 4), (3, 2), (1, 1), (3, 2)):
        field = draw(kind, (1, channels, 32 // f, 24 // f), whole)
        part = draw(kind, (1, channels, 16 // f, 12 // f), tile)
        assert torch.equal(part, field[..., 8 // f : 24 // f, 4 // f : 16 // f])


def test_many_samples_of_a_tile_see_the_noise_of_many_samples():
    whole, tile = noise.repeated(noise.keyed(0, [3]), 3), noise.repeated(window(0), 3)
    field = draw("normal", (3, 2, 16, 12), whole)
    part = draw("normal", (2, 2, 8, 6), noise.part(tile, 1, 3))
    assert torch.equal(part, field[1:, :, 4:12, 2:8])


@pytest.mark.parametrize("off", [{"top": 6}, {"left": 2}, {"tile": (16, 10)}, {"size": (30, 24)}])
def test_a_tile_off_the_grid_is_refused(off):
    wrong = window(0, **off)
    with pytest.raises(ValueError, match="cut tiles at multiples"):
        draw("normal", (1, 1, wrong.tile[0] // 4, wrong.tile[1] // 4), wrong)


def test_a_part_of_many_samples_is_the_same_as_all():
    """Chunks of samples pass the slice of generators that was made once."""
    together = draw("normal", (6, 5), noise.repeated(noise.keyed(0, [1, 2]), 3, batch=2))
    made = noise.repeated(noise.keyed(0, [1, 2]), 3, batch=2)
    parts = [noise.repeated(made[2 * i : 2 * j], j - i, batch=2) for i, j in ((0, 1), (1, 3))]
    apart = [draw("normal", (len(part), 5), part) for part in parts]
    assert torch.equal(torch.cat(apart), together)


def test_every_sample_of_every_picture_has_its_own_noise_whatever_else_is_in_the_batch():
    together = draw("normal", (6, 5), noise.repeated(noise.keyed(0, [1, 2]), 3))
    assert len(together.unique()) == together.numel()
    alone = draw("normal", (3, 5), noise.repeated(noise.keyed(0, [2]), 3))
    assert torch.equal(together[1::2], alone)


def test_logistic_noise_is_the_logit_of_uniform_noise():
    u, e = (draw(kind, (2, 50), noise.keyed(0, [0, 1])) for kind in ("uniform", "logistic"))
    torch.testing.assert_close(e, (u / (1 - u)).log(), rtol=1e-12, atol=1e-12)
