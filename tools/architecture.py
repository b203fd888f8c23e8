"""Draw the two released flows, with the shape of every tensor, from the models themselves.

    python -m tools.architecture    writes book/_static/architecture-sr.svg and -vessels.svg

From top to bottom y becomes z; on the right are the features that a layer reads. Shapes are those
of one training patch, channels first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch

import cnf
from cnf.features import channels_of
from cnf.flow import ConditionalFlow
from cnf.fused import FusedSteps, fuse
from cnf.layers import Dequantization, Prior, Squeeze
from cnf.replication.places import REPOSITORY

OUT = "book/_static/architecture-{}.svg"
PATCHES = {"sr": 32, "vessels": 96}  # sides of y in training
NAMES = {
    "UniformDequantization": ("uniform dequantization", "noise"),
    "BinaryDequantization": ("noise on a half-line, q", "noise"),
    "Residual": ("residual of upsampled x", "bijection"),
    "Subbands": ("subbands", "bijection"),
    "Squeeze": ("squeeze", "bijection"),
    "ActNorm": ("activation normalization", "bijection"),
    "Split": ("split prior", "prior"),
    "GaussianPrior": ("conditional prior", "prior"),
}
READ_H = ("Residual", "BinaryDequantization", "FusedSteps", "Split", "GaussianPrior")
ROW, BOX, TOP = 70, 44, 74
DEFS = """<defs><marker id="{}-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" \
markerHeight="7" orient="auto"><path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>"""


@dataclass
class Row:
    """A box of the drawing: its two lines, its kind, the shape that comes in, the level of h."""

    name: str
    note: str
    kind: str
    shape: torch.Size
    level: int
    reads: bool


def rows(flow: ConditionalFlow, side: int) -> Iterator[Row]:
    """The layers of `flow` in order, the steps of a level as one row."""
    y = torch.zeros(1, 1 if flow.config.task == "vessels" else 3, side, side)
    h, level = flow.condition(torch.zeros(1, 3, *[side // flow.factor] * 2)), 0
    for part in fuse(flow.layers):
        level += isinstance(part, Squeeze)
        if isinstance(part, FusedSteps):
            name, note, kind = f"{len(part.steps)} steps", "actnorm, 1×1, coupling", "bijection"
        else:
            name, kind = NAMES[type(part).__name__]
            note = f"{show(part.latent(y).shape[1:])} leave" if isinstance(part, Prior) else ""
        yield Row(name, note, kind, y.shape[1:], level, type(part).__name__ in READ_H)
        noise_arguments = [cnf.noise.keyed(0, [0])] if isinstance(part, Dequantization) else []
        y = part(y, h[level], *noise_arguments)[0]


def draw(name: str) -> str:
    """The drawing of a released flow, as SVG."""
    flow = cnf.load(name)
    with torch.no_grad():
        boxes = list(rows(flow, PATCHES[name]))
    height = TOP + ROW * len(boxes) - ROW + BOX + 10
    side = PATCHES[name] // flow.factor
    title = {"sr": "The super-resolution flow", "vessels": "The vessel flow"}[name]
    path = ", then ".join(f"{row.name} of {show(row.shape)}" for row in boxes)
    tip = f'marker-end="url(#{name}-tip)"'
    parts = [
        f'<svg class="cnf-map architecture" xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 348 {height}" role="img" aria-labelledby="{name}-title {name}-desc">',
        f'<title id="{name}-title">{title}</title>',
        f'<desc id="{name}-desc">From y to z: {path}.</desc>',
        DEFS.format(name),
        box("level", 238, 10, 100, BOX, "x", f"3×{side}×{side}"),
        text(96, 36, f"y: {show(boxes[0].shape)}", "middle"),
        f'<path class="way" d="M288 54 V{TOP - 4}" {tip}/>',
    ]
    for k, row in enumerate(boxes):
        top = TOP + ROW * k
        parts.append(f'<path class="way" d="M96 {top - ROW + BOX if k else 44} V{top - 4}" {tip}/>')
        if k:
            parts.append(text(104, top - 9, show(row.shape)))
        parts.append(box(row.kind, 10, top, 196, BOX, row.name, row.note))
        if row.reads:
            parts.append(f'<path class="way" d="M238 {top + 22} H210" {tip}/>')
    sizes = [PATCHES[name] >> level for level in range(boxes[-1].level + 1)]
    for level, group in groupby(enumerate(boxes), lambda entry: entry[1].level):
        tops = [TOP + ROW * k for k, _ in group]
        shape = f"{channels_of(flow.features)[level]}×{sizes[level]}×{sizes[level]}"
        height_of_level = tops[-1] - tops[0] + BOX
        parts.append(box("level", 238, tops[0], 100, height_of_level, f"h[{level}]", shape))
    return "\n".join([*parts, "</svg>\n"])


def box(kind: str, x: int, y: int, width: int, height: int, name: str, note: str) -> str:
    lines = text(x + 8, y + (19 if note else 27), name)
    lines += text(x + 8, y + 36, note) if note else ""
    size = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<g class="{kind}"><rect {size} rx="5"/>{lines}</g>'


def text(x: int, y: int, words: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'


def show(shape: torch.Size) -> str:
    return "×".join(map(str, shape))


if __name__ == "__main__":
    for name in PATCHES:
        (REPOSITORY / OUT.format(name)).write_text(draw(name), "utf-8")
