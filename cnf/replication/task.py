"""The two experiments of the paper: what differs between them."""

from dataclasses import dataclass


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
    bits: str  # the metric of its likelihood
    divisors: tuple[str, ...]  # what its bits are divided by
    samples: int  # for means and marginals
    full_samples: int  # for everything that --full asks for
    temperatures: tuple[float, ...]  # those of --full
    rounds_x: bool  # x is made from y, and may be rounded to 8 bits
    worst: tuple[str, ...]  # values an image, of which the first found tells where a model fails
    channels: int  # of y
    bins: int  # grey levels of y
    factor: int  # the size of y over that of x
    data_unread: tuple[str, ...]  # options of the data that mean nothing here


SR = Task(
    name="sr",
    num=4,
    temperature=0.8,
    many=32,
    mean="mean",
    level=1,
    white=32.0,
    unit=" grey levels",
    bits="bits_per_dim",
    divisors=("sub-pixels",),
    samples=16,
    full_samples=32,
    temperatures=(0.0, 0.5, 0.7, 0.8, 1.0),
    rounds_x=True,
    worst=(
        *("psnr", "psnr_standard", "psnr_released", "bits_per_dim"),
        *("bits_per_dim_xrounded", "bits_per_dim_xfloat"),
    ),
    channels=3,
    bins=256,
    factor=2,
    data_unread=("jitter",),
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
    bits="bits_per_pixel",
    divisors=("all pixels", "field of view"),
    samples=32,
    full_samples=64,
    temperatures=(1.0,),
    rounds_x=False,
    worst=("f_half", "bits_per_pixel"),
    channels=1,
    bins=2,
    factor=1,
    data_unread=("noise", "round_x"),
)
TASKS = {task.name: task for task in (SR, VESSELS)}
