"""The two experiments of the paper: what differs between them."""

from dataclasses import dataclass

from cnf.config import Config


@dataclass(frozen=True)
class Task:
    """One experiment.

    Args:
        num, temperature: of the samples that `sample` writes, and of a single sample. many: samples
            at temperature 1 for its means and deviations.
        mean: what the mean of samples is called, in titles and names of files. level: grey levels
            of a unit of y. white, unit: where a map of deviations ends, in units of y, and their
            name.
        bits: the metric of its likelihood. `divisors`: what its bits are divided by.
        samples: for means and marginals; `full_samples`: for everything that --full asks for.
        temperatures: those of --full.
        rounds_x: whether x is made from y, and may be rounded to 8 bits.
        title, example, reading, limits: what a model card says of it; worst: columns of the values
            an image that tell where a model fails, the first that is there.
    """

    name: str
    num: int
    temperature: float
    many: int
    mean: str
    level: int
    white: float
    unit: str
    bits: str
    divisors: tuple[str, ...]
    samples: int
    full_samples: int
    temperatures: tuple[float, ...]
    rounds_x: bool
    title: str
    example: str
    reading: str
    limits: tuple[str, ...]
    worst: tuple[str, ...]


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
    title="x2 super-resolution: p(y|x) of a photograph y (8 bit RGB) given its half-size version x",
    example="PICTURE.png --uncertainty",
    reading="dB on luma; the mean is that of samples at temperature 1 (a factorised model's own), "
    "a sample is one at 0.8, intervals are at 1. PSNR under the standard protocol: x of 8 bits, "
    "two border pixels left out.",
    limits=(
        "It knows one degradation, the antialiased cubic x2 of MATLAB. A photograph that was made "
        "small in another way, compressed or sharpened gives artefacts.",
        "It was trained on small patches: long straight edges and regular textures are guessed "
        "from a few pixels around.",
        "Samples are made up where x does not say: do not read number plates, faces or scenes of "
        "crime from them.",
    ),
    worst=(
        *("psnr", "psnr_standard", "psnr_released", "bits_per_dim"),
        *("bits_per_dim_xrounded", "bits_per_dim_xfloat"),
    ),
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
    title="retinal vessels: p(y|x) of a vessel mask y given a fundus photograph x",
    example="EYE.png --num 16",
    reading="F is pooled over the pixels of all pictures, inside the field of view where a set has "
    "one; samples are at temperature 1; the calibration error is that of marginals between 0.05 "
    "and 0.95; pieces are 8-connected.",
    limits=(
        "It is no medical device and was tested on no disease; do not use it for diagnosis.",
        "It was trained at one resolution and on one camera: `sample` resizes an eye of another "
        "size, and says so, but a camera of another kind needs training again.",
        "Thin vessels and the borders of thick ones are where observers disagree, and so does it.",
    ),
    worst=("f_half", "bits_per_pixel"),
)
TASKS = {task.name: task for task in (SR, VESSELS)}


def of(config: Config) -> Task:
    """The task of a run."""
    return TASKS[config.experiment]
