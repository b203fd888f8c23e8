"""What others install is two wheels and not the checkout: they work anywhere else."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv

import numpy as np
import pytest
from PIL import Image

from cnf.replication import places
from cnf.replication.releases import RELEASES, SHIPPED
from tools import dist

WHAT_A_USER_DOES = """
import cnf, torch
from cnf.__main__ import main

y, x = torch.rand(3, 1, 8, 8), torch.rand(3, 2, 8, 8)
cnf.glow(1, 2, levels=1, steps=2, width=8).save("mine.safetensors")
assert cnf.load("mine.safetensors").sample(x, 2).shape == (2, *y.shape)
assert main("train sr --preset smoke --steps 2 --out run".split()) == 0
assert cnf.load("run").sample(torch.full((1, 3, 8, 8), 128.0)).shape == (1, 1, 3, 16, 16)
assert main("evaluate run --limit 1".split()) == 0
assert main("sample sr a.png --samples 1".split()) == 0
assert main("data list".split()) == 0
assert main(["start"]) == main(["check"]) == 0
assert main("results how sr-flow-cpu-s0/set5-test/psnr-s16".split()) == 0
for words in ("results how 0.00001", "results claims", "results readme",
              "evaluate run --publish", "data verify drive"):
    assert main(words.split()) == 2
print(cnf.__file__)
"""


def run(folder, *command):
    """A command in `folder`, which knows nothing of the checkout and has no network to ask."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "CNF_DATA")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"XDG_DATA_HOME": str(folder / "user"), "XDG_CACHE_HOME": str(folder / "user")}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


WHEELS = pytest.mark.slow("the wheels, installed in an environment of their own")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`bin` of a new environment: both wheels, and the packages that they need from here."""
    pytest.importorskip("setuptools", "77", reason="no setuptools here to build a wheel with")
    root = tmp_path_factory.mktemp("wheel")
    wheels = dist.build(root / "dist", "--no-build-isolation", "--no-index")
    venv.create(root / "new", with_pip=False)
    pip = sys.executable, "-m", "pip", "--python", root / "new" / "bin" / "python"
    run(root, *pip, "install", "-q", "--no-deps", "--no-index", "--no-compile", *wheels)
    (packages,) = (root / "new").glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return root / "new" / "bin"


@WHEELS
def test_installed_wheels_train_evaluate_load_and_sample_in_an_empty_folder(installed, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    done = run(tmp_path, installed / "python", "-c", WHAT_A_USER_DOES)
    assert str(installed.parent) in done.stdout.splitlines()[-1]
    for part in (
        "samples/a-sample1.png",
        f"drive                  missing  {tmp_path}/user/cnf/data/drive",
        "cnf_data/README.md",
        "python -m cnf results audit sr-flow-cpu-s0/set5-test/psnr-s16",
    ):
        assert part in done.stdout, part
    rows, claims, readme, publish, verify = done.stderr.splitlines()[-5:]
    assert "the repository has all, clone it" in rows and "'0.00001'" in rows
    assert "claims.yml is missing" in claims and "only the repository has it" in claims
    assert readme == "error: results readme writes into the repository: run it in a clone"
    assert publish == "error: --publish writes into the repository: run it in a clone"
    assert f"nothing at {tmp_path}/user/cnf/data/drive" in verify


@WHEELS
def test_the_command_names_version_and_commit(installed, tmp_path):
    words = run(tmp_path, installed / "cnf", "--version").stdout.split()
    assert words[0] == "cnf" and words[2] == "commit"


@WHEELS
def test_without_the_packages_of_the_commands_one_line_says_what_is_missing(installed, tmp_path):
    missing = "import sys; sys.modules |= {'tyro': None, 'PIL': None}\n"
    main = "from cnf.__main__ import main; assert main(['--help']) == 2\n"
    call = (
        "import cnf\ntry: cnf.upscale\nexcept ModuleNotFoundError as e: print(e, file=sys.stderr)"
    )
    lines = run(tmp_path, installed / "python", "-c", missing + main + call).stderr.splitlines()
    remedy = 'is not installed: pip install "conditional-normalizing-flows[replication]"'
    assert lines == [
        f"error: tyro {remedy}. Without it there are start, check and --version",
        f"cnf.upscale: PIL {remedy}",
    ]


def test_the_weights_say_their_terms(tmp_path):
    readme = (dist.weights(tmp_path) / "README.md").read_text()
    assert set(RELEASES.values()) <= set(SHIPPED)
    for run in SHIPPED:
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{run}`")]
        assert "Trained on" in line


def test_the_description_on_an_index_has_no_link_into_the_repository(tmp_path):
    assert "](" not in (dist.package(tmp_path) / "README.md").read_text()


def test_the_wheel_has_every_folder_of_the_package():
    project = tomllib.loads((places.REPOSITORY / "pyproject.toml").read_text("utf-8"))
    folders = {path.parent for path in (places.REPOSITORY / "cnf").rglob("*.py")}
    names = {".".join(folder.relative_to(places.REPOSITORY).parts) for folder in folders}
    assert {*project["tool"]["setuptools"]["packages"]} == names | {"cnf_data", "cnf_experiments"}
