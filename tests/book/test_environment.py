"""pip, conda and the pins describe one environment."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import yaml
from packaging.requirements import Requirement

from tools.notebooks import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])


def name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


PINS = {
    name(line): line.strip()
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
}


def test_conda_installs_what_make_install_does():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *conda, from_pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"] and conda == ["python=3.13", "pip", "make"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    words = re.search(r"install --quiet --no-compile (-c .*) (-e) '(.*)'", makefile).groups()
    assert from_pip["pip"] == [words[0], " ".join(words[1:])]


def test_everything_but_torch_is_pinned():
    assert {name(r) for r in REQUIREMENTS} - set(PINS) == {"torch", "torchvision"}
    for line in PINS.values():
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def test_so_is_what_they_require():
    """Of what is installed here; what PyTorch needs differs by its builds."""
    waiting, asked = [Requirement(text) for text in REQUIREMENTS], set()
    while waiting:
        package = waiting.pop()
        if (key := (name(package.name), *sorted(package.extras))) in asked | {("torch",)}:
            continue
        asked.add(key)
        try:
            needed = [Requirement(text) for text in requires(package.name) or ()]
        except PackageNotFoundError:  # of an extra that is not installed
            continue
        for other in needed:
            extras = package.extras or {""}
            if other.marker is None or any(other.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(other)
    assert {key[0] for key in asked} - set(PINS) <= {"torchvision", "setuptools", "wheel"}
