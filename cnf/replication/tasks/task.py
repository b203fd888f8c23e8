"""The tasks: what differs between super-resolution and vessels is said here, and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

Kind = Literal["pictures", "labelled"]  # x is made from y; or x is a photograph and y its labels


@dataclass(frozen=True)
class Task:
    """What differs from one task to another. What its models can do and cannot is told in
    card.md.j2."""

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
    kind: Kind  # of the image sets that it reads
    has_field_of_view: bool  # x shows what lies in a circle; outside of it y counts for nothing
    pads: bool  # whole pictures are padded to sizes that a model takes, not cropped
    releases: Mapping[str, str]  # by their names, the runs of results/ whose models are released
