"""A run folder survives a full disk, a second run, a damaged file and another configuration."""

import errno
import os
import resource
import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from cnf.errors import CheckpointError, ConfigError, TrainingError
from cnf.replication import releases, run_folder, training
from cnf.replication.cards import card
from cnf.replication.config import build, config_sha256, from_dict
from cnf.replication.run_folder import publishing


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def no_file_above(size):
    """Every write beyond `size` bytes fails with an OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "last.pt"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(TrainingError, match=r"last.pt could not be written \(.*No space left"):
        run_folder.write_atomically(path, b"new")
    assert files(tmp_path) == {"last.pt": b"old"}


def test_a_write_cut_short_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with no_file_above(1000), pytest.raises(TrainingError, match="what was there is untouched"):
        run_folder.write_atomically(path, bytes(5000))
    assert files(tmp_path) == {"weights": b"old"}


def test_a_disk_that_fills_up_in_training_costs_nothing(tmp_path, configure, state, same):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    training.train(configure(), whole)
    training.train(configure(), cut, max_minutes=1e-9)
    good = (cut / "last.pt").read_bytes()
    with no_file_above(len(good) // 2), pytest.raises(TrainingError, match="make room"):
        training.train(None, cut, resume=True)
    assert (cut / "last.pt").read_bytes() == good
    training.train(None, cut, resume=True)
    assert same(state(cut), state(whole))


def test_a_folder_with_a_run_is_not_overwritten(tmp_path, configure):
    training.train(configure(), tmp_path)
    before = files(tmp_path)
    with pytest.raises(TrainingError, match="already holds a run: go on with --resume"):
        training.train(configure(), tmp_path)
    assert files(tmp_path) == before
    (tmp_path / "last.pt").unlink()  # as of a published run
    weights = before["weights.safetensors"]
    with pytest.raises(TrainingError, match="holds trained weights, .* --start"):
        training.train(configure(), tmp_path)
    with pytest.raises(CheckpointError, match="last.pt: no such checkpoint.*--start"):
        training.train(None, tmp_path, resume=True)
    assert files(tmp_path)["weights.safetensors"] == weights


def test_a_folder_that_cannot_be_made_is_named(tmp_path, configure):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write to .*file/run"):
        training.train(configure(), tmp_path / "file" / "run")


@pytest.fixture
def started(tmp_path, configure):
    """A run that stopped before its first step."""
    return training.train(configure(), tmp_path / "run", max_minutes=1e-9)


def refuse(out, message, config=None, **options):
    """Resuming is refused with this message and changes no file."""
    before = files(out)
    with pytest.raises(CheckpointError, match=message):
        training.train(config, out, resume=True, **options)
    assert files(out) == before


def test_resume_with_another_configuration_seed_or_budget_is_refused(started, configure):
    other = configure(lr=0.1, schedule="halving")
    every_key = (
        r"training\.lr was 0\.001 and is now 0\.1; training\.schedule was 'cosine' and is now"
    )
    refuse(started, every_key, other)
    refuse(started, "seed was 0 and is now 1", seed=1)
    refuse(started, "training.steps was 10 and is now 11", steps=11)
    refuse(started, "training.minutes was None and is now 3", minutes=3.0)


def test_resume_with_the_same_configuration_seed_and_budget_goes_on(started, configure, state):
    training.train(configure(), started, resume=True, seed=0, steps=10)
    assert state(started)["step"] == 10


@pytest.mark.parametrize(("split", "now"), [("train", "valid"), ("valid", "train")])
def test_resume_on_other_pictures_is_refused(started, monkeypatch, split, now):
    load = training.run.load
    monkeypatch.setattr(training.run, "load", lambda name, _: load(name, now))
    refuse(started, f"other {split} pictures than embedded-sr now holds")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_cut_short_is_refused(started, share):
    content = (started / "last.pt").read_bytes()
    (started / "last.pt").write_bytes(content[: int(share * len(content))])
    refuse(started, "last.pt: cannot be read .*cut short")


def test_a_checkpoint_that_is_missing_or_none_is_refused(started):
    torch.save({"step": 3}, started / "last.pt")
    refuse(started, "is not a checkpoint")
    (started / "last.pt").unlink()
    refuse(started, "last.pt: no such checkpoint")


def test_a_checkpoint_that_would_run_code_is_refused(started):
    class Code:
        def __reduce__(self):
            return os.mkdir, (str(started / "ran"),)

    torch.save(Code(), started / "last.pt")
    refuse(started, "cannot be read")


def test_a_checkpoint_of_another_run_is_refused(started, tmp_path, configure):
    other = training.train(configure(lr=0.5), tmp_path / "other", max_minutes=1e-9)
    shutil.copy(other / "last.pt", started)
    refuse(started, r"belongs to another run: training\.lr was 0\.5 and is now 0\.001")


def test_weights_of_another_model_are_refused(started, configure):
    content = torch.load(started / "last.pt", weights_only=True)
    wide = configure()
    wide = replace(wide, model=wide.model | {"width": 8})
    content["model"] = build(wide).state_dict()
    torch.save(content, started / "last.pt")
    refuse(started, "holds another model than its configuration builds")


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '{"config": {"task": "sr", "new": 1}}'])
def test_a_damaged_record_is_refused(started, content):
    (started / "config.json").write_text(content)
    refuse(started, "config.json")


@pytest.mark.parametrize("key", ["config", "seed", "steps", "data"])
def test_a_record_that_lacks_something_is_refused(started, key):
    record = run_folder.read_record(started)
    del record[key]
    run_folder.write_record(started, record)
    refuse(started, f"config.json does not say {key}: restore a copy")


@pytest.mark.parametrize("line", ["{", "[1]", "\xff"])
def test_a_damaged_line_of_a_history_is_refused(started, line):
    path = started / "history.jsonl"
    path.write_bytes(b'{"step": 4}\n' + line.encode("latin-1") + b'\n{"step": 8}\n{"st')
    refuse(started, "history.jsonl, line 2: .*restore a copy")


def test_a_branch_needs_the_seed_of_its_checkpoint(started, configure, tmp_path):
    start, out = started / "last.pt", tmp_path / "branch"
    content = torch.load(start, weights_only=True)
    del content["seed"]
    torch.save(content, start)
    with pytest.raises(CheckpointError, match="last.pt does not say its seed: give --seed"):
        training.train(configure(), out, start=start)


def test_what_is_published_of_a_folder_of_pictures_names_no_machine(tmp_path, configure):
    config, mine = configure(steps=4), "folder:/pictures/jane/secret/roads"
    for part in (mine, "bsd400", "folder:/pictures/jos\u00e9/a+b/roads/"):
        mine = f"{mine}+{part}"
    config = replace(config, data=replace(config.data, train=mine))
    run = training.train(config, tmp_path / "run")
    record = run_folder.read_record(run)
    command = "cnf train --set data.train={} --steps 4"
    run_folder.write_record(run, record | {"commands": [command.format(mine)]})
    folder = publishing.publish(run, tmp_path / "results" / "run")
    cut = "folder:roads+folder:roads+bsd400+folder:roads/"
    for path in folder.iterdir():
        assert not any(name in path.read_bytes() for name in (b"jane", b"/pictures", b"secret"))
    published = run_folder.read_record(folder)
    assert published["commands"] == [command.format(cut)]
    config = run_folder.trained(folder).config
    assert config.data.train == cut and config == from_dict(published["config"])
    assert published["config_sha256"] == config_sha256(config) != record["config_sha256"]
    assert f"`{cut}`" in card.card(folder, folder.parent)


def test_a_run_that_could_not_begin_leaves_no_folder(configure, tmp_path):
    with pytest.raises(ConfigError, match="seed = -1"):
        training.train(configure(), tmp_path / "run", seed=-1)
    assert not (tmp_path / "run").exists()


def test_two_runs_in_one_folder_are_refused(tmp_path, configure):
    with run_folder.locked(tmp_path):
        with pytest.raises(TrainingError, match=f"another run is writing to {tmp_path}"):
            training.train(configure(), tmp_path)
    training.train(configure(), tmp_path)  # free again


def test_a_run_without_weights_yet_says_how_to_go_on(tmp_path):
    (tmp_path / "last.pt").touch()
    with pytest.raises(CheckpointError, match=f"its first validation: .*--resume {tmp_path}"):
        releases.find_weights(tmp_path)
