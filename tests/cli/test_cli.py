"""The command line: one readable line for everything a user can get wrong, and nothing lost."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

import cnf
from cnf.errors import CheckpointError
from cnf.replication import cli, releases, run_folder, training
from cnf.replication.cards import listing
from cnf.replication.config import build, load_config, to_dict
from cnf.replication.evaluation import evaluate
from cnf.replication.training import cost

REPOSITORY = Path(__file__).resolve().parents[2]
SMOKE = REPOSITORY / "experiments/controls/runs/smoke.yml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run in an empty folder, without data sets and without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CNF_DATA", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A smoke run that stopped before its first step, with the weights it had."""
    out = tmp_path_factory.mktemp("run") / "sr"
    training.train(load_config("sr-flow-smoke"), out, max_minutes=1e-9)
    config = load_config("sr-flow-smoke")
    build(config).save(out / "weights.safetensors", {"config": json.dumps(to_dict(config))})
    return out


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def error_of(capsys, *arguments) -> str:
    """The one line on stderr of a command that exits with 2 and leaves every file alone."""
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    assert cli.main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    after = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == {p: content for p, content in before.items() if p.name != ".lock"}
    return captured.err


# fmt: off
# what is typed, and what the line must hold; `run` is a stopped run, SMOKE a file of an experiment
WRONG = [
    ("train", "train needs sr or vessels"),
    ("train eyes", "eyes"),
    ("train nowhere.yml", "nowhere.yml"),
    ("train sr --set training.lrr=1", "training.lrr"),
    ("train sr --set training.lr=fast", "training.lr", "'fast'"),
    ("train sr --set training.keep=[1.5]", "training.keep.0", "1.5"),
    ("train sr --set data.train=*.png", "YAML", 'data.train="*.png"'),
    ("train sr --set model.width=0", "width = 0"),
    ("train sr --set model.features.kind=unet", "unet", "'blocks'"),
    ("train sr --set data.crop=3", "data.crop = 3", "multiple of 4"),
    ("train sr --set model.kind=glwo", "'glwo'", "glow"),
    ("train sr --set training.lr", "'training.lr'", "key=value"),
    ("train sr --preset huge", "sr-flow-huge", "sr-flow-smoke"),
    ("train sr --minutes 1 --steps 2", "--minutes 1.0", "--steps 2"),
    ("train sr --steps 0", "--steps 0"),
    ("train sr --max-minutes 0", "--max-minutes 0"),
    ("train sr --threads 0", "--threads 0"),
    (f"train sr --seed {2**64}", f"{2**64}", "2^64"),
    ("train sr --dry-run --start run", "--dry-run", "--start"),
    ("train sr --device cuda", "--device cuda", "--device cpu"),
    ("train sr --set data.train=set9", "'set9'", "embedded-sr"),
    ("train sr --set data.train=drive", "drive", "data prepare drive"),
    ("train sr --resume nowhere", "nowhere"),
    ("train sr --resume run --set training.lr=0.5",
     "steps): training.lr was 0.002 and is now 0.5: leave"),
    ("train sr --resume run --model baseline", "model.kind", "subband-flow", "logistic"),
    ("train sr --resume run --steps 7", "training.steps", "200", "7"),
    ("train sr --resume run --dry-run", "--dry-run"),
    ("train vessels --resume run", "sr", "vessels"),
    ("train vessels --set model.levels=2", "2 levels need a U-Net of at least 3 scales"),
    ("train vessels --set 'model.features={kind: rrdb}'",
     "glow makes y 2 times as large as x, and vessels"),
    ("train vessels --model baseline --set model.kind=logistic", "y is (1, 32, 32) but x gives (3"),
    ("train SMOKE --start run", "--start run: a control is fitted anew"),
    ("train SMOKE --model flow",
     "smoke.yml says which model it is of: leave --model and --preset out"),
    ("sample nowhere a.png", "nowhere"),
    ("sample sr", "picture"),
    ("sample run b.png", "b.png: no such file"),
    ("sample run a.png --device cuda", "--device cuda", "--device cpu"),
    ("sample run a.png --temperature -0.5", "temperature = -0.5", ">= 0"),
    ("sample run a.png --temperature nan", "temperature = nan", ">= 0"),
    ("sample vessels a.png --fit --no-fit", "--fit", "--no-fit"),
    ("sample sr a.png --fov b.png", "--fov", "eyes"),
    ("sample sr a.png --tile -1", "--tile -1"),
    ("evaluate nowhere", "nowhere"),
    ("evaluate bicubic", "bicubic", "--on"),
    ("evaluate run --device cuda", "--device cuda", "--device cpu"),
    ("evaluate run --temperature -0.5", "temperature = -0.5", ">= 0"),
    ("evaluate run --temperature nan", "temperature = nan", ">= 0"),
    ("evaluate sr --stress --full", "--stress"),
    ("evaluate sr --round-x --no-round-x", "--round-x", "--no-round-x"),
    ("data verify set9", "'set9'"),
    ("data list set5", "'set5'"),
    ("results show row9", "'row9'"),
    ("results how", "id of a row"),
    ("results table sr row9", "'sr'", "'row9'"),
    ("results claims row9", "'row9'"),
    ("results table --all", "--all", "audit"),
    ("results claims --csv", "--csv", "claims"),
    ("results audit --minutes -1", "--minutes -1"),
    ("results audit --minutes 1 --all", "--minutes", "--all"),
]
# fmt: on


@pytest.mark.parametrize(
    ("typed", "parts"), [(typed, parts) for typed, *parts in WRONG], ids=[row[0] for row in WRONG]
)
def test_what_is_typed_wrongly_is_one_line(capsys, run, typed, parts):
    Image.new("RGB", (8, 8)).save("a.png")
    line = error_of(capsys, *(SMOKE if word == "SMOKE" else word for word in shlex.split(typed)))
    assert all(part in line for part in parts), line


def test_train_without_a_task_goes_on_with_that_of_the_folder(capsys, run):
    assert cli.main(["train", "--resume", str(run), "--max-minutes", "1e-9"]) == 0
    assert f"go on with --resume {run}" in capsys.readouterr().out


def test_weights_cut_short_are_one_line(capsys, run):
    path = run / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    Image.new("RGB", (8, 8)).save("a.png")
    for arguments in (["evaluate", run], ["sample", run, "a.png"]):
        assert "weights.safetensors" in error_of(capsys, *arguments)


def test_weights_of_another_model_are_one_line(capsys, run):
    model, other = (build(load_config(f"sr-{name}-smoke")) for name in ("flow", "baseline"))
    model.kind, model.arguments = other.kind, other.arguments
    model.save(run / "weights.safetensors", {"config": json.dumps(to_dict(other.config))})
    assert "holds weights of another model" in error_of(capsys, "evaluate", run)


def test_weights_of_no_run_are_one_line(capsys):
    Path("own").mkdir()
    Image.new("RGB", (8, 8)).save("a.png")
    cnf.glow(channels=3, context=3, levels=1, steps=1, width=4).save("own/weights.safetensors")
    for words in ("evaluate own", "evaluate own --publish", "sample own a.png"):
        assert "is of no run" in error_of(capsys, *words.split())
    with pytest.raises(CheckpointError, match="is of no run"):
        training.train(load_config("sr-flow-smoke"), "run", start=Path("own"))


def test_a_branch_without_a_folder_is_named_by_the_seed_of_its_checkpoint():
    training.train(load_config("sr-flow-smoke"), "trunk", seed=3, max_minutes=1e-9)
    assert cli.main("train sr --start trunk/last.pt --max-minutes 1e-9".split()) == 0
    assert run_folder.read_record(Path("runs/sr-flow-smoke-s3"))["seed"] == 3


def test_a_reader_who_leaves_is_no_error(environment):
    read, write = os.pipe()
    os.close(read)
    words = command("--help")  # which loads no torch
    done = subprocess.run(words, env=environment, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_error_that_nobody_expected_keeps_its_traceback(monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(cost, "estimate", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "sr", "--dry-run"])


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)], ids=str)
def test_help_says_what_a_command_does(capsys, command):
    with pytest.raises(SystemExit) as left:
        cli.main([*command, "--help"])
    assert left.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    what = cli.COMMANDS[command[0]].__doc__ if command else cli.__doc__
    assert " ".join(what.split("\n\n")[0].split()) in text
    assert "None" not in text and "default: )" not in text


def test_without_a_command_all_are_listed(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(f" {name} " in text for name in ("start", "check", "models"))


def test_released_models_are_listed_with_size_scores_and_terms(capsys, monkeypatch, tmp_path):
    assert cli.main(["models"]) == 0
    text = capsys.readouterr().out
    assert "vessels, vessels-flow-lambda0-s1: vessels, 1.0 MB, installed" in text
    assert "drive: bits/pixel ≤ 0.05" in text and "Trained on DRIVE, which is free" in text
    assert "sr, sr-flow-cpu-s0: sr, not installed" in listing.lines(tmp_path)


def test_dry_run_prints_an_estimate_and_writes_nothing(capsys, tmp_path):
    assert cli.main(["train", "vessels", "--dry-run", "--steps", "30"]) == 0
    out = capsys.readouterr().out
    for word in ("embedded-vessels train", "parameters", "steps        30 (", "time "):
        assert word in out
    assert list(tmp_path.iterdir()) == []


def test_dry_run_on_windows_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert "--dry-run cannot measure memory on Windows" in error_of(
        capsys, "train", "sr", "--dry-run"
    )


def test_options_of_evaluate_arrive(run, monkeypatch):
    got = {}

    def record(*arguments, **options):
        got.update(options, arguments=arguments)
        return []

    monkeypatch.setattr(evaluate, "evaluate", record)
    words = (
        "--split valid --draws 3 --importance 8 --limit 5 --no-round-x --figures --publish --full"
    )
    assert cli.main(["evaluate", str(run), *words.split()]) == 0
    assert got["arguments"] == (run, None, "valid")
    expected = {"draws": 3, "importance": 8, "limit": 5, "round_x": False, "seed": 0}
    assert {k: got[k] for k in expected} == expected
    assert got["figures"] and got["full"] and got["publish"] and not got["stress"]
    assert got["samples"] is got["temperature"] is got["threshold"] is got["threshold_from"] is None


@pytest.mark.parametrize("arguments", [["data", "list"], ["results", "table"]], ids=str)
def test_a_listing_prints(capsys, arguments):
    assert cli.main(arguments) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) > 1 and captured.err == ""


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "cnf", *arguments]


@pytest.fixture
def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def test_train_with_no_further_argument_learns_on_embedded_data(tmp_path, capsys):
    assert cli.main(["train", "sr"]) == 0
    said = capsys.readouterr()
    out = tmp_path / "runs" / "sr-flow-smoke-s0"
    history = run_folder.read_history(out)
    assert history[-1]["step"] == 200
    assert history[-1]["valid_bits_per_dim"] < history[0]["valid_bits_per_dim"]
    assert releases.load(out / "weights.safetensors").config == load_config("sr-flow-smoke")
    # off a terminal: what it is, what it learns from, a line a validation, how it ended; no bar
    first, second, *others = said.out.splitlines()
    assert first == "sr-flow-smoke, seed 0, 200 steps: reads embedded-sr"
    assert second.startswith("embedded-sr train: ") and len(others) == len(history) + 1
    assert said.err == ""


def test_ctrl_c_leaves_with_130_and_a_run_that_goes_on(tmp_path, environment):
    out = tmp_path / "out"
    words = "train sr --out out --steps 100000 --set training.validate_every=5"
    words = f"{words} --set training.validate_images=2 --set model.width=8".split()
    process = subprocess.Popen(
        command(*words),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (out / "history.jsonl").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "go on with --resume out" in errors and errors.count("\n") == 1
    before = torch.load(out / "last.pt", weights_only=True)["step"]
    assert before > 0
    assert cli.main(["train", "sr", "--resume", "out", "--max-minutes", "0.05"]) == 0
    assert torch.load(out / "last.pt", weights_only=True)["step"] > before
