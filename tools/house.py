"""Draw the rooms of the library and of the laboratory, from the contracts that the linter holds.

    python -m tools.house    writes book/_static/house.svg

A row is a layer of `[tool.importlinter]` in pyproject.toml: its rooms know those of the rows above,
and neither one another nor those below.
"""

import tomllib

from cnf.replication.places import REPOSITORY

OUT = REPOSITORY / "book" / "_static" / "house.svg"
FLOORS = {  # by the package whose layers they are: the title, and what stands on another floor
    "cnf": ("cnf, the library", ("replication", "__main__")),
    "cnf.replication": ("cnf.replication, the laboratory", ()),
}
SIDE_BY_SIDE = 3  # rooms of a line: names must be read on a phone
WIDTH, LINE, ROOM, GAP, TITLE = 352, 34, 26, 8, 30
STYLE = """<style>
.cnf-house { width: 100%; max-width: 34rem; display: block; margin: 1rem auto; font: 13px system-ui, sans-serif; }
.cnf-house text { fill: currentColor; }
.cnf-house .floor { fill: none; stroke: currentColor; stroke-opacity: .45; }
.cnf-house .room { fill: currentColor; fill-opacity: .07; stroke: currentColor; stroke-opacity: .35; }
.cnf-house .name { font-weight: 600; }
.cnf-house .layer { stroke: currentColor; stroke-opacity: .3; }
</style>"""  # noqa: E501


def layers(package: str) -> list[list[str]]:
    """The rooms of a package by layers, those first that know no other. Raises ValueError if a
    contract lets rooms of one layer know one another, by ":"."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    [contract] = [c for c in contracts if c.get("containers") == [package]]
    if any(":" in layer for layer in contract["layers"]):
        raise ValueError(f"the layers of {package} join rooms by ':', which allows anything")
    rooms = [layer.split(" | ") for layer in reversed(contract["layers"])]
    kept = [[room for room in layer if room not in FLOORS[package][1]] for layer in rooms]
    return [layer for layer in kept if layer]


def draw() -> str:
    """The drawing, as SVG."""
    parts, said, top = [], [], 4
    for package, (title, _) in FLOORS.items():
        rows = layers(package)
        said.append(f"{title}: {'; '.join(', '.join(row) for row in rows)}.")
        parts.append(f'<text class="name" x="8" y="{top + 18}">{title}</text>')
        start = top = top + TITLE
        for number, row in enumerate(rows):
            if number:
                parts.append(f'<path class="layer" d="M4 {top} H{4 + WIDTH}"/>')
            for first in range(0, len(row), SIDE_BY_SIDE):
                parts += line(row[first : first + SIDE_BY_SIDE], top)
                top += LINE
        parts.append(floor(start, top - start))
        top += GAP
    parts.append(f'<text class="name" x="8" y="{top + 18}">experiments, a folder a question</text>')
    parts += [floor(top + TITLE, LINE), *line(["README · runs/ · rows · plug.py"], top + TITLE)]
    height = top + TITLE + LINE + 4
    head = (
        f'<svg class="cnf-house" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 {height}" '
        'role="img" aria-labelledby="house-title house-desc">'
    )
    title = '<title id="house-title">The rooms of the code, in layers</title>'
    text = f"From the top, each row knows only the rows above it. {' '.join(said)} Experiments."
    desc = f'<desc id="house-desc">{text}</desc>'
    return "\n".join([head, title, desc, STYLE, *parts, "</svg>\n"])


def line(rooms: list[str], top: int) -> list[str]:
    """Rooms side by side."""
    wide = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
    parts = []
    for place, room in enumerate(rooms):
        left = 4 + GAP + place * (wide + GAP)
        box = f'x="{left:g}" y="{top + 4}" width="{wide:g}" height="{ROOM}" rx="5"'
        text = f'<text x="{left + wide / 2:g}" y="{top + 22}" text-anchor="middle">{room}</text>'
        parts.append(f'<rect class="room" {box}/>{text}')
    return parts


def floor(top: int, height: int) -> str:
    return f'<rect class="floor" x="4" y="{top}" width="{WIDTH}" height="{height}" rx="8"/>'


if __name__ == "__main__":
    OUT.write_text(draw(), "utf-8")
