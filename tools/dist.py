"""`make dist`: two wheels in _build/dist, the package and the weights of the released models.

They are built from copies, so the checkout stays as it is. The package remembers the commit of
which it is made; one of files that are not committed says that its commit is not known.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from cnf.replication.places import REPOSITORY, RESULTS, git_state
from cnf.replication.releases import RELEASES, SHIPPED

OUT = REPOSITORY / "_build" / "dist"
RUN = ("weights.safetensors", "card.md", "config.json", "evaluations")  # of a run, what is shipped
PICTURE = re.compile(r"!\[[^\]]*\]\([^)]*\)\n\n\*[^*]*\*\n\n")  # with its caption

WEIGHTS = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "conditional-normalizing-flows-weights"
version = "{version}"
description = "Weights of the released models of conditional-normalizing-flows"
readme = "README.md"
requires-python = ">=3.11"
license = "LicenseRef-terms-of-the-training-data"
license-files = ["README.md"]
authors = [{{ name = "The cnf authors" }}]
classifiers = ["Intended Audience :: Science/Research"]

[tool.setuptools]
packages = ["cnf_weights"]

[tool.setuptools.package-data]
cnf_weights = ["results/*/*", "results/*/evaluations/*"]
"""
ABOUT = """\
# Weights of the released models of conditional-normalizing-flows

With this package installed beside `conditional-normalizing-flows`, `cnf.load("sr")` and `cnf sample
vessels PHOTO` need no network. They were learned from data with terms of their own, research only
for most; these terms hold for the weights. `results/*/card.md` in the package says how each was
trained, how it scores and where it fails. No model here is a medical device.

| model | name in `cnf.load` | terms |
| --- | --- | --- |
"""


def package(folder: Path) -> Path:
    """Copy into `folder` what the package is made of. On an index the README has no pictures, as
    these lie in the repository."""
    for name in ("cnf", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    (folder / "data").mkdir()
    for path in (REPOSITORY / "data").iterdir():
        if path.is_file():
            shutil.copy(path, folder / "data")
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-text"):
        shutil.copy(REPOSITORY / name, folder)
    readme = folder / "README.md"
    readme.write_text(PICTURE.sub("", readme.read_text("utf-8")), "utf-8")
    commit, is_changed = git_state()
    if commit and not is_changed:
        (folder / "cnf" / "replication" / "COMMIT").write_text(f"{commit}\n", "utf-8")
    return folder


def weights(folder: Path) -> Path:
    """Copy into `folder` what the package of weights is made of: results/ of the released runs."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    lines = []
    for run in SHIPPED:
        target = folder / "cnf_weights" / "results" / run
        target.mkdir(parents=True)
        for name in RUN:
            copy = shutil.copytree if (RESULTS / run / name).is_dir() else shutil.copy
            copy(RESULTS / run / name, target / name)
        terms = (RESULTS / run / "card.md").read_text("utf-8").partition("## Licence")[2].split()
        names = ", ".join(f'`"{name}"`' for name in RELEASES if RELEASES[name] == run)
        lines.append(f"| `{run}` | {names} | {' '.join(terms)} |\n")
    (folder / "README.md").write_text(ABOUT + "".join(lines), "utf-8")
    (folder / "pyproject.toml").write_text(WEIGHTS.format(version=project["version"]), "utf-8")
    return folder


def build(out: Path, *options: str) -> list[Path]:
    """Build both wheels into `out`, which then holds nothing else. `options` are those of
    `pip wheel`."""
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        sources = [make(Path(name, make.__name__)) for make in (package, weights)]
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options]
        subprocess.run([*pip, "--wheel-dir", out, *sources], check=True)
    return sorted(out.glob("*.whl"))


if __name__ == "__main__":
    for path in build(OUT):
        print(f"{path.relative_to(REPOSITORY)}  {path.stat().st_size / 1e6:.1f} MB")
