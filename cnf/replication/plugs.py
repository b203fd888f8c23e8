"""Loading of what experiments register: `experiments/<question>/plug.py` registers kinds of models,
variants of trained models, and tasks; `metrics.py` beside it computes what `measures.yml` declares.

A kind named "controls/counts" is registered by experiments/controls/plug.py, which is loaded when
the kind is first asked for; so is a variant. A task is registered by the experiment of its name.
A `metrics.py` is loaded when one of its measures is computed. The catalogue of image sets names
functions of experiments, too. Whatever else needs a file of an experiment, a page or another file
of it, says so: `module("known_likelihoods", "cells").leaning`.
"""

import importlib.util
import re
import sys
from types import ModuleType

from cnf.errors import ConfigError
from cnf.replication.places import EXPERIMENTS
from cnf.testing import placed


def has_plug(owner: str) -> bool:
    """Whether there is an experiments/`owner`/plug.py."""
    return has_module(owner, "plug")


def has_module(owner: str, name: str) -> bool:
    """Whether there is an experiments/`owner`/`name`.py."""
    are_names = all(re.fullmatch(r"[a-z0-9_]+", word) for word in (owner, name))
    return are_names and (EXPERIMENTS / owner / f"{name}.py").exists()


def plug(owner: str) -> ModuleType:
    """The module experiments/`owner`/plug.py. Raises ConfigError if it is missing or fails."""
    return module(owner, "plug")


def module(owner: str, name: str) -> ModuleType:
    """The module experiments/`owner`/`name`.py, always the same one. Raises ConfigError if it is
    missing or fails."""
    if not has_module(owner, name):
        raise ConfigError(f"there is no experiments/{owner}/{name}.py")
    path = EXPERIMENTS / owner / f"{name}.py"
    full_name = f"cnf_experiments.{owner}.{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[full_name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[full_name])
        except Exception as error:
            del sys.modules[full_name]
            raise ConfigError(f"{path} does not load: {placed(error)}: mend it") from error
    return sys.modules[full_name]
