"""Super-resolution and vessels: what differs between the two tasks, and nowhere else."""

from dataclasses import dataclass

from cnf.config import Config


@dataclass(frozen=True)
class Task:
    """Args:
    name: that of `Config.experiment`.
    num, temperature: of the samples that `sample` writes, by default.
    many: samples at temperature 1 for means and deviations, by default.
    mean: what the mean of samples is called, in titles and names of files.
    level: grey levels of a unit of y.
    white, unit: the deviation at which a map of deviations ends, in units of y, and their name.
    """

    name: str
    num: int
    temperature: float
    many: int
    mean: str
    level: int
    white: float
    unit: str


SR = Task("sr", 4, 0.8, 32, "mean", 1, 32.0, " grey levels")
VESSELS = Task("vessels", 16, 1.0, 16, "marginal", 255, 0.5, "")


def of(config: Config) -> Task:
    """The task of a run."""
    return {task.name: task for task in (SR, VESSELS)}[config.experiment]
