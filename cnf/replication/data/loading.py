"""`load` reads an image set by its name."""

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import torch

from cnf.errors import DataError
from cnf.replication import plugs
from cnf.replication.data.catalogue import SPLITS, Entry, Split, find_entry, parts
from cnf.replication.data.examples import Example, ImageSet, Stack
from cnf.replication.places import data_sets


def load(name: str, split: Split, root: Path | None = None) -> ImageSet:
    """Read the set `name`, one of CATALOGUE or `folder:PATH`; several, joined, as NAME+NAME.

    `root` is the folder that holds the sets, by default that of `data_sets`.
    Raises DataError for an unknown name or split, a missing set (naming where it was looked for and
    how to get it), or a file that cannot be used.
    """
    if split not in SPLITS:
        raise DataError(f"no split '{split}': choose one of {', '.join(SPLITS)}")
    root = data_sets() if root is None else Path(root)
    if name.startswith("folder:"):
        from cnf.replication.data.folders import read_folder

        return read_folder(Path(name.removeprefix("folder:")), split)
    if len(names := parts(name)) > 1:
        return _joined([load(part, split, root) for part in names])
    entry = find_entry(name)
    entry.check_split(split)
    folder = entry.where(root)
    if folder is None:
        return _embedded(entry, split)
    if not folder.is_dir():
        raise entry.missing(folder)
    return _read(entry, split, root)


def _read(entry: Entry, split: Split, root: Path) -> ImageSet:
    """A split, read by the function that the entry names; its module is imported only now."""
    module, name = (entry.change or entry.read).split(".")
    owner, slash, module_of_owner = module.partition("/")
    if slash:
        function = getattr(plugs.module(owner, module_of_owner), name)
    else:
        function = getattr(import_module(f"cnf.replication.data.{module}"), name)
    if entry.change:
        if entry.of is None:
            raise DataError(f"{entry.name}: `change` needs `of`, the set that it changes")
        source_set = load(entry.of, split, root)
        note = source_set.source.removeprefix(find_entry(entry.of).source)
        return ImageSet.of(entry, split, function(source_set, **entry.options), note)
    return function(entry, split, entry.where(root), **entry.options)


@lru_cache(maxsize=16)
def _embedded(entry: Entry, split: Split) -> ImageSet:
    return _read(entry, split, Path())


def _joined(sets: Sequence[ImageSet]) -> ImageSet:
    """The pictures of several sets of one kind and split, one after the other."""
    names, kinds = "+".join(s.name for s in sets), sorted({s.kind for s in sets})
    if len(kinds) > 1:
        raise DataError(f"{names} joins sets of {' and of '.join(kinds)}: choose one of them")
    stacks = [s.examples for s in sets if isinstance(s.examples, Stack)]
    examples: Sequence[Example]
    if len(stacks) == len(sets) and len({s.y.shape[1:] for s in stacks}) == 1:
        examples = Stack([n for s in stacks for n in s.names], torch.cat([s.y for s in stacks]))
    else:
        examples = [example for s in sets for example in s]
    source, stand_in = "; ".join(s.source for s in sets), any(s.stand_in for s in sets)
    return ImageSet(names, sets[0].split, kinds[0], examples, source, stand_in)
