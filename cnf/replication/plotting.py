"""The book's figures, one style: white face, colours that colour-blind readers tell apart.

Every page loads this file, so of the package it imports little: how a notebook shows a figure, and
how a file changes.
`save_figure` and `save_image` write PNGs without metadata, and only when the pixels changed: git
stays clean.
"""

import inspect
import io
import logging
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from cnf.files import replaced
from cnf.replication.svg import to_svg

if TYPE_CHECKING:  # new in matplotlib 3.11
    from matplotlib.typing import RcKeyType

# of seaborn's colour-blind palette: blue, green, vermilion, pink, sky. By value, which a test holds
# to seaborn: importing it takes every page two seconds.
PALETTE = ["#0173b2", "#029e73", "#d55e00", "#cc78bc", "#56b4e9"]
BLUE, GREEN, ORANGE = PALETTE[:3]
# what a colour means in the figures that compare models; the truth has that of the page's letters
ROLES = {"truth": "#222222", "flow": BLUE, "factorised": ORANGE, "control": GREEN}
# for maps: where there is nothing the page shows, light or dark
DENSITY = LinearSegmentedColormap.from_list("density", [BLUE + "00", BLUE])
BELOW = [(0, BLUE), (0.4, BLUE + "66"), (0.5, BLUE + "00")]  # what is weak is seen, too
ABOVE = [(0.5, ORANGE + "00"), (0.6, ORANGE + "66"), (1, ORANGE)]
SIGNED = LinearSegmentedColormap.from_list("signed", BELOW + ABOVE)
STYLE: "dict[RcKeyType, Any]" = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "xtick.color": "#222222",
    "ytick.color": "#222222",
    "font.size": 11,
    "axes.titlesize": 11,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def use_style() -> None:
    """Set the style for every figure that follows; notebooks show them as SVG. Call once at the top
    of a page. The terms of weights, which `cnf.load` warns of, are on the page."""
    logging.getLogger("cnf").setLevel(logging.ERROR)
    plt.rcParams.update(STYLE)
    if shell := "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
        plt.switch_backend(plt.get_backend())  # that of notebooks chooses PNG once it is loaded
        formatters = shell.display_formatter.formatters
        formatters["image/png"].pop(Figure, None)
        formatters["image/svg+xml"].for_type(Figure, to_svg)
    # The best place is the same everywhere; where the search for it takes a second, it warns.
    warnings.filterwarnings("ignore", 'Creating legend with loc="best"')


def to_uint8(image: ArrayLike) -> np.ndarray:
    """Grey levels (3,H,W), (1,H,W) or (H,W), 0..255 -> uint8 (H,W,3) or (H,W), clipped, rounded."""
    array = np.asarray(image, dtype=np.float64)
    if array.ndim == 3:
        array = array.transpose(1, 2, 0) if array.shape[0] == 3 else array[0]
    return np.floor(np.clip(array, 0, 255) + 0.5).astype(np.uint8)


def show_grid(
    images: Sequence[ArrayLike],
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    size: float = 2.0,
    limit: float = 255.0,
) -> Figure:
    """Pictures side by side, nearest neighbour.

    Each is (3,H,W), (1,H,W) or (H,W), from 0 to `limit` (255 grey levels; 1 for masks and
    probabilities). `size` is the height of one picture in inches.
    """
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    aspect = max(np.shape(image)[-1] / np.shape(image)[-2] for image in images)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=(columns * size * aspect, rows * (size + 0.3)), squeeze=False
        )
        for axis in axes.flat:
            axis.axis("off")
        titles = titles or [""] * len(images)
        for axis, image, title in zip(axes.flat, images, titles, strict=False):
            pixels = to_uint8(np.asarray(image, dtype=np.float64) * (255 / limit))
            axis.imshow(pixels, vmin=0, vmax=255)
            axis.set_title(title)
        for axis in axes.flat[len(images) :]:
            axis.remove()
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG without metadata, then close it."""
    buffer = io.BytesIO()
    with plt.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return save_image(np.asarray(Image.open(buffer).convert("RGB")), path)


def save_image(pixels: np.ndarray, path: Path) -> Path:
    """Write uint8 (H,W,3) or (H,W) as PNG without metadata, atomically, if the pixels changed."""
    path = Path(path)
    if path.exists():
        with Image.open(path) as old:
            if np.array_equal(np.asarray(old), pixels):
                return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        Image.fromarray(pixels).save(part, format="png", optimize=True)
    return path


def show_source(*objects: Callable | type) -> None:
    """Show the source of functions, methods or classes in a notebook, coloured like its cells; the
    equations that it cites by their labels."""
    from IPython.display import Markdown, display  # the book's dependency, not the package's

    text = "\n\n".join(textwrap.dedent(inspect.getsource(o)).rstrip() for o in objects)
    text = re.sub(r":eq:`([\w-]+)`", r"\1", text)
    display(Markdown(f"```python\n{text}\n```"))
