"""One eye of CHASE_DB1 for the lessons on vessels: python -m tools.eyes (half a minute).

Writes into results/eyes/ what `book/one_eye.py` reads: a square of the photograph, and a sheet of
masks of it, the drawings of two observers and samples of the flow. CHASE_DB1 is CC BY 4.0, so its
pictures may be shown; those of DRIVE may not. The hash of the weights is stored beside them; a test
fails when the weights change.
"""

import json

import torch

from book.one_eye import FLOW, FOLDER, NAME, SIDE
from cnf import noise
from cnf.replication import places, releases, run_folder
from cnf.replication.data import load
from cnf.replication.plotting import save_image
from cnf.replication.results.rows import write_text

TOP, LEFT = 240, 312  # a place where the flow does well
NUM, COLUMNS = 32, 17  # samples; masks side by side
DRAWN_BY = FOLDER / f"{NAME}.json"


def weights() -> dict[str, str]:
    path = places.REPOSITORY / "results" / FLOW / releases.WEIGHTS
    return {FLOW: run_folder.file_sha256(path)}


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    eye = next(e for e in load("chasedb1@drive", "test") if e.name == NAME)
    x, first, second, fov = (
        t[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE] for t in (eye.x, eye.y, eye.second, eye.fov)
    )
    assert fov.all()
    flow = releases.load(places.REPOSITORY / "results" / FLOW / releases.WEIGHTS).eval()
    samples = flow.sample(x[None].float(), NUM, 1.0, noise.keyed(0, [0]))[:, 0, 0]
    masks = torch.stack([first[0], second[0], *samples]) > 0
    sheet = masks.unflatten(0, (-1, COLUMNS)).transpose(1, 2).flatten(2).flatten(0, 1)
    print(save_image(x.permute(1, 2, 0).byte().numpy(), FOLDER / f"{NAME}.png"))
    print(save_image(255 * sheet.byte().numpy(), FOLDER / f"{NAME}-masks.png"))
    write_text(DRAWN_BY, json.dumps(weights(), indent=1) + "\n")


if __name__ == "__main__":
    main()
