"""Real commands, killed at any moment, on full disks and under a clock that is set back."""

import contextlib
import errno
import functools
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cnf.replication import run_folder
from cnf.replication.cli import main
from cnf.replication.training import curves
from tests.training.conftest import context

STEPS, EVERY = 24, 2
TINY = ["model.width=4", "model.features.channels=4", "training.batch_size=4"]
TINY += [
    f"training.validate_every={EVERY}",
    "training.validate_images=4",
    "training.optimizer=amsgrad",
]
SET = [word for pair in TINY for word in ("--set", pair)]
WORDS = ["--steps", str(STEPS), *SET]
PATIENCE = 900  # seconds until a command that neither ends nor goes on has failed


def spoil(kill_in="", clock=""):
    """In a started process, before it does anything. kill_in "replace 7": SIGKILL in its seventh
    os.replace. clock: every look at the wall clock finds it a day earlier."""
    kind, _, number = kill_in.partition(" ")
    left = itertools.count(int(number or 0) - 1, -1)

    def dying(real):
        def call(*arguments):
            if not next(left):
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        return call

    def half(path, content, real=Path.write_bytes):
        if not next(left):
            real(path, bytes(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path, content)

    if kind in ("fsync", "replace"):
        setattr(os, kind, dying(getattr(os, kind)))
    if kind == "write":
        Path.write_bytes = half
    if clock:
        days = itertools.count(1)
        today = time.time()
        time.time = lambda: today - 86400 * next(days)
        time.time_ns = lambda: int(1e9 * time.time())


def command(words, out, errors, spoilt):
    """What a started process does: `python -m cnf train sr`, but that its libraries are there."""
    for number, path in ((1, out), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.pop("CNF_DATA", None)
    torch.set_num_threads(1)
    curves.training_curves = lambda history, path, unit: path.touch()  # drawing takes longest
    spoil(**spoilt)
    raise SystemExit(main(["train", "sr", "--device", "cpu", *words]))


class Command:
    """A started command."""

    def __init__(self, folder, words, spoilt):
        self.files = [folder / name for name in ("out", "errors")]
        arguments = ([str(word) for word in words], *self.files, spoilt)
        self.process = context.Process(target=command, args=arguments)
        self.process.start()

    @property
    def returncode(self):
        return self.process.exitcode

    def signal(self, number):
        os.kill(self.process.pid, number)

    def end(self):
        """(standard output, standard error) of the whole command."""
        self.process.join(PATIENCE)
        assert self.returncode is not None, f"a command still runs after {PATIENCE} s"
        return tuple(path.read_text() if path.exists() else "" for path in self.files)

    def kill(self):
        self.process.kill()
        self.end()


class Runner:
    """Starts commands, and leaves none behind."""

    def __init__(self, folder):
        self.folder, self.commands = folder, []

    def start(self, *words, **spoilt):
        folder = self.folder / str(len(self.commands))
        folder.mkdir()
        self.commands.append(Command(folder, words, spoilt))
        return self.commands[-1]

    def run(self, *words, **spoilt):
        """(exit code, standard output, standard error) of a whole command."""
        started = self.start(*words, **spoilt)
        said = started.end()
        return started.returncode, *said

    def end(self):
        for started in self.commands:
            if started.returncode is None:
                started.kill()


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    runner = Runner(tmp_path_factory.mktemp("children"))
    yield runner
    runner.end()


def lines(out):
    path = out / "history.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process, out, count):
    """Until `out` has `count` lines of history; the process must not have ended before."""
    deadline = time.monotonic() + PATIENCE
    while lines(out) < count:
        assert process.returncode is None, process.end()[1]
        assert time.monotonic() < deadline, f"no {count} lines after {PATIENCE} s"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def undisturbed(runner, tmp_path_factory):
    """A function that gives, of a number of steps, (folder of a run that nobody disturbed, seconds
    until its first validation)."""

    def run(steps):
        out = tmp_path_factory.mktemp("whole") / "run"
        started = time.monotonic()
        process = runner.start("--steps", steps, *SET, "--out", out)
        wait_for(process, out, 1)
        seconds = time.monotonic() - started
        process.end()
        assert process.returncode == 0
        return out, seconds

    return functools.cache(run)


@pytest.fixture
def whole(undisturbed):
    """The folder of a run that nobody disturbed."""
    return undisturbed(STEPS)[0]


def content(out):
    """All that is in a run folder, but for the clock."""
    state = torch.load(out / "last.pt", weights_only=True)
    del state["seconds"], state["cpu_seconds"]
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    for line in history:
        del line["seconds"], line["cpu_seconds"], line["images_per_second"]
    record = run_folder.read_record(out)
    del record["took"], record["commit"], record["dirty"]  # and the state of this checkout
    with safe_open(out / "weights.safetensors", framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    return {
        "files": sorted(path.name for path in out.iterdir()),
        "config.json": record,
        "history": history,
        "weights": weights,
        "metadata": metadata,
        "state": state,
    }


# -- killed ----------------------------------------------------------------------------------------


def moments(rng, kills):
    """When to kill: while it starts, in a write, or soon after a checkpoint; each kind in turn.

    All advance the run by one or two checkpoints at most, for many kills must fit into it.
    """
    for number in range(kills):
        kind = ("start", "write", "after", "replace", "after", "fsync")[number % 6]
        match kind:
            case "start":
                yield kind, rng.uniform(0, 1.1)  # of the time to the first validation
            case "after":
                yield kind, rng.uniform(0, 0.05)  # seconds after a checkpoint
            case _:
                yield kind, rng.randint(1, 4)  # that call


def following(out, steps):
    """What goes on with the run in `out`, as its messages advise."""
    resume = (out / "last.pt").exists()
    return ["--resume", out] if resume else ["--steps", steps, *SET, "--out", out]


def kill_once(runner, out, words, kind, when, startup):
    """Start a command and kill it; returns its exit code."""
    if kind not in ("start", "after"):
        return runner.run(*words, kill_in=f"{kind} {when}")[0]
    before = lines(out)
    process = runner.start(*words)
    deadline = time.monotonic() + (when * startup if kind == "start" else PATIENCE)
    while time.monotonic() < deadline and lines(out) <= before and process.returncode is None:
        time.sleep(0.002)
    if kind == "after":
        time.sleep(when)
    process.kill()
    return process.returncode


@pytest.mark.parametrize(
    ("kills", "steps"),
    [(3, STEPS), pytest.param(20, 60, marks=pytest.mark.slow("twenty kills of one run"))],
)
def test_a_killed_run_ends_like_one_that_was_not(runner, undisturbed, same, tmp_path, kills, steps):
    out, (reference, startup) = tmp_path / "run", undisturbed(steps)
    for kind, when in moments(random.Random(kills), kills):
        code = kill_once(runner, out, following(out, steps), kind, when, startup)
        assert code == -signal.SIGKILL, f"exit status {code} before the kill: {kind} {when}"
    code, _, errors = runner.run(*following(out, steps))
    assert code == 0, errors
    found, expected = content(out), content(reference)
    for name, value in expected.items():
        assert same(found[name], value), f"{name} differs after {kills} kills"


@pytest.mark.parametrize("left", [(), (".lock", "config.json", "last.pt.tmp")])
def test_a_run_killed_before_its_first_checkpoint_starts_again_as_advised(
    whole, tmp_path, capsys, left
):
    out = tmp_path / "run"
    if left:
        out.mkdir()
    for name in left:
        source = whole / name
        (out / name).write_bytes(source.read_bytes() if source.exists() else b"half a checkp")
    assert main(["train", "sr", "--resume", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"starts again with --out {out}" in said and said.count("\n") == 1
    assert main(["train", "sr", *WORDS, "--steps", "2", "--out", str(out)]) == 0
    assert not list(out.glob("*.tmp*"))


def test_what_a_killed_run_left_half_written_is_deleted_and_nothing_else(tmp_path):
    half = ["last.pt.tmp", "weights.safetensors.tmp.tmp", ".tmpa1B2c3", "history.png.tmp"]
    whole_files = ["last.pt", "notes.tmp", "weights.safetensors", ".lock"]
    for name in half + whole_files:
        (tmp_path / name).write_bytes(b"content")
    with run_folder.locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(whole_files)


# -- a disk that is full, or cannot be written -----------------------------------------------------


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of its own, or a skip that says what was not checked."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    may = shutil.which("mount") and os.getuid() == 0
    if not may or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk: a disk that really fills up was not checked")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path):
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_a_disk_that_fills_up_costs_only_time(runner, whole, same, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=4) as disk:
        out = disk / "run"
        process = runner.start(*WORDS, "--out", out)
        wait_for(process, out, 3)
        fill(disk / "ballast")
        _, errors = process.end()
        assert process.returncode == 2
        assert errors.count("\n") == 1 and os.strerror(errno.ENOSPC) in errors
        assert f"make room, then --resume {out}" in errors
        step = torch.load(out / "last.pt", weights_only=True)["step"]
        assert 0 < step < STEPS
        (disk / "ballast").unlink()
        code, _, errors = runner.run("--resume", out)
        assert code == 0, errors
        assert same(content(out), content(whole))


def test_a_disk_that_is_full_from_the_start_says_to_start_again(runner, tmp_path):
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        out = disk / "run"
        out.mkdir()
        (out / ".lock").touch()
        fill(disk / "ballast")
        code, _, errors = runner.run(*WORDS, "--out", out)
        assert code == 2 and f"make room, then start again with --out {out}" in errors


def test_a_folder_that_cannot_be_written_is_refused(runner, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # permissions do not bind root, but those of the kernel do
        folder = Path("/sys/kernel")
    if os.access(folder / "x", os.W_OK) or not folder.is_dir():
        pytest.skip("this user may write everywhere: a read-only folder was not checked")
    code, _, errors = runner.run(*WORDS, "--out", folder)
    assert code == 2
    assert f"cannot write to {folder}" in errors and "choose another --out" in errors


# -- two at a time, and time that runs backwards ---------------------------------------------------


def test_a_second_run_in_the_folder_is_refused_and_the_first_goes_on(runner, whole, same, tmp_path):
    out = tmp_path / "run"
    first = runner.start(*WORDS, "--out", out)
    wait_for(first, out, 1)
    first.signal(signal.SIGSTOP)  # alive, and sure to be there when the others look
    others = [runner.start(*WORDS, "--out", out), runner.start("--resume", out)]
    for other in others:
        _, errors = other.end()
        assert other.returncode == 2
        assert f"another run is writing to {out}" in errors
    first.signal(signal.SIGCONT)
    _, errors = first.end()
    assert first.returncode == 0, errors
    assert same(content(out), content(whole))


def test_a_clock_that_is_set_back_changes_nothing(runner, whole, same, tmp_path):
    out = tmp_path / "run"
    code, said, errors = runner.run(*WORDS, "--out", out, "--max-minutes", "0.003", clock="back")
    assert code == 0, errors
    assert "slice ended at step" in said  # by a wall clock that runs backwards it would not end
    assert torch.load(out / "last.pt", weights_only=True)["step"] < STEPS
    code, _, errors = runner.run("--resume", out, clock="back")
    assert code == 0, errors
    assert same(content(out), content(whole))
    seconds = [json.loads(line)["seconds"] for line in (out / "history.jsonl").open()]
    assert seconds == sorted(seconds) and seconds[-1] > 0
