"""What others install is the package and not the checkout: the wheel works anywhere else."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = """
import cnf, torch
y, x = torch.rand(3, 1, 8, 8), torch.rand(3, 2, 8, 8)
cnf.glow(1, 2, levels=1, steps=2, width=8).save("mine.safetensors")
assert cnf.load("mine.safetensors").sample(x, 2).shape == (2, *y.shape)
model = cnf.load("run")
assert model.sample(torch.full((1, 3, 8, 8), 128.0)).shape == (1, 1, 3, 16, 16)
print(cnf.__file__, model.config.task)
"""


def run(folder, *command):
    """A command in `folder`, which knows nothing of the checkout and has no network to ask."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CNF_DATA")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of a new environment: `cnf` from the wheel, the packages it needs from here."""
    pytest.importorskip("setuptools", "77", reason="no setuptools here to build a wheel with")
    root = tmp_path_factory.mktemp("wheel")
    source = root / "source"
    source.mkdir()
    for name in ("cnf", "experiments"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = sys.executable, "-m", "pip"
    wheel = ("wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", root, source)
    done = run(root, *pip, *wheel)
    assert done.returncode == 0, done.stderr
    venv.create(root / "new", with_pip=False)
    there = root / "new" / "bin" / "python"
    (found,) = root.glob("cnf-*.whl")
    done = run(root, *pip, "--python", there, "install", "-q", "--no-deps", "--no-index", found)
    assert done.returncode == 0, done.stderr
    (packages,) = (root / "new").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return there


def test_an_installed_package_trains_loads_and_samples(python, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    done = run(tmp_path, python, "-m", "cnf", "train", "sr", "--steps", "2", "--out", "run")
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, python, "-c", LIBRARY)
    assert done.returncode == 0, done.stderr
    where, task = done.stdout.split()
    assert Path(where).is_relative_to(python.parents[1]) and task == "sr"
    done = run(tmp_path, python, "-m", "cnf", "sample", "run", "a.png", "--num", "1")
    assert done.returncode == 0 and "samples/a-sample1.png" in done.stdout, done.stderr


def test_it_says_where_released_weights_are_while_it_has_no_address(python, tmp_path):
    nowhere = "from cnf.replication import releases; releases.repository = str; releases.load('sr')"
    done = run(tmp_path, python, "-c", nowhere)
    assert "does not know its address: clone it" in done.stderr.splitlines()[-1]
