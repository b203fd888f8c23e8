"""`evaluate --full` of super-resolution: what it says, and of which pictures and samples."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from cnf import noise
from cnf.errors import DataError
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.evaluation import scoring
from cnf.replication.measures import MEASURES
from cnf.replication.metrics import pictures, superresolution, uncertainty
from cnf.replication.metrics.superresolution import Pictures
from cnf.replication.scored import model as scored_model
from cnf.replication.scored.model import ScoredModel
from cnf.resample import imresize_half
from tests.evaluation.toys import patches, photographs, told, value

OF = {name: measure.of for name, measure in MEASURES.items() if measure.task == "sr"}
UNCERTAINTY = {name for name, of in OF.items() if of == "samples"}
OF_TWO = UNCERTAINTY - {"coverage_90"}
# the limit has only the standard protocol, which goes with x that is rounded
OF_PICTURES = {name for name, of in OF.items() if of in ("mean", "sample")} - {"psnr_limit"}


@pytest.fixture
def m(scored):
    return scored("sr-flow", photographs(), samples=3, full=True)


def test_a_photograph_too_small_for_ssim_is_named(scored):
    small = Example("tiny", photographs()[0].y[:, :14, :])
    images = ImageSet("toy", "test", "pictures", [photographs()[0], small], "cut")
    with pytest.raises(DataError, match="tiny is 14x32 .* at least 15 pixels"):
        value(scored("sr-flow", images, samples=2), "psnr")


def test_an_evaluation_tells_what_its_pictures_and_samples_allow(scored):
    def of(images, *tags, name="sr-flow", **options):
        return told(scored(name, images, full="full" in tags, **options), *tags)

    whole, fidelity = photographs(), {"psnr", "ssim", "psnr_sample"}
    basic = {"bits_per_dim", "spread_skill", "psnr_limit"} | fidelity
    assert of(whole, "basic", samples=2) == basic
    assert of(whole, "basic", "full", samples=2) == {"bits_per_dim"} | OF_PICTURES | OF_TWO
    # patches have PSNR with --full alone, and all the rest
    assert of(patches(), "basic") == {"bits_per_dim"}
    assert of(patches(), "basic", samples=2) == {"bits_per_dim", "spread_skill"}
    assert of(patches(), "basic", "full", samples=2) == {"bits_per_dim"} | OF_PICTURES | OF_TWO
    # no samples: bits alone, also of a model that has its own mean
    for name in ("sr-flow", "sr-baseline"):
        for tags in (["basic"], ["basic", "full"]):
            assert of(whole, *tags, name=name, samples=0) == {"bits_per_dim"}
    # a mean and a spread need two samples, unless the model has its own mean
    ends = {n for n in OF_PICTURES if n.endswith("_sample")}
    assert of(whole, "basic", "full", samples=1) == {"bits_per_dim"} | ends
    assert superresolution.per_image(scored("sr-flow", whole, samples=1)) == {}
    alone = of(whole, "basic", "full", name="sr-baseline", samples=1)
    assert alone == {"bits_per_dim"} | OF_PICTURES


def test_the_reference_is_bicubic_interpolation(m):
    both = "basic", "full"
    ours = {n for n in OF_PICTURES if not n.endswith("_sample")}
    assert told(m.reference_of("bicubic"), *both) == ours
    for other in ("truth", "second observer"):
        assert told(m.reference_of(other), *both) == set()


@torch.no_grad()
def test_looks_are_at_keyed_samples_and_their_mean(m):
    y = m.images[1].y
    x = imresize_half(y[None].float())
    samples = m.model.sample(x, 3, 1.0, noise.keyed(0, [1], scored_model.SAMPLES_DRAW))[:, 0]
    answers = m.statistics(Pictures)
    found, first = answers.samples(1.0, 3), answers.single_samples(1.0)
    for looks, picture in ((first, samples[0]), (found.means, samples.mean(0))):
        for protocol, values in looks[1].fidelity.items():
            expected = pictures.fidelity(y, picture, protocol)
            assert values == pytest.approx(expected, abs=1e-6)
    keyed = noise.keyed(0, [1], uncertainty.TIES_DRAW)
    expected = uncertainty.spread(y, samples, keyed)
    assert all(np.array_equal(a, b) for a, b in zip(found.spreads[1], expected, strict=True))


@pytest.mark.parametrize("name", ["sr-flow", "sr-baseline"])
def test_the_mean_is_that_of_samples_or_the_model_s_own(scored, name):
    m = scored(name, photographs(), samples=3)
    with torch.no_grad():
        means = m.means(3)
    expected = [
        pictures.fidelity(e.y, mean, "standard")["psnr"]
        for e, mean in zip(m.images, means, strict=True)
    ]
    assert value(m, "psnr", samples=3 if name == "sr-flow" else 0).value == pytest.approx(
        np.mean(expected), abs=1e-4
    )
    pairs = zip(m.images, m.single_samples(0.8), strict=True)
    first = [pictures.fidelity(e.y, one, "standard")["psnr"] for e, one in pairs]
    found = value(m, "psnr_sample", temperature=0.8, samples=1)
    assert found.value == pytest.approx(np.mean(first), abs=1e-6)


def test_consistency_of_a_shift_is_the_shift():
    y = load("embedded-sr", "test")[5].y
    x = imresize_half(y.double())
    assert pictures.consistency(y.float(), x) == pictures.MAX_PSNR
    # the kernel sums to one; borders are not left out, nothing is rounded
    for shift in (3, 0.3):
        shifted = pictures.consistency(y.float() + shift, x)
        assert shifted == pytest.approx(20 * math.log10(255 / shift), abs=1e-4)  # float32
    rounded = pictures.consistency(y.float(), x.round())
    assert rounded == pytest.approx(10 * math.log10(255**2 * 12), abs=0.5)  # 768 uniform errors


def test_what_is_like_the_truth_scores_like_the_truth(m, monkeypatch):
    bicubic = m.reference_of("bicubic")
    monkeypatch.setattr(bicubic, "reference_answers", lambda: [e.y.float() for e in m.images])
    for name in ("psnr", "psnr_rgb", "consistency"):
        assert value(bicubic, name).value == pictures.MAX_PSNR
    assert value(bicubic, "ssim").value == pytest.approx(1)
    for name in ("gradient_distance", "power_high"):
        assert value(bicubic, name).value == 0


def test_bicubic_interpolation_lacks_what_halving_took(m):
    assert value(m.reference_of("bicubic"), "power_high").value < -1  # decibels


def test_no_spread_is_told_of_samples_that_are_all_equal(m):
    temperatures = [s.temperature for s in scoring.settings_of(MEASURES["spread_skill"], m)]
    assert temperatures == [t for t in m.presentation.temperatures if t > 0]
    assert 0 in m.presentation.temperatures


def test_spread_is_of_all_samples_and_its_error_leaves_out_one_image(m):
    with torch.no_grad():
        spreads = m.statistics(Pictures).samples(0.8, 3).spreads
    moments = np.array([one.moments for one in spreads])
    found = value(m, "spread_skill", temperature=0.8)
    assert found.value == pytest.approx(uncertainty.spread_skill(moments.sum(0), 3))
    without = [uncertainty.spread_skill(np.delete(moments, i, 0).sum(0), 3) for i in range(3)]
    error = np.sqrt(2 / 3 * np.sum((without - np.mean(without)) ** 2))
    assert found.standard_error == pytest.approx(error)
    assert value(m, "coverage_90", temperature=0.8) is None  # of three samples


@pytest.mark.parametrize("round_x", [True, False])
def test_values_of_pictures_are_of_the_protocol_of_their_name(scored, round_x):
    m = scored("sr-flow", photographs(), samples=2, full=True, round_x=round_x)
    name, other = ("standard", "released") if round_x else ("released", "standard")
    values = superresolution.per_image(m)
    assert set(values) == {f"psnr_{name}", f"ssim_{name}"}
    means = [samples.float().mean(0) for _, _, samples in m.draw_samples(1.0, 2)]
    expected = [
        pictures.fidelity(e.y, mean, name)["psnr"] for e, mean in zip(m.images, means, strict=True)
    ]
    assert values[f"psnr_{name}"] == pytest.approx(expected, abs=1e-6)
    others = pictures.fidelity(m.images[0].y, means[0], other)["psnr"]
    assert abs(others - expected[0]) > 1e-3


def test_curves_hold_what_plots_need(m):
    curves = superresolution.curves(m)
    assert len(curves["uncertainty"]["0.8"]["ranks"]) == 4
    told = curves["uncertainty"]["1"]
    assert sum(told["ranks"]) == pytest.approx(1, abs=1e-4)  # five digits
    sums = sum(one.moments for one in m.statistics(Pictures).samples(1.0, 3).spreads)
    for name, total in (("deviation", sums[1]), ("error", sums[2])):
        assert np.dot(told["entries"], np.square(told[name])) == pytest.approx(total, rel=1e-3)
    assert set(curves["spectrum_dB"]) >= {"truth", "bicubic", "mean", "sample 0", "sample 1"}
    for kind in ("truth", "sample 0.8"):
        share, edges = (curves["gradient_share"][k] for k in (kind, "edges"))
        assert len(edges) == len(share) + 1 and sum(share) == pytest.approx(1, abs=1e-3)
        middle = (np.array(edges[1:]) + edges[:-1]) / 2
        # symmetric to first order: no side of the histogram was cut off or shifted
        assert abs(np.sum(middle * share)) < 1


def test_curves_of_bicubic_interpolation_are_of_the_same_x(loaded):
    """Of a model that was trained with a rounded x, and not told to."""
    model, config = loaded("sr-flow")
    for rounded in (True, False):
        data = dataclasses.replace(config.data, round_x=rounded)
        model.config = dataclasses.replace(config, data=data)
        m = ScoredModel(model, photographs())
        assert torch.equal(m.reference_of("bicubic").x(0), m.x(0))
        assert torch.equal(m.x(0), m.x(0).round()) == rounded


def test_x_is_told_both_ways_with_full_alone(m, scored):
    other = scoring.with_other_rounding(m)
    assert (m.rounded_x, other.rounded_x) == (False, True)
    bits = [value(one, "bits_per_dim").value for one in (m, other)]
    alone = scored("sr-flow", photographs(), round_x=True)
    assert bits[1] == value(alone, "bits_per_dim").value != bits[0]
    assert scoring.with_other_rounding(scored("sr-flow", photographs())) is None
    assert (
        scoring.with_other_rounding(scored("sr-flow", photographs(), full=True, round_x=True))
        is None
    )
