"""Which pictures an evaluation scores, if they are in a reader's own folder."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnf.model import ConditionalModel
from cnf.replication.data import ImageSet, load
from cnf.replication.data.catalogue import parts
from cnf.replication.data.examples import Split
from cnf.replication.data.folders import all_pictures, read_folder, splits_of

FOLDER = "folder:"


def images_to_score(
    on: str,
    split: Split,
    model: ConditionalModel | None = None,
    before: Sequence[dict[str, Any]] = (),
) -> ImageSet:
    """The pictures of the set `on` that a model, or a reference, is scored on.

    A folder without train, valid and test folders is scored whole, unless the model, or a run
    `before` it (their `data`), was trained on it: then only the part that was held out is. A line
    on the standard error says which. Raises DataError.
    """
    folder = Path(on.removeprefix(FOLDER))
    if not on.startswith(FOLDER) or not folder.is_dir() or splits_of(folder):
        return load(on, split)
    total = len(all_pictures(folder))
    why = "the folder has no train, valid and test folders"
    if split != "test":
        images, why = load(on, split), f"the {split} part by the hash of each file; {why}"
    elif model is not None and has_trained_on(folder, model, before):
        images = load(on, split)
        why = "the test part by the hash of each file; the model was trained on this folder"
    else:
        images = read_folder(folder, split, whole_folder=True)
        if model is not None and images.sha256 == model.metadata.get("data_sha256"):
            why = "the very pictures that the model was trained on, not new ones"
    print(f"{on}: {len(images)} of {total} pictures ({why})", file=sys.stderr)
    return images


def has_trained_on(
    folder: Path, model: ConditionalModel, before: Sequence[dict[str, Any]] = ()
) -> bool:
    """Whether a model, or a run `before` it, was trained on a folder without splits. It was if that
    was the training folder, or one of its name if the training folder is not here; or if the
    pictures are the same, wherever they are now."""
    names = [model.metadata.get("data", "")]
    names += [] if model.config is None else [model.config.data.train]
    names += [options.get("train", "") for options in before]
    trained = [n.removeprefix(FOLDER) for name in names for n in parts(name) if FOLDER in n]
    if any(is_same(folder, Path(path)) for path in trained):
        return True
    if not trained or len(all_pictures(folder)) < 3:
        return False
    train, valid = (read_folder(folder, split) for split in ("train", "valid"))
    both = replace(train, examples=[*train, *valid])
    return model.metadata.get("data_sha256") in (train.sha256, both.sha256)


def is_same(folder: Path, trained: Path) -> bool:
    """Whether a folder is the one of a run, whose path may be from another place or machine."""
    if trained.is_dir():
        return folder.samefile(trained)
    return folder.resolve().name == trained.name
