"""Which pictures of a reader's folder are scored: all of them, unless the model learned from it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnf.replication.data import load
from cnf.replication.evaluation import evaluate
from cnf.replication.scored.own_pictures import images_to_score
from tests.evaluation.toys import eyes


def photographs_in(folder, count=3, seed=0):
    folder.mkdir(parents=True)
    for n in range(count):
        pixels = np.random.default_rng([seed, n]).integers(0, 256, (72, 80, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{n}.png")
    return folder


@pytest.fixture
def learned_from(loaded):
    """A model whose file says that it was trained on a folder."""

    def make(folder, split="train", **said):
        model, _ = loaded("sr-flow")
        images = load(f"folder:{folder}", split)
        model.metadata = {"data": images.name, "data_sha256": images.sha256} | said
        return model

    return make


def test_all_pictures_of_a_folder_without_splits_are_scored_and_it_says_so(
    make_run, tmp_path, capsys
):
    own = photographs_in(tmp_path / "own" / "test")
    run = shutil.copytree(make_run("sr-flow"), tmp_path / "run")
    for model in (run, "bicubic"):
        rows = evaluate.evaluate(model, f"folder:{own}", metrics="psnr", out=tmp_path / "out")
        assert {row.num_images for row in rows} == {3}
        said = capsys.readouterr().err
        why = "(the folder has no train, valid and test folders)"
        assert said.count(f"folder:{own}: 3 of 3 pictures {why}\n") == 1
    one = photographs_in(tmp_path / "one", 1)  # too few to split
    assert len(images_to_score(f"folder:{one}", "test")) == 1
    assert len(images_to_score(f"folder:{tmp_path / 'own'}", "test")) == 3  # it has a folder test


def test_of_the_folder_that_a_model_was_trained_on_only_the_test_part_is_scored(
    learned_from, tmp_path, capsys
):
    own = photographs_in(tmp_path / "own", 5)
    test = load(f"folder:{own}", "test").sha256
    model = learned_from(own)
    copied = shutil.copytree(own, tmp_path / "copied")
    for folder in (own, copied):  # by its name, and by its pictures
        assert images_to_score(f"folder:{folder}", "test", model).sha256 == test
        said = capsys.readouterr().err
        assert said.startswith(f"folder:{folder}: 1 of 5 pictures (the test part by the hash")
        assert said.endswith("; the model was trained on this folder)\n")
    train = images_to_score(f"folder:{own}", "train", model)  # where that is asked for
    assert train.sha256 == load(f"folder:{own}", "train").sha256
    other = photographs_in(tmp_path / "other", 4, seed=1)
    assert len(images_to_score(f"folder:{other}", "test", model)) == 4
    # one that learned from the validation part as well, as `data.use_valid` has it
    valid = load(f"folder:{own}", "valid")
    both = replace(train, examples=[*train, *valid])
    model.metadata["data_sha256"] = both.sha256
    assert images_to_score(f"folder:{copied}", "test", model).sha256 == test
    before = [{"train": f"folder:{other}"}]  # the run with whose weights it began
    assert len(images_to_score(f"folder:{other}", "test", model, before)) < 4


def test_pictures_that_were_all_learned_from_are_scored_as_such(learned_from, tmp_path, capsys):
    own = photographs_in(tmp_path / "own" / "train")
    photographs_in(tmp_path / "own" / "valid")
    model = learned_from(own.parent)
    assert len(images_to_score(f"folder:{own}", "test", model)) == 3
    assert "(the very pictures that the model was trained on, not new ones)" in (
        capsys.readouterr().err
    )


def test_no_threshold_is_chosen_on_pictures_that_are_scored(make_run, tmp_path, capsys):
    for eye in eyes(split="train"):
        for kind, pixels in (("images", eye.x.permute(1, 2, 0)), ("labels", 255 * eye.y[0])):
            folder = tmp_path / "mine" / kind
            folder.mkdir(parents=True, exist_ok=True)
            for n in range(3):  # one part for each split
                moved = np.roll(pixels.numpy(), n, 0)
                Image.fromarray(moved).save(folder / f"{eye.name}-{n}.png")
    run = shutil.copytree(make_run("vessels-baseline"), tmp_path / "run")
    rows = evaluate.evaluate(run, f"folder:{tmp_path / 'mine'}", samples=2)
    assert "f_valid" not in {row.metric for row in rows}
    assert (
        "no threshold from validation: all pictures of folder:mine are" in capsys.readouterr().out
    )
