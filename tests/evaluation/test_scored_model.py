"""Log-probabilities and samples: the right noise, the right D, whatever the size of a batch."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cnf import model as library_model
from cnf import noise
from cnf.errors import ResultsError
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.metrics import mean_se
from cnf.replication.scored import model as scored_model
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from cnf.resample import low_resolution
from tests.evaluation.toys import eyes, photographs, value

PATCHES = load("embedded-sr", "test")
KEYED = scored_model.SAMPLES_DRAW

# -- likelihoods -----------------------------------------------------------------------------------


def test_bits_per_dim_divide_by_all_sub_pixels(scored):
    assert scored("sr-flow", PATCHES, limit=10_000).options.limit is None  # it takes them all
    m = scored("sr-flow", PATCHES, limit=3, seed=5)
    y = torch.stack([PATCHES[i].y for i in range(3)]).float()
    x = low_resolution(y, m.config.data.round_x)
    log_p = m.model.log_prob(y, x, noise.keyed(5, range(3)))
    found = value(m, "bits_per_dim")
    # float32 log-probabilities: 1e-6 relative
    expected = (-log_p / (3 * 32 * 32 * math.log(2))).mean().item()
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.also == {"bound": "uniform dequantization"}


def test_a_reference_says_that_it_has_no_model():
    m = ScoredModel(None, PATCHES, reference="bicubic")
    for name in ("model", "config"):
        with pytest.raises(ResultsError, match="'bicubic' answers without a model"):
            getattr(m, name)


@pytest.mark.parametrize("name", ["sr-flow", "sr-baseline"])
def test_batch_size_changes_no_number(loaded, name):
    one, many = (
        ScoredModel(loaded(name)[0], PATCHES, Options(limit=7), batch_size=size).log_probs()
        for size in (1, 5)
    )
    np.testing.assert_allclose(one, many, rtol=1e-5)  # float32 sums in another order


def test_noise_is_keyed_by_seed_image_and_draw(scored, vessels):
    first, again, other = (
        scored("sr-flow", PATCHES, limit=4, seed=seed).log_probs() for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again) and not np.allclose(first, other)
    alone = scored("sr-flow", PATCHES, limit=1).log_probs()
    assert alone[0] == pytest.approx(first[0], rel=1e-6)  # float32, another batch size
    m = scored("vessels-flow", vessels(16, 16))
    y, x = (torch.stack([getattr(e, k) for e in m.images]).float() for k in "yx")
    each = torch.stack([m.model.log_prob(y, x, noise.keyed(0, range(2), d)) for d in range(3)])
    # draws are averaged
    np.testing.assert_allclose(m.log_probs(3), each.mean(0).detach(), rtol=1e-6)


def test_the_importance_bound_has_the_noise_of_its_seed(scored, vessels):
    one, again, other = (
        scored("vessels-flow", vessels(16, 16), seed=seed).importance_log_probs(2)
        for seed in (1, 1, 0)
    )
    assert np.array_equal(one, again) and not np.allclose(one, other)


def test_importance_bound_is_tighter(scored, vessels):
    m = scored("vessels-flow", vessels(16, 16, 6), draws=20, importance=20)
    plain, weighted = (
        value(m, "bits_per_pixel", divided_by="all pixels", draws=20, importance=weighted)
        for weighted in (False, True)
    )
    assert weighted.value < plain.value
    assert weighted.also["bound"] == plain.also["bound"] + ", importance-weighted"


def test_padding_never_counts_in_D(scored, vessels):
    m = scored("vessels-flow", vessels(17, 21))
    assert m.model.multiple == 2
    y, x = (F.pad(getattr(m.images[0], k).float()[None], (0, 1, 0, 1)) for k in "yx")
    log_p = m.model.log_prob(y, x, noise.keyed(0, [0])).item()
    assert m.log_probs()[0] == pytest.approx(log_p, rel=1e-6)
    assert (m.sizes()[0], m.sizes(fov=True)[0]) == (17 * 21, 17 * 10)


@pytest.mark.parametrize("name", ["vessels-baseline", "sr-baseline"])
def test_factorised_model_leaves_padding_out_of_log_p(scored, vessels, name):
    images = vessels(17, 21, 1)
    if name.startswith("sr"):
        images = ImageSet(
            "toy", "test", "pictures", [Example("odd", PATCHES[0].y[:, :30, :18])], "cut"
        )
    m = scored(name, images)
    y = images[0].y
    if name.startswith("sr"):
        m.model.multiple = 4
        x = low_resolution(y[None].float(), m.config.data.round_x)
        x = scored_model.extend(x, 1, 1, pads=False)
    else:
        x = F.pad(images[0].x[None].float(), (0, 1, 0, 1))
    height, width = y.shape[-2:]
    bottom, right = (
        s * m.model.factor - t for s, t in zip(x.shape[-2:], y.shape[-2:], strict=True)
    )
    padded = F.pad(y[None].float(), (0, right, 0, bottom))
    outside = torch.ones_like(padded, dtype=torch.bool)
    outside[..., :height, :width] = False
    inside = m.model.log_prob(padded, x).item() - log_p_of_zero(m.model, x)[outside].sum().item()
    assert m.log_probs()[0] == pytest.approx(inside, rel=1e-5)  # float32, a thousand entries


def log_p_of_zero(model, x):
    """log P(entry = 0 | x) of a factorised model, by its definition, (1,C,H,W)."""
    if hasattr(model, "half_width"):
        mu, log_s = (t.double() for t in model.condition(x))
        return torch.log(torch.sigmoid((1 / 512 - mu) / log_s.exp()))
    return torch.log1p(-model.mean(x).double())


def test_photographs_are_mirrored_as_the_degradation_mirrors_them():
    y = PATCHES[50].y[None, :, :28, :20].float()
    x = low_resolution(y, False)
    longer = scored_model.extend(y, 8, 8, pads=False)
    torch.testing.assert_close(longer[..., 28:, :20], y[..., 20:, :].flip(-2))
    again = low_resolution(longer, False)
    torch.testing.assert_close(again[..., :14, :10], x)  # the seam is invisible to x
    # 8 pixels further, the mirror at the new edge: the last two columns know of it
    torch.testing.assert_close(again[..., :16, :12], scored_model.extend(x, 2, 2, False))
    small = y[..., :5, :20]  # to more than twice its side
    wide = scored_model.extend(small, 9, 0, pads=False)
    assert torch.equal(wide, torch.cat([small, small.flip(-2), small[..., :4, :]], -2))


def test_both_divisors_are_reported_for_vessels(scored, vessels):
    m = scored("vessels-baseline", vessels(16, 16))
    frame, view = (
        value(m, "bits_per_pixel", divided_by=of) for of in ("all pixels", "field of view")
    )
    assert frame.also["bound"] == view.also["bound"] == "exact"
    assert view.value == pytest.approx(2 * frame.value)  # half of the frame is inside


@pytest.mark.parametrize("name", ["vessels-flow", "vessels-baseline"])
def test_log_p_of_a_mask_is_that_of_the_truth(scored, name, monkeypatch):
    """Also of a size that is padded, and in parts; the second observer's by as many draws."""
    m = scored(name, eyes(size=(17, 21)), draws=2, full=True)
    masks = torch.stack([m.images[1].y, m.images[1].second, m.images[1].y])
    found = m.mask_log_probs(1, masks)
    # float32 sums of some 300 nats, together and alone
    assert found[0] == pytest.approx(m.log_probs()[1], abs=1e-3)
    assert abs(found[1] - found[0]) > 0.1
    monkeypatch.setattr(scored_model, "CHUNK", 1)
    np.testing.assert_allclose(m.mask_log_probs(1, masks), found, atol=1e-3)
    # the noise of each is its own: two bounds of one mask differ, two exact figures do not
    assert (found[0] == found[2]) == (name == "vessels-baseline")
    each = [[m.mask_log_probs(i, m.images[i].second[None], d)[0] for d in (0, 1)] for i in range(3)]
    by_hand = -np.mean(each) / (17 * 21 * math.log(2))
    second = value(m, "second_bits", divided_by="all pixels")
    assert second.value == pytest.approx(by_hand, rel=1e-6)


# -- samples ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_marginal_is_the_mean_of_keyed_samples(scored, vessels):
    m = scored("vessels-flow", vessels(16, 20), limit=1)
    x = m.images[0].x.float()[None]
    for n, found in ((3, m.means(3)), (1, m.single_samples(1.0))):
        expected = m.model.sample(x, n, 1.0, noise.keyed(0, [0], KEYED)).mean(0)[0]
        torch.testing.assert_close(found[0], expected)


def test_samples_come_a_few_at_a_time_and_stay_the_same(scored, monkeypatch):
    together = scored("sr-flow", PATCHES, limit=2).means(5)
    monkeypatch.setattr(library_model, "MAX_ENTRIES_A_PASS", 2 * 2 * 3 * 32 * 32)
    apart = scored("sr-flow", PATCHES, limit=2).means(5)
    torch.testing.assert_close(together, apart)


def test_few_whole_pictures_are_in_memory_at_once(scored, vessels, monkeypatch):
    """Also where all pictures have one size, as those of DRIVE."""
    m = scored("vessels-flow", vessels(16, 20, 5))
    for chunk, sizes in ((2 * 16 * 20, [2, 2, 1]), (10, [1] * 5)):
        monkeypatch.setattr(scored_model, "CHUNK", chunk)
        assert [len(indices) for indices, *_ in m.batches("")] == sizes


def test_temperature_reaches_the_single_sample(scored):
    m = scored("sr-flow", PATCHES, limit=1)
    base = m.single_samples(0.0)[0]
    spread = [(m.single_samples(t)[0] - base).abs().mean() for t in (0.0, 0.5, 1.0)]
    assert spread[0] == 0 < spread[1] < spread[2]


# -- what is refused -------------------------------------------------------------------------------


def test_standard_error_is_over_images():
    assert mean_se(np.array([1.0, 2.0, 3.0])) == (2.0, pytest.approx(1 / math.sqrt(3)), {})
    assert mean_se(np.array([1.0])) == (1.0, None, {})


def test_picture_with_non_finite_likelihood_is_named(scored):
    m = scored("sr-flow", PATCHES, limit=2)
    with torch.no_grad():
        next(m.model.parameters()).fill_(math.nan)
    with pytest.raises(ResultsError, match="log P of picture 'chelsea-0-0' is nan"):
        m.log_probs()


def test_samples_of_padded_pictures_are_cropped_back(scored):
    m = scored("vessels-flow", eyes(size=(17, 21)))
    assert m.single_samples(1.0)[0].shape == m.means(2)[0].shape == (1, 17, 21)


def test_a_limit_that_leaves_no_picture_out_is_none(scored):
    limits = [scored("sr-flow", photographs(), limit=n).options.limit for n in (2, 3, 4)]
    assert limits == [2, None, None]
