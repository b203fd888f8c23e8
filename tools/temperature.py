"""Make the pictures that the temperature slider of the book shows, and the numbers it reads out.

    python -m tools.temperature

One crop of scikit-image's cat, the super-resolution flow of `results/`, eleven temperatures, the
same noise: a sheet of twelve tiles, the truth last, in `book/_static/temperature.png`, and the
numbers of each in `book/_static/temperature-numbers.js`. The page checks both against the flow.
"""

import json

import numpy as np
import torch

from cnf import build
from cnf.noise import keyed
from cnf.replication.data.embedded import photograph
from cnf.replication.metrics import pictures, textures
from cnf.replication.plotting import save_image, to_uint8
from cnf.replication.run_folder import REPOSITORY
from cnf.resample import low_resolution

RUN = "sr-flow-cpu-s0"
TOP, LEFT, SIDE = 40, 180, 96  # the crop of the page: an eye and fur
TAUS = [round(0.1 * k, 1) for k in range(11)]
COLUMNS = 4
SHEET = "book/_static/temperature.png"
NUMBERS = "book/_static/temperature-numbers.js"


def high_power(picture: torch.Tensor) -> float:
    """Power of Y beyond a quarter cycle a pixel, which the small picture does not hold; dB."""
    return textures.band(*textures.spectrum(pictures.luma(picture)), "high")


def main() -> None:
    torch.set_num_threads(1)
    flow = build.load(REPOSITORY / "results" / RUN / "weights.safetensors").eval()
    whole = torch.from_numpy(photograph("chelsea").copy()).permute(2, 0, 1)[None].float()
    y = whole[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    x = low_resolution(y, round_x=False)
    tiles, rows = [], []
    with torch.no_grad():
        for tau in TAUS:
            sample = flow.sample(x, 1, tau, keyed(0, [0]))[0, 0]
            psnr = pictures.fidelity(y[0], sample, "released")["psnr"]
            power = high_power(sample) - high_power(y[0])
            rows.append({"tau": tau, "psnr": round(psnr, 1), "power": round(power, 1)})
            tiles.append(to_uint8(sample))
    tiles.append(to_uint8(y[0]))
    lines = [np.concatenate(tiles[k : k + COLUMNS], 1) for k in range(0, len(tiles), COLUMNS)]
    save_image(np.concatenate(lines, 0), REPOSITORY / SHEET)
    text = f"// Written by tools/temperature.py.\nwindow.TEMPERATURES = {json.dumps(rows)};\n"
    (REPOSITORY / NUMBERS).write_text(text, "utf-8", newline="\n")
    print(f"{SHEET}: {(REPOSITORY / SHEET).stat().st_size / 1000:.0f} kB; {NUMBERS}")


if __name__ == "__main__":
    main()
