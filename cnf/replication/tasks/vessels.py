"""Retinal vessels: x is a photograph of the eye, y says at which pixels there is a vessel."""

from types import ModuleType
from typing import Any

from cnf.replication.tasks.task import Task


def second_observer(scored: Any) -> list | None:
    """The masks of the second observer, where all pictures have one."""
    return scored.seconds


def truth(scored: Any) -> list:
    """y itself."""
    return [scored.images[i].y for i in scored.indices]


def metrics() -> ModuleType:
    from cnf.replication.metrics import vessels  # it imports this module

    return vessels


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
    metrics=metrics,
    worst=("f_half", "bits_per_pixel"),
    channels=1,
    bins=2,
    factor=1,
    data_unread=("noise", "round_x"),
    pipeline="image-segmentation",
    kind="labelled",
    has_field_of_view=True,
    pads=True,
    releases={"vessels": "vessels-flow-cpu-s0", "vessels-baseline": "vessels-baseline-cpu-s0"},
)
