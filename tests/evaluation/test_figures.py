"""`evaluate --figures`: what is shown, where, and of whom."""

import dataclasses
import importlib
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cnf.errors import DataError
from cnf.replication import releases
from cnf.replication.data import Example, ImageSet, load
from cnf.replication.evaluation.evaluate import evaluate as score
from cnf.replication.figures import draw, pictures
from cnf.replication.figures import super_resolution as of_crops
from cnf.replication.figures import vessels as of_eyes
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options
from cnf.replication.tasks import SR, VESSELS


@pytest.fixture
def photographs():
    """Flat pictures with noise in one place: 40x48 at (24, 8) of 80x96."""

    def make(count=4, name="set5"):
        examples = []
        for n in range(count):
            y = np.full((3, 80, 96), 128, np.uint8)
            rng = np.random.default_rng(n)
            y[:, 24:, 8:56] = rng.integers(100 - 20 * n, 156 + 20 * n, (3, 56, 48))
            examples.append(Example(f"picture-{n}", torch.from_numpy(y)))
        return ImageSet(name, "test", "pictures", examples, "drawn at random")

    return make


@pytest.fixture
def model(make_run):
    return lambda name: releases.load(make_run(name) / "weights.safetensors")


@pytest.fixture
def evaluated(make_run, tmp_path):
    """Figures of a run, its baseline beside it or not; returns their paths."""

    def evaluate(with_baseline=True, **options):
        for name in ("sr-flow", "sr-baseline") if with_baseline else ("sr-flow",):
            folder = tmp_path / "runs" / name
            if not folder.exists():
                shutil.copytree(make_run(name), folder)
        folder = tmp_path / "runs" / "sr-flow"
        options = {"limit": 3, "samples": 0, "figures": True} | options
        score(folder, "embedded-sr", results=tmp_path / "results", **options)
        ends = ("", "-one", "-temperature")
        return [folder / "figures" / f"embedded-sr-test{end}.png" for end in ends]

    return evaluate


def test_the_baseline_beside_a_run_is_shown_and_another_is_not(evaluated, model, tmp_path):
    m = ScoredModel(model("sr-flow"), load("embedded-sr", "test"))
    evaluated(with_baseline=False)
    assert pictures.baseline_of(tmp_path / "runs" / "sr-flow", m) is None
    evaluated()
    baseline = pictures.baseline_of(tmp_path / "runs" / "sr-flow", m)
    crop = of_crops.choose(m)[0]
    more, fewer = (of_crops.panels_of(m, crop, b) for b in (baseline, None))
    assert set(more) - set(fewer) == {"mean of the baseline"}
    own = ScoredModel(model("sr-baseline"), load("embedded-sr", "test"))
    assert pictures.baseline_of(tmp_path / "runs" / "sr-baseline", own) is None
    assert torch.equal(of_crops.panels_of(own, crop)["mean"], more["mean of the baseline"])


def test_crops_lie_where_the_detail_is(model, photographs, monkeypatch):
    monkeypatch.setattr(of_crops, "CROP", 40)
    crops = of_crops.choose(ScoredModel(model("sr-flow"), photographs()))
    # of each third, 0 1 | 2 | 3, the picture with the stronger noise; inside the noise
    assert [crop.index for crop in crops] == [1, 2, 3]
    for crop in crops:
        assert [side.stop - side.start for side in crop.box] == [40, 40]
        assert crop.box[0].start >= 24 and crop.box[1].start in (8, 16)
    assert len(of_crops.choose(ScoredModel(model("sr-flow"), photographs(2)))) == 2


def test_a_few_strong_details_count_more_than_many_weak_ones():
    """On the left every pixel is 2 grey levels off, on the right one in 256 is 100 off."""
    y = torch.full((3, 64, 128), 100, dtype=torch.uint8)
    y[:, ::2, :64:2] += 4
    y[:, 1::2, 1:64:2] += 4
    y[:, 8::16, 72::16] += 100
    crop = of_crops.finest(SimpleNamespace(images=[Example("half and half", y)]), 0)
    assert crop.box == (slice(0, 64), slice(64, 128))


def test_temperatures_share_their_noise(model, photographs):
    m = ScoredModel(model("sr-flow"), photographs())
    crop = of_crops.choose(m)[0]
    panels = of_crops.sweep(m, crop)
    assert list(panels) == ["τ = 0", "τ = 0.5", "τ = 0.7", "τ = 0.8", "τ = 1", "truth"]
    assert torch.equal(panels["τ = 0.8"], of_crops.panels_of(m, crop)["sample 1, τ = 0.8"])
    away = [(panels[f"τ = {tau}"] - panels["τ = 0"]).abs().mean() for tau in (0.5, 0.7, 0.8, 1)]
    assert away == sorted(away) and away[0] > 0


def test_panels_are_of_one_place(model, photographs):
    """A crop at the corner of a picture, and one inside it: input and bicubic follow the truth."""
    m = ScoredModel(model("sr-flow"), photographs())
    for top, left in ((0, 0), (16, 32), (40, 40)):
        box = slice(top, top + 40), slice(left, left + 40)
        crop = of_crops.Crop("picture-1", 1, box, 0.0)
        panels = of_crops.panels_of(m, crop)
        truth = m.images[1].y[:, top : top + 40, left : left + 40].float()
        assert torch.equal(panels["truth"], truth)
        assert {tuple(panels[k].shape) for k in panels if "deviation" not in k} == {(3, 40, 40)}
        # a pixel of the input is near the mean of its 2x2 block of the truth; at another place it
        # would be flat or other noise
        coarse = truth.unflatten(1, (20, 2)).unflatten(3, (20, 2)).mean((2, 4))
        found = panels["input"][:, ::2, ::2]
        together = torch.corrcoef(torch.stack([coarse.flatten(), found.flatten()]))[0, 1]
        assert together > 0.8


def test_deviation_is_that_of_the_samples_shown_in_grey_levels(model, photographs, monkeypatch):
    monkeypatch.setattr(of_crops, "FIGURE_SAMPLES", 3)
    m = ScoredModel(model("sr-flow"), photographs(), Options(seed=1))
    crop = of_crops.choose(m)[0]
    y, x = m.pair(crop.index)
    samples = pictures.samples_of_picture(m, m.model, crop.index, y, x, 3, 1.0)[:, :, *crop.box]
    panels = of_crops.panels_of(m, crop)
    torch.testing.assert_close(panels["mean of 3, τ = 1"], samples.mean(0))
    expected = (samples - samples.mean(0)).square().mean(0).sqrt().mean(0)
    assert panels["deviation, τ = 1"].task is SR
    torch.testing.assert_close(panels["deviation, τ = 1"].values, expected)


def eyes(vessels, name, second=False):
    """Random photographs and masks under the name of a set, with a second observer or not."""
    images = vessels(40, 36)
    examples = [dataclasses.replace(e, second=1 - e.y if second else None) for e in images.examples]
    return ImageSet(name, "test", "labelled", examples, "drawn at random")


@pytest.mark.parametrize("name", ["drive", "stare"])
def test_of_sets_that_are_not_ours_only_what_the_models_made_is_shown(model, vessels, name):
    m = ScoredModel(model("vessels-flow"), eyes(vessels, name, second=True))
    title, shown = of_eyes.draw_eye(m, 0, model("vessels-baseline"))
    own = {"sample 1", "sample 2", "sample 3", "marginal", "deviation", "factorised, probability"}
    assert set(shown) == own | {"draw 1", "draw 2"} and title == "picture-0"
    assert set(of_eyes.whole(shown, VESSELS)) == own
    blocks = of_eyes.joint(title, shown)
    assert [heading for heading, _ in blocks] == [
        "flow: all pixels together",
        "factorised: every pixel on its own",
    ]
    assert all(set(panels) <= set(shown) for _, panels in blocks)


def test_of_a_set_with_credit_photograph_and_both_observers_are_shown(model, vessels):
    images = eyes(vessels, "chasedb1", second=True)
    title, shown = of_eyes.draw_eye(ScoredModel(model("vessels-flow"), images), 1)
    assert title == "picture-1 (CHASE_DB1, CC BY 4.0)" and "draw 1" not in shown
    assert torch.equal(shown["photograph"], images[1].x.float())
    assert torch.equal(shown["truth"], 255.0 * images[1].y)
    assert torch.equal(shown["second observer"], 255.0 * images[1].second)
    m = ScoredModel(model("vessels-flow"), eyes(vessels, "embedded-vessels"))
    _, shown = of_eyes.draw_eye(m, 0)
    assert {"photograph", "truth"} < set(shown) and "second observer" not in shown


def test_marginal_and_deviation_are_those_of_the_samples_or_the_models_own(model, vessels):
    images = eyes(vessels, "drive")  # 40x36: padded for the model, and cut back
    m = ScoredModel(model("vessels-flow"), images)
    y, x = m.pair(0)
    samples = pictures.samples_of_picture(m, m.model, 0, y, x, 16, 1.0)
    assert samples.shape == (16, 1, 40, 36)
    baseline = model("vessels-baseline")
    _, shown = of_eyes.draw_eye(m, 0, baseline)
    p = samples.mean(0)
    torch.testing.assert_close(shown["marginal"], 255 * p)
    torch.testing.assert_close(shown["deviation"], (p - p.square()).clamp(min=0).sqrt())
    assert torch.equal(shown["sample 3"], 255 * samples[2])
    _, own = of_eyes.draw_eye(ScoredModel(baseline, images), 0)
    with torch.no_grad():
        q = baseline.eval().mean(images[0].x[None].float())[0]
    torch.testing.assert_close(own["marginal"], 255 * q)
    torch.testing.assert_close(own["deviation"], (q * (1 - q)).sqrt())
    assert torch.equal(shown["factorised, probability"], own["marginal"])
    for n in (1, 2):  # the noise is that of the picture
        assert torch.equal(shown[f"draw {n}"], own[f"sample {n}"])
    deviation = of_eyes.whole(shown, VESSELS)["deviation"]
    assert torch.equal(deviation.values, shown["deviation"][0]) and deviation.task is VESSELS


def test_all_panels_of_the_joint_figure_are_where_the_flow_is_least_sure():
    p = torch.zeros(1, 300, 260)
    p[:, 100:228, 64:192] = 0.5  # unsure here alone; at 0 and 1 it is sure
    p[:, :90] = 1
    numbers = torch.arange(300.0 * 260).view(1, 300, 260)
    names = ("photograph", "truth", "second observer", "sample 1", "sample 2")
    images = dict.fromkeys((*names, "factorised, probability", "draw 1", "draw 2"), numbers)
    rows = [panels for _, panels in of_eyes.joint("eye", images | {"marginal": 255 * p})]
    panels = {title: panel for row in rows for title, panel in row.items()}
    assert list(map(len, rows)) == [3, 3, 3]
    top = int(panels["truth"][0, 0, 0]) // 260
    at = (slice(None), slice(top, top + 128), slice(64, 192))
    assert top in (96, 104) and torch.equal(panels.pop("marginal"), 255 * p[at])
    assert all(torch.equal(panel, numbers[at]) for panel in panels.values())


def test_a_picture_made_small_keeps_its_vessels():
    thin = torch.zeros(1, 960, 999)
    thin[:, :, 501] = 255  # one pixel wide: every third column would miss it
    small = of_eyes.shrink(thin)
    assert max(small.shape) == of_eyes.EYE_SIDE and small.shape[1] == round(960 * 320 / 999)
    # one column in 3.1 of a mean that is kept; and seen in every row
    assert small.mean() == pytest.approx(thin.mean().item(), rel=0.01)
    assert small.amax(-1).min() > 255 / 8
    assert torch.equal(of_eyes.shrink(thin[:, :64, :64]), thin[:, :64, :64])


def test_sets_whose_pictures_are_not_ours_get_no_figures(model, vessels, photographs, tmp_path):
    for images in (vessels(16, 20), photographs(name="tinyimagenet64")):
        name = "vessels-flow" if images.kind == "labelled" else "sr-flow"
        m = ScoredModel(model(name), images)
        with pytest.raises(DataError, match=f"no figures of '{images.name}': its pictures are not"):
            draw.draw_figures(m, tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_set_that_may_not_be_shown_is_refused_before_it_is_scored(
    make_run, photographs, tmp_path, monkeypatch
):
    folder = shutil.copytree(make_run("sr-flow"), tmp_path / "runs" / "sr-flow")
    module = importlib.import_module("cnf.replication.scored.own_pictures")
    monkeypatch.setattr(module, "load", lambda *_: photographs(name="tinyimagenet64"))
    with pytest.raises(DataError, match="no figures of 'tinyimagenet64'"):
        score(folder, "tinyimagenet64", figures=True, results=tmp_path / "results")
    assert not (folder / "evaluations").exists()


def test_a_readers_own_pictures_are_shown(make_run, model, vessels, tmp_path):
    folder = shutil.copytree(make_run("sr-flow"), tmp_path / "runs" / "sr-flow")
    (tmp_path / "mine" / "test").mkdir(parents=True)
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (48, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "mine" / "test" / f"{n}.png")
    score(
        folder,
        f"folder:{tmp_path / 'mine'}",
        figures=True,
        samples=0,
        results=tmp_path / "results",
    )
    assert (folder / "figures" / "folder-mine-test.png").exists()
    title, shown = of_eyes.draw_eye(
        ScoredModel(model("vessels-flow"), eyes(vessels, "folder:mine")), 0
    )
    assert title == "picture-0" and {"photograph", "truth"} < set(shown)
