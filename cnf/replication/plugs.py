"""Loading of what experiments register: `experiments/<question>/plug.py` registers kinds of models,
variants of trained models, and tasks.

A kind named "controls/counts" is registered by experiments/controls/plug.py, which is loaded when
the kind is first asked for; so is a variant. A task is registered by the experiment of its name.
"""

import importlib.util
import re
import sys
from types import ModuleType

from cnf.errors import ConfigError
from cnf.replication.places import EXPERIMENTS
from cnf.testing import placed
from cnf.weights import KINDS


def has_plug(owner: str) -> bool:
    """Whether there is an experiments/`owner`/plug.py."""
    is_name = re.fullmatch(r"[a-z0-9_]+", owner) is not None
    return is_name and (EXPERIMENTS / owner / "plug.py").exists()


def plug(owner: str) -> ModuleType:
    """The module experiments/`owner`/plug.py. Raises ConfigError if it is missing or fails."""
    if not has_plug(owner):
        raise ConfigError(f"there is no experiments/{owner}/plug.py")
    path = EXPERIMENTS / owner / "plug.py"
    name = f"cnf_experiments.{owner}.plug"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except Exception as error:
            del sys.modules[name]
            raise ConfigError(f"{path} does not load: {placed(error)}: mend it") from error
    return sys.modules[name]


def load(kind: str) -> None:
    """Make sure that a kind is registered: by the library, the replication, or the plug of the
    experiment that owns it. Raises ConfigError if there is no such experiment."""
    from cnf import factorised, glow  # noqa: F401
    from cnf.replication import models  # noqa: F401

    owner, slash, _ = kind.partition("/")
    if slash and kind not in KINDS:
        plug(owner)
