"""The referee, a second program in NumPy, agrees with the package."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cnf import build, noise
from cnf.config import load_config
from cnf.layers import UniformDequantization
from cnf.replication.data import load
from cnf.replication.results import RESULTS
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
    if build.load(p).config.model.kind in ("flow", "autoregressive")
]


RRDB = "model.features={kind: rrdb, channels: 6, blocks: 2, growth: 3}"


def pictures(config, multiple):
    """Two small pictures of embedded data: y, x."""
    if config.experiment == "sr":
        images = load("embedded-sr", "test")
        y = torch.stack([images[i].y for i in (40, 90)]).float()
        x = torch.stack(
            [low_resolution(one, rounded) for one, rounded in zip(y, (False, True), strict=True)]
        )
        return y, x
    rng = np.random.default_rng(0)
    size = 24 - 24 % multiple
    y = torch.from_numpy(rng.random((2, 1, size, size + multiple)) < 0.3).float()
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
    model = build.load(path).double()
    y, x = (t.double() for t in pictures(model.config, model.multiple))
    with torch.no_grad():
        ours = model.log_prob(y, x, noise.keyed(0, range(2))).numpy()
    theirs = referee.log_prob(path, y, x, drawn(model, y, noise.keyed(0, range(2))))
    np.testing.assert_allclose(ours / y[0].numel(), theirs / y[0].numel(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        ("sr", []),
        ("sr", ["model.subbands=false", "model.levels=3", "model.flip=true"]),
        ("sr", ["model.residual=null", "model.prior_width=8", "model.h_kernel=3"]),
        ("sr", ["model.features.fractions=true", "model.features.clip=0.3", "model.clip=0.5"]),
        ("sr", ["model.low_steps=2", "model.low_width=8"]),
        ("sr", [RRDB]),
        ("sr", [RRDB, "model.residual=null", "model.subbands=false", "model.prior_width=8"]),
        ("vessels", []),
        ("vessels", ["model.noise=gaussian", "model.features.scales=3", "model.levels=2"]),
        ("vessels", ["model.features.scales=3", "model.levels=2", "model.prior_width=8"]),
        ("vessels", ["model.q_steps=2", "model.norm=instance", "model.clip=0.5"]),
        ("sr", ["model.features.activation=silu", "model.activation=silu", "model.prior_width=8"]),
        ("sr", ["model.ar_width=8", "model.ar_blocks=0", "model.mixture=3"]),
        ("vessels", ["model.ar_width=8", "model.mixture=2", "model.activation=silu"]),
        ("vessels", ["model.ar_width=8", "model.ar_clip=0.5"]),
        ("vessels", ["model.scale=softplus", "model.prior_scale=softplus"]),
        ("vessels", ["model.levels=0", "model.steps=3", "model.clip=0.5"]),
        ("vessels", ["model.levels=0", "model.scale=additive", "model.norm=instance"]),
        ("vessels", ["model.features.kind=vgg", "model.scale=additive", "model.q_steps=1"]),
        ("vessels", ["model.features={kind: vgg, channels: 6, scales: 3}", "model.levels=2"]),
    ],
    ids=lambda v: v if isinstance(v, str) else ",".join(v) or "as it is",
)
def test_referee_agrees_on_randomised_weights(tmp_path, experiment, overrides):
    config = load_config(experiment, "flow", "smoke", overrides)
    torch.manual_seed(1)
    model = build.build(config)
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
    model = build.build(load_config("vessels", "autoregressive", "smoke"))
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
    config = load_config("sr", "flow", "smoke")
    model = build.build(config)
    model.save(tmp_path / "w.safetensors")
    y, x = pictures(config, model.multiple)
    u = np.full(y.shape, 0.25)
    np.savez(tmp_path / "p.npz", y=y.numpy(), x=x.numpy(), noise=u)
    command = [sys.executable, str(PATH), str(tmp_path / "w.safetensors"), str(tmp_path / "p.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = referee.log_prob(tmp_path / "w.safetensors", y, x, u)
    assert [float(line) for line in done.stdout.split()] == pytest.approx(
        expected.tolist(), abs=1e-5
    )


def test_referee_refuses_what_it_does_not_know(tmp_path):
    config = load_config("sr", "baseline", "smoke")
    build.build(config).save(tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match="the referee knows kind in .'flow', 'autoregressive'., not 'logistic'"
    ):
        referee.read(tmp_path / "w.safetensors")
