"""A figure of a page as SVG, drawn twice: as it is, and with its panels stacked for a phone.

Both drawings are in one text. The narrow one is hidden inside the wide one (`class="phone"`): a
notebook shows the wide one, and the site chooses by the width of the screen. Letters are paths, so
they look the same everywhere. Equal figures give equal bytes: there is no date and no version, ids
are counted, and lengths are rounded to hundredths of a point.

Pictures and clouds of many points stay pixels; pictures are reduced to the size that they need. The
narrow drawing refers to pictures and letters of the wide one where they are equal. Artists over a
picture are marked (`id="picture"`) and keep their colours; other lines and letters take those of
the page."""

import io
import re
import textwrap
import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, MaxNLocator
from matplotlib.transforms import ScaledTranslation
from PIL import Image

DPI = 100  # of pictures and other parts that are pixels
CLOUD = 1000  # an artist with more points is drawn as pixels
PHONE = 3.5  # inches, the width of the narrow drawing
LETTERS = 10.5  # points, its smallest: 12.5 pixels where it is 300 pixels wide
LINE = 30  # letters that stand beside each other in its titles
GRID = 12  # more panels than this keep their places
USELESS = re.compile(
    r' id="(?:[xy]tick|text|line2d|patch|legend|matplotlib.axis|\w+Collection)_\d+"'
)
PICTURE = re.compile(r'"data:[^"]+"( id="(image[^"]+)")')
NAMED = re.compile(r'(?<=["#])(?:(?:[pmh]|image|C\w+?_)[0-9a-f]{10}|DejaVu[\w-]+)(?=[")])')
REPEATED_STYLE = re.compile(r'<use [^>]*( style="[^"]*")/>(?:<use [^>]*\1/>)+')
LETTER = re.compile(r'<path id="[^"]+" d="[^"]+" transform="scale[^"]+"/>')
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
NOISE = re.compile(
    r"<\?xml.*?\?>\s*|<!DOCTYPE.*?>\s*|\s*<metadata>.*?</metadata>|\s*<!--.*?-->", re.DOTALL
)


def to_svg(figure: Figure) -> str:
    """The figure as SVG, with its narrow drawing inside; the figure itself becomes the narrow one.
    Diagrams, and figures that do not fit, have the wide drawing alone, which scrolls on a phone."""
    keep_pixels(figure)
    wide = svg_of(figure)
    text = wide if is_diagram(figure) else wide.removesuffix("</svg>") + narrow(figure, wide)
    numbers = {name: f"s{n}" for n, name in enumerate(dict.fromkeys(NAMED.findall(text)))}
    return NAMED.sub(lambda match: numbers[match[0]], text)


def narrow(figure: Figure, wide: str) -> str:
    """The end of the wide drawing: the narrow one, if there is one, and the closing tag."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "constrained_layout not applied")
        try:
            stack(figure)
            text = svg_of(figure).replace("<svg ", '<svg class="phone" display="none" ', 1)
        except UserWarning:
            return "</svg>"
    text = PICTURE.sub(lambda m: f'"#{m[2]}"{m[1]}' if m[0] in wide else m[0], text)
    return LETTER.sub(lambda m: "" if m[0] in wide else m[0], text) + "</svg>"


def svg_of(figure: Figure) -> str:
    """The figure as SVG, by the backend itself, because `savefig` would draw it twice."""
    buffer, canvas, figure.dpi = io.StringIO(), figure.canvas, DPI
    with plt.rc_context({"svg.hashsalt": "cnf", "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata=NO_METADATA)
    figure.set_canvas(canvas)
    text = re.sub(r"(?<=base64,)[^\"]+", lambda m: re.sub(r"\s", "", m[0]), buffer.getvalue())
    text = re.sub(r"\s+", " ", NOISE.sub("", text)).replace("> <", "><").strip()
    text = USELESS.sub("", text).replace("<g/>", "")
    text = REPEATED_STYLE.sub(lambda m: f"<g{m[1]}>{m[0].replace(m[1], '')}</g>", text)
    return re.sub(r"\b([1-9]\d*\.\d\d)\d+", r"\1", text)


def has_picture(axes: Axes) -> bool:
    """Whether there is an image, a surface or a colour bar."""
    return bool(axes.images) or any(
        isinstance(artist, QuadMesh) or (isinstance(artist, ContourSet) and artist.filled)
        for artist in axes.collections
    )


def keep_pixels(figure: Figure) -> None:
    """Mark which artists become pixels, and which lie over a picture."""
    for axes in figure.axes:
        for line in axes.lines:
            line.set_rasterized(line.get_marker() != "None" and np.size(line.get_xdata()) > CLOUD)
        for artist in axes.collections:
            points = np.shape(artist.get_offsets())[0]
            points += sum(np.shape(path.vertices)[0] for path in artist.get_paths())
            artist.set_rasterized(points > CLOUD or isinstance(artist, QuadMesh))
        for image in axes.images:
            shrink(image, round(axes.bbox.width / figure.dpi * DPI))
        if has_picture(axes):
            axes.set_gid("pictured")
            texts = [text for text in axes.texts if is_inside(text, axes)]
            for overlay in (*axes.lines, *axes.patches, *axes.collections, *texts):
                overlay.set_gid("picture")


def shrink(image: AxesImage, most: int) -> None:
    """Make a picture at most `most` pixels wide, in its colours, and draw it without interpolation,
    so that both drawings hold the same pixels."""
    (height, width), values = image.get_size(), image.get_array()
    if width > most and values is not None:
        small = Image.fromarray(image.to_rgba(values, bytes=True, norm=True))
        image.axes.autoscale(False)
        image.set_extent(image.get_extent())
        size = most, round(height * most / width)
        image.set_data(np.asarray(small.resize(size, Image.Resampling.BOX)))
    image.set_interpolation("none")


def is_inside(text: Text, axes: Axes) -> bool:
    if isinstance(text, Annotation):
        return True
    return axes.bbox.contains(*text.get_transform().transform(text.get_unitless_position()))


# -- the narrow drawing ----------------------------------------------------------------------------


def is_bare(axes: Axes) -> bool:
    """Whether there are no numbers along the axes."""
    return not axes.axison or not (len(axes.get_xticks()) + len(axes.get_yticks()))


def is_diagram(figure: Figure) -> bool:
    """Whether words stand inside of a wide drawing without axes."""
    inches = figure.get_figwidth()
    return any(
        is_bare(axes) and len(axes.texts) > 3 and axes.get_position().width * inches > 1.2 * PHONE
        for axes in figure.axes
    )


def wrapped(text: str, letters: int) -> str:
    """The text broken into lines, without breaks in formulas."""
    whole = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", "\0"), text)
    lines = [textwrap.fill(line, letters, break_long_words=False) for line in whole.split("\n")]
    return "\n".join(lines).replace("\0", " ")


def stack(figure: Figure) -> None:
    """Change the layout of a figure for a phone. Its panels are in one column, or in two if they
    have neither numbers nor words; two rows of such panels stay in pairs. More than `GRID` panels
    stay in their grid. Legends are below their panels. Every letter is at least `LETTERS` high."""
    width, height = figure.get_size_inches()
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    corners = {axes: corner(axes) for axes in panels}
    panels.sort(key=lambda axes: (-corners[axes][1], corners[axes][0]))
    columns, lines = (len(set(edges)) for edges in zip(*corners.values(), strict=True))
    if len(panels) > GRID or columns == 1:
        figure.set_size_inches(PHONE, height + sum(map(height_below, panels)))
    else:
        names = {axes: panel_names(axes, corners) for axes in panels}
        has_no_words = len(panels) > 2 and all(is_bare(axes) and not axes.texts for axes in panels)
        if has_no_words and len(panels) == 2 * columns > 4 and lines == 2:
            panels.sort(key=lambda axes: (corners[axes][0], -corners[axes][1]))
        columns = 2 if has_no_words else 1
        heights = [panel_height(axes, PHONE / columns) for axes in panels]
        rows = [max(heights[n : n + columns]) for n in range(0, len(panels), columns)]
        figure.set_size_inches(PHONE, sum(rows))
        grid = GridSpec(len(rows), columns, figure, height_ratios=rows)
        for n, axes in enumerate(panels):
            axes.set_subplotspec(grid[n // columns, n % columns])
            axes.tick_params(labelbottom=True, labelleft=True)
            axes.set(**names[axes])
    for axes in figure.axes:
        letter(axes, LINE // columns)
    for legend in list(figure.legends):
        figure.legend(*entries(legend), loc="outside lower center")
        legend.remove()
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), LETTERS))
    for axes in panels:
        fit_numbers(figure, axes)
    figure.set_size_inches(PHONE, figure.get_figheight() + sum(map(lacking_height, panels)))
    if len(panels) <= GRID:
        room = sum(lay_below(inside) for axes in panels if (inside := axes.get_legend()))
        figure.set_size_inches(PHONE, figure.get_figheight() + room)
    engine = figure.get_layout_engine()
    if engine and len(panels) < len(figure.axes):  # colour bars find their place at the second go
        engine.execute(figure)


def entries(legend: Legend) -> tuple[list[Artist], list[str]]:
    """What a legend explains, and its words, folded."""
    handles = [handle for handle in legend.legend_handles if handle is not None]
    return handles, [wrapped(text.get_text(), LINE) for text in legend.get_texts()]


def lay_below(legend: Legend) -> float:
    """Move a legend out of its panel, to below the names along x; returns the inches it takes."""
    axes, figure = legend.axes, legend.axes.figure
    lowest = min(box.y0 for box in (axes.bbox, axes.xaxis.get_tightbbox()) if box)
    down = ScaledTranslation(0, (lowest - axes.bbox.y0) / figure.dpi, figure.dpi_scale_trans)
    moved = axes.legend(
        *entries(legend),
        title=wrapped(legend.get_title().get_text(), LINE),
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + down,
        fontsize=LETTERS,
        title_fontsize=LETTERS,
        frameon=False,
    )
    return moved.get_window_extent().height / figure.dpi


def corner(axes: Axes) -> tuple[float, float]:
    """Where a panel stands in the grid: left and top, in tenths of the figure."""
    box = axes.get_position(True)
    return round(box.x0, 1), round(box.y1, 1)


def panel_height(axes: Axes, width: float) -> float:
    """The inches that a panel takes of the height of the narrow drawing, where it has `width`."""
    extent, dpi = axes.get_window_extent(), axes.figure.dpi
    height = extent.height / dpi
    if axes.get_aspect() != "auto":
        height *= 0.85 * width / (extent.width / dpi)
    if is_bare(axes):
        return height + 0.3
    return max(height, 1.7, height_of_names(axes)) + height_below(axes) + 0.7


def height_of_names(axes: Axes) -> float:
    """The inches that a panel must be high for its names along y, each with its lines."""
    lines = [name.count("\n") + 1 for name in tick_names(axes.yaxis)]
    pairs = [(a + b) / 2 for a, b in zip(lines, lines[1:], strict=False)]
    return 1.4 * LETTERS / 72 * max(pairs, default=0) * len(lines)


def lacking_height(axes: Axes) -> float:
    """The inches that a panel lacks for its names along y."""
    return max(0, height_of_names(axes) - axes.get_window_extent().height / axes.figure.dpi)


def height_below(axes: Axes) -> float:
    """The inches that tilted names along x need below a panel."""
    return 0.4 * LETTERS / 72 * max(map(len, tick_names(axes.xaxis))) if is_tilted(axes) else 0


def panel_names(axes: Axes, place: dict[Axes, tuple[float, float]]) -> dict[str, str]:
    """The title and axis labels of a panel outside of its grid. In the grid they may belong to its
    column or row; a panel whose vertical axis is not shared has only its own label there."""
    left, top = place[axes]
    column = [other for other in place if place[other][0] == left]
    row = [other for other in place if place[other][1] == top]
    if not is_bare(axes):
        row = [other for other in row if axes.get_shared_y_axes().joined(axes, other)]

    candidates = {
        "title": [panel.get_title() for panel in (axes, *column)],
        "xlabel": [panel.get_xlabel() for panel in (axes, *column)],
        "ylabel": [panel.get_ylabel() for panel in (axes, *row)],
    }
    names = {key: next(filter(None, texts), "") for key, texts in candidates.items()}
    if is_bare(axes) and len(column) > 1:
        names["title"] = ", ".join(filter(None, (names.pop("ylabel"), names["title"])))
        names["ylabel"] = ""
    return names


def letter(axes: Axes, letters: int) -> None:
    """Fold titles and names; tilt names along x that would overlap."""
    axes.title.set_text(wrapped(axes.get_title(), letters))
    axes.xaxis.label.set_text(wrapped(axes.get_xlabel(), letters))
    axes.yaxis.label.set_text(wrapped(axes.get_ylabel(), min(letters, 20)))
    axes.tick_params(labelsize=LETTERS)
    locator = axes.xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(nbins=5)
    tilted = is_tilted(axes)
    for axis in (axes.yaxis, axes.xaxis):
        if names := tick_names(axis):
            axis.set_ticks(axis.get_ticklocs(), names)
    if tilted:
        names = [name.replace("\n", " ") for name in tick_names(axes.xaxis)]
        axes.xaxis.set_ticks(axes.xaxis.get_ticklocs(), names)
        axes.xaxis.set_tick_params(rotation=40)
        plt.setp(axes.xaxis.get_ticklabels(), ha="right", rotation_mode="anchor")


def tick_names(axis: Axis) -> list[str]:
    """The names along an axis, folded; [] if it has numbers."""
    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return []
    return [wrapped(text.get_text(), 22) for text in axis.get_ticklabels()]


def is_tilted(axes: Axes) -> bool:
    """Whether names along x do not fit beside each other, next to the names along y."""
    along_y, along_x = (
        [max(map(len, name.split("\n"))) + 2 for name in tick_names(axis)]
        for axis in (axes.yaxis, axes.xaxis)
    )
    has_formula = "$" in "".join(tick_names(axes.xaxis))
    return sum(along_x) > 40 - max(along_y, default=0) and not has_formula


def fit_numbers(figure: Figure, axes: Axes) -> None:
    """Leave out numbers along x until none touches another, and fold the name of x until it stays
    inside of the drawing."""
    locator, label = axes.xaxis.get_major_locator(), axes.xaxis.label
    for bins in (4, 3, 2):
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in axes.get_xticklabels() if text.get_text()]
        gaps = [right.x0 - left.x1 for left, right in zip(boxes, boxes[1:], strict=False)]
        if not isinstance(locator, MaxNLocator) or min(gaps, default=99) > 4:
            break
        locator.set_params(nbins=bins)
    for letters in (24, 18, 14):
        box = label.get_window_extent()
        if box.x0 >= 0 and box.x1 <= figure.bbox.x1:
            break
        label.set_text(wrapped(label.get_text().replace("\n", " "), letters))
        figure.draw_without_rendering()
