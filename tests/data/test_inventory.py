import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from cnf.errors import DataError
from cnf.replication.data import inventory, load, packed, pixel_hash
from cnf.replication.data.catalogue import CATALOGUE
from cnf.replication.data.eyes import STARE_IDS
from cnf.replication.data.images import read_mask
from tests.data.errors import message_of

FILES = CATALOGUE["tinyimagenet64-72k"].pictures
SET5 = ("baby", "bird", "butterfly", "head", "woman")


@pytest.fixture
def set5(tmp_path, write, picture, monkeypatch):
    """A made-up set5 with a registry that agrees with it."""
    pixels = {name: picture(8, 6, i) for i, name in enumerate(SET5)}
    for name in SET5:
        write(tmp_path / "sets" / "set5" / f"{name}.png", pixels[name])
    hashes = {"set5": {name: pixel_hash(pixels[name]) for name in SET5}}
    (tmp_path / "registry.json").write_text(json.dumps(hashes))
    monkeypatch.setattr(inventory, "REGISTRY", tmp_path / "registry.json")
    return tmp_path / "sets"


def test_embedded_sets_agree_with_the_committed_registry(no_sets):
    lines = inventory.verify()
    names = {e.name for e in CATALOGUE.values() if e.folder is None and e.of is None}
    assert {line.split(":")[0] for line in lines} == names and len(names) == 9
    assert all("agree" in line for line in lines)


def test_right_pixels_verify_whatever_the_format(set5, write, picture):
    assert "5 parts" in inventory.verify("set5", set5)[0]
    (set5 / "set5" / "bird.png").unlink()
    write(set5 / "set5" / "bird.bmp", picture(8, 6, 1))
    assert "agree" in inventory.verify("set5", set5)[0]


def test_one_wrong_pixel_is_refused_naming_picture_and_hashes(set5, write, picture):
    pixels = picture(8, 6, 1)
    pixels[3, 3, 1] ^= 1
    write(set5 / "set5" / "bird.png", pixels)
    message = message_of(inventory.verify, "set5", set5)
    assert "1 of 5" in message and "bird" in message and "get the set again" in message
    assert pixel_hash(pixels)[:12] in message


def test_what_is_missing_or_unknown_never_verifies(set5, no_sets):
    hashes = inventory.registry()
    hashes["set5"]["zebra"] = "0" * 64  # which no copy holds
    inventory.REGISTRY.write_text(json.dumps(hashes))
    message = message_of(inventory.verify, "set5", set5)
    assert "1 of 6" in message and "zebra (pixel hash nothing, registry 000000000000)" in message
    (set5 / "set5" / "head.png").unlink()
    assert "head." in message_of(inventory.verify, "set5", set5)
    message = message_of(inventory.verify, "drive", no_sets)
    assert str(no_sets / "drive") in message and "prepare drive" in message
    for command in (inventory.verify, inventory.prepare):
        assert "no image set 'mnist'" in message_of(command, "mnist")


def test_list_says_what_is_there_and_where_it_was_looked_for(set5):
    lines = {line.split()[0]: line for line in inventory.list_sets(set5)}
    assert "found" in lines["set5"] and str(set5 / "set5") in lines["set5"]
    assert "missing" in lines["drive"] and str(set5 / "drive") in lines["drive"]
    assert "ready" in lines["embedded-sr"]


def test_prepare_says_how_to_get_what_may_not_be_downloaded(no_sets, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("nothing may be downloaded here")

    monkeypatch.setattr(inventory.pooch, "retrieve", refuse)
    lines = "\n".join(inventory.prepare())
    assert "grand-challenge" in lines and str(no_sets / "drive") in lines and "baby.png" in lines
    assert "grand-challenge" in inventory.prepare("drive")[0]


@pytest.fixture
def archive(tmp_path, picture):
    """A small tiny-imagenet-200.zip, a draw from it, and the pixels of one picture."""
    path = tmp_path / "tiny.zip"
    classes, first = (b"n01", b"n02"), None
    with zipfile.ZipFile(path, "w") as target:
        for seed in range(20):
            buffer = io.BytesIO()
            Image.fromarray(picture(64, 64, seed)).save(buffer, "JPEG")
            name = f"val/images/val_{seed}"
            if seed < 10:
                wnid = classes[seed % 2].decode()
                name = f"train/{wnid}/images/{wnid}_{seed}"
            target.writestr(f"tiny-imagenet-200/{name}.JPEG", buffer.getvalue())
            if seed == 3:
                first = np.asarray(Image.open(buffer))
    draw = tmp_path / "draw.npz"
    train = {f"train_{i}": np.array([503 + 2 * (i % 4), 2 * (i % 4)]) for i in range(8)}
    np.savez(draw, classes=np.array(classes), val=[12, 11], test=[10], **train)
    return path, draw, first


def test_tinyimagenet_is_cut_out_of_the_archive_in_the_order_of_the_draw(tmp_path, archive):
    path, draw, first = archive
    packed.build_tiny(path, tmp_path / "sets" / "tinyimagenet", FILES, draw)
    train = load("tinyimagenet64", "train", tmp_path / "sets")
    assert [e.name for e in train] == [
        f"n0{c}_{n}" for i in range(4) for c, n in ((2, 3 + 2 * i), (1, 2 * i))
    ]
    assert np.array_equal(train[0].y.permute(1, 2, 0).numpy(), first)
    for name in ("tinyimagenet64", "tinyimagenet32-72k"):
        names = [e.name for e in load(name, "valid", tmp_path / "sets")]
        assert names == ["val_12", "val_11"]


def test_prepare_refuses_an_archive_with_other_pixels(tmp_path, archive, monkeypatch):
    path, draw, _ = archive
    monkeypatch.setattr(inventory.pooch, "retrieve", lambda *a, **k: str(path))
    monkeypatch.setattr(inventory, "DRAW", draw)
    for name, count in (("tinyimagenet32", 6), ("tinyimagenet64-72k", 10)):
        with pytest.raises(
            DataError, match=f"{count} of {count} parts .* differ from the registry"
        ):
            inventory.prepare(name, tmp_path / name)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(inventory.pooch, "retrieve", fail)
    with pytest.raises(DataError, match="could not be downloaded.*no route to host.*try later"):
        inventory.prepare("tinyimagenet32", tmp_path / "sets")


def test_a_broken_archive_is_refused(tmp_path):
    (tmp_path / "tiny.zip").write_bytes(b"PK cut short")
    with pytest.raises(DataError, match="cannot make tinyimagenet from"):
        packed.build_tiny(tmp_path / "tiny.zip", tmp_path / "out", FILES, inventory.DRAW)


def test_the_committed_draw_is_class_balanced_and_disjoint():
    with np.load(inventory.DRAW) as draw:
        train = np.stack([draw[f"train_{i}"] for i in range(8)])
        held = np.concatenate([draw["val"], draw["test"]])
        assert len(draw["classes"]) == 200
    for first, count in ((train[:4].ravel(), 36_000), (train.ravel(), 72_000)):
        assert len(np.unique(first)) == len(first) == count
        assert (np.bincount(first // 500) == count // 200).all()
    assert len(np.unique(held)) == len(held) == 4_000


def test_pixels_are_hashed_as_they_are_used_with_even_sides(set5, write, picture):
    odd = np.pad(picture(8, 6, 1), ((0, 1), (0, 1), (0, 0)))
    write(set5 / "set5" / "bird.png", odd)
    assert "agree" in inventory.verify("set5", set5)[0]


def test_hashes_are_registered_from_a_copy(set5):
    before = inventory.registry()
    inventory.REGISTRY.write_text("{}")
    with pytest.raises(DataError, match="set5 has no hashes in registry.json: write them with"):
        inventory.verify("set5", set5)
    inventory.register(["set5"], set5)
    assert inventory.registry() == before


def test_two_pictures_of_one_name_are_not_registered_as_one(set5, monkeypatch):
    twice = [("a", np.zeros((2, 2, 3))), ("a", np.ones((2, 2, 3)))]
    monkeypatch.setattr(inventory, "arrays", lambda entry, root: iter(twice))
    before = inventory.registry()
    assert "set5 has two pictures 'a'" in message_of(inventory.register, ["set5"], set5)
    assert inventory.registry() == before


@pytest.mark.parametrize("name, kinds", [("stare", 3), ("chasedb1", 4)])
def test_the_registry_has_every_part_of_every_eye(name, kinds):
    parts = [key.partition("/")[2] for key in inventory.registry()[name]]
    expected = ["image", "1st_manual", "mask", "2nd_manual"][:kinds]
    assert sorted(parts) == sorted(20 * expected)


def test_every_set_is_in_the_committed_registry_but_those_we_never_had():
    ours = [e for e in CATALOGUE.values() if e.of is None and e.read != "imagenet.read_imagenet"]
    assert inventory.registry().keys() == {entry.registry or entry.name for entry in ours}


SIZES = {"drive": (584, 565), "stare": (605, 700), "chasedb1": (960, 999)}


@pytest.mark.parametrize("name, labels", [("drive", 60), ("stare", 40), ("chasedb1", 56)])
def test_published_label_counts_fit_their_photographs(name, labels):
    """A label has fewer pixels in view than in the frame, and 4 to 20 % of the frame are vessel."""
    counts, pixels = inventory.label_counts(name), np.prod(SIZES[name])
    whole = {kind: of for kind, of in counts.items() if not kind.endswith("in view")}
    assert sum(map(len, whole.values())) == labels
    assert all(0.04 < n / pixels < 0.2 for of in whole.values() for n in of.values())
    for kind, of in counts.items():
        if kind.endswith(" in view"):
            frame, view = counts[kind.removesuffix(" in view")], counts["in view"]
            assert of.keys() == frame.keys()
            assert all(n <= frame[i] and n < view[i] < pixels for i, n in of.items())


LABELS = {  # the file of a label: its picture and its observer
    "drive": r"(\d\d)_manual([12])\.",
    "stare": r"im(\d{4})\.(ah)\.",
    "chasedb1": r"Image_(\d\d[LR])_([12])",
}


@pytest.mark.parametrize("name", LABELS)
def test_our_labels_have_the_published_counts(benchmark_root, name):
    """Also the labels of STARE whose photographs are left out."""
    counts = inventory.label_counts(name)
    kinds = {"1": "1st_manual", "2": "2nd_manual", "ah": "labels_ah"}
    checked = 0
    for path in sorted(CATALOGUE[name].where(benchmark_root).rglob("*")):
        if found := re.match(LABELS[name], path.name):
            picture, kind = found[1], kinds[found[2]]
            label = read_mask(path, SIZES[name])
            assert counts[kind][picture] == label.sum(), path.name
            if name == "drive":
                (mask,) = (path.parents[1] / "mask").glob(f"{picture}_*")
                fov = read_mask(mask, SIZES[name])
                assert counts[f"{kind} in view"][picture] == (label & fov).sum(), path.name
                assert counts["in view"][picture] == fov.sum(), path.name
            checked += 1
    assert checked == {"drive": 60, "stare": 20, "chasedb1": 40}[name]


def test_photographs_of_stare_that_are_left_out_are_verified_too(tmp_path, write, monkeypatch):
    disc = np.zeros((40, 44), bool)
    disc[4:36, 6:38] = True
    folder, photographs = tmp_path / "stare", {}
    for i, number in enumerate(STARE_IDS):
        label = np.zeros((40, 44), np.uint8)
        label[10 + i : 12 + i, 10:30] = 255
        pixels = np.where(disc[..., None], 120 + i, 0).repeat(3, 2).astype(np.uint8)
        label[:4] = 255 * (number < 6)  # other scans
        photographs[number] = folder / "images" / f"im{number:04d}.png"
        write(photographs[number], pixels)
        write(folder / "labels_ah" / f"im{number:04d}.ah.png", label)
    monkeypatch.setattr(inventory, "REGISTRY", tmp_path / "registry.json")
    inventory.REGISTRY.write_text("{}")
    inventory.register(["stare"], tmp_path)
    assert len(load("stare", "test", tmp_path)) == 15
    assert "60 parts" in inventory.verify("stare", tmp_path)[0]
    photographs[2].write_bytes(photographs[3].read_bytes())
    assert "1 of 60 parts" in message_of(inventory.verify, "stare@drive", tmp_path)


REAL = ["set5", "set14", "bsd100", "urban100", "bsd400-whole", "t91-whole"]
REAL += ["imagenetbox64", "imagenetbox32", "drive", "stare", "chasedb1"]


@pytest.mark.parametrize("name", REAL)
def test_real_sets_agree_with_the_committed_registry(benchmark_root, name):
    assert "agree" in inventory.verify(name, benchmark_root)[0]


def test_both_observers_of_chase_are_verified_by_each_of_its_names(tmp_path, write, monkeypatch):
    rng, places = np.random.default_rng(0), [(n, side) for n in range(1, 11) for side in "LR"]
    for n, side in places:
        path = tmp_path / "chase_db1" / f"Image_{n:02d}{side}.png"
        write(path, np.full((20, 20, 3), 90, np.uint8))
        for observer in ("1st", "2nd"):
            label = (rng.random((20, 20)) < 0.1).astype(np.uint8) * 255
            write(path.with_name(f"{path.stem}_{observer}HO.png"), label)
    monkeypatch.setattr(inventory, "REGISTRY", tmp_path / "registry.json")
    inventory.REGISTRY.write_text("{}")
    inventory.register(["chasedb1"], tmp_path)
    names = ("chasedb1", "chasedb1-all", "chasedb1-all@drive")
    assert all("80 parts" in inventory.verify(name, tmp_path)[0] for name in names)
    label[0, 0] ^= 255
    write(tmp_path / "chase_db1" / "Image_10R_2ndHO.png", label)
    for name in names:
        message = message_of(inventory.verify, name, tmp_path)
        assert message.startswith(f"{name}: 1 of 80") and "10R/2nd_manual" in message


def test_each_size_of_imagenet_box_is_verified_alone(tmp_path, monkeypatch):
    folder, hashes = tmp_path / "imagenet_box", {}
    folder.mkdir()
    for size in (32, 64):
        x = np.full((600, size, size, 3), size, np.uint8)
        np.savez(folder / f"test{size}.npz", x=x, name=np.full(600, b"n0"))
        hashes[f"imagenetbox{size}"] = {"x": pixel_hash(x)}
    hashes["imagenetbox32"]["x"] = "0" * 64
    (tmp_path / "registry.json").write_text(json.dumps(hashes))
    monkeypatch.setattr(inventory, "REGISTRY", tmp_path / "registry.json")
    assert "agree" in inventory.verify("imagenetbox64", tmp_path)[0]
    assert "imagenetbox32: 1 of 1" in message_of(inventory.verify, "imagenetbox32", tmp_path)


def test_the_committed_names_of_imagenet_box_are_one_a_class():
    names = (inventory.DATA / "imagenetbox.txt").read_text().split()
    assert len(names) == len({name.split("_")[0] for name in names}) == 600
