"""What `import cnf` offers, and trained models by name."""

import ast
import doctest
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pooch
import pytest
import torch
from safetensors.torch import save_file

import cnf
from cnf import weights
from cnf.errors import CheckpointError
from cnf.noise import keyed
from cnf.replication import releases
from cnf.replication.config import build, load_config, model_name, to_dict
from cnf.replication.releases import RESULTS, WEIGHTS
from tests.laws.cases import randomise


@pytest.fixture
def shelf(tmp_path):
    """A folder of results that has these runs."""

    def make(*names):
        for name in names:
            (tmp_path / name).mkdir()
            (tmp_path / name / "weights.safetensors").touch()
        return tmp_path

    return make


def test_a_name_is_a_folder_of_results(shelf):
    run = releases.RELEASES["sr-baseline"]
    results = shelf("other", run)
    assert releases.find_weights("sr-baseline", results) == results / run / WEIGHTS


def test_runs_go_by_their_own_name_and_by_path(shelf):
    results = shelf("other")
    assert releases.find_weights("other", results) == results / "other" / WEIGHTS
    assert releases.find_weights(str(results / "other"), RESULTS) == results / "other" / WEIGHTS
    assert releases.find_weights(results / "other", RESULTS) == results / "other" / WEIGHTS


def test_what_is_not_there_is_named_with_what_is(shelf):
    results = shelf("mine")
    for name in ("yours", "sr-baseline"):
        with pytest.raises(
            CheckpointError, match=f"{name} holds no .*; the nearest are [^,]+, [^,]+, [^,]+$"
        ):
            releases.find_weights(name, results)


@pytest.mark.parametrize("name", releases.RELEASES)
def test_every_released_name_loads(name):
    model = cnf.load(name)
    config = model.config
    assert not model.training and config.task == name.split("-")[0]
    assert (model_name(config) == "flow") == (not name.endswith("baseline"))


@pytest.mark.parametrize(
    "thing",
    [cnf, cnf.glow, cnf.vector_flow, cnf.load],
    ids=["package", "glow", "vector_flow", "load"],
)
def test_the_examples_of_the_docstrings_run(thing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder(recurse=False).find(thing, "it", globs={"torch": torch})
    assert sum(len(test.examples) for test in found) >= 3
    for test in found:
        test.globs |= {"glow": cnf.glow, "vector_flow": cnf.vector_flow}
        assert doctest.DocTestRunner().run(test).failed == 0


def test_every_public_name_is_there_and_no_other():
    wanted = {"glow", "load", "ConditionalFlow", "DiscretisedLogistic", "Bernoulli", "ActNorm"}
    assert wanted <= set(cnf.__all__)
    assert cnf.layers.ActNorm is cnf.ActNorm
    assert all(getattr(cnf, name) is not None for name in cnf.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        cnf.nothing  # noqa: B018


# -- glow, save and load ---------------------------------------------------------------------------

FORMS = [
    {},
    {"levels": 0},
    {"levels": 2, "flip": True, "prior_width": 8, "scale": "additive"},
    {"dequantization": "uniform", "bins": 5},
    {"dequantization": "variational", "bins": 5},
    {"dequantization": "binary", "noise": "gaussian", "norm": "instance"},
    {"context": 0},
    {"features": {"kind": "unet", "channels": 4}, "context": 0, "scale": "softplus"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_saved_glow_is_built_again_from_its_file(form, dtype, tmp_path):
    made = {"channels": 2, "context": 2, "levels": 1, "steps": 2, "width": 8} | form
    flow = randomise(cnf.glow(**made)).to(dtype)
    y, x = torch.randint(2, (3, made["channels"], 8, 8)), torch.rand(3, 2, 8, 8)
    x = 255 * torch.rand(3, 3, 8, 8) if "features" in form else x
    flow.save(tmp_path / "mine.safetensors", {"note": "kept"})
    back = cnf.load(tmp_path / "mine.safetensors")
    assert back.metadata == {"note": "kept"} and back.arguments == flow.arguments
    assert torch.equal(
        back.log_prob(y, x, keyed(0, range(3))), flow.log_prob(y, x, keyed(0, range(3)))
    )
    assert torch.equal(
        back.sample(x, 2, 0.7, keyed(0, range(3))), flow.sample(x, 2, 0.7, keyed(0, range(3)))
    )


def test_a_glow_has_the_layers_of_the_paper_s_builders():
    """`build` and `glow` make the same model of the same options."""
    config = load_config("vessels-flow-smoke")
    options = {k: v for k, v in config.model.items() if k != "kind"}
    one, other = build(config), cnf.glow(**options)
    assert [*one.state_dict()] == [*other.state_dict()]
    assert [type(a) for a in one.modules()] == [type(a) for a in other.modules()]


class Pyramid(torch.nn.Module):
    """A feature network as a user writes it."""

    channels = [3, 4]

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(1, 3, 1), torch.nn.Conv2d(3, 4, 2, stride=2)

    def forward(self, x):
        first = self.first(x)
        return first, self.second(first)


def test_any_module_serves_as_feature_network_and_load_asks_for_the_model(tmp_path):
    def make():
        return cnf.glow(2, features=Pyramid(), levels=1, steps=2, width=8)

    flow, y, x = randomise(make()), torch.rand(3, 2, 4, 6), torch.rand(3, 1, 4, 6)
    flow.save(tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match="how to build its model: .*cnf.load.path, into="):
        cnf.load(tmp_path / "mine.safetensors")
    back = make()
    assert cnf.load(tmp_path / "mine.safetensors", into=back) is back and not back.training
    assert torch.equal(back.log_prob(y, x), flow.log_prob(y, x))


def test_a_flow_of_own_layers_is_loaded_into_another(tmp_path):
    def make():
        return cnf.ConditionalFlow([cnf.ActNorm(2), cnf.GaussianPrior(2)], cnf.NoFeatures())

    randomise(make()).save(tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match="how to build its model: build it again"):
        cnf.load(tmp_path / "mine.safetensors")
    assert cnf.load(tmp_path / "mine.safetensors", into=make()).layers[0].bias.any()
    with pytest.raises(CheckpointError, match="holds weights of another model"):
        cnf.load(tmp_path / "mine.safetensors", into=cnf.glow(2))


@pytest.mark.parametrize(
    "other, wrong",
    [
        ({"levels": 1, "steps": 2, "width": 6}, "layers.3.net.from_y.weight"),
        ({"levels": 1, "steps": 1, "width": 4}, "layers.4.log_scale"),
        ({"levels": 1, "steps": 2, "width": 4, "gain": True}, "layers.3.net.last.logs"),
    ],
    ids=["shape", "missing", "more"],
)
def test_weights_that_do_not_fit_leave_the_model_as_it_was(tmp_path, other, wrong):
    model = randomise(cnf.glow(1, 2, levels=1, steps=2, width=4)).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    cnf.glow(1, 2, **other).double().save(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError) as error:
        cnf.load(tmp_path / "other.safetensors", into=model)
    assert f"holds weights of another model ('{wrong}' does not fit): build" in str(error.value)
    assert "\n" not in str(error.value)
    assert model.training and model.metadata == {} and model.dtype == torch.float32
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_a_file_of_any_name_is_loaded_and_one_of_another_version_is_named(tmp_path):
    flow = cnf.glow(1, 2, levels=1, steps=1, width=4)
    flow.save(tmp_path / "a file.pt")
    assert cnf.load(tmp_path / "a file.pt").arguments == flow.arguments
    flow.arguments["later"] = 1
    flow.save(tmp_path / "new.safetensors")
    with pytest.raises(CheckpointError, match="new.safetensors describes no .* option 'later'"):
        cnf.load(tmp_path / "new.safetensors")


def test_weights_of_version_02_are_those_of_the_repository(tmp_path):
    """Their files say no kind, and rows name their hashes: they are known by these."""
    hashes = set(json.loads(releases.OF_VERSION_02.read_text()))
    files = {
        hashlib.sha256(path.read_bytes()).hexdigest(): path
        for path in RESULTS.rglob("*.safetensors")
    }
    assert hashes <= files.keys()
    for sha256, path in files.items():
        tensors, said = weights.read_weights(path)
        assert ("kind" in said) != (sha256 in hashes), path
        assert cnf.load(path).state_dict().keys() == tensors.keys()
        record = path.with_name("config.json")
        if sha256 in hashes and record.exists():
            config = json.loads(releases.OF_VERSION_02.read_text())[sha256]
            assert json.loads(record.read_text())["config"] == config, path
    other = tmp_path / "other.safetensors"
    save_file(tensors, other, {"config": '{"experiment": "sr"}'})
    with pytest.raises(CheckpointError, match="other.safetensors is of version 0.2 and not of"):
        cnf.load(other)


def test_a_save_that_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path, other = tmp_path / "mine.safetensors", tmp_path / "other"
    flow = cnf.glow(1, levels=1, steps=1, width=4)
    flow.save(path)
    before = path.read_bytes()
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode  # as readable as any file

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        randomise(flow).save(path)
    assert path.read_bytes() == before


def test_weights_that_two_layers_share_are_saved(tmp_path):
    def make():
        norm = cnf.ActNorm(2)
        return cnf.ConditionalFlow([norm, norm, cnf.GaussianPrior(2)], cnf.NoFeatures())

    flow = randomise(make())
    flow.save(tmp_path / "mine.safetensors")
    back = cnf.load(tmp_path / "mine.safetensors", into=make())
    assert torch.equal(back.layers[1].bias, flow.layers[0].bias)


def test_one_map_and_plain_networks_serve_where_there_is_no_squeeze():
    """A feature network that returns a tensor, inner networks of two arguments."""

    class Inner(torch.nn.Module):
        def __init__(self, given, out):
            super().__init__()
            self.conv = torch.nn.Conv2d(given, out, 3, padding=1)

        def forward(self, y_a, h):
            return self.conv(h if y_a is None else torch.cat([y_a, h], 1))

    layers = [
        cnf.AffineCoupling(4, Inner(2 + 5, 4)),
        cnf.Split(4, Inner(2 + 5, 4)),
        cnf.GaussianPrior(2, Inner(5, 4)),
    ]
    flow = cnf.ConditionalFlow(layers, torch.nn.Conv2d(1, 5, 1)).double()
    y, x = torch.rand(3, 4, 4, 6).double(), torch.rand(3, 1, 4, 6)
    latents, log_p = flow.encode(y, flow.condition(x))
    torch.testing.assert_close(flow.decode(latents, flow.condition(x)), y)
    assert log_p.shape == (3,) and flow.sample(x, 2).shape == (2, *y.shape)
    baseline = cnf.Bernoulli(Pyramid())
    assert baseline.sample(x, 2).shape == (2, 3, 1, 4, 6)


# -- released models -------------------------------------------------------------------------------


def test_the_hashes_of_released_weights_are_those_of_the_repository():
    assert set(releases.RELEASES.values()) <= set(releases.SHA256)
    for run, sha256 in releases.SHA256.items():
        content = (RESULTS / run / WEIGHTS).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256, run


def test_the_terms_of_the_training_data_are_said_once(caplog, monkeypatch, tmp_path):
    monkeypatch.setattr(releases, "_said", set())
    monkeypatch.setattr(releases.LOG, "level", 0)
    for name in ("vessels-baseline", "vessels-baseline", "sr"):
        cnf.load(name)
    drive, imagenet = (record.getMessage() for record in caplog.records)
    assert drive.startswith("vessels-baseline-cpu-s0: Trained on DRIVE, which is free for research")
    assert "ImageNet, whose terms allow non-commercial research" in imagenet
    config = {"config": json.dumps(to_dict(load_config("sr-flow-smoke")))}
    build(load_config("sr-flow-smoke")).save(tmp_path / "own.safetensors", config)
    assert releases.terms(cnf.load(tmp_path / "own.safetensors")) == []
    assert len(caplog.records) == 2


def test_away_from_the_repository_released_weights_are_downloaded(tmp_path, monkeypatch):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        return str(RESULTS / "sr-flow-cpu-s0" / WEIGHTS)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(releases, "IS_CHECKOUT", False)
    monkeypatch.setattr(releases, "repository", lambda: "")
    package = "install conditional-normalizing-flows-weights, or "
    for name, remedy in (("sr", f"{package}clone it"), ("sr-flow-ar-photos-s0", "clone it")):
        with pytest.raises(CheckpointError, match=f"not know the address of .*: {remedy}") as found:
            releases.find_weights(name, tmp_path / "nowhere")
        assert "\n" not in str(found.value)
    monkeypatch.setattr(releases, "repository", lambda: "https://example.org/me/it")
    assert releases.find_weights("sr", tmp_path / "nowhere") == RESULTS / "sr-flow-cpu-s0" / WEIGHTS
    url = f"https://example.org/me/it/raw/v{cnf.__version__}/results/sr-flow-cpu-s0/{WEIGHTS}"
    assert asked == [(url, f"sha256:{releases.SHA256['sr-flow-cpu-s0']}")]


def test_runs_of_experiments_are_found_away_from_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "experiments/controls/runs/counts.yml"
    assert load_config(name).preset == name


def test_importing_the_package_imports_nothing_else():
    code = "import sys, cnf; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_help_comes_without_torch_and_where_no_box_can_be_printed():
    code = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))\n"
    code += "from cnf.__main__ import main; main(['--help'])"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "subcommands" in done.stdout and done.stdout.endswith("False\n")


def test_what_windows_lacks_is_imported_only_where_it_is_used():
    for path in Path(cnf.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {"fcntl", "grp", "pty", "pwd", "resource", "termios"} & {*names}, path
