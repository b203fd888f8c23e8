"""The classes of my_flow.py: of which lesson each is, where it is explained, and its laws."""

from collections.abc import Callable
from dataclasses import dataclass

from cnf.lessons.laws import bijections, flows, noise, pixels, priors
from cnf.testing import Case, Law


@dataclass(frozen=True)
class Piece:
    """One class. `section` is a heading of the lesson's page, book/PAGE.md."""

    name: str
    lesson: int
    page: str
    section: str
    laws: Callable[[type], tuple[Case, dict[str, Law]]]

    @property
    def where(self) -> str:
        return f'lesson {self.lesson}, "{self.section}" (book/{self.page}.md)'


PIECES = [
    Piece("PerPixel", 1, "why-likelihoods", "A loss is a probability model", pixels.perpixel),
    Piece("ActNorm", 2, "change-of-variables", "Layers add up", bijections.actnorm),
    Piece("Coupling", 3, "coupling-layers", "The code of a coupling", bijections.coupling),
    Piece("Conv1x1", 4, "multi-scale", "The rest of a step", bijections.conv1x1),
    Piece("Squeeze", 4, "multi-scale", "The rest of a step", bijections.squeeze),
    Piece("Prior", 5, "conditioning", "Three places for x", priors.prior),
    Piece(
        "UniformDequantization",
        6,
        "dequantization",
        "Uniform noise and bits per dimension",
        noise.uniform,
    ),
    Piece("BinaryDequantization", 7, "binary-targets", "Noise on a half-line", noise.binary),
    Piece("WeightedBernoulli", 8, "factorised-models", "The weighted likelihood", pixels.weighted),
    Piece("Flow", 9, "one-file", "The model", flows.flow),
]
