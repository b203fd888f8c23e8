"""Figures as SVG: the same bytes each time, pictures as pixels, panels stacked for a phone."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from cnf.replication import plotting, svg

PNG = re.compile(r'data:image/png;base64,([^"]+)')


def lines(rows=1, columns=3, **options):
    with plt.rc_context(plotting.STYLE):
        fig, axes = plt.subplots(rows, columns, figsize=(6.5, 3), squeeze=False, **options)
        for n, ax in enumerate(axes.flat):
            ax.plot([0, 1], [n, n + 1], label="$y$")
            ax.set(title=f"panel {n}")
        axes[0, 0].set_ylabel("bits")
        axes[0, 0].legend(fontsize=7)
    return fig


def picture(width):
    with plt.rc_context(plotting.STYLE):
        fig, ax = plt.subplots(figsize=(3, 3))
        ax.imshow(np.arange(width * width).reshape(width, width), vmin=0, vmax=width * width)
        ax.text(width / 2, width / 2, "over it")
        ax.set_title("above it")
    return fig


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_equal_figures_give_equal_bytes_without_a_date():
    assert svg.to_svg(lines()) == (text := svg.to_svg(lines()))
    assert "metadata" not in text and "matplotlib" not in text.replace("matplotlib.axis", "")


def test_a_small_picture_keeps_its_pixels_and_both_drawings_share_them():
    text = svg.to_svg(picture(7))
    (png,) = PNG.findall(text)
    image = Image.open(io.BytesIO(base64.b64decode(png))).convert("L")
    expected = np.arange(49).reshape(7, 7) / 49 * 255
    np.testing.assert_allclose(np.asarray(image), expected, atol=2)  # rounding of colours to 8 bits
    assert text.count("<image") == 2


def test_a_large_picture_is_shrunk_to_what_is_seen_of_it():
    (png,) = PNG.findall(svg.to_svg(picture(900)))
    assert 150 < Image.open(io.BytesIO(base64.b64decode(png))).width <= 3 * svg.DPI


def test_what_is_drawn_over_a_picture_is_marked_and_its_title_is_not():
    marked = re.findall(r'<g id="picture">', svg.to_svg(picture(7)))
    assert len(marked) == 2  # the text, in each drawing


def test_a_cloud_of_points_is_pixels():
    def cloud(points):
        fig, ax = plt.subplots()
        ax.scatter(*np.random.default_rng(0).normal(size=(2, points)))
        return svg.to_svg(fig)

    few = cloud(100)
    assert not PNG.findall(few) and few.count("style=") < 100 < few.count(
        "<use "
    )  # one style for all
    assert len(cloud(20_000)) < 300_000 and PNG.findall(cloud(20_000))


def test_panels_stand_one_below_the_other_on_a_phone_each_with_its_numbers():
    fig = lines(sharey=True)
    svg.to_svg(fig)
    fig.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in fig.axes]
    assert all(above.y0 > below.y1 for above, below in zip(boxes, boxes[1:], strict=False))
    for ax in fig.axes:
        assert ax.get_ylabel() == "bits"
        assert ax.yaxis.get_tick_params()["labelleft"]


def test_a_legend_is_below_its_panel_and_above_the_next():
    fig = lines(sharey=True)
    for ax in fig.axes:
        ax.set_xlabel("steps")
    svg.to_svg(fig)
    fig.draw_without_rendering()
    first, second = fig.axes[:2]
    box = first.get_legend().get_window_extent()
    assert box.y1 < first.xaxis.label.get_window_extent().y0
    assert box.y0 > second.title.get_window_extent().y1


def test_a_panel_with_an_axis_of_its_own_takes_no_name_of_another():
    fig = lines(sharey=False)
    svg.to_svg(fig)
    assert [ax.get_ylabel() for ax in fig.axes].count("bits") == 1


def test_a_panel_that_leaves_its_grid_takes_its_names_along():
    fig, axes = plt.subplots(2, 3, figsize=(6.5, 4))
    for n, ax in enumerate(axes.flat):
        ax.imshow(np.eye(3))
        ax.set(xticks=[], yticks=[])
        if n < 3:
            ax.set_title(f"column {n}")
    axes[0, 0].set_ylabel("truth")
    axes[1, 0].set_ylabel("flow")
    fig.set_layout_engine("constrained")
    svg.to_svg(fig)
    names = [f"{row}, column {n}" for row in ("truth", "flow") for n in range(3)]
    assert [ax.get_title().replace("\n", " ") for ax in fig.axes] == names


def boxes_of_pictures(rows, columns):
    """Where svg puts them, row by row."""
    fig, axes = plt.subplots(rows, columns, figsize=(6.5, 5), layout="constrained")
    for ax in axes.flat:
        ax.imshow(np.eye(3))
        ax.set(xticks=[], yticks=[])
    svg.to_svg(fig)
    fig.draw_without_rendering()
    return [[ax.get_window_extent() for ax in row] for row in axes]


def test_of_two_rows_of_pictures_each_pair_stays_side_by_side():
    boxes = boxes_of_pictures(2, 3)
    assert all(a.x1 < b.x0 and abs(a.y0 - b.y0) < 1 for a, b in zip(*boxes, strict=True))


def test_four_pictures_keep_their_order():
    (a, b), (c, d) = boxes_of_pictures(2, 2)
    assert a.x1 < b.x0 and c.x1 < d.x0 and a.y0 > c.y1 and b.y0 > d.y1


def words(room):
    fig, ax = plt.subplots(figsize=(room, 3), layout="constrained")
    ax.axis("off")
    for n in range(5):
        ax.text(n / 5, n / 5, "a step")
    return fig


def test_a_wide_diagram_and_what_has_no_room_stay_wide():
    assert "phone" not in svg.to_svg(words(6.5)) and "phone" in svg.to_svg(words(3))
    fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
    ax.set_yticks([0, 1], ["a name without a gap".replace(" ", "_") * 3, "b"])
    assert "phone" not in svg.to_svg(fig)


def test_no_letter_is_smaller_than_12_pixels_on_a_phone():
    text = svg.to_svg(lines())
    phone = text[text.index('class="phone"') :]
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', phone)[1])
    sizes = [float(size) * 100 for size in re.findall(r"scale\((\d[\d.]*) -", phone)]
    assert len(sizes) > 20
    assert min(sizes) * 300 / width >= 12  # 300 of 360 pixels: within margins and a box


def test_a_title_is_folded_and_its_formulas_are_not():
    assert svg.folded("bits per dimension of $y | x$ here", 20) == (
        "bits per dimension\nof $y | x$ here"
    )
    assert svg.folded("a $b c d e f$", 4) == "a\n$b c d e f$"
