import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from cnf.errors import DataError
from cnf.replication.data.pickles import read_arrays
from tests.data.errors import message_of


@pytest.fixture
def put(tmp_path):
    """Write bytes, or an object pickled, to a file: put(content, protocol=None) -> its path."""

    def _put(content, protocol: int | None = None) -> Path:
        path = tmp_path / "batch"
        raw = isinstance(content, bytes)
        path.write_bytes(content if raw else pickle.dumps(content, protocol))
        return path

    return _put


def refusal(path: Path) -> str:
    return message_of(read_arrays, path)


class Runs:
    """Pickles to a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Protocol 2 writes bytes as a call of _codecs.encode, which is refused; 3 is Python 3's oldest.
@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("kind", ["u1", "<f8", ">i4"])
def test_arrays_come_back_as_they_were(put, protocol, kind):
    array = np.arange(24).reshape(4, 6).astype(kind)
    content = {
        "data": array,
        "turned": np.asfortranarray(array),
        "labels": [1, 2],
        "mean": array[0],
    }
    found = read_arrays(put(content, protocol))
    assert sorted(found) == ["data", "mean", "turned"]
    for key, expected in found.items():
        assert np.array_equal(expected, content[key]) and expected.dtype == array.dtype


@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_files_of_numpy_1_and_2_name_their_modules_differently_and_are_both_read(put, core):
    array = np.arange(6, dtype=np.uint8)
    written = pickle.dumps({"data": array}, 3).replace(b"numpy._core.", b"numpy.core.")
    assert np.array_equal(read_arrays(put(written.replace(b"numpy.core.", core)))["data"], array)


def test_labels_may_be_numpy_numbers(put):
    found = read_arrays(put({"data": np.zeros(3, np.uint8), "labels": [np.int64(3), np.int64(4)]}))
    assert list(found) == ["data"]


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_is_refused_by_name_and_does_not_run(put, tmp_path, protocol):
    witness = tmp_path / "witness"
    payload = {"data": Runs(os.mkdir, str(witness))}
    path = put(payload, protocol)
    pickle.loads(path.read_bytes())  # the payload is live: an ordinary reader runs it
    assert witness.is_dir()
    witness.rmdir()
    assert "'posix.mkdir'" in refusal(path) or "'nt.mkdir'" in refusal(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    "function, arguments, named",
    [
        (eval, ("1",), "builtins.eval"),
        (getattr, ("", "join"), "builtins.getattr"),
        (__import__, ("antigravity",), "builtins.__import__"),
        (np.load, ("somewhere",), "numpy.load"),
        (np.memmap, ("somewhere",), "numpy.memmap"),
    ],
)
def test_every_other_name_is_refused(put, function, arguments, named):
    assert named in refusal(put({"data": Runs(function, *arguments)}))


def test_a_module_that_is_named_is_not_imported(put, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "'trap.Door'" in refusal(put(b"\x80\x03ctrap\nDoor\n."))


def test_attributes_of_what_is_allowed_are_refused(put):
    # Protocol 4 follows dots in names; the table knows none.
    name = b"dtype.__class__"
    stacked = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(name)]) + name + b"\x93."
    assert "numpy.dtype.__class__" in refusal(put(stacked))


@pytest.mark.parametrize("name", ["O", "V8", "U4", "M8"])
def test_only_arrays_of_numbers_are_read(put, name):
    state = (3, "|", None, None, None, -1, -1, 0)  # an object array that claims to hold no objects

    class Forged:
        def __reduce__(self):
            return np.dtype, (name, False, True), state

    class Array:
        def __reduce__(self):
            return (
                np.zeros(0).__reduce__()[0],
                (np.ndarray, (0,), b"b"),
                (1, (1,), Forged(), False, b"\x41" * 8),
            )

    assert repr(name) in refusal(put({"data": Array()}))


def test_every_truncation_is_refused(put):
    whole = pickle.dumps({"data": np.arange(200, dtype=np.uint8).reshape(2, 100)}, 4)
    for length in range(len(whole)):
        assert "get it again" in refusal(put(whole[:length]))


@pytest.mark.parametrize("content", [b"", b"not a pickle\n", b"\x80\x03]."], ids=repr)
def test_what_is_no_pickled_dictionary_is_refused(put, content):
    assert "cannot be read" in refusal(put(content))


def test_random_damage_never_raises_anything_but_a_data_error(put):
    whole = pickle.dumps({"data": np.zeros((2, 6), np.uint8), "labels": [1, 2], "mean": np.ones(6)})
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(500):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(len(whole), size=2)] = rng.integers(256, size=2)
        try:
            read_arrays(put(damaged.tobytes()))
            outcomes.add("read")
        except DataError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}  # damage to a picture's bytes cannot be seen


def test_a_shape_that_does_not_fit_its_bytes_is_refused(put):
    rebuild, arguments, state = np.zeros((2, 6), np.uint8).__reduce__()

    class Array:
        def __reduce__(self):
            return rebuild, arguments, (1, (10**9, 6), *state[2:])

    assert "reshape" in refusal(put({"data": Array()}))


def test_reading_copies_nothing(put):
    content = {"data": np.zeros((100, 3072), np.uint8)}
    data = read_arrays(put(content))["data"]
    base = data
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, bytes | bytearray) and len(base) == data.nbytes
