"""A history for other programs: CSV, and the events of TensorBoard."""

import csv

import pytest

from cnf.errors import ConfigError
from cnf.replication import run_folder, training
from cnf.replication.training import logs


def test_a_resumed_run_writes_its_whole_history_as_csv(tmp_path, configure):
    training.train(configure(), tmp_path, max_minutes=1e-9)
    training.train(None, tmp_path, resume=True, log="csv")
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = run_folder.read_history(tmp_path)
    assert [int(row["step"]) for row in rows] == [4, 8, 10] == [line["step"] for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert list(row) == list(line)
        assert float(row["valid_bits_per_dim"]) == line["valid_bits_per_dim"]


def test_a_history_that_gains_a_column_is_a_table(tmp_path):
    write = logs.start("csv", tmp_path)
    assert not (tmp_path / "history.csv").exists()
    write([{"step": 1, "a": 0.5}, {"step": 2, "a": 0.25, "b": 3}])
    assert (tmp_path / "history.csv").read_text() == "step,a,b\n1,0.5,\n2,0.25,3\n"


def test_the_events_of_tensorboard_are_the_history(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not here: its events were NOT read")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines = [{"step": 4, "bits_per_dim": 3.5}, {"step": 8, "bits_per_dim": 3.25}]
    run_folder.write_history(tmp_path, lines[:1])
    for _ in range(2):  # the second time as a resumed run
        write = logs.start("tensorboard", tmp_path)
    write(lines)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("bits_per_dim")] == [(4, 3.5), (8, 3.25)]


def test_without_tensorboard_one_line_says_what_to_install(tmp_path, configure, monkeypatch):
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match='pip install "conditional-normalizing-flows.tensorbo'):
        training.train(configure(), tmp_path / "run", log="tensorboard")
    assert not (tmp_path / "run").exists()
