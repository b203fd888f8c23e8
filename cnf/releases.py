"""The trained models that go by a short name, for `python -m cnf sample` and `cnf.load`."""

from pathlib import Path

from cnf.errors import CheckpointError
from cnf.replication.results import RESULTS

# A name means the first of its folders of results/ that is there. "sr" is not the flow of 64x64
# patches: it needs fewer bits for photographs, but has learned the noise of its JPEG files, and
# draws it.
RELEASES = {
    "sr": ("sr-flow-cpu-s0", "sr-flow-photos-s0"),
    "sr-baseline": ("sr-baseline-cpu-s0", "sr-baseline-photos-s0"),
    "vessels": ("vessels-flow-cpu-s0",),
    "vessels-baseline": ("vessels-baseline-cpu-s0",),
}
WEIGHTS = "weights.safetensors"


def find(name: str | Path, results: Path = RESULTS) -> Path:
    """The folder of a model: of a name of RELEASES, of a run of `results/`, or a run folder.

    Says so if a name does not mean the first of its folders.
    Raises CheckpointError, naming what is there, if there are no weights.
    """
    if name in RELEASES:
        first, *others = RELEASES[name]
        for folder in (first, *others):
            if (results / folder / WEIGHTS).exists():
                if folder != first:
                    print(f"{name}: {first} is not here, using {folder}")
                return results / folder
        experiment = name.split("-")[0]
        raise CheckpointError(
            f"'{name}' is {' or '.join(RELEASES[name])}, not in {results.name}/: train a model "
            f"with `python -m cnf train {experiment}` and give its folder"
        )
    for folder in (Path(name), results / name):
        if (folder / WEIGHTS).exists():
            return folder
    there = sorted(path.parent.name for path in results.glob(f"*/{WEIGHTS}"))
    raise CheckpointError(
        f"{name} holds no {WEIGHTS}: give a run folder, or one of {', '.join([*RELEASES, *there])}"
    )
