"""The samples of pictures in the first figure of the paper: `python -m tools.paper_samples` draws
three models at temperature 1 for the crop of Set5 that other figures show. Needs Set5."""

import torch
import torch.nn.functional as F
from PIL import Image

from cnf.replication import releases
from cnf.replication.data import load
from cnf.replication.figures.pictures import mean_of_picture, samples_of_picture
from cnf.replication.figures.super_resolution import choose
from cnf.replication.panels import compose
from cnf.replication.places import REPOSITORY
from cnf.replication.scored.model import ScoredModel
from cnf.replication.scored.options import Options

OUT = REPOSITORY / "results" / "sr-flow-ar-photos-s0" / "figures" / "set5-test-models.png"
MODELS = {
    "factorised": "sr-baseline-muon-photos-s0",
    "couplings": "sr-flow-cpu-s0",
    "autoregressive": "sr-flow-ar-photos-s0",
}


@torch.no_grad()
def main() -> None:
    images = load("set5", "test")
    scored = {
        name: ScoredModel(releases.load(run), images, Options(round_x=True))
        for name, run in MODELS.items()
    }
    baseline = scored["factorised"]
    crop = max(choose(baseline), key=lambda found: found.detail)
    y, x = baseline.pair(crop.index)
    panels = {
        "input": F.interpolate(x, scale_factor=2)[0],
        "mean, factorised": mean_of_picture(baseline, baseline.model, y, x),
        "truth": y[0],
    }
    for name, m in scored.items():
        samples = samples_of_picture(m, m.model, crop.index, y, x, 3, 1.0)
        panels |= {f"{name}, {n + 1}": sample for n, sample in enumerate(samples)}
    shown = {title: panel[..., *crop.box] for title, panel in panels.items()}
    Image.fromarray(compose([("", shown)])).quantize(256).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
