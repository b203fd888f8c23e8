"""The pictures of the front page: python -m tools.front (minutes) -> book/_static/front/.

Three photographs of scikit-image (CC0), of which no model has seen any: the eye of a cat, halved
and drawn again; its face in grey, and coloured again; a retina, and its vessels. Of each there is
what was given, the truth where there is one, and SAMPLES samples side by side in one file. The
hashes of the weights are stored beside the pictures; a test fails when the weights change.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from cnf.replication import places, releases, run_folder
from cnf.replication.answers import sample as sampling
from cnf.replication.data.embedded import photograph
from cnf.replication.plotting import save_image, to_uint8
from cnf.replication.results.rows import write_text
from cnf.replication.tasks import find_task
from cnf.resample import low_resolution

OUT = places.REPOSITORY / "book/_static/front"
DRAWN_BY = "weights.json"
SAMPLES = 6
MODELS = {
    "cat": "sr-flow-ar-photos-s0",
    "face": "colourisation-flow-s0",
    "eye": "vessels-flow-ar-cpu-s0",
}
CAT = (slice(38, 230), slice(68, 260))  # rows and columns of what is drawn
SHOWN = slice(32, 160)  # of these rows and columns, what is shown: no border in sight
FACE = (slice(0, 300), slice(75, 375))  # rows and columns, reduced to FACE_SIDE pixels
FACE_SIDE = 64
BOX = (810, 380, 1230, 800)  # left, top, right, bottom: where the retina is looked at closely
EYE_SIDE = 210
ORANGE = (230, 159, 0)


def cat(folder: Path) -> dict[str, np.ndarray]:
    y = torch.from_numpy(photograph("chelsea")[CAT].copy()).permute(2, 0, 1)[None]
    x = to_uint8(low_resolution(y.float(), round_x=True)[0])
    samples = drawn("cat", x, folder, temperature=1.0)
    given = x.repeat(2, axis=0).repeat(2, axis=1)
    panels = {"cat-given": given, "cat-truth": to_uint8(y[0])}
    panels = {name: panel[SHOWN, SHOWN] for name, panel in panels.items()}
    return panels | {"cat-samples": np.concatenate([s[SHOWN, SHOWN] for s in samples], axis=1)}


def face(folder: Path) -> dict[str, np.ndarray]:
    whole = Image.fromarray(photograph("chelsea")[FACE])
    truth = np.asarray(whole.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.LANCZOS))
    samples = drawn("face", truth, folder, temperature=1.0)
    pixels = torch.from_numpy(truth.copy()).permute(2, 0, 1)[None].float()
    x = find_task("colourisation").pair(pixels, None, None, None)[1]
    return {
        "face-given": to_uint8(x[0]),
        "face-truth": truth,
        "face-samples": np.concatenate(samples, axis=1),
    }


def eye(folder: Path) -> dict[str, np.ndarray]:
    photo = photograph("retina")
    samples = drawn("eye", photo, folder)
    given = Image.fromarray(photo)
    ImageDraw.Draw(given).rectangle(BOX, outline=ORANGE, width=14)
    side = EYE_SIDE, EYE_SIDE
    close = [
        np.asarray(Image.fromarray(s).crop(BOX).resize(side, Image.Resampling.LANCZOS))
        for s in samples
    ]
    return {
        "eye-given": np.asarray(given.resize(side, Image.Resampling.LANCZOS)),
        "eye-samples": np.concatenate(close, axis=1),
    }


def drawn(
    name: str, x: np.ndarray, folder: Path, temperature: float | None = None
) -> list[np.ndarray]:
    """What `python -m cnf sample` draws for a photograph, by the model of this name."""
    Image.fromarray(x).save(folder / f"{name}.png")
    options = {} if temperature is None else {"temperature": temperature}
    sampling.sample(MODELS[name], [folder / f"{name}.png"], samples=SAMPLES, out=folder, **options)
    paths = [folder / f"{name}-sample{n}.png" for n in range(1, SAMPLES + 1)]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def weights() -> dict[str, str]:
    """{name of a model: sha256 of its weights}, of the models that draw."""
    return {name: run_folder.file_sha256(releases.find_weights(name)) for name in MODELS.values()}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for draw in (cat, face, eye):
            for name, pixels in draw(Path(folder)).items():
                print(save_image(pixels, OUT / f"{name}.png").relative_to(places.REPOSITORY))
    write_text(OUT / DRAWN_BY, json.dumps(weights(), indent=1) + "\n")


if __name__ == "__main__":
    main()
