"""How models of super-resolution are scored and shown."""

from typing import Any

from cnf.replication.presentation.presentation import Card, Presentation, present
from cnf.replication.tasks.super_resolution import SR
from cnf.resample import imresize_double


def bicubic(scored: Any) -> list:
    """x doubled by bicubic interpolation, an image."""
    return [imresize_double(scored.x(i)[None])[0] for i in scored.indices]


CARD = Card(
    title="x2 super-resolution: p(y|x) of a photograph y (8 bit RGB) given its half-size version x",
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

SUPER_RESOLUTION = present(
    SR,
    Presentation(
        temperature=0.8,
        temperatures=(0.0, 0.5, 0.7, 0.8, 1.0),
        references={"bicubic": bicubic},
        worst=(
            "psnr",
            "psnr_standard",
            "psnr_released",
            "bits_per_dim",
            "bits_per_dim_xrounded",
            "bits_per_dim_xfloat",
        ),
        card=CARD,
        scores={
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
        },
        spread={"metric": "coverage_90", "temperature": 1.0},
        spread_of="values of pixels",
    ),
)
