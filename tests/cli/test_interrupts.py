"""Ctrl-C at any moment of a real command: exit code 130, and one line."""

import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

# The clock starts where the interpreter is up and the command is called.
COMMAND = """
import sys
from cnf.__main__ import main
print("up", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def listens_to_ctrl_c():
    """Tests that run in the background of a shell ignore it, and so would their commands."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted_after(seconds, folder, words):
    """Exit code and standard error of a command that gets SIGINT after so many seconds, or as soon
    as it says that it is at work (None)."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listens_to_ctrl_c,
    )
    assert process.stdout.readline() == "up\n"
    if seconds is None:
        assert any(map(is_said_at_work, process.stderr)), "it ended before it was at work"
    else:
        time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


@pytest.fixture
def words(tmp_path):
    """A command that takes far longer than any of these tests waits."""
    Image.new("RGB", (256, 256), (90, 60, 30)).save(tmp_path / "photo.png")
    return ["sample", "sr", "photo.png", "--samples", "2000"]


def check(seconds, folder, words):
    code, errors = interrupted_after(seconds, folder, words)
    assert code == 130, f"after {seconds} s exit code {code}: {errors}"
    lines = [line for line in errors.splitlines() if line.strip() and not is_said_at_work(line)]
    assert lines == ["interrupted"], f"after {seconds} s: {errors}"


def is_said_at_work(line):
    """Progress, and the terms of the weights."""
    return "photo.png" in line or "whose terms allow" in line


# From 0.05 s on (before its first line runs, a command is in the hands of Python alone): while
# Python, NumPy and torch load, whose import takes a second or more, and when it is at work
@pytest.mark.parametrize("seconds", [0.05, 0.4, 0.7, 1.0, 1.5, None])
def test_an_interrupted_command_says_one_line(tmp_path, words, seconds):
    check(seconds, tmp_path, words)


@pytest.mark.slow("Ctrl-C at every tenth of a second from 0 to 3 s")
def test_every_tenth_of_a_second(tmp_path, words):
    for tenth in range(31):
        check(max(tenth / 10, 0.05), tmp_path, words)


def test_a_training_is_interrupted_by_its_own_rules(tmp_path):
    words = ["train", "sr", "--steps", "100000", "--out", "run"]
    code, errors = interrupted_after(0.6, tmp_path, words)
    assert (code, errors) == (130, "interrupted\n")
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_command_that_ignores_ctrl_c_still_ignores_it(tmp_path):
    """As under `nohup`: the handler of the caller stays."""
    code = COMMAND.replace("import sys\n", "import signal, sys\nsignal.signal(2, signal.SIG_IGN)\n")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--version"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert "cnf" in process.communicate(timeout=60)[0]
    assert process.returncode == 0
