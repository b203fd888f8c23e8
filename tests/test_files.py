"""Files that change in one move, also if two processes write the same one at a time."""

import multiprocessing

import pytest

from cnf.files import replaced

PAIRS = 20
SIZE = 300_000


def write(path, letter, barrier):
    barrier.wait()
    with replaced(path) as part:
        part.write_text(letter * SIZE)


def test_processes_that_write_one_file_at_a_time_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    for pair in range(PAIRS):
        path, barrier = tmp_path / f"{pair}.txt", context.Barrier(2)
        both = [context.Process(target=write, args=(path, a, barrier)) for a in "ab"]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0]
        assert path.read_text() in ("a" * SIZE, "b" * SIZE)
    assert len(list(tmp_path.iterdir())) == PAIRS


def test_after_a_failure_the_old_file_is_there_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replaced(path) as part:
        part.write_text("new")
        part.with_name(part.name + ".npy").write_text("what a writer put beside it")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
