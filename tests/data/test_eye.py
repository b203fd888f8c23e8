"""The field of view, found from the photograph."""

import numpy as np
import pytest
import skimage.data
from skimage.draw import disk

from cnf.errors import DataError
from cnf.replication.data import fundus, load
from cnf.replication.data.field_of_view import field_of_view
from cnf.replication.data.folders import find_picture
from cnf.replication.data.images import read_image, read_mask


def overlap(a, b) -> float:
    return (a & b).sum() / (a | b).sum()


def pixels_of(example) -> np.ndarray:
    return example.x.permute(1, 2, 0).numpy()


def two_circles(light: int = 150, border: int = 4) -> np.ndarray:
    """A bright circle with a dark spot and a dark line in it, a smaller one beside it, noise."""
    pixels = np.full((200, 400, 3), border, np.int64)
    pixels[disk((100, 100), 80)] = light
    pixels[disk((100, 100), 15)] = 2
    pixels[disk((100, 300), 40)] = 90
    pixels[:, 60:66] = np.minimum(pixels[:, 60:66], 20)
    noise = np.random.default_rng(0).integers(0, 4, pixels.shape)
    return (pixels + noise).astype(np.uint8)


def test_the_largest_bright_region_is_found_with_its_holes_filled():
    expected = np.zeros((200, 400), bool)
    expected[disk((100, 100), 80)] = True
    # the line cuts the circle: only the larger part is kept, which the hull does not complete
    line = np.zeros_like(expected)
    line[:, :66] = True
    assert overlap(field_of_view(two_circles()), expected & ~line) > 0.97


def test_it_agrees_with_the_exact_field_of_the_embedded_eyes():
    for eye in load("embedded-vessels", "test"):
        assert overlap(field_of_view(pixels_of(eye)), eye.fov.numpy()) > 0.98, eye.name


@pytest.mark.parametrize("size, light", [(64, 1.0), (320, 1.0), (192, 0.3)])
def test_neither_size_nor_brightness_moves_it(size, light):
    eye = fundus.generate(7, size)
    dim = (pixels_of(eye) * light).astype(np.uint8)
    # at 64 pixels the blurred rim, a pixel wide, is 4 % of the field
    assert overlap(field_of_view(dim), eye.fov.numpy()) > 0.95


def test_one_colour_is_all_in_view():
    assert field_of_view(np.full((20, 30, 3), 80, np.uint8)).all()


def test_the_photograph_of_another_camera_has_a_round_field():
    found = field_of_view(skimage.data.retina())
    rows, columns = np.nonzero(found)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    # found once and looked at; 1 % of the frame is 5 pixels of the disc's radius of 700
    assert found.mean() == pytest.approx(0.77, abs=0.01)
    # an ellipse fills pi / 4 of its box; 2 % of the box is 9 pixels of the radius
    assert found.sum() / (height * width) == pytest.approx(np.pi / 4, abs=0.02)
    assert found[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20].all()


@pytest.mark.parametrize("name", ["astronaut", "brick"])
def test_a_photograph_without_a_dark_border_is_all_in_view(name):
    pixels = getattr(skimage.data, name)()
    pixels = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels
    assert field_of_view(pixels).all()


def test_a_photograph_cropped_inside_the_eye_is_all_in_view():
    middle = skimage.data.retina()[400:700, 400:700]
    assert field_of_view(middle).all()


def test_a_black_photograph_and_a_speck_are_refused_in_one_line():
    black = np.zeros((100, 100, 3), np.uint8)
    with pytest.raises(DataError, match="99 % of the photograph is darker than 8.*give a mask"):
        field_of_view(black)
    black[40:55, 40:55] = 200
    with pytest.raises(DataError, match=r"largest bright region is 2\.\d % .*less than 5 %"):
        field_of_view(black)


def test_it_agrees_with_the_masks_of_drive(benchmark_root):
    for split in ("train", "valid", "test"):
        for eye in load("drive", split, benchmark_root):
            assert overlap(field_of_view(pixels_of(eye)), eye.fov.numpy()) > 0.98, eye.name


@pytest.mark.parametrize("folder, shifted", [("chase_db1", ()), ("stare", ("2", "3", "4", "5"))])
def test_it_agrees_with_masks_that_others_drew(benchmark_root, folder, shifted):
    """The sets have none. Four photographs of STARE lie beside theirs, and beside their labels."""
    masks = benchmark_root / folder / "mask"
    if not masks.is_dir():
        pytest.skip(f"no {folder}/mask: the set itself has none, nothing was compared")
    for path in sorted((benchmark_root / folder / "images").iterdir()):
        pixels = read_image(path)
        mask = read_mask(find_picture(masks, f"{path.stem.split('.')[0]}."), pixels.shape[:2])
        found = overlap(field_of_view(pixels), mask)
        wrong = path.stem.removeprefix("im000") in shifted
        assert (0.85 < found < 0.97) if wrong else found > 0.98, path.name
