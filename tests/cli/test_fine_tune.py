"""`train --start NAME --data FOLDER`: a released model goes on with a reader's own pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cnf.errors import ConfigError
from cnf.replication import cli, releases, run_folder
from cnf.replication.config import load_config
from cnf.replication.training import onward

FEW = ["--steps", "1", "--set", "training.batch_size=1", "--set", "training.validate_images=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Makes folder `mine` in an empty working folder: photographs, or eyes with labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rng = np.random.default_rng(0)

    def make(task: str, side: int) -> None:
        parts = [""] if task == "sr" else ["images", "labels"]
        for part in parts:
            (tmp_path / "mine" / part).mkdir(parents=True, exist_ok=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (side, side + 8 * number, 3), dtype=np.uint8)
                if part == "labels":
                    pixels = np.uint8(255) * (pixels[..., 0] > 200)
                Image.fromarray(pixels).save(tmp_path / "mine" / part / f"{number}.png")

    return make


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("sr-baseline", "sr", "data.crop = 64: photographs are cut at random"),
        ("vessels-baseline", "vessels", " % of the pixels are marked"),
    ],
)
def test_a_released_model_learns_from_a_folder_by_one_command(folder, capsys, name, task, said):
    folder(task, 96)
    assert cli.main(["train", task, "--start", name, "--data", "mine", *FEW]) == 0
    stored = releases.load(name).config
    [run] = Path("runs").iterdir()
    assert run.name == f"{stored.preset}-tuned-s0"
    printed = capsys.readouterr().out
    assert (
        f"{stored.preset}, seed 0, {FEW[1]} steps: reads folder:mine" in printed and said in printed
    )
    tuned = releases.load(run).config
    assert (tuned.model, tuned.training.lr) == (stored.model, stored.training.lr)
    assert not tuned.data.use_valid  # though the vessel model had used DRIVE's
    assert run_folder.read_record(run)["start"]["run"] == releases.find_weights(name).parent.name


def test_small_photographs_are_cut_to_what_the_smallest_holds(folder, capsys):
    folder("sr", 50)
    assert cli.main(["train", "sr", "--data", "mine", *FEW]) == 0
    assert "data.crop = 48: " in capsys.readouterr().out  # 50 pixels hold twelve times four


def test_with_a_preset_only_the_model_is_that_of_the_start():
    stored, preset = releases.load("sr").config, load_config("sr-flow-smoke")
    config = onward.config_from(Path("sr"), "sr", preset="smoke", overrides=["data.crop=32"])
    assert config.model == stored.model | {"clip": preset.model["clip"]}
    assert config.training == preset.training and config.preset == "sr-flow-smoke"
    assert (config.data.train, config.data.crop) == ("embedded-sr", 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "vessels"}, "--start sr is a model of sr, not of vessels: give `train sr`"),
        ({"model": "baseline"}, "is a subband-flow, sr-baseline-smoke is of a logistic: leave"),
    ],
)
def test_a_start_of_another_task_or_kind_of_model_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        onward.config_from(Path("sr"), **options)


def test_two_answers_to_what_is_learned_from_are_refused(folder, capsys):
    words = ["train", "sr", "--data", "mine", "--set", "data.train=drive"]
    assert cli.main(words) == 2
    assert "--data mine and --set data.train contradict each other" in capsys.readouterr().err
