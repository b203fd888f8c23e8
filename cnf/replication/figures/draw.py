"""Pictures of what a model makes of a set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnf.errors import DataError
from cnf.replication.data.catalogue import CATALOGUE
from cnf.replication.figures import super_resolution, vessels
from cnf.replication.figures.pictures import panels_of_first
from cnf.replication.plotting import save_image
from cnf.replication.scored.model import ScoredModel
from cnf.replication.tasks import SR, VESSELS

# By task, {end of a file's name: pixels} of a model and its run folder; a task of one's own may add
# its function.
FIGURES: dict[str, Callable[[ScoredModel, Path], dict[str, np.ndarray]]] = {
    SR.name: super_resolution.draw,
    VESSELS.name: vessels.draw,
}


def draw_figures(m: ScoredModel, run: Path, folder: Path) -> list[Path]:
    """Write the figures of a model from the folder `run` on a set into `folder`: those of its task
    in `FIGURES`, else its first pictures with samples of each. Raises DataError for a set whose
    pictures may not be shown."""
    name = m.images.name
    check_shown(name)
    stem = f"{name}-{m.images.split}".replace(":", "-")
    figures = FIGURES[m.task.name](m, run) if m.task.name in FIGURES else panels_of_first(m)
    return [save_image(pixels, folder / f"{stem}{end}.png") for end, pixels in figures.items()]


def check_shown(name: str) -> None:
    """Raise DataError for a set whose pictures may not be shown; a reader's own folder may be."""
    if name.startswith("folder:"):
        return
    allowed = [entry.name for entry in CATALOGUE.values() if entry.shown != "nothing"]
    if name not in allowed:
        raise DataError(
            f"no figures of '{name}': its pictures are not ours to show; use one of "
            f"{', '.join(allowed)}"
        )
