"""Super-resolution by two: x is the antialiased half of y."""

from types import ModuleType
from typing import Any

from cnf.replication.tasks.task import Task
from cnf.resample import imresize_double


def bicubic(scored: Any) -> list:
    """x doubled by bicubic interpolation, an image."""
    return [imresize_double(scored.x(i)[None])[0] for i in scored.indices]


def metrics() -> ModuleType:
    from cnf.replication.metrics import superresolution  # it imports this module

    return superresolution


SR = Task(
    name="sr",
    num=4,
    temperature=0.8,
    many=32,
    mean="mean",
    level=1,
    white=32.0,
    unit=" grey levels",
    is_binary=False,
    has_low_resolution=True,
    has_threshold=False,
    bits="bits_per_dim",
    divisors=("sub-pixels",),
    samples=16,
    samples_of_patches=0,
    needs_samples=True,
    full_samples=32,
    temperatures=(0.0, 0.5, 0.7, 0.8, 1.0),
    references={"bicubic": bicubic},
    metrics=metrics,
    worst=(
        "psnr",
        "psnr_standard",
        "psnr_released",
        "bits_per_dim",
        "bits_per_dim_xrounded",
        "bits_per_dim_xfloat",
    ),
    channels=3,
    bins=256,
    factor=2,
    data_unread=("jitter",),
    pipeline="image-to-image",
    kind="pictures",
    has_field_of_view=False,
    pads=False,
    # "sr" is a flow of couplings: those with an autoregressive prior draw better, but one number
    # after the other
    releases={"sr": "sr-flow-cpu-s0", "sr-baseline": "sr-baseline-muon-photos-s0"},
)
