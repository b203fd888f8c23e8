"""The referee, a second program in NumPy, agrees with the package."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cnf import noise
from cnf.layers import UniformDequantization
from cnf.replication import releases
from cnf.replication.config import build, load_config, model_name
from cnf.replication.data import load
from cnf.replication.results.rows import RESULTS
from cnf.resample import low_resolution

PATH = Path(__file__).with_name("referee.py")
spec = importlib.util.spec_from_file_location("referee", PATH)
referee = importlib.util.module_from_spec(spec)
spec.loader.exec_module(referee)

# Nats per dimension, both sides in float64: epsilon, 2e-16, times the 4,000 terms of the longest
# sum is 1e-12; ten times that for networks that stretch what they are given.
TOLERANCE = 1e-11
COMMITTED = [
    p
    for p in sorted(RESULTS.glob("*/weights.safetensors"))
    if model_name(releases.load(p).config) in ("flow", "autoregressive")
]


RRDB = "model.features={kind: rrdb, channels: 6, blocks: 2, growth: 3}"
VGG = "model.features={kind: vgg, channels: 6, scales: 3}"
CAUSAL = "model.kind=subband-autoregressive-flow"
ONE = "model.levels=1"


def pictures(model):
    """Two small pictures of embedded data: y, x."""
    multiple = model.multiple
    if model.factor == 2:
        images = load("embedded-sr", "test")
        y = torch.stack([images[i].y for i in (40, 90)]).float()
        x = torch.stack(
            [low_resolution(one, rounded) for one, rounded in zip(y, (False, True), strict=True)]
        )
        return y, x
    rng = np.random.default_rng(0)
    size, channels = 24 - 24 % multiple, getattr(model, "channels", None) or 1
    y = torch.from_numpy(rng.random((2, channels, size, size + multiple)) < 0.3).float()
    return y, torch.from_numpy(rng.integers(0, 256, (2, 3, *y.shape[-2:]))).float()


def drawn(model, y, generator):
    """The noise that the dequantization draws from this generator."""
    if model.exact:
        return y
    layer = model.layers[0]
    if isinstance(layer, UniformDequantization):
        return noise.uniform(y.shape, generator, y)
    return (noise.logistic if layer.noise == "logistic" else noise.normal)(y.shape, generator, y)


def assert_agree(path):
    model = releases.load(path).double()
    y, x = (t.double() for t in pictures(model))
    with torch.no_grad():
        ours = model.log_prob(y, x, noise.keyed(0, range(2))).numpy()
    theirs = referee.log_prob(path, y, x, drawn(model, y, noise.keyed(0, range(2))))
    np.testing.assert_allclose(ours / y[0].numel(), theirs / y[0].numel(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("task", "overrides"),
    [
        ("sr", []),
        ("sr", ["model.kind=glow", "model.levels=3", "model.flip=true"]),
        ("sr", ["model.kind=glow", "model.prior_width=8", "model.h_kernel=3"]),
        ("sr", ["model.features.fractions=true", "model.features.clip=0.3", "model.clip=0.5"]),
        ("sr", [RRDB]),
        ("sr", [RRDB, "model.kind=glow", "model.prior_width=8"]),
        ("sr", ["model.features.activation=silu", "model.prior_width=8"]),
        ("sr", [CAUSAL, ONE, "model.ar_blocks=0", "model.mixture=3"]),
        ("sr", [CAUSAL, ONE, "model.ar_clip=0.5"]),
        ("vessels", []),
        ("vessels", ["model.noise=gaussian", "model.features.scales=3", "model.levels=2"]),
        ("vessels", ["model.features.scales=3", "model.levels=2", "model.prior_width=8"]),
        ("vessels", ["model.norm=instance", "model.clip=0.5"]),
        ("vessels", ["model.kind=autoregressive-flow", "model.ar_width=8", "model.mixture=2"]),
        ("vessels", ["model.kind=likelihood_alone/with_pixel_loss"]),
        ("vessels", ["model.scale=softplus"]),
        ("vessels", ["model.levels=0", "model.steps=3", "model.clip=0.5"]),
        ("vessels", ["model.levels=0", "model.scale=additive", "model.norm=instance"]),
        ("vessels", [VGG, "model.scale=additive"]),
        ("vessels", [VGG, "model.levels=2"]),
    ],
    ids=lambda v: v if isinstance(v, str) else ",".join(v) or "as it is",
)
def test_referee_agrees_on_randomised_weights(tmp_path, task, overrides):
    config = load_config(f"{task}-flow-smoke", overrides)
    torch.manual_seed(1)
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():  # batch norm with statistics of its own
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(0.3 * torch.rand_like(buffer))
    path = tmp_path / "weights.safetensors"
    model.save(path)
    assert_agree(path)


def test_referee_agrees_on_the_autoregressive_yardstick(tmp_path):
    torch.manual_seed(1)
    model = build(load_config("experiments/exact_yardstick/runs/smoke.yml"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save(tmp_path / "weights.safetensors")
    assert_agree(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.parent.name)
def test_referee_agrees_on_committed_weights(path):
    assert_agree(path)


def test_referee_knows_neither_torch_nor_the_package():
    tree = ast.parse(PATH.read_text())
    names = {
        a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
    }
    names |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names == {"json", "sys", "pathlib", "numpy", "safetensors"}


def test_referee_runs_as_a_script(tmp_path):
    config = load_config("sr-flow-smoke")
    model = build(config)
    model.save(tmp_path / "w.safetensors")
    y, x = pictures(model)
    u = np.full(y.shape, 0.25)
    np.savez(tmp_path / "p.npz", y=y.numpy(), x=x.numpy(), noise=u)
    command = [sys.executable, str(PATH), str(tmp_path / "w.safetensors"), str(tmp_path / "p.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = referee.log_prob(tmp_path / "w.safetensors", y, x, u)
    assert [float(line) for line in done.stdout.split()] == pytest.approx(
        expected.tolist(), abs=1e-5
    )


def test_referee_refuses_what_it_does_not_know(tmp_path):
    config = load_config("sr-baseline-smoke")
    build(config).save(tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match="the referee knows kind in .'flow', 'autoregressive'., not 'logistic'"
    ):
        referee.read(tmp_path / "w.safetensors")
