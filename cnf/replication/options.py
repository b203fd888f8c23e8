"""Types of options, for the dataclasses and functions that `cnf.replication.cli` makes commands of.

The docstring of an option says what happens without it, so no default is printed.
"""

from pathlib import Path
from typing import Annotated, Literal

import tyro


def option(metavar: str | None = None, **options):
    """How the command line shows an optional value."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="", **options)


Text = Annotated[str | None, option("NAME")]
Number = Annotated[int | None, option("N")]
Count = Annotated[int, option("N")]
Real = Annotated[float | None, option("X")]
Minutes = Annotated[float | None, option("M")]
Folder = Annotated[Path | None, option("DIR")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    option(help="auto (the default: CUDA if there is one), cpu or cuda."),
]
Threads = Annotated[int | None, option("N", help="CPU threads; 1 by default on a CPU.")]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, option()]
Maybe = Annotated[bool | None, option(constructor=bool)]  # --on, --no-on, or as the help says
