"""ImageNet's two releases, on synthetic files in every form that they circulate in."""

import numpy as np
import pytest
import torch

from cnf.replication.config import DataConfig
from cnf.replication.data import imagenet, inventory, load
from cnf.replication.tasks import SR
from tests.data.errors import message_of

TRAIN, VALID = 52, 7  # pictures; 5 training pictures are held out
NAME = "imagenet32-chrabaszcz"
RELEASE = {"npz": "chrabaszcz", "png": "vandenoord"}  # by the form of its files


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Releases of a few pictures, and blocks that end inside a file."""
    few = {k: r._replace(train=TRAIN, valid=VALID) for k, r in imagenet.RELEASES.items()}
    monkeypatch.setattr(imagenet, "RELEASES", few)
    monkeypatch.setattr(imagenet, "BLOCK", 3)


def pixels(count: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), np.uint8)


@pytest.fixture
def own(tmp_path, write):
    """Write a release in a form: own(form, size) -> folder of all sets, training, validation."""

    def _own(form: str, size: int):
        folder = tmp_path / f"imagenet{size}"
        train, valid = pixels(TRAIN, size, 1), pixels(VALID, size, 2)
        if form == "png":
            for half, some in (("train", train), ("valid", valid)):
                for i, picture in enumerate(some):
                    path = folder / f"{half}_{size}x{size}" / f"{i:05d}.png"
                    write(path, picture.transpose(1, 2, 0))
            return tmp_path, train, valid
        batches = zip(range(1, 11), np.array_split(train, 10), strict=True)
        files = {f"train_data_batch_{i}": part for i, part in batches} | {"val_data": valid}
        for name, part in files.items():
            # The larger set is distributed in two archives, of five training files each.
            below = f"part{1 + (name[-1] in '67890')}" if size == 64 else ""
            path = folder / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            content = {"data": part.reshape(len(part), -1), "labels": [1] * len(part)}
            content["mean"] = np.zeros(3 * size * size)
            np.savez(path.with_name(f"{name}.npz"), **content)
        return tmp_path, train, valid

    return _own


def left_behind(root) -> list[str]:
    return [p.name for p in root.glob("*/prepared/*")]


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("form", ["npz", "png"])
def test_every_form_gives_the_same_splits_which_part_the_pictures(own, form, size):
    root, train, valid = own(form, size)
    base, name = f"imagenet{size}", f"imagenet{size}-{RELEASE[form]}"
    assert f"{TRAIN + VALID} pictures" in inventory.prepare(name, root)[0]
    sets = {split: load(name, split, root) for split in ("train", "valid", "test")}
    held = imagenet.held_out(TRAIN)
    assert np.array_equal(sets["train"].stacked[0], train[~held])
    assert np.array_equal(sets["valid"].stacked[0], train[held]) and len(sets["valid"]) == 5
    assert np.array_equal(sets["test"].stacked[0], valid)
    names = [example.name for images in sets.values() for example in images]
    assert len(set(names)) == TRAIN + VALID
    place = int(np.flatnonzero(held)[2])
    assert sets["valid"][2].name == f"{base}-train-{place:07d}"
    assert sets["test"][1].name == f"{base}-val-0000001"
    for images in sets.values():
        assert images.name == name and not images.stand_in
        assert images.kind == "pictures" and images[0].y.dtype == torch.uint8


def test_pictures_are_mapped_not_read_and_make_batches(own, monkeypatch):
    root, train, _ = own("npz", 32)
    inventory.prepare(NAME, root)
    with monkeypatch.context() as patch:
        patch.setattr(imagenet.torch, "from_numpy", lambda array: array)
        mapped = load(NAME, "train", root).examples.y
    assert isinstance(mapped, np.memmap)
    images = load(NAME, "train", root)
    y, x = SR.batch(images, [4, 0], DataConfig())
    first = train[~imagenet.held_out(TRAIN)]
    assert np.array_equal(y, first[[4, 0]].astype(np.float32)) and x.shape == (2, 3, 16, 16)


def test_two_releases_in_one_folder_are_told_apart(own):
    root, *_ = own("npz", 32)
    own("png", 32)
    for release in RELEASE.values():
        inventory.prepare(f"imagenet32-{release}", root)
        assert load(f"imagenet32-{release}", "test", root).name == f"imagenet32-{release}"
    message = message_of(load, "imagenet32", "test", root)
    assert all(f"imagenet32-{release}" in message for release in RELEASE.values())


def test_held_out_pictures_are_ten_thousand_and_depend_on_the_number_alone():
    held = imagenet.held_out(1_281_167)
    assert held.sum() == 10_000 and np.array_equal(held, imagenet.held_out(1_281_167))
    # Spread over the whole set: the mean place of 10,000 has a deviation of 0.29/100 of it.
    assert np.flatnonzero(held).mean() / len(held) == pytest.approx(0.5, abs=0.015)
    # A change of these would silently mix training and validation pictures of earlier runs.
    assert np.flatnonzero(held)[:3].tolist() == [200, 237, 340]


def test_prepared_pictures_verify_until_they_change(own):
    root, *_ = own("npz", 32)
    inventory.prepare(NAME, root)
    assert "47 train, 5 valid, 7 test" in inventory.verify(NAME, root)[0]
    assert sum("imagenet" in line for line in inventory.verify(None, root)) == 1
    path = root / "imagenet32/prepared/chrabaszcz/valid.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "the valid pictures" in message_of(inventory.verify, NAME, root)


def test_preparing_twice_does_nothing(own):
    root, *_ = own("npz", 32)
    inventory.prepare(NAME, root)
    record = root / "imagenet32/prepared/chrabaszcz/sha256.json"
    before = record.stat().st_mtime_ns
    assert "already prepared" in inventory.prepare(NAME, root)[0]
    assert record.stat().st_mtime_ns == before


def test_a_killed_preparation_leaves_nothing_that_loads_and_can_be_done_again(own):
    root, *_ = own("npz", 32)
    part = root / "imagenet32/prepared/chrabaszcz.part"
    part.mkdir(parents=True)
    (part / "train.npy").write_bytes(b"half")
    assert "prepare imagenet32" in message_of(load, NAME, "train", root)
    inventory.prepare(NAME, root)
    assert len(load(NAME, "train", root)) == 47 and left_behind(root) == ["chrabaszcz"]


@pytest.mark.parametrize("form, file", [("npz", "val_data.npz"), ("png", "train_32x32/00005.png")])
def test_truncated_and_missing_files_are_named(own, form, file):
    root, *_ = own(form, 32)
    path = root / "imagenet32" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = message_of(inventory.prepare, f"imagenet32-{RELEASE[form]}", root)
    assert file in message and "get it again" in message and left_behind(root) == []
    path.unlink()
    message = message_of(inventory.prepare, f"imagenet32-{RELEASE[form]}", root)
    expected = "51 pictures, but" if form == "png" else f"expected {file} once"
    assert expected in message and left_behind(root) == []


@pytest.mark.parametrize(
    "data, shown",
    [
        (np.zeros((5, 3 * 64 * 64), np.uint8), "uint8 (5, 12288)"),
        (np.zeros((5, 3 * 32 * 32)), "float64 (5, 3072)"),
        (None, "data is not a file in the archive"),
    ],
)
def test_pictures_of_another_shape_are_refused_with_their_shape(own, data, shown):
    root, *_ = own("npz", 32)
    content = {"mean": np.zeros(3)} if data is None else {"data": data}
    np.savez(root / "imagenet32/val_data.npz", **content)
    message = message_of(inventory.prepare, NAME, root)
    assert "val_data" in message and shown in message and left_behind(root) == []


def test_a_png_of_another_size_and_a_batch_that_is_there_twice_are_refused(own, write):
    root, *_ = own("png", 32)
    write(root / "imagenet32/valid_32x32/00002.png", np.zeros((30, 32, 3), np.uint8))
    assert "30x32 (HxW), not 32x32" in message_of(inventory.prepare, "imagenet32-vandenoord", root)
    own("npz", 32)
    own("npz", 64)
    (root / "imagenet64/part1").rename(root / "imagenet32/part1")
    assert "found 2: keep one" in message_of(inventory.prepare, NAME, root)
    assert left_behind(root) == []


@pytest.mark.parametrize("count, shown", [(1, "48 pictures"), (30, "77 pictures")])
def test_another_number_of_pictures_than_the_release_has_is_refused(own, count, shown):
    root, *_ = own("npz", 32)
    np.savez(
        root / "imagenet32/train_data_batch_10.npz", data=pixels(count, 32, 3).reshape(count, -1)
    )
    message = message_of(inventory.prepare, NAME, root)
    assert shown in message and left_behind(root) == []


def test_a_prepared_file_that_was_cut_is_refused(own):
    root, *_ = own("npz", 32)
    inventory.prepare(NAME, root)
    path = root / "imagenet32/prepared/chrabaszcz/train.npy"
    path.write_bytes(path.read_bytes()[:-1])
    message = message_of(load, NAME, "train", root)
    assert "train.npy" in message and "prepare the set again" in message
    np.save(path, np.zeros((47, 3, 16, 16), np.uint8))
    assert "(47, 3, 16, 16)" in message_of(load, NAME, "train", root)


def test_a_full_disk_is_one_line_and_leaves_nothing(own, monkeypatch):
    root, *_ = own("npz", 32)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imagenet.np.lib.format, "write_array_header_1_0", full)
    message = message_of(inventory.prepare, NAME, root)
    assert "No space left" in message and left_behind(root) == []


def test_what_is_not_there_or_not_prepared_is_said_with_the_next_step(own, tmp_path):
    name = "imagenet64-chrabaszcz"
    message = message_of(load, name, "test", tmp_path)
    assert str(tmp_path) in message and f"data prepare {name}" in message
    (tmp_path / "imagenet64").mkdir()
    for release in RELEASE.values():
        assert "README" in message_of(inventory.prepare, f"imagenet64-{release}", tmp_path)
    for message in (
        message_of(load, name, "test", tmp_path),
        message_of(inventory.verify, name, tmp_path),
    ):
        assert f"prepare {name}` once" in message
    own("npz", 64)
    how = f"{name}: not prepared in {tmp_path / 'imagenet64'}: `python -m cnf data prepare {name}`"
    assert any(line.startswith(how) for line in inventory.prepare(None, tmp_path))


def test_pickled_objects_inside_an_npz_file_are_refused(own):
    root, *_ = own("npz", 32)
    path = root / "imagenet32/val_data.npz"
    np.savez(path, data=np.array([{}], object))
    message = message_of(inventory.prepare, NAME, root)
    assert "val_data.npz" in message and left_behind(root) == []
