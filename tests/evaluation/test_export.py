"""Exported graphs compute what the model computes, at every size, under onnxruntime."""

import copy
import json

import pytest
import torch
import yaml

from cnf.errors import ConfigError
from cnf.layers import Subbands
from cnf.noise import Given
from cnf.replication import cli, places, releases
from cnf.replication.answers import export
from cnf.replication.config import build, load_config
from tests.laws.cases import randomise

onnxruntime = pytest.importorskip("onnxruntime")

SMALL = ["model.steps=1", "model.width=8", "model.features.channels=8"]
# Rounding in float32: v passes back through a handful of couplings, and a sum of some hundred terms
# in another order differs in the seventh digit of each.
V, BITS = 2e-5, 1e-5


def model_of(preset, *changes):
    torch.manual_seed(0)
    model = build(load_config(preset, list(changes)))
    return randomise(model, scale=0.1).eval()


def test_a_small_exponential_keeps_its_digits():
    t = -torch.logspace(-30, 2, 200)
    # relative, in units of float32's last digit: one for tanh, one for the quotient, one to spare
    torch.testing.assert_close(
        export.expm1_in_graph(t), torch.expm1(t), rtol=3 * torch.finfo(t.dtype).eps, atol=0
    )


def test_a_log_sigmoid_is_right_in_the_tails():
    t = torch.linspace(-90, 90, 1001)
    # the last digit of 1 + e^-|t|, and that of t itself
    eps = torch.finfo(t.dtype).eps
    found, right = export.logsigmoid_in_graph(t), torch.nn.functional.logsigmoid(t)
    torch.testing.assert_close(found, right, rtol=2 * eps, atol=eps)


def test_graphs_hold_no_operation_that_onnx_would_translate_with_fewer_digits():
    graph = export.graphs(model_of("sr-baseline-smoke"))["log-prob"]
    traced = torch.export.export(graph, tuple(export.example(graph, 2, 4, 6).values()))
    targets = [
        {node.target for node in program.graph.nodes} & set(export.DECOMPOSED)
        for program in (traced, traced.run_decompositions(export.DECOMPOSED))
    ]
    assert targets == [set(export.DECOMPOSED), set()]


class Doubled(torch.nn.Module):
    """Subbands of a y that is twice as large as x, as in super-resolution with one level."""

    def forward(self, x, y):
        return Subbands()(y)[0] + x.sum()


def test_subbands_are_traced_at_any_size():
    height, width = (torch.export.Dim(name) for name in ("h", "w"))
    sizes = {2: height, 3: width}, {2: 2 * height, 3: 2 * width}
    pair = torch.zeros(2, 1, 4, 6), torch.randn(2, 3, 8, 12, generator=torch.manual_seed(0))
    traced = torch.export.export(Doubled(), pair, dynamic_shapes=sizes, strict=False).module()
    other = torch.zeros(2, 1, 8, 5), torch.randn(2, 3, 16, 10, generator=torch.manual_seed(1))
    assert torch.equal(traced(*other), Doubled()(*other))


@pytest.mark.parametrize(
    "changes",
    [
        ("sr-flow-smoke", "model.dequantization=variational"),
        ("sr-flow-smoke", "model.kind=glow", "model.levels=0"),
        ("vessels-flow-smoke",),
    ],
    ids=str,
)
def test_folded_model_is_the_same_map(changes):
    model = model_of(*changes).double()
    copied = export.fold_steps(model)
    assert not any(isinstance(m, export.Conv1x1) for m in copied.modules())
    graph = export.LogProb(model)
    inputs = [t.double() for t in export.example(graph, 2, 4, 6).values()]
    with torch.no_grad():
        # float64 leaves 1e-12 of thousands of nats
        torch.testing.assert_close(
            graph(*inputs), export.LogProb(copied)(*inputs), rtol=1e-10, atol=0
        )
        x, eps, t = (i.double() for i in export.example(export.Sample(model), 2, 4, 6).values())
        v, other = (export.Sample(m)(x, eps, t)[1] for m in (model, copied))
    torch.testing.assert_close(v, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("preset", ["sr-flow-smoke", "vessels-flow-smoke"])
def test_every_prior_gets_the_numbers_of_eps_that_lie_where_its_latent_lies(preset):
    model = model_of(preset)
    graph = export.Sample(model)
    inputs = export.example(graph, 2, 4, 6)
    y = export.example(export.LogProb(model), 2, 4, 6)["y"]
    latents, _ = model.encode(y, model.condition(inputs["x"]))
    parts = list(graph.parts(inputs["eps"]))
    assert [t.shape for t in reversed(parts)] == [t.shape for t in latents]
    found = torch.cat([t.flatten() for t in parts]).sort()[0]
    assert torch.equal(found, inputs["eps"].flatten().sort()[0])  # each number once


def test_temperature_zero_takes_no_noise():
    model = model_of("sr-flow-smoke")
    inputs = export.example(export.Sample(model), 1, 4, 4)
    y, _ = export.Sample(model)(inputs["x"], inputs["eps"], torch.tensor(0.0))
    assert torch.equal(y, model.sample(inputs["x"], 1, 0.0)[0])


GRAPHS = {
    "sr-flow": ("sr-flow-smoke", *SMALL),
    "vessels-flow": ("vessels-flow-smoke", *SMALL[:2]),
    "sr-baseline": ("sr-baseline-smoke", SMALL[2]),
    "vessels-weighted": ("vessels-baseline-smoke", "model.kind=weighted", "model.beta=0.8"),
    "vessels-autoregressive": ("experiments/exact_yardstick/runs/smoke.yml",),
}


LARGE = pytest.mark.slow("graphs whose operations the other models have, which take long to make")
QUICK = ("vessels-flow", "sr-baseline")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in QUICK else LARGE) for name in GRAPHS],
)
def exported(request, tmp_path_factory):
    """A model, and the files of its graphs."""
    folder = tmp_path_factory.mktemp("export")
    model = model_of(*GRAPHS[request.param])
    paths = {}
    for name, graph in export.graphs(model).items():
        paths[name] = folder / f"{name}.onnx"
        export.write(graph, paths[name], {"graph": name, "model": request.param})
    return model, paths


@pytest.mark.parametrize("size", [(1, 2, 2), (3, 5, 4), (2, 16, 9)], ids=str)
def test_graphs_equal_the_model_at_every_size(exported, size):
    model, paths = exported
    for name, path in paths.items():
        session = onnxruntime.InferenceSession(path)
        own = export.Sample(model) if name == "sample" else export.LogProb(model)
        inputs = export.example(own, *size)
        found = session.run(None, {k: t.numpy() for k, t in inputs.items()})
        with torch.no_grad():
            if name == "sample":
                h, noise = model.condition(inputs["x"]), Given(own.parts(inputs["eps"]))
                v = model.sample_given(h, 1, float(inputs["temperature"]), noise)[0]
                torch.testing.assert_close(torch.from_numpy(found[1]), v, rtol=0, atol=V)
                off = (torch.from_numpy(found[0]) != model.labels(v)).float().mean()
                assert off < 1e-2  # where v lies on the border of a cell, to rounding
            else:
                given = Given(iter([inputs["noise"]])) if "noise" in inputs else None
                nats = model.log_prob(inputs["y"], inputs["x"], given)
                allowed = BITS * inputs["y"][0].numel()
                torch.testing.assert_close(torch.from_numpy(found[0]), nats, rtol=0, atol=allowed)


@pytest.mark.parametrize("name", ["sample", "log-prob"])
def test_graphs_of_the_page_are_those_of_the_released_model(name):
    path = places.REPOSITORY / f"book/_static/onnx/sr-{name}.onnx"
    export.check(export.graphs(releases.load("sr-flow-cpu-s0"))[name], path)
    about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert about["weights_sha256"] == releases.SHA256["sr-flow-cpu-s0"]


def test_file_says_its_opset_and_whose_graph_it_is(exported):
    import onnx

    _, paths = exported
    for name, path in paths.items():
        file = onnx.load(path)
        assert [o.version for o in file.opset_import if o.domain == ""] == [export.OPSET]
        assert {p.key: p.value for p in file.metadata_props}["graph"] == name


def test_labels_drawn_one_after_the_other_have_no_graph_of_sampling(exported):
    model, paths = exported
    chain = type(model).__name__ == "Autoregressive"
    assert list(paths) == (["log-prob"] if chain else ["sample", "log-prob"])


def test_graph_of_another_model_is_found_out(exported):
    model, paths = exported
    other = randomise(export.fold_steps(model), seed=1, scale=0.3)
    broken = copy.deepcopy(other)
    for weight in broken.parameters():
        torch.nn.init.constant_(weight, torch.nan)
    for wrong in (other, broken):
        with pytest.raises(ConfigError, match="differs from PyTorch's by"):
            export.check(export.LogProb(wrong), paths["log-prob"])


def test_missing_package_and_two_places_are_one_line(monkeypatch, capsys):
    assert cli.main(["export", "sr", "--out", "a.onnx", "--hub", "b"]) == 2
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    assert cli.main(["export", "sr"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and 'pip install "conditional-normalizing-flows[export]"' in told[1]


@pytest.mark.parametrize("name", ["", "model.pt", "file/model.onnx"])
def test_a_place_that_takes_no_graphs_is_one_line(tmp_path, capsys, name):
    (tmp_path / "file").write_text("")
    assert cli.main(["export", "vessels-baseline", "--out", str(tmp_path / name)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("error: ") and str((tmp_path / name).parent) in told


def test_a_hub_folder_replaces_nothing_of_others(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("weights.safetensors", "config.json"):
        (run / name).write_bytes(b"")
    with pytest.raises(ConfigError, match="is the run itself"):
        export.hub(str(run), run)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(ConfigError, match="holds run: give a folder of its own"):
        export.hub(str(run), tmp_path)


def test_hub_folder_is_whole(monkeypatch, tmp_path):
    def written(run, out):
        out.parent.mkdir(parents=True)
        (out.parent / "model-sample.onnx").touch()
        return [str(out)]

    monkeypatch.setattr(export, "export", written)
    export.hub("sr-baseline-cpu-s0", tmp_path / "hub")
    assert {p.name for p in (tmp_path / "hub").iterdir()} == {
        *("README.md", "config.json", "weights.safetensors", "model-sample.onnx")
    }
    _, head, card = (tmp_path / "hub/README.md").read_text("utf-8").split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["license"] == "other" and said["datasets"] == ["tinyimagenet32"]
    assert said["metrics"] == ["bits/dim", "PSNR", "SSIM"] and "onnx" in said["tags"]
    assert card.strip().startswith("# sr-baseline-cpu-s0")
    assert "`model-sample.onnx`" in card and "`model-log-prob.onnx`" not in card
    assert json.loads((tmp_path / "hub/config.json").read_text())["config"]["task"] == "sr"
