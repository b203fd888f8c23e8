"""`python -m cnf start --task`: what it writes is a task as soon as two methods are written."""

import sys

import pytest
import torch

from cnf.__main__ import main
from cnf.errors import ConfigError
from cnf.replication import plugs, tasks
from cnf.replication.config import load_config
from cnf.replication.training import Run, update


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder with an empty experiments/, where tasks are looked for."""
    (tmp_path / "experiments").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugs, "EXPERIMENTS", tmp_path / "experiments")
    yield tmp_path
    tasks.TASKS.pop("colours", None)
    sys.modules.pop("cnf_experiments.colours.plug", None)


def test_the_capstone_with_its_methods_written_trains(repository, capsys):
    assert main(["start", "--task", "colours"]) == 0
    assert main(["start", "--task", "colours"]) == 2
    plug = repository / "experiments/colours/plug.py"
    text = plug.read_text("utf-8")
    for what, body in (
        ("pair", "return y, y.mean(1, keepdim=True).expand(-1, 3, -1, -1)"),
        ("image", "return y"),
    ):
        line = f'raise NotImplementedError("capstone: {what}")'
        assert line in text
        text = text.replace(line, body)
    plug.write_text(text, "utf-8")
    small = ["training.batch_size=2", "model.steps=1", "model.width=8"]
    config = load_config(str(plug.with_name("runs") / "flow.yml"), small)
    torch.set_num_threads(1)
    run = Run.build(config, seed=0, device="cpu")
    run.steps = 1
    update(run)
    assert run.step == 1
    assert config.task == "colours"


def test_a_plug_that_fails_is_named_with_its_line(repository):
    assert main(["start", "--task", "colours"]) == 0
    plug = repository / "experiments/colours/plug.py"
    config = load_config(str(plug.with_name("runs") / "flow.yml"), ["training.batch_size=2"])
    with pytest.raises(ConfigError, match="`pair` of the task colours is not written yet"):
        Run.build(config, seed=0, device="cpu")
    tasks.find_task("colours").__class__.pair = lambda self, y, x, options, rngs: (y, y)
    with pytest.raises(ConfigError, match="`image` of the task colours .*or delete it if y is a"):
        Run.build(config, seed=0, device="cpu")
    for text, said in (
        ("from cnf.replication.tasks import Task, register\n\nregister(Task())", "has no `name`"),
        ("x = 1\ndef pair(:", r"SyntaxError: .* \(plug.py:2\)"),
        ("1 / 0", r"ZeroDivisionError: .* \(plug.py:1\)"),
    ):
        tasks.TASKS.pop("colours", None)
        sys.modules.pop("cnf_experiments.colours.plug", None)
        plug.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=f"plug.py does not load: .*{said}.*: mend it"):
            tasks.find_task("colours")
    other = "class Other(Task):\n    name = 'other'\n\n\nregister(Other())\n"
    plug.write_text(f"from cnf.replication.tasks import Task, register\n\n\n{other}", "utf-8")
    with pytest.raises(ConfigError, match="registers other, and no task of the name 'colours'"):
        tasks.find_task("colours")
    tasks.TASKS.pop("other")


@pytest.mark.parametrize(
    "name, words",
    [("My-Task", "small letters"), ("vessels", "give another"), ("colours", "repository")],
)
def test_a_name_or_a_folder_that_does_not_fit_is_refused(
    tmp_path, monkeypatch, capsys, name, words
):
    monkeypatch.chdir(tmp_path)
    assert main(["start", "--task", name]) == 2
    assert words in capsys.readouterr().err
