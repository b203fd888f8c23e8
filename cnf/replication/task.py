"""The two experiments of the paper: what differs between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from cnf.resample import imresize_double


@dataclass(frozen=True)
class Task:
    """One experiment. What its models can do and cannot is told in card.md.j2."""

    name: str
    num: int  # samples that `sample` writes
    temperature: float  # of these, and of a single sample
    many: int  # samples at temperature 1 for the means and deviations of `sample`
    mean: str  # what the mean of samples is called, in titles and names of files
    level: int  # grey levels of a unit of y
    white: float  # where a map of deviations ends, in units of y
    unit: str  # their name
    is_binary: bool  # y is 0 or 1
    has_low_resolution: bool  # x is made from y, and may be rounded to 8 bits
    has_threshold: bool  # probabilities become a mask by a threshold, chosen on a validation split
    bits: str  # the metric of its likelihood
    divisors: tuple[str, ...]  # what its bits are divided by
    samples: int  # for means and marginals
    samples_of_patches: int  # the same, of pictures that are no whole photographs
    needs_samples: (
        bool  # without samples an evaluation tells bits alone, even of a model's own mean
    )
    full_samples: int  # for everything that --full asks for
    temperatures: tuple[float, ...]  # those of --full
    references: Mapping[str, Callable]  # answers without a model, of a `ScoredModel` without one
    metrics: Callable[[], ModuleType]  # the module of its metrics, with `per_image` and `curves`
    worst: tuple[str, ...]  # values an image, of which the first found tells where a model fails
    channels: int  # of y
    bins: int  # grey levels of y
    factor: int  # the size of y over that of x
    data_unread: tuple[str, ...]  # options of the data that mean nothing here
    pipeline: str  # what model hubs call it


def bicubic(scored: Any) -> list:
    """x doubled by bicubic interpolation, an image."""
    return [imresize_double(scored.x(i)[None])[0] for i in scored.indices]


def second_observer(scored: Any) -> list | None:
    """The masks of the second observer, where all pictures have one."""
    return scored.seconds


def truth(scored: Any) -> list:
    """y itself."""
    return [scored.images[i].y for i in scored.indices]


def metrics_of_pictures() -> ModuleType:
    from cnf.replication.metrics import superresolution  # it imports this module

    return superresolution


def metrics_of_masks() -> ModuleType:
    from cnf.replication.metrics import vessels  # it imports this module

    return vessels


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
    metrics=metrics_of_pictures,
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
)
VESSELS = Task(
    name="vessels",
    num=16,
    temperature=1.0,
    many=16,
    mean="marginal",
    level=255,
    white=0.5,
    unit="",
    is_binary=True,
    has_low_resolution=False,
    has_threshold=True,
    bits="bits_per_pixel",
    divisors=("all pixels", "field of view"),
    samples=32,
    samples_of_patches=32,
    needs_samples=False,
    full_samples=64,
    temperatures=(1.0,),
    references={"second observer": second_observer, "truth": truth},
    metrics=metrics_of_masks,
    worst=("f_half", "bits_per_pixel"),
    channels=1,
    bins=2,
    factor=1,
    data_unread=("noise", "round_x"),
    pipeline="image-segmentation",
)
TASKS = {task.name: task for task in (SR, VESSELS)}
