"""`evaluate --figures`: what is shown, where, and of whom."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from cnf import evaluation, figures
from cnf.data import Example, ImageSet, load
from cnf.errors import DataError
from cnf.subject import Options, Subject


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
        return ImageSet(name, "test", "sr", examples, "drawn at random")

    return make


@pytest.fixture
def evaluated(make_run, tmp_path):
    """Figures of a run, its baseline beside it or not; returns their paths."""

    def evaluate(with_baseline=True, **options):
        for name in ("sr-flow", "sr-baseline") if with_baseline else ("sr-flow",):
            folder = tmp_path / "results" / name
            if not folder.exists():
                shutil.copytree(make_run(name), folder)
        folder = tmp_path / "results" / "sr-flow"
        options = {"limit": 3, "samples": 0, "figures": True} | options
        evaluation.evaluate(folder, "embedded-sr", results=tmp_path / "results", **options)
        ends = ("", "-one", "-temperature")
        return [folder / "figures" / f"embedded-sr-test{end}.png" for end in ends]

    return evaluate


def test_figures_carry_no_metadata_and_are_rewritten_only_if_they_change(evaluated):
    paths = evaluated()
    for path in paths:
        with Image.open(path) as image:
            assert image.info == {}
            assert image.width < 640  # three panels side by side on a phone
    before = [path.stat().st_mtime_ns for path in paths]
    evaluated(supersede=True)
    assert [path.stat().st_mtime_ns for path in paths] == before
    evaluated(supersede=True, seed=1)
    assert all(a < path.stat().st_mtime_ns for a, path in zip(before, paths, strict=True))


def test_the_baseline_beside_a_run_is_shown_and_another_is_not(evaluated, loaded, tmp_path):
    subject = Subject(*loaded("sr-flow"), load("embedded-sr", "test"))
    evaluated(with_baseline=False)
    assert figures.sibling(tmp_path / "results" / "sr-flow", subject) is None
    evaluated(with_baseline=True, supersede=True)
    baseline = figures.sibling(tmp_path / "results" / "sr-flow", subject)
    crop = figures.choose(subject)[0]
    more, fewer = (figures.panels_of(subject, crop, b) for b in (baseline, None))
    assert set(more) - set(fewer) == {"mean of the baseline"}
    own = Subject(*loaded("sr-baseline"), load("embedded-sr", "test"))
    assert figures.sibling(tmp_path / "results" / "sr-baseline", own) is None
    assert torch.equal(figures.panels_of(own, crop)["mean"], more["mean of the baseline"])


def test_crops_lie_where_the_detail_is(loaded, photographs, monkeypatch):
    monkeypatch.setattr(figures, "CROP", 40)
    crops = figures.choose(Subject(*loaded("sr-flow"), photographs()))
    # of each third, 0 1 | 2 | 3, the picture with the stronger noise; inside the noise
    assert [crop.index for crop in crops] == [1, 2, 3]
    assert {(crop.top, crop.side) for crop in crops} <= {(24, 40), (32, 40), (40, 40)}
    assert {crop.left for crop in crops} <= {8, 16}
    assert len(figures.choose(Subject(*loaded("sr-flow"), photographs(2)))) == 2


def test_panels_are_of_one_place(loaded, photographs):
    """A crop at the corner of a picture, and one inside it: input and bicubic follow the truth."""
    subject = Subject(*loaded("sr-flow"), photographs())
    for top, left in ((0, 0), (16, 32), (40, 40)):
        crop = figures.Crop("picture-1", 1, 40, top, left, 0.0)
        panels = figures.panels_of(subject, crop)
        truth = subject.images[1].y[:, top : top + 40, left : left + 40].float()
        assert torch.equal(panels["truth"], truth)
        assert {tuple(panels[k].shape) for k in panels if "deviation" not in k} == {(3, 40, 40)}
        # a pixel of the input is near the mean of its 2x2 block of the truth; at another place it
        # would be flat or other noise
        coarse = truth.unflatten(1, (20, 2)).unflatten(3, (20, 2)).mean((2, 4))
        found = panels["input"][:, ::2, ::2]
        together = torch.corrcoef(torch.stack([coarse.flatten(), found.flatten()]))[0, 1]
        assert together > 0.8


def test_deviation_is_that_of_the_samples_shown_in_grey_levels(loaded, photographs, monkeypatch):
    monkeypatch.setattr(figures, "FIGURE_SAMPLES", 3)
    subject = Subject(*loaded("sr-flow"), photographs(), Options(seed=1))
    crop = figures.choose(subject)[0]
    samples = figures.draw(subject, crop, 3, 1.0)
    panels = figures.panels_of(subject, crop)
    torch.testing.assert_close(panels["mean of 3, τ = 1"], samples.mean(0))
    expected = (samples - samples.mean(0)).square().mean(0).sqrt().mean(0)
    torch.testing.assert_close(panels["deviation, τ = 1"].values, expected)


def test_temperatures_share_their_noise(loaded, photographs):
    subject = Subject(*loaded("sr-flow"), photographs())
    crop = figures.choose(subject)[0]
    panels = figures.temperatures_of(subject, crop)
    assert list(panels) == ["τ = 0", "τ = 0.5", "τ = 0.7", "τ = 0.8", "τ = 1", "truth"]
    assert torch.equal(panels["τ = 0.8"], figures.panels_of(subject, crop)["sample 1, τ = 0.8"])
    away = [(panels[f"τ = {tau}"] - panels["τ = 0"]).abs().mean() for tau in (0.5, 0.7, 0.8, 1)]
    assert away == sorted(away) and away[0] > 0


def test_figures_of_drive_show_only_what_the_model_made(loaded, vessels):
    subject = Subject(*loaded("vessels-flow"), vessels(16, 20))
    shown = set(figures.vessel_panels(subject, 0, show_truth=True))
    own = set(figures.vessel_panels(subject, 0, show_truth=False))
    assert shown - own == {"photograph", "truth"}
    assert own == {"sample 1", "sample 2", "sample 3", "marginal of 16", "deviation"}


def test_sets_whose_pictures_are_not_ours_get_no_figures(loaded, vessels, photographs, tmp_path):
    for images in (vessels(16, 20), photographs(name="tinyimagenet64")):
        model = "vessels-flow" if images.experiment == "vessels" else "sr-flow"
        subject = Subject(*loaded(model), images)
        with pytest.raises(DataError, match=f"no figures of '{images.name}': its pictures are not"):
            figures.draw_figures(subject, tmp_path)
    assert not list(tmp_path.iterdir())
