"""What is said of a task beside its pairs: which sets and samples its models are scored with, what
`sample` writes, and the texts of its cards. Nothing here computes; training never reads it."""

from cnf.replication.presentation.presentation import (
    Card,
    Presentation,
    present,
    presentation_of,
)
from cnf.replication.presentation.super_resolution import SUPER_RESOLUTION
from cnf.replication.presentation.vessels import VESSEL_MASKS

__all__ = [
    "SUPER_RESOLUTION",
    "VESSEL_MASKS",
    "Card",
    "Presentation",
    "present",
    "presentation_of",
]
