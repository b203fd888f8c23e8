import numpy as np
import torch
from PIL import Image

from cnf.replication import plotting


def test_grey_levels_are_rounded_and_clipped():
    assert plotting.to_uint8(torch.tensor([[-3.0, 0.5, 254.4, 300.0]])).tolist() == [
        [0, 1, 254, 255]
    ]
    assert plotting.to_uint8(torch.zeros(3, 4, 5)).shape == (4, 5, 3)
    assert plotting.to_uint8(torch.zeros(1, 4, 5)).shape == (4, 5)


def test_images_are_rewritten_only_if_their_pixels_change(tmp_path):
    path = tmp_path / "deep" / "a.png"
    pixels = np.zeros((4, 5, 3), np.uint8)
    plotting.save_image(pixels, path)
    first = path.stat().st_mtime_ns, path.stat().st_ino
    plotting.save_image(pixels, path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == first
    plotting.save_image(pixels + 1, path)
    assert path.stat().st_ino != first[1]
    assert np.array_equal(np.asarray(Image.open(path)), pixels + 1)


def test_figures_are_white_and_carry_no_metadata(tmp_path):
    figure = plotting.show_grid([torch.zeros(3, 8, 8)], ["x"])
    with Image.open(plotting.save_figure(figure, tmp_path / "a.png")) as image:
        assert image.info == {} and image.getpixel((0, 0)) == (255, 255, 255)
