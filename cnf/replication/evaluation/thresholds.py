"""Where a threshold of probabilities may be chosen: on pictures that are neither scored nor were
trained on."""

import dataclasses
from pathlib import Path

from cnf.errors import ConfigError, DataError
from cnf.flow import ConditionalModel
from cnf.replication import run_folder
from cnf.replication.config import model_name
from cnf.replication.data import load
from cnf.replication.data.catalogue import CATALOGUE, parts
from cnf.replication.evaluation.scored_model import ScoredModel


def validation(m: ScoredModel, on: str) -> list[ScoredModel]:
    """The same model on the validation split of the set `on`, to choose a threshold on; nothing
    without such a split, or if the model was trained on it. With `threshold_from` the models of
    these runs, each on the validation split of what it was trained on. Raises ConfigError for such
    a run of another kind, one that trained on that split as well, or one whose split is scored."""
    options = dataclasses.replace(m.options, limit=None, threshold_from=None)
    if m.options.threshold_from is not None:
        sisters = [sister(m, folder) for folder in m.options.threshold_from.split(",")]
        named = [(model, load(model.config.data.train, "valid")) for model in sisters]
        scored = {example.sha256 for example in m.images}
        if any(example.sha256 in scored for _, images in named for example in images):
            raise ConfigError(
                f"--threshold-from would choose on pictures of {on} {m.images.split}, which are "
                "scored: leave it out"
            )
        return [ScoredModel(model, images, options, m.batch_size) for model, images in named]
    chosen = m.options.threshold is not None
    if chosen or not m.task.has_threshold or m.images.split != "test":
        return []
    trained = parts(m.config.data.train)
    of = [CATALOGUE.get(part) for part in trained]
    seen = m.config.data.use_valid and origin(on) in map(origin, trained)
    if seen or any(e and e.of == on and "fold" in e.options for e in of):
        return []
    try:
        return [ScoredModel(m.trained, load(on, "valid"), options, m.batch_size)]
    except DataError as error:
        print(f"no threshold from validation: {error}")
        return []


def origin(name: str) -> str:
    """The set of which `name` is another form; "folder" of all folders."""
    entry = CATALOGUE.get(name)
    return origin(entry.of) if entry and entry.of else name.split(":")[0]


def sister(m: ScoredModel, folder: str) -> ConditionalModel:
    """The model of the run in `folder`, if a threshold may come from there."""
    model = run_folder.trained(Path(folder)).to(m.device)
    theirs, ours = ((c.task, model_name(c)) for c in (model.config, m.config))
    if theirs != ours:
        raise ConfigError(
            f"--threshold-from {folder} is a {' '.join(theirs)}, the run a {' '.join(ours)}: "
            "name one of the same kind"
        )
    if model.config.data.use_valid:
        raise ConfigError(
            f"--threshold-from {folder} trained on the validation split: name one that did not"
        )
    return model
