"""Retinal vessels: x is a photograph of the eye, y says at which pixels there is a vessel."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnf.replication.data.batches import Generators, uniforms
from cnf.replication.data.config import DataConfig
from cnf.replication.tasks.task import Card, Task, register


def second_observer(scored: Any) -> list | None:
    """The masks of the second observer, where all pictures have one."""
    return scored.second_masks


def truth(scored: Any) -> list:
    """y itself."""
    return [scored.images[i].y for i in scored.indices]


class Vessels(Task):
    name = "vessels"
    kind = "labelled"
    channels, bins = 1, 2
    crop = 96
    all_symmetries = True
    pads = True  # the black around a photograph of the eye goes on
    data_unread = ("noise", "round_x")
    embedded, far = "embedded-vessels", "far-vessels"
    bits = "bits_per_pixel"
    divisors = ("all pixels", "field of view")
    samples = samples_of_patches = 32
    full_samples = 64
    needs_samples = False
    has_threshold = True
    references = {"second observer": second_observer, "truth": truth}
    worst = ("f_half", "bits_per_pixel")
    num = many = 16
    mean = "marginal"
    card = Card(
        title="retinal vessels: p(y|x) of a vessel mask y given a fundus photograph x",
        example="EYE.png --num 16",
        reading="F is pooled over the pixels of all pictures, inside the field of view where a set "
        "has one; samples are at temperature 1; the calibration error is that of marginals between "
        "0.05 and 0.95; pieces are 8-connected.",
        limits=(
            "It is not a medical device and was not tested on any disease; do not use it for "
            "diagnosis.",
            "It was trained at one resolution, on one camera. `sample` resizes a photograph of "
            "another size, and says so; another kind of camera needs another training.",
            "On thin vessels, and at the borders of thick ones, observers disagree, and its "
            "samples differ, too.",
        ),
    )
    scores = {
        "bits/pixel": {"metric": "bits_per_pixel", "divided_by": "all pixels"},
        "F of the marginals at 0.5": {"metric": "f_half"},
        "at the threshold chosen on validation": {"metric": "f_valid"},
        "F of a sample": {"metric": "f_sample"},
        "area under the ROC curve": {"metric": "auc"},
        "calibration error": {"metric": "calibration_error"},
        "pieces of a sample over the truth's": {"metric": "components_ratio_sample"},
        "90 % intervals of area hold": {"metric": "area_coverage"},
    }
    spread = {"metric": "area_coverage"}
    spread_of = "the area of vessels"
    interval = {"metric": "area_interval_coverage"}
    threshold = {"metric": "f_valid"}
    pipeline = "image-segmentation"
    releases = {"vessels": "vessels-flow-lambda0-s1", "vessels-baseline": "vessels-baseline-cpu-s0"}

    def pair(
        self, y: Tensor, x: Tensor, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """In training the colours of x vary."""
        return y, jittered(x, rngs, options.jitter) if rngs and options.augment else x

    def image(self, y: Tensor, x: Tensor) -> Tensor:
        return 255 * y

    def per_image(self, m: Any) -> dict[str, np.ndarray]:
        from cnf.replication.metrics import vessels

        return vessels.per_image(m)

    def curves(self, m: Any) -> dict[str, Any]:
        from cnf.replication.metrics import vessels

        return vessels.curves(m)

    def figures(self, m: Any, run: Path) -> dict[str, np.ndarray]:
        from cnf.replication.tasks.vessels.figures import draw

        return draw(m, run)

    @property
    def picture(self) -> type:
        from cnf.replication.tasks.vessels.picture import EyePicture

        return EyePicture


def jittered(x: Tensor, rngs: Generators, amount: float) -> Tensor:
    """x with random gamma, gain and offset in each channel, clipped to 0..255. With `amount` 1 they
    vary as much as cameras and eyes do."""
    u = torch.from_numpy(2 * uniforms(rngs, 8) - 1)[..., None, None, None].float()  # (8,B,1,1,1)
    u = amount * u
    gamma = (0.25 * u[0]).exp()
    gain = (1 + 0.15 * u[1]) * (1 + 0.07 * torch.cat(list(u[2:5]), dim=1))
    offset = 10 * torch.cat(list(u[5:8]), dim=1)
    return ((x / 255) ** gamma * 255 * gain + offset).clamp(0, 255)


VESSELS = register(Vessels())
