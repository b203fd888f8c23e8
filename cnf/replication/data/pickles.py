"""Read the arrays in a pickle without executing anything that the pickle says.

A pickle is a program: it names functions and calls them. Here a name can only lead to one of the
stand-ins below, which take notes and call nothing; any other name is refused and nothing imported.
"""

import pickle
from pathlib import Path

import numpy as np

from cnf.errors import DataError

KINDS = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")
# What the unpickler and the stand-ins raise on a file that was cut or does not add up.
BROKEN = (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError)
BROKEN += (LookupError, OverflowError, MemoryError)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in the pickled dictionary at `path`, by key; what else it holds is left out.

    An array is a view of the bytes read from the file: nothing is held in memory twice.
    Raises DataError if the file cannot be read, is truncated, holds no dictionary, or asks for
    anything but plain arrays (naming what it asked for).
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file).load()
        if type(content) is not dict:
            raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
        return {k: v.array() for k, v in content.items() if isinstance(v, _Array)}
    except _Refused as error:
        raise DataError(
            f"{path}: refused, nothing was run: it asks for {error} where a pickle of pictures "
            "needs plain NumPy arrays only: get it from its distributor"
        ) from None
    except BROKEN as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path}: cannot be read ({reason}): truncated? get it again") from None


class _Refused(Exception):
    """The pickle asks for something that is not in the table."""


class _Kind:
    """Stands in for numpy.dtype: numbers of one kind."""

    def __init__(self, code, *_):
        if code not in KINDS:
            raise _Refused(f"arrays of dtype {str(code)[:40]!r}")
        self.code, self.order = code, "<"

    def __setstate__(self, state):
        self.order = {"|": "|", "<": "<", ">": ">"}[state[1]]


class _Array:
    """Stands in for numpy.ndarray and the function that makes an empty one."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state):
        _, self.shape, self.kind, self.fortran, self.data = state

    def array(self) -> np.ndarray:
        flat = np.frombuffer(self.data, self.kind.order + self.kind.code)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _from_buffer(data, kind, shape, order) -> _Array:
    """How protocol 5 writes an array."""
    found = _Array()
    found.__setstate__((1, shape, kind, order == "F", data))
    return found


# NumPy 2 moved numpy.core to numpy._core; files name the one that wrote them. Labels may be NumPy
# numbers ("scalar"); they are not read.
STAND_INS = {("numpy", "dtype"): _Kind, ("numpy", "ndarray"): _Array}
for core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{core}.multiarray", "_reconstruct"] = _Array
    STAND_INS[f"{core}.multiarray", "scalar"] = lambda *_: None
    STAND_INS[f"{core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in STAND_INS:
            raise _Refused(repr(f"{module}.{name}"[:80]))
        return STAND_INS[module, name]
