"""pip, conda and the pins describe one environment."""

import re
import tomllib

import yaml

from tools.notebooks import ROOT

CONDA_NAMES = {"torch": "pytorch"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), [])


def name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


PINS = {
    name(line): line.strip()
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
}


def test_conda_environment_equals_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *plain, from_pip = environment["dependencies"]
    conda = {f"python{PROJECT['requires-python']}", "pip", *plain}
    wanted = {f"python{PROJECT['requires-python']}", "pip", "-e ."}
    for requirement in REQUIREMENTS:
        wanted.add(
            requirement.replace(
                name(requirement), CONDA_NAMES.get(name(requirement), name(requirement))
            )
        )
    assert conda | set(from_pip["pip"]) == wanted
    assert environment["channels"] == ["conda-forge"]


def test_everything_but_torch_is_pinned():
    assert {name(r) for r in REQUIREMENTS} - set(PINS) == {"torch", "torchvision"}
    for line in PINS.values():
        assert re.fullmatch(r"[\w.-]+==[\w.]+", line), line
