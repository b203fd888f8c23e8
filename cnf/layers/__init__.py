"""The layers of a conditional flow, one file each. The contracts are in `cnf.layers.base`.

`cnf.layers.NAME` is `cnf.NAME`: the list of what is exported stands in `cnf/__init__.pyi`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for readers of types, the names and what they are
    from cnf import *
else:

    def __getattr__(name: str) -> Any:
        import cnf

        value = None if name.startswith("_") else getattr(cnf, name, None)
        if not getattr(value, "__module__", "").startswith(__name__):
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        return value
