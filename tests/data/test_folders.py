"""Folders of a reader's own images and labels."""

import hashlib

import numpy as np
import pytest

from cnf.replication.data import folders, load
from tests.data.errors import message_of

HALF = np.repeat(np.array([[0, 1]], np.uint8), 6, 0).repeat(4, 1)  # 6x8, the right half marked


@pytest.fixture
def folder(tmp_path, write, picture):
    """Nine pictures with labels."""
    for n in range(9):
        write(tmp_path / "cracks" / "images" / f"{n}.png", picture(6, 8, n))
        write(tmp_path / "cracks" / "labels" / f"{n}.png", 255 * HALF)
    return tmp_path / "cracks"


def refusal(folder) -> str:
    return message_of(load, f"folder:{folder}", "train")


@pytest.mark.parametrize("levels", [(0, 1), (0, 255), (0, 128), (3, 200)])
def test_of_two_grey_levels_the_brighter_is_marked(folder, write, levels):
    for n in range(9):
        write(folder / "labels" / f"{n}.png", np.array(levels, np.uint8)[HALF])
    for example in load(f"folder:{folder}", "train"):
        assert np.array_equal(example.y[0].numpy(), HALF)


def test_more_marked_than_not_is_told(folder, write):
    """Labels black on white would be learned the wrong way round."""
    assert "; 50 % of the pixels are marked" in load(f"folder:{folder}", "train").source
    inverted = np.arange(48, dtype=np.uint8).reshape(6, 8) > 0
    for n in range(9):
        write(folder / "labels" / f"{n}.png", inverted)
    source = load(f"folder:{folder}", "train").source
    assert "98 % of the pixels are marked, more than is not: are labels black on white?" in source


def test_every_picture_is_in_one_split_with_its_own_label(folder, write):
    for n in range(9):
        label = np.zeros((6, 8), np.uint8)
        label.flat[n] = 255
        write(folder / "labels" / f"{n}.png", label)
    names = []
    for split in ("train", "valid", "test"):
        for example in load(f"folder:{folder}", split):
            names.append(example.name)
            assert example.y.flatten().argmax() == int(example.name)
    assert sorted(names) == [str(n) for n in range(9)]


def test_names_with_points_and_brackets_find_their_labels(tmp_path, write, picture):
    names = ["1", "1.5", "road[1]", "road(2)"]
    for n, name in enumerate(names):
        write(tmp_path / "test" / "images" / f"{name}.jpg", picture(6, 8))
        write(tmp_path / "test" / "labels" / f"{name}.png", np.eye(6, 8, n, np.uint8))
    found = {e.name: int(e.y[0, 0].argmax()) for e in load(f"folder:{tmp_path}", "test")}
    assert found == {name: n for n, name in enumerate(names)}


def test_an_umlaut_finds_its_label_in_either_encoding(tmp_path, write, picture):
    write(tmp_path / "test" / "images" / "wand \u00f6.png", picture(6, 8))
    write(tmp_path / "test" / "labels" / "wand o\u0308.png", HALF)
    assert len(load(f"folder:{tmp_path}", "test")) == 1


@pytest.mark.parametrize("grey", [0, 255])
def test_a_label_drawn_in_transparency_alone_is_refused(tmp_path, write, picture, grey):
    write(tmp_path / "test" / "images" / "1.png", picture(6, 8))
    label = np.dstack([np.full((6, 8, 3), grey, np.uint8), 255 * HALF])
    write(tmp_path / "test" / "labels" / "1.png", label)
    assert "label is drawn in its transparency" in message_of(load, f"folder:{tmp_path}", "test")


def test_a_label_that_is_missing_is_named_with_what_is_there(folder):
    for n in range(9):
        (folder / "labels" / f"{n}.png").rename(folder / "labels" / f"{n}_mask.png")
    message = refusal(folder)
    assert ".png: has none in" in message and "there: 0_mask.png, 1_mask.png, ...)" in message
    (folder / "labels").rename(folder / "annotations")
    assert f"has none in {folder / 'labels'}: add" in refusal(folder)


def test_two_labels_of_one_picture_are_named(folder, write):
    for n in range(9):
        write(folder / "labels" / f"{n}.gif", HALF)
    message = refusal(folder)
    assert "has 2 in labels/: keep one of" in message and ".gif and" in message


def test_labels_of_another_size_and_of_many_levels_are_named(folder, write):
    for n in range(9):
        write(folder / "labels" / f"{n}.png", HALF[:5])
    assert "label is 5x8 but its picture is 6x8 (HxW)" in refusal(folder)
    for n in range(9):
        write(folder / "labels" / f"{n}.png", np.arange(48, dtype=np.uint8).reshape(6, 8))
    assert "not binary: it has 48 grey level(s)" in refusal(folder)


def test_masks_are_fields_of_view_and_must_show_something(folder, write):
    for n in range(9):
        write(folder / "masks" / f"{n}.png", 255 * HALF)
    for example in load(f"folder:{folder}", "train"):
        assert np.array_equal(example.fov.numpy(), HALF > 0)
    for n in range(9):
        write(folder / "masks" / f"{n}.png", 0 * HALF)
    assert "marks nothing: white is in view" in refusal(folder)


@pytest.mark.equation("eq-own-split")
def test_the_hash_of_a_file_decides_its_split(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(80)]
    for n, path in enumerate(paths):
        path.write_bytes(b"%d" % n)
    found = folders.by_hash(paths)
    assert sorted(sum(found.values(), [])) == sorted(paths)
    for split, members in found.items():
        assert members
        for path in members:
            u = int(hashlib.sha256(path.read_bytes()).hexdigest()[:12], 16) / 16**12
            assert split == ("test" if u < 0.1 else "valid" if u < 0.2 else "train")


def test_of_three_pictures_that_differ_one_is_left_to_train_on(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "uniform", lambda content: float(content))
    for hashes in ((0.098, 0.047, 0.639), (0.01, 0.02, 0.03), (0.15, 0.12, 0.18, 0.19)):
        paths = [tmp_path / f"{n}.png" for n in range(len(hashes))]
        for path, u in zip(paths, hashes, strict=True):
            path.write_bytes(str(u).encode())
        found = folders.by_hash(paths)
        assert all(found.values()) and len(sum(found.values(), [])) == len(hashes)
        low = min(range(len(hashes)), key=hashes.__getitem__)
        assert paths[low] in found["test"]


def test_a_dangling_link_and_a_folder_named_as_a_picture_are_named(tmp_path, write, picture):
    for n in range(3):
        write(tmp_path / f"{n}.png", picture(6, 8, n))
    path = tmp_path / "d.png"
    path.symlink_to(tmp_path / "gone.png")
    assert f"{path}: cannot be read (No such file" in refusal(tmp_path)
    path.unlink()
    path.mkdir()
    assert f"{path}: cannot be read (Is a directory): remove it" in refusal(tmp_path)


def test_hidden_files_are_no_pictures_and_here_has_a_name(folder, monkeypatch):
    (folder / "images" / "._0.png").write_bytes(b"of a file system without forks")
    monkeypatch.chdir(folder)
    images = load("folder:.", "train")
    assert images.name == "folder:cracks" and "._0" not in [e.name for e in images]
