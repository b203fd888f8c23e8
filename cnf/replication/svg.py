"""A figure of a page as SVG: as it was drawn, and once more with its panels stacked for a phone.

Both are one text: the narrow drawing stands hidden inside the wide one (`class="phone"`), so a
notebook shows the wide one and the site chooses by the width of the screen. Letters are paths, so
they look the same everywhere. Equal figures give equal bytes: no date, no version, ids that count,
lengths cut to hundredths of a point.

What must stay pixels does: pictures, shrunk where they have more pixels than they need, and clouds
of many points. Of pictures and letters that both drawings have, the narrow one holds only the
names. What is drawn over a picture is marked (`id="picture"`): it keeps its colours, where other
lines and letters take those of the page.
"""

import io
import re
import textwrap

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedFormatter, MaxNLocator
from PIL import Image

DPI = 100  # of what is pixels
CLOUD = 1000  # more points than this are pixels
PHONE = 3.5  # inches, the width of the narrow drawing
LETTERS = 10.5  # points, its smallest: 12.5 pixels where it is 300 pixels wide
LINE = 30  # letters that stand beside each other in its titles
USELESS = re.compile(
    r' id="(?:[xy]tick|text|line2d|patch|legend|matplotlib.axis|\w+Collection)_\d+"'
)
PICTURE = re.compile(r'"data:[^"]+"( id="(image[^"]+)")')
HASHED = re.compile(r'(?<=["#])(?:[pmh]|image|C\w+?_)[0-9a-f]{10}(?=[")])')
LETTER = re.compile(r'<path id="[^"]+" d="[^"]+" transform="scale[^"]+"/>')
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
NOISE = re.compile(
    r"<\?xml.*?\?>\s*|<!DOCTYPE.*?>\s*|\s*<metadata>.*?</metadata>|\s*<!--.*?-->", re.DOTALL
)


def to_svg(figure: Figure) -> str:
    """The figure as SVG, with its narrow drawing inside; the figure is left as that."""
    keep_pixels(figure)
    wide = drawn(figure)
    stack(figure)
    narrow = drawn(figure).replace("<svg ", '<svg class="phone" display="none" ', 1)
    narrow = PICTURE.sub(lambda m: f'"#{m[2]}"{m[1]}' if m[0] in wide else m[0], narrow)
    narrow = LETTER.sub(lambda m: "" if m[0] in wide else m[0], narrow)
    text = f"{wide.removesuffix('</svg>')}{narrow}</svg>"
    numbers = {name: f"s{n}" for n, name in enumerate(dict.fromkeys(HASHED.findall(text)))}
    return HASHED.sub(lambda found: numbers[found[0]], text)


def drawn(figure: Figure) -> str:
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "cnf", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", dpi=DPI, metadata=NO_METADATA)
    text = re.sub(r"(?<=base64,)[^\"]+", lambda m: re.sub(r"\s", "", m[0]), buffer.getvalue())
    text = re.sub(r"\s+", " ", NOISE.sub("", text)).replace("> <", "><").strip()
    text = USELESS.sub("", text).replace("<g/>", "")
    return re.sub(r"\b([1-9]\d*\.\d\d)\d+", r"\1", text)


def has_picture(axes: Axes) -> bool:
    filled = (c for c in axes.collections if isinstance(c, ContourSet) and c.filled)
    return bool(axes.images) or any(filled)


def keep_pixels(figure: Figure) -> None:
    """Say what is pixels and what is drawn over a picture."""
    for axes in figure.axes:
        for line in axes.lines:
            line.set_rasterized(line.get_marker() != "None" and len(line.get_xdata()) > CLOUD)
        for drawn in axes.collections:
            points = len(drawn.get_offsets()) + sum(len(p.vertices) for p in drawn.get_paths())
            drawn.set_rasterized(points > CLOUD or isinstance(drawn, QuadMesh))  # of colour bars
        for image in axes.images:
            shrink(image, round(axes.bbox.width / figure.dpi * DPI))
        if has_picture(axes):
            texts = [text for text in axes.texts if is_inside(text, axes)]
            for artist in (*axes.lines, *axes.patches, *axes.collections, *texts):
                artist.set_gid("picture")


def shrink(image: AxesImage, most: int) -> None:
    """Make a picture at most that many pixels wide, of the colours that it has, and draw it as its
    own pixels: then both drawings hold the same ones."""
    height, width = image.get_size()
    if width > most:
        small = Image.fromarray(image.to_rgba(image.get_array(), bytes=True, norm=True))
        image.axes.autoscale(False)
        image.set_extent(image.get_extent())
        image.set_data(small.resize((most, round(height * most / width)), Image.Resampling.BOX))
    image.set_interpolation("none")


def is_inside(text: Text, axes: Axes) -> bool:
    if isinstance(text, Annotation):
        return True
    return axes.bbox.contains(*text.get_transform().transform(text.get_unitless_position()))


# -- the narrow drawing ----------------------------------------------------------------------------


def is_bare(axes: Axes) -> bool:
    """Whether there are no numbers and no names along the axes."""
    labelled = axes.get_xlabel() or axes.get_ylabel()
    ticks = len(axes.get_xticks()) + len(axes.get_yticks())
    return not axes.axison or not (labelled or ticks)


def folded(text: str, letters: int) -> str:
    """Over several lines, formulas whole."""
    whole = re.sub(r"\$[^$]*\$", lambda formula: formula[0].replace(" ", "\0"), text)
    lines = [textwrap.fill(line, letters, break_long_words=False) for line in whole.split("\n")]
    return "\n".join(lines).replace("\0", " ")


def stack(figure: Figure) -> None:
    """Lay a figure out anew for a phone: narrow, its panels in one column, or in two where their
    axes bear no numbers; every letter is at least `LETTERS` high."""
    width, height = figure.get_size_inches()
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    panels.sort(key=lambda axes: (-round(axes.get_position(True).y1, 1), axes.get_position().x0))
    columns = 2 if len(panels) > 2 and all(map(is_bare, panels)) else 1
    heights = []
    for axes in panels:
        box = axes.get_position()
        tall = box.height * height
        if axes.get_aspect() != "auto":
            tall *= 0.85 * PHONE / columns / (box.width * width)
        heights.append(tall + (0.3 if is_bare(axes) else 0.7))
    is_stacked = len({round(axes.get_position().x0, 1) for axes in panels}) == 1
    if is_stacked:
        figure.set_size_inches(PHONE, height)
    else:
        rows = [max(heights[n : n + columns]) for n in range(0, len(panels), columns)]
        figure.set_size_inches(PHONE, sum(rows))
        grid = GridSpec(len(rows), columns, figure, height_ratios=rows)
        for n, axes in enumerate(panels):
            axes.set_subplotspec(grid[n // columns, n % columns])
            share(axes)
    for axes in figure.axes:
        letter(axes, LINE // columns)
    for legend in list(figure.legends):
        names = [folded(text.get_text(), LINE) for text in legend.get_texts()]
        figure.legend(legend.legend_handles, names, loc="outside lower center")
        legend.remove()
    for text in figure.findobj(Text):
        text.set_fontsize(max(text.get_fontsize(), LETTERS))
    if len(panels) < len(figure.axes):  # colour bars find their place at the second attempt
        figure.draw_without_rendering()


def share(axes: Axes) -> None:
    """Where panels share an axis, each has its numbers and its name."""
    for name, grouper in (("x", axes.get_shared_x_axes()), ("y", axes.get_shared_y_axes())):
        labels = [getattr(other, f"get_{name}label")() for other in grouper.get_siblings(axes)]
        if len(labels) > 1 and not is_bare(axes):
            side = "labelbottom" if name == "x" else "labelleft"
            axes.tick_params(axis=name, **{side: True})
            getattr(axes, f"set_{name}label")(max(labels, key=len))


def letter(axes: Axes, letters: int) -> None:
    """Fold titles and names; tilt names along x that would overlap."""
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_text(folded(text.get_text(), letters))
    axes.tick_params(labelsize=LETTERS)
    if isinstance(axes.xaxis.get_major_locator(), MaxNLocator):
        axes.xaxis.get_major_locator().set_params(nbins=5)
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), FixedFormatter):
            names = [folded(text.get_text(), 18) for text in axis.get_ticklabels()]
            axis.set_ticks(axis.get_ticklocs(), names)
            if axis is axes.xaxis and len("  ".join(names)) > 1.2 * LINE:
                axis.set_tick_params(rotation=40)
