import subprocess
import sys
import warnings

import numpy as np
import torch
from PIL import Image

from cnf.layers import AffineCoupling
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


def test_grid_shows_every_picture_with_its_title():
    figure = plotting.show_grid([torch.zeros(3, 8, 8), torch.ones(1, 8, 8)], ["x", "y"], limit=1.0)
    assert [axis.get_title() for axis in figure.axes] == ["x", "y"]
    assert figure.axes[1].images[0].get_array().max() == 255


def test_a_slow_machine_places_a_legend_without_a_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plotting.use_style()
        warnings.warn(
            'Creating legend with loc="best" can be slow with large amounts', stacklevel=1
        )
        warnings.warn("another", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["another"]


def test_source_is_shown_with_its_labels_and_without_roles(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    plotting.show_source(AffineCoupling)
    log_det = next(line for line in shown[0].data.splitlines() if "log|det|" in line)
    assert log_det.endswith(" eq-coupling-logdet")


def test_the_style_of_pages_depends_on_no_other_module_of_the_laboratory():
    """Every page loads it: what it imports makes all pages stale when it changes."""
    code = (
        "import sys, cnf; before = set(sys.modules); import cnf.replication.plotting; "
        "heavy = ('cnf', 'torch', 'skimage'); "
        "print(*sorted(m for m in set(sys.modules) - before if m.split('.')[0] in heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ["cnf.replication", "cnf.replication.plotting", "cnf.replication.svg"]
    assert done.stdout.split() == names
