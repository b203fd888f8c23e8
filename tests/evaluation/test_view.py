"""Where the eye is, at what size it is seen, and what is counted."""

import functools

import numpy as np
import pytest
import torch
from PIL import Image

from cnf.errors import ConfigError, DataError
from cnf.replication import results
from cnf.replication.answers import view as fundus_view
from cnf.replication.answers.areas import Area
from cnf.replication.config import load_config
from cnf.replication.data import fundus
from cnf.replication.data.field_of_view import is_eye_shaped
from cnf.replication.data.images import Photograph

CONFIG = load_config("vessels-flow-smoke")  # eyes 183 pixels across
OWN = load_config("vessels-flow-smoke", ["data.train=folder:cracks"])


def photograph(pixels, is_grey=False):
    return Photograph(pixels, None, is_grey, None, ())


generated = functools.cache(fundus.generate)


def eye(size):
    return photograph(generated(0, size).x.permute(1, 2, 0).numpy())


def test_an_eye_is_found_and_seen_at_the_size_of_the_training_data(tmp_path):
    truth = generated(0, 384)
    found = fundus_view.view(eye(384), CONFIG, tmp_path / "eye.png")
    # the rim is a pixel of fading light
    assert abs(int(found.fov.sum()) / int(truth.fov.sum()) - 1) < 0.02
    assert abs(found.size[0] - 192) <= 2 and found.size[0] == found.size[1]
    assert found.resized(eye(384).pixels).shape == (*found.size, 3)
    assert abs(fundus_view.diameter(found.fov) - 365) <= 4


@pytest.mark.parametrize("fit, resized", [(None, False), (False, False), (True, True)])
def test_an_eye_of_nearly_that_size_is_left_alone_unless_asked_for(tmp_path, fit, resized):
    found = fundus_view.view(eye(226), CONFIG, tmp_path / "eye.png", fit=fit)
    assert (found.size != (226, 226)) == resized
    assert not any("do not trust" in note for note in found.notes)


def test_a_picture_without_a_dark_border_is_refused_unless_all_of_it_is_said_to_count(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (900, 60, 3), dtype=np.uint8)
    cat = photograph(pixels, is_grey=True)
    with pytest.raises(DataError, match=r"cat.png: does not look .*\(no dark.*--whole"):
        fundus_view.view(cat, CONFIG, tmp_path / "cat.png")
    found = fundus_view.view(cat, CONFIG, tmp_path / "cat.png", whole=True)
    assert found.fov.all() and found.size == (900, 60)
    assert "all of the picture counts" in found.notes[1] and "grey" in found.notes[0]


@pytest.mark.parametrize("height", [300, 220, 420])
def test_a_bright_rectangle_in_a_dark_border_is_no_eye(tmp_path, height):
    pixels = np.zeros((480, 480, 3), dtype=np.uint8)
    pixels[20 : 20 + height, 40:440] = 120
    pixels[20 : 20 + height : 3, 40:440] = 90
    with pytest.raises(DataError, match="what is bright is no disc"):
        fundus_view.view(photograph(pixels), CONFIG, tmp_path / "page.png")


@pytest.mark.parametrize("cut", [0, 40, 90])
def test_an_eye_may_be_cut_off_at_its_top_and_bottom(cut):
    side = 400
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    disc = y**2 + x**2 <= (side / 2 - 10) ** 2
    disc[: cut // 2], disc[side - cut // 2 :] = False, False
    assert is_eye_shaped(disc)
    assert not is_eye_shaped(disc[:, : side // 2])  # half an eye


def test_an_eye_of_another_width_comes_from_another_camera_and_the_model_for_these_is_named(
    tmp_path,
):
    config = load_config("vessels-flow-cpu")
    for side in (384, 680):  # the second, as wide as STARE's, is not resized
        found = fundus_view.view(eye(side), config, tmp_path / "eye.png")
        assert fundus_view.FOR_OTHER_CAMERAS in found.notes[-1]
    jittered = load_config("vessels-flow-cpu", ["data.jitter=3"])
    notes = fundus_view.view(eye(384), jittered, tmp_path / "eye.png").notes
    assert not any(fundus_view.FOR_OTHER_CAMERAS in note for note in notes)


def test_the_model_for_other_cameras_has_the_best_f_there():
    rows = results.read_rows()
    for data in ("chasedb1-all@drive", "stare@drive"):
        f = {
            row.run: row.value
            for row in results.select(rows, metric="f_half", data=data, split="test", variant=None)
            if row.weights  # not the second observer
        }
        assert len(f) >= 3 and max(f, key=f.get) == fundus_view.FOR_OTHER_CAMERAS


def test_in_a_picture_for_a_model_of_ones_own_no_eye_is_looked_for(tmp_path):
    found = fundus_view.view(eye(256), OWN, tmp_path / "road.png")
    assert found.fov.all() and found.size == (256, 256) and found.notes == ()
    with pytest.raises(ConfigError, match="--fit: nobody said how wide .* 'folder:cracks'"):
        fundus_view.view(eye(256), OWN, tmp_path / "road.png", fit=True)


def test_a_mask_is_taken_from_a_file_or_by_name_from_a_folder(tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[40:60, 50:250] = 255
    Image.fromarray(mask).save(tmp_path / "eye.gif")
    for given in (tmp_path / "eye.gif", tmp_path):
        found = fundus_view.view(eye(256), CONFIG, tmp_path / "eye.png", mask=given)
        assert np.array_equal(found.fov, mask > 0) and fundus_view.diameter(found.fov) == 200
    Image.fromarray(mask[1:]).save(tmp_path / "eye.gif")
    with pytest.raises(DataError, match="eye.gif: field of view is 255x256 but "):
        fundus_view.view(eye(256), CONFIG, tmp_path / "eye.png", mask=tmp_path)
    Image.fromarray(0 * mask).save(tmp_path / "eye.gif")
    with pytest.raises(DataError, match="eye.gif: marks nothing"):
        fundus_view.view(eye(256), CONFIG, tmp_path / "eye.png", mask=tmp_path)
    with pytest.raises(DataError, match="dog.png: has none in .*: add dog.png .there: eye.gif"):
        fundus_view.view(eye(256), CONFIG, tmp_path / "dog.png", mask=tmp_path)


@pytest.mark.parametrize("level", [0, 255])
def test_a_picture_of_one_colour_is_refused_by_name(tmp_path, level):
    pixels = np.full((64, 64, 3), level, np.uint8)
    with pytest.raises(DataError, match="flat.png: .*there is nothing to see"):
        fundus_view.view(photograph(pixels), CONFIG, tmp_path / "flat.png")


def test_a_photograph_too_dark_to_see_is_refused_by_name(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[20:40, 20:40] = 3
    with pytest.raises(DataError, match="dark.png: no field of view: .*--fov"):
        fundus_view.view(photograph(pixels), CONFIG, tmp_path / "dark.png")


def test_a_speck_is_not_enlarged_to_the_size_of_an_eye(tmp_path):
    speck = np.zeros((256, 256), np.uint8)
    speck[9, 9] = 255
    Image.fromarray(speck).save(tmp_path / "speck.png")
    with pytest.raises(DataError, match="1 pixels across, .* 46848x46848: give another --fov"):
        fundus_view.view(eye(256), CONFIG, tmp_path / "eye.png", tmp_path / "speck.png")


@pytest.mark.parametrize("size", [(10, 12), (25, 30), (40, 48)])
def test_masks_come_back_by_the_nearest_pixel(size):
    seen = fundus_view.View(np.ones((20, 24), bool), size, ())
    y = torch.rand(1, *size, generator=torch.manual_seed(0))
    back = seen.back(y)
    rows = [int((r + 0.5) * size[0] / 20) for r in range(20)]
    columns = [int((c + 0.5) * size[1] / 24) for c in range(24)]
    assert torch.equal(back[0], y[0][rows][:, columns])


def test_an_enlarged_mask_has_the_components_and_the_area_of_the_small_one():
    y = (torch.rand(1, 30, 30, generator=torch.manual_seed(0)) < 0.2).float()
    small, large = (
        fundus_view.View(np.ones((side, side), bool), (30, 30), ()) for side in (30, 90)
    )
    assert large.count(large.back(y)) == small.count(y)
    assert small.count(y)[1] > 10


def test_the_overlay_is_blue_where_vessels_are_certain_and_orange_where_possible():
    marginal = np.zeros((96, 96))
    marginal[10:20], marginal[30:40], marginal[50:60] = 1, 0.5, 0.05
    red, _, blue = np.moveaxis(fundus_view.overlay(eye(96), marginal).astype(int), -1, 0)
    assert (blue[10:20] > red[10:20] + 60).all() and (red[30:40] > blue[30:40] + 100).all()
    rest = np.r_[:10, 20:30, 40:96]
    assert np.array_equal(red[rest], blue[rest])


def test_a_table_gives_quantiles_of_area_and_components():
    counts = [(n / 1000, n) for n in range(101)]
    fov, found = np.ones((4, 5), bool), Area(0.06, None, None, 0.05, 0.0041, 0.0959)
    table, text = fundus_view.summary("eye.png", found, "nobody did it", counts, fov)
    head, area, components = table.splitlines()
    numbers = "mean,low,high,median,spread_low,spread_high"
    assert head == f"picture,quantity,{numbers},samples,field_of_view"
    assert area == "eye.png,vessel_area,0.06000,,,0.05000,0.00410,0.09590,101,20"
    assert components == "eye.png,components,,,,50.0,4.1,95.9,101,20"
    assert text.startswith("vessels: 6.00 % of the field of view, not calibrated: nobody did it; ")
    assert "samples: 5.00 (0.41 to 9.59) %" in text and "50 (4 to 96)" in text
    assert text.endswith("median and spread (5 to 95 %) of 101 samples at temperature 1")
