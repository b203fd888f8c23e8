"""What a reader does leaves the repository as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]

DOES = """
from pathlib import Path

import cnf
from cnf.__main__ import main

assert Path(cnf.__file__).is_relative_to(Path.cwd())
for words in (
    "train sr --steps 2 --set training.validate_images=2",
    "evaluate runs/sr-flow-smoke-s0 --limit 2",
    "evaluate results/sr-flow-cpu-s0 --limit 1 --no-round-x",
    "evaluate results/vessels-baseline-cpu-s0 --limit 1 --samples 2 --figures",
    "evaluate bicubic --on embedded-sr --full --limit 1",
    "sample sr runs/picture.png --samples 1 --out runs/samples",
    "results audit bicubic/embedded-sr-test/gradient_distance",
    "results how bicubic/embedded-sr-test/gradient_distance",
    "results table sr-flow set5 psnr",
    "results claims",
    "data list",
):
    print("$", words)
    assert main(words.split()) == 0, words
"""


def git(folder, *words):
    done = subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="this is no git repository")
def test_training_evaluating_sampling_and_auditing_leave_git_clean(tmp_path):
    clone = tmp_path / "clone"
    git(REPOSITORY, "clone", "-q", "--shared", str(REPOSITORY), str(clone))
    for part in ("cnf", "results"):  # as they are now, committed or not
        shutil.rmtree(clone / part)
        shutil.copytree(REPOSITORY / part, clone / part)
    git(clone, "add", "-A")
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    git(clone, *name, "commit", "-q", "--allow-empty", "-m", "as it is now")
    (clone / "runs").mkdir()
    Image.fromarray(skimage.data.chelsea()[:16, :16]).save(clone / "runs" / "picture.png")
    without = {"CNF_DATA", "PYTHONPATH"}
    environment = {k: v for k, v in os.environ.items() if k not in without}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DOES], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert git(clone, "status", "--porcelain") == ""
    written = {p.relative_to(clone).as_posix() for p in (clone / "runs").rglob("*.json")}
    assert written >= {
        "runs/sr-flow-smoke-s0/evaluations/embedded-sr-test-n2.json",
        "runs/sr-flow-cpu-s0/evaluations/embedded-sr-test-n1.json",
        "runs/bicubic/evaluations/embedded-sr-test-n1.json",
    }
    assert "1 same" in done.stdout
