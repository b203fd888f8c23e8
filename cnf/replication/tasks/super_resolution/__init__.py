"""Super-resolution by two: x is the antialiased half of y."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnf.replication.data.batches import Generators, uniforms
from cnf.replication.data.config import DataConfig
from cnf.replication.tasks.task import Card, Task, register
from cnf.resample import imresize_double, low_resolution


def bicubic(scored: Any) -> list:
    """x doubled by bicubic interpolation, an image."""
    return [imresize_double(scored.x(i)[None])[0] for i in scored.indices]


class SuperResolution(Task):
    name = "sr"
    factor = 2
    data_unread = ("jitter",)
    has_low_resolution = True
    temperature = 0.8
    temperatures = (0.0, 0.5, 0.7, 0.8, 1.0)
    references = {"bicubic": bicubic}
    worst = (
        "psnr",
        "psnr_standard",
        "psnr_released",
        "bits_per_dim",
        "bits_per_dim_xrounded",
        "bits_per_dim_xfloat",
    )
    card = Card(
        title="x2 super-resolution: p(y|x) of a photograph y (8 bit RGB) given its half-size "
        "version x",
        example="PICTURE.png --uncertainty",
        reading="dB on luma; the mean is that of samples at temperature 1 (a factorised model's "
        "own), a sample is one at 0.8, intervals are at 1. PSNR under the standard protocol: x of "
        "8 bits, two border pixels left out. Pictures of embedded-sr are patches of one "
        "photograph.",
        limits=(
            "It knows one degradation, the antialiased cubic x2 of MATLAB. Photographs that were "
            "made small in another way, compressed or sharpened give artefacts.",
            "It was trained on small patches, so long straight edges and regular textures are "
            "guessed from a few pixels around.",
            "Where x does not determine y, samples invent details: do not read number plates or "
            "faces, or take evidence, from them.",
        ),
    )
    scores = {
        "bits/dim given x not rounded": {"metric": "bits_per_dim", "rounded_x": False},
        "given x of 8 bits": {"metric": "bits_per_dim", "rounded_x": True},
        "PSNR of the mean": {"metric": "psnr", "protocol": ["standard", None]},
        "PSNR of a sample": {
            "metric": "psnr_sample",
            "temperature": 0.8,
            "protocol": ["standard", None],
        },
        "a sample halved, against x": {"metric": "consistency_sample", "temperature": 0.8},
        "90 % intervals hold": {"metric": "coverage_90", "temperature": 1.0},
    }
    spread = {"metric": "coverage_90", "temperature": 1.0}
    spread_of = "values of pixels"
    # "sr" is a flow of couplings: those with an autoregressive prior draw better, but one number
    # after the other
    releases = {"sr": "sr-flow-cpu-s0", "sr-baseline": "sr-baseline-muon-photos-s0"}

    def pair(
        self, y: Tensor, x: None, options: DataConfig, rngs: Generators | None
    ) -> tuple[Tensor, Tensor]:
        """x is made from y. In training a share `options.noise` of the pictures gets noise before.
        With round_x "mixed" x is rounded for half the pictures: in training for random ones, else
        for those whose sum is odd."""
        if rngs and options.noise:
            y = noisy(y, rngs, options.noise)
        if options.round_x != "mixed":
            return y, low_resolution(y, options.round_x)
        if rngs:
            is_rounded = torch.from_numpy(uniforms(rngs, 1)[0] < 0.5)
        else:
            is_rounded = y.double().sum((1, 2, 3)) % 2 == 1
        is_rounded = is_rounded[:, None, None, None]
        return y, torch.where(is_rounded, low_resolution(y, True), low_resolution(y, False))

    def per_image(self, m: Any) -> dict[str, np.ndarray]:
        from cnf.replication.metrics import superresolution

        return superresolution.per_image(m)

    def curves(self, m: Any) -> dict[str, Any]:
        from cnf.replication.metrics import superresolution

        return superresolution.curves(m)

    def figures(self, m: Any, run: Path) -> dict[str, np.ndarray]:
        from cnf.replication.tasks.super_resolution.figures import draw

        return draw(m, run)

    @property
    def picture(self) -> type:
        from cnf.replication.tasks.super_resolution.picture import HalfPicture

        return HalfPicture


def noisy(y: Tensor, rngs: Generators, share: float) -> Tensor:
    """The pictures y with white noise of 0 to 64 grey levels added to a share of them, clipped to
    0..255: photographs are noisier than pictures that were reduced."""
    selection, level = torch.from_numpy(uniforms(rngs, 2)).float()
    level = 64 * level * (selection < share)
    noise = np.stack([rng.standard_normal(y.shape[1:], dtype=np.float32) for rng in rngs])
    return (y + level[:, None, None, None] * torch.from_numpy(noise)).clamp(0, 255).round()


SR = register(SuperResolution())
