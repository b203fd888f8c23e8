"""`cnf.upscale` and `cnf.segment`: what `python -m cnf sample` writes, in one call."""

import io

import numpy as np
import pytest
from PIL import Image

import cnf
from cnf.errors import ConfigError
from cnf.replication import results
from cnf.replication.answers import sample as sampling
from cnf.replication.answers.answer import as_arguments
from cnf.replication.presentation import VESSEL_MASKS
from cnf.replication.releases import RESULTS
from tests.results.rows import EYE, row


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (19, 23, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def same(first, second):
    """Whether two folders hold the same files."""
    names = [sorted(path.name for path in folder.iterdir()) for folder in (first, second)]
    assert names[0] == names[1]
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in names[0])


def test_a_model_that_has_a_mean_gives_it_and_nothing_else(make_run, picture, tmp_path):
    run = str(make_run("sr-baseline"))
    answer = cnf.upscale(picture, run)
    assert list(answer.files) == ["mean.png", "sheet.png"] and answer.samples == []
    assert answer.image.size == (46, 38)
    paths = answer.save(tmp_path / "one")
    assert [path.name for path in paths] == ["cat-mean.png", "cat-sheet.png"]
    sampling.sample(run, [picture], out=tmp_path / "other")
    assert same(tmp_path / "one", tmp_path / "other")
    assert len(cnf.upscale(picture, run, samples=3).samples) == 3
    assert len(cnf.upscale(picture, run, temperature=0.5).samples) == 4  # else it would be ignored


def test_a_flow_gives_samples_and_a_notebook_shows_the_first(make_run, picture):
    answer = cnf.upscale(str(picture), str(make_run("sr-flow")), samples=2)
    assert len(answer.samples) == 2 and "mean.png" not in answer.files
    shown = Image.open(io.BytesIO(answer._repr_png_()))
    assert np.array_equal(np.asarray(shown), np.asarray(answer.samples[0]))


@pytest.mark.parametrize("kind", ["flow", "baseline"])
def test_a_segmentation_is_what_is_written(make_run, picture, tmp_path, capsys, kind):
    run, options = str(make_run(f"vessels-{kind}")), {"mean_samples": 6, "whole": True}
    found = cnf.segment(picture, run, **options)
    assert capsys.readouterr().out == ""  # what is said is in `notes`
    sampling.sample(run, [picture], out=tmp_path / "other", **options)
    found.save(tmp_path / "one")
    assert same(tmp_path / "one", tmp_path / "other")
    assert as_arguments(capsys.readouterr().out).splitlines() == [
        note if note in (*found.picture.said, found.notes[0]) else f"cat.png: {note}"
        for note in found.notes
    ]
    assert found.probability.shape == (19, 23) and found.probability.dtype == np.float32
    assert np.array_equal(found.mask, found.probability >= 0.5)
    assert np.array_equal(np.asarray(found.files["mask.png"]), 255 * found.mask)
    area = found.area
    assert area.mean == pytest.approx(found.probability.mean(), abs=1e-6)
    assert area.low is None and area.high is None  # of weights that nobody calibrated
    assert area.spread_low <= area.median <= area.spread_high
    assert (
        f"vessels: {100 * area.mean:.2f} % of the field of view, not calibrated: "
        in found.notes[-1]
    )
    assert f"; samples: {100 * area.median:.2f} (" in found.notes[-1]
    assert len(found.samples) == (16 if kind == "flow" else 0)
    assert found.image.size == (23, 19) and found._repr_png_().startswith(b"\x89PNG")


def test_a_threshold_is_that_of_the_row_of_the_most_pictures(tmp_path):
    eye = EYE | {"run": "eyes", "metric": "f_valid"}
    for name, count, threshold in (("b", 20, 0.4), ("a", 3, 0.1), ("c", 16, 0.2)):
        fields = {"data": name, "num_images": count, "threshold": threshold}
        results.write([row(**eye | fields)], tmp_path)
    other = {"data": "d", "num_images": 99, "split": "valid", "threshold": 0.9}
    results.write([row(**eye | other)], tmp_path)
    found = sampling.own_threshold(tmp_path / "eyes", VESSEL_MASKS)
    assert found == (0.4, "chosen for this model, not on the test pictures of b")


def test_a_share_that_was_held_is_that_of_the_most_pictures_and_then_samples(tmp_path):
    """The row of 64 samples stands before that of 32, and the one of most samples has few eyes."""
    eye = EYE | {"run": "eyes", "metric": "area_coverage"}
    for count, samples, share in ((20, 64, 0.3), (20, 32, 0.5), (3, 99, 0.7)):
        fields = {"num_images": count, "samples": samples, "value": share}
        fields |= {"limit": count if count < 20 else None}
        results.write([row(**eye | fields)], tmp_path)
    assert sampling.coverage(tmp_path / "eyes", VESSEL_MASKS) == {"drive": 0.3}


def test_the_threshold_is_the_one_that_was_chosen_for_the_model_unless_another_is_given(
    make_run, picture
):
    value, origin = sampling.own_threshold(RESULTS / "vessels-flow-cpu-s0", VESSEL_MASKS)
    assert value == 0.515625  # as `results show` says of its row
    assert origin == "chosen for this model, not on the test pictures of drive"
    assert sampling.own_threshold(make_run("vessels-flow"), VESSEL_MASKS)[0] == 0.5
    found = cnf.segment(picture, str(make_run("vessels-flow")), whole=True, threshold=0.2)
    assert np.array_equal(found.mask, found.probability >= 0.2)
    assert "cat-mask.png: where the probability is 0.2 or more (given)" in found.notes
    fov = np.zeros((19, 23), bool)
    fov[2:17, 3:20] = True
    Image.fromarray(fov).save(picture.with_name("view.png"))
    found = cnf.segment(
        picture, str(make_run("vessels-flow")), fov=picture.with_name("view.png"), threshold=0.0
    )
    assert np.array_equal(found.mask, fov)  # nothing is marked out of view
    with pytest.raises(ConfigError, match="^threshold=1.5: give a probability between 0 and 1"):
        cnf.segment(picture, threshold=1.5)
    with pytest.raises(ConfigError, match="^threshold is for probabilities: leave it out for sr"):
        cnf.upscale(picture, str(make_run("sr-flow")), threshold=0.5)


def test_a_path_bytes_a_picture_and_an_array_have_the_same_answer_and_a_list_has_several(
    make_run, picture, tmp_path
):
    run, opened = str(make_run("sr-baseline")), Image.open(picture)
    forms = [picture, picture.read_bytes(), opened, opened.convert("CMYK"), np.asarray(opened)]
    found = cnf.upscale(forms, run)
    names = [answer.picture.path.name for answer in found]
    assert names == ["cat.png", "picture2", "cat.png", "picture4", "picture5"]
    for answer in found:
        assert np.array_equal(answer.numpy(), found[0].numpy())
        assert answer.numpy().shape == (38, 46, 3) and answer.numpy().dtype == np.uint8
    [path, _] = found[4].save(tmp_path)
    assert path.name == "picture5-mean.png"
    assert np.array_equal(np.asarray(Image.open(path)), found[4].numpy())


def test_the_place_in_a_list_is_the_place_on_the_command_line(make_run, picture, tmp_path):
    run = str(make_run("sr-flow"))
    other = picture.with_name("dog.png")
    other.write_bytes(picture.read_bytes())
    found = cnf.upscale([np.asarray(Image.open(picture)), other], run, samples=1)
    assert not np.array_equal(found[0].numpy(), found[1].numpy())  # another noise
    sampling.sample(run, [picture, other], samples=1, out=tmp_path / "out")
    for answer, name in zip(found, ("cat", "dog"), strict=True):
        drawn = Image.open(tmp_path / "out" / f"{name}-sample1.png")
        assert np.array_equal(answer.numpy(), np.asarray(drawn))


def test_an_array_of_16_bits_is_answered_with_16(make_run):
    levels = np.random.default_rng(0).integers(0, 65536, (12, 16, 3), dtype=np.uint16)
    found = cnf.upscale(levels, str(make_run("sr-baseline"))).numpy()
    assert found.shape == (24, 32, 3) and found.dtype == np.uint16


def test_a_picture_of_pillow_is_turned_as_its_file_would_be(make_run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    run = str(make_run("sr-baseline"))
    found = cnf.upscale([tmp_path / "a.png", Image.open(tmp_path / "a.png")], run)
    assert found[0].numpy().shape == (40, 24, 3)
    assert np.array_equal(found[0].numpy(), found[1].numpy())


def test_a_segmentation_as_an_array_is_its_mask(make_run, picture):
    pixels = np.asarray(Image.open(picture))
    found = cnf.segment([pixels], str(make_run("vessels-baseline")), whole=True)[0]
    assert np.array_equal(found.numpy(), found.mask) and found.numpy().dtype == bool


def test_what_is_there_is_replaced_only_if_asked_to(make_run, picture, tmp_path):
    answer = cnf.upscale(picture, str(make_run("sr-baseline")))
    answer.save(tmp_path / "out")
    with pytest.raises(ConfigError, match="cat-mean.png and 1 more .* or overwrite=True"):
        answer.save(tmp_path / "out")
    answer.save(tmp_path / "out", overwrite=True)


def test_what_is_said_of_options_names_arguments():
    for said, of_arguments in {
        "--samples -1: give 0 or more": "samples=-1: give 0 or more",
        "its field of view by --fov, or --whole": "its field of view by fov, or whole=True",
        "`evaluate RUN --full`; with --no-fit": "`evaluate RUN --full`; with fit=False",
        "my--out.png cannot be written: give another --out": (
            "my--out.png cannot be written: give another folder"
        ),
    }.items():
        assert as_arguments(said) == of_arguments


def test_all_pictures_of_a_folder_are_sampled(make_run, picture, tmp_path):
    run, out = str(make_run("sr-baseline")), tmp_path / "out"
    folder = tmp_path / "album"
    folder.mkdir()
    with pytest.raises(ConfigError, match="album: no picture in this folder"):
        sampling.sample(run, [folder], out=out)
    for name in ("b.png", "a.png"):
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "notes.txt").touch()
    paths = sampling.sample(run, [folder, picture], out=out)
    assert [path.name for path in paths if "mean" in path.name] == [
        "a-mean.png",
        "b-mean.png",
        "cat-mean.png",
    ]
