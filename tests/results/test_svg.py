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


def test_panels_stand_one_below_the_other_on_a_phone_each_with_its_numbers():
    fig = lines(sharey=True)
    svg.to_svg(fig)
    fig.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in fig.axes]
    assert all(above.y0 > below.y1 for above, below in zip(boxes, boxes[1:], strict=False))
    for ax in fig.axes:
        assert ax.get_ylabel() == "bits"
        assert ax.yaxis.get_tick_params()["labelleft"]


def test_a_panel_with_an_axis_of_its_own_takes_no_name_of_another():
    fig = lines(sharey=False)
    svg.to_svg(fig)
    assert [ax.get_ylabel() for ax in fig.axes].count("bits") == 1


def test_panels_of_a_grid_keep_their_order_and_take_its_names_along():
    fig, axes = plt.subplots(2, 3, figsize=(6.5, 4), layout="constrained")
    for n, ax in enumerate(axes.flat):
        ax.imshow(np.eye(3))
        ax.set(xticks=[], yticks=[], title=f"column {n}" if n < 3 else "")
    axes[0, 0].set_ylabel("truth")
    axes[1, 0].set_ylabel("flow")
    svg.to_svg(fig)
    fig.draw_without_rendering()
    names = [f"{row}, column {n}" for row in ("truth", "flow") for n in range(3)]
    assert [ax.get_title().replace("\n", " ") for ax in fig.axes] == names
    above, below = ([ax.get_window_extent() for ax in row] for row in axes)
    for a, b in zip(above, below, strict=True):  # of a column, side by side
        assert a.x1 < b.x0 and abs(a.y0 - b.y0) < 1


def test_no_letter_is_smaller_than_12_pixels_on_a_phone():
    text = svg.to_svg(lines())
    phone = text[text.index('class="phone"') :]
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', phone)[1])
    sizes = [float(size) * 100 for size in re.findall(r"scale\((\d[\d.]*) -", phone)]
    assert len(sizes) > 20
    assert min(sizes) * 300 / width >= 12  # 300 of 360 pixels: within margins and a box


def phone_of(fig):
    svg.to_svg(fig)
    fig.draw_without_rendering()
    return fig.axes[0]


def apart(boxes, side):
    """Whether no two neighbours overlap, on the axis `side`."""
    spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
    return all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize("panels", [1, 2])
def test_names_and_numbers_do_not_touch_on_a_phone(panels):
    names = [f"a model with a long name, number {n}" for n in range(12)]
    with plt.rc_context(plotting.STYLE):
        fig, axes = plt.subplots(1, panels, figsize=(6.5, 2.5), squeeze=False)
        for ax in axes.flat:
            ax.plot(np.linspace(0.7512, 0.8263, 12), names, "o")
            ax.set_xlabel("share of what is asked for, in parts of one whole")
    ax = phone_of(fig)
    assert len(ax.get_yticklabels()) == 12
    assert apart([text.get_window_extent() for text in ax.get_yticklabels()], "y")
    numbers = [text for text in ax.get_xticklabels() if text.get_text()]
    assert len(numbers) > 1
    assert apart([text.get_window_extent() for text in numbers], "x")
    label = ax.xaxis.label.get_window_extent()
    assert label.x0 >= 0 and label.x1 <= fig.bbox.x1


def test_tilted_names_leave_their_panel_its_height():
    with plt.rc_context(plotting.STYLE):
        fig, ax = plt.subplots(figsize=(6.5, 2))
        ax.bar([f"a name of some length {n}" for n in range(4)], [1, 2, 3, 4])
    height = ax.get_window_extent().height / fig.dpi
    assert phone_of(fig).get_window_extent().height / fig.dpi > 0.8 * height
