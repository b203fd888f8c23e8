"""Where a threshold of probabilities may be chosen: on pictures that are not scored and were not
trained on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnf.errors import ConfigError, DataError
from cnf.model import ConditionalModel
from cnf.replication import run_folder
from cnf.replication.config import model_name
from cnf.replication.data import load
from cnf.replication.data.catalogue import has_learned
from cnf.replication.scored.model import ScoredModel


def validation(m: ScoredModel, on: str, before: Sequence[dict[str, Any]] = ()) -> list[ScoredModel]:
    """The models on validation splits on which a threshold is chosen.

    Without `threshold_from`: the same model on the validation split of the set `on`; an empty list
    if there is no such split, or if the model was trained on it, by itself or by the runs `before`
    it (their `data`) with whose weights it began. With it: the models of these runs,
    each on the validation split of its own training set. Raises ConfigError for a run of another
    kind, a run that was trained on its validation split, or one whose validation split is scored.
    """
    options = dataclasses.replace(m.options, limit=None, threshold_from=None)
    if m.options.threshold_from is not None:
        models = [giver_of_threshold(m, folder) for folder in m.options.threshold_from.split(",")]
        validation_sets = [(model, load(model.config.data.train, "valid")) for model in models]
        scored = {example.sha256 for example in m.images}
        if any(example.sha256 in scored for _, images in validation_sets for example in images):
            raise ConfigError(
                f"--threshold-from would choose on pictures of {on} {m.images.split}, which are "
                "scored: leave it out"
            )
        return [
            ScoredModel(model, images, options, m.batch_size) for model, images in validation_sets
        ]
    is_given = m.options.threshold is not None
    if is_given or not m.presentation.has_threshold or m.images.split != "test":
        return []
    if has_learned([dataclasses.asdict(m.config.data), *before], on):
        return []
    try:
        images = load(on, "valid")
    except DataError as error:
        print(f"no threshold from validation: {error}")
        return []
    scored = {example.sha256 for example in m.images}
    if on.startswith("folder:") and any(example.sha256 in scored for example in images):
        print(f"no threshold from validation: all pictures of {m.images.name} are scored")
        return []
    return [ScoredModel(m.trained, images, options, m.batch_size)]


def giver_of_threshold(m: ScoredModel, folder: str) -> ConditionalModel:
    """The model of the run in `folder`, from which a threshold may be taken. Raises ConfigError if
    it may not."""
    model = run_folder.trained(Path(folder)).to(m.device)
    theirs = model.config.task, model_name(model.config)
    ours = m.config.task, model_name(m.config)
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
