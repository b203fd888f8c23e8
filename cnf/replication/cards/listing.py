"""The released models in a list: `python -m cnf models`."""

from pathlib import Path

from cnf.replication import releases
from cnf.replication.data import catalogue
from cnf.replication.presentation import presentation_of
from cnf.replication.records import data_before, read_record
from cnf.replication.results.rows import RESULTS, read_rows, select, value


def lines(results: Path = RESULTS) -> list[str]:
    """What `python -m cnf models` prints: of every released model its names, task, size, scores on
    test pictures, terms, and whether it is here."""
    names = {run: [name] for name, run in releases.RELEASES.items()}
    for run in (*releases.SHIPPED, *releases.SHA256):
        names.setdefault(run, [])
    found = []
    for run, short in names.items():
        folder, task = results / run, run.split("-")[0]
        weights = folder / releases.WEIGHTS
        here = "not installed"
        if weights.exists():
            here = f"{weights.stat().st_size / 1e6:.1f} MB, installed"
        found.append(f"{', '.join([*short, run])}: {task}, {here}")
        found += [f"    {line}" for line in (scores(folder, task), *terms(folder)) if line]
    return [*found, "every other run of results/ is a name as well, such as sr-flow-ar-photos-s0"]


def scores(folder: Path, task: str) -> str:
    """The scores on the test set of which there are most columns; "" if there are no rows."""
    rows = [row for row in read_rows(folder.parent, folder.name) if row.split == "test"]
    by_set: dict[str, list[str]] = {}
    for column, wanted in presentation_of(task).scores.items():
        matches = select([row for row in rows if not row.is_weighted], **wanted)
        for data in dict.fromkeys(row.data for row in matches):
            of_set = [row for row in matches if row.data == data]
            best = max(of_set, key=lambda row: (row.num_images, row.samples or 0))
            by_set.setdefault(data, []).append(f"{column} {value(best)}")
    if not by_set:
        return ""
    data = max(by_set, key=lambda name: len(by_set[name]))
    return f"{data}: {', '.join(by_set[data])}"


def terms(folder: Path) -> list[str]:
    """What its training data ask of those who use the weights."""
    record = read_record(folder, needed=False)
    if not record:
        return []
    learned = [record["config"]["data"], *data_before(folder)]
    return catalogue.terms(*dict.fromkeys(options["train"] for options in learned))
