"""The pictures of the front page: python -m tools.front (two minutes) -> book/_static/front/.

Panels of what `python -m cnf sample` makes of two of scikit-image's CC0 photographs: the eye of a
cat, halved and drawn again, and a retina with its vessels. No model was trained on them. The hashes
of the weights are stored beside the pictures; a test fails when the weights change.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cnf.replication import releases, run_folder
from cnf.replication.data.embedded import photograph
from cnf.replication.panels import Deviation, to_image
from cnf.replication.plotting import save_image, to_uint8
from cnf.replication.results.rows import write_text
from cnf.replication.sampling import sample as sampling
from cnf.replication.tasks import SR
from cnf.resample import low_resolution

OUT = run_folder.REPOSITORY / "book/_static/front"
DRAWN_BY = "weights.json"
SIDE = 256  # pixels of a panel
CAT = (slice(38, 230), slice(68, 260))  # rows and columns of what is drawn
SHOWN = slice(32, 160)  # of these rows and columns, what is shown: no border in sight
BOX = (810, 380, 1230, 800)  # left, top, right, bottom: where the retina is looked at closely
ORANGE = (230, 159, 0)


def cat(folder: Path) -> dict[str, np.ndarray]:
    y = torch.from_numpy(photograph("chelsea")[CAT].copy()).permute(2, 0, 1)[None]
    x = to_uint8(low_resolution(y.float(), round_x=True)[0])
    Image.fromarray(x).save(folder / "cat.png")
    sampling.sample("sr", [folder / "cat.png"], num=3, uncertainty=True, out=folder)
    panels = {f"cat-{n}": read(folder / f"cat-sample{n}.png")[SHOWN, SHOWN] for n in (1, 2, 3)}
    small = x.repeat(2, axis=0).repeat(2, axis=1)
    deviation = torch.from_numpy(np.load(folder / "cat-deviation.npy")[SHOWN, SHOWN])
    truth = to_uint8(y[0])
    panels |= {"cat-x": small[SHOWN, SHOWN], "cat-truth": truth[SHOWN, SHOWN]}
    panels["cat-deviation"] = np.asarray(to_image(Deviation(deviation, SR)))
    return {name: p.repeat(SIDE // 128, 0).repeat(SIDE // 128, 1) for name, p in panels.items()}


def retina(folder: Path) -> dict[str, np.ndarray]:
    Image.fromarray(photograph("retina")).save(folder / "eye.png")
    sampling.sample("vessels", [folder / "eye.png"], num=3, out=folder)
    whole = {"eye-x": "eye", "eye-mask": "eye-sample1", "eye-overlay": "eye-overlay"}
    close = {f"eye-{n}": f"eye-sample{n}" for n in (1, 2, 3)}
    panels = {}
    for name, file in (whole | close).items():
        picture = Image.open(folder / f"{file}.png").convert("RGB")
        if name in close:
            picture = picture.crop(BOX)
        elif name != "eye-overlay":
            ImageDraw.Draw(picture).rectangle(BOX, outline=ORANGE, width=14)
        panels[name] = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    return panels


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def weights() -> dict[str, str]:
    """{name of a model: sha256 of its weights}, of the models that draw."""
    paths = {name: releases.find(name) for name in ("sr", "vessels")}
    return {name: run_folder.file_sha256(path) for name, path in paths.items()}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels in (cat(Path(folder)) | retina(Path(folder))).items():
            print(save_image(pixels, OUT / f"{name}.png").relative_to(run_folder.REPOSITORY))
    write_text(OUT / DRAWN_BY, json.dumps(weights(), indent=1) + "\n")


if __name__ == "__main__":
    main()
