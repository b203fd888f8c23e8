"""`Presentation`, and which task has which."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cnf.replication.tasks.task import Task, find_task

ScoredModel = Any  # of a room above


@dataclass(frozen=True)
class Card:
    """The texts of a model card: what is modelled, an example of the arguments of `sample` after
    the model's name, how the table of scores is read, and what the models cannot do."""

    title: str
    example: str
    reading: str
    limits: Sequence[str]


OWN = Card(
    title="a task of its own",
    example="PICTURE.png",
    reading="",
    limits=("Nobody wrote down what its models cannot do.",),
)


@dataclass(frozen=True)
class Presentation:
    """How the models of a task are scored and shown; every field has a default, that of pictures of
    8 bits.

    Args:
        card: the texts of a model card.
        embedded, far: the sets that are scored, or stressed, by default.
        bits: the metric of the likelihood. divisors: what bits are divided by.
        temperature: of a single sample. temperatures: those of --full.
        samples, samples_of_patches, full_samples: for means and marginals; the same, for image sets
            that are not whole photographs; with --full.
        needs_samples: without samples only bits are computed, even if the model has a mean.
        has_threshold: probabilities become masks by a threshold chosen on validation.
        references: answers without a model, by name: functions of a scored model.
        worst: a card names the worst picture by the first of these metrics.
        written_samples, mean_samples: those that `sample` writes; those, at temperature 1, of which
            it makes means and deviations.
        mean: what the mean of samples is called, in titles and names of files.
        spread, spread_of: rows that say how often the spread of samples holds the truth; of what.
        threshold: rows that say at which probability a mask begins.
        scores: the columns of a card's table, and the rows that they show.
        pipeline: what model hubs call the task.
    """

    card: Card = OWN
    embedded: str = "embedded-sr"
    far: str = "far-sr"
    bits: str = "bits_per_dim"
    divisors: Sequence[str] = ("sub-pixels",)
    temperature: float = 1.0
    temperatures: Sequence[float] = (1.0,)
    samples: int = 16
    samples_of_patches: int = 0
    full_samples: int = 32
    needs_samples: bool = True
    has_threshold: bool = False
    references: Mapping[str, Callable[[ScoredModel], list | None]] = field(default_factory=dict)
    worst: Sequence[str] = ("bits_per_dim",)
    written_samples: int = 4
    mean_samples: int = 32
    mean: str = "mean"
    spread: Mapping[str, Any] = field(default_factory=dict)
    spread_of: str = ""
    threshold: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"bits/dim": {"metric": "bits_per_dim"}}
    )
    pipeline: str = "image-to-image"


PRESENTATIONS: dict[Task, Presentation] = {}


def present(task: Task, presentation: Presentation) -> Presentation:
    """Say how a task is scored and shown. Raises ValueError if that was said already."""
    if task in PRESENTATIONS:
        raise ValueError(f"the task '{task.name}' has a presentation already: change that one")
    PRESENTATIONS[task] = presentation
    return presentation


def presentation_of(name: str) -> Presentation:
    """The presentation of a task; the defaults if it has none. Raises ConfigError if there is no
    such task."""
    return PRESENTATIONS.get(find_task(name), Presentation())
