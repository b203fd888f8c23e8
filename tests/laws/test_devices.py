"""Without a GPU: no training step and no sample mixes devices, or makes the host wait for one.

Everything runs on the `meta` device, where tensors have shapes and no values: an operation that
asks for a value, or that joins tensors of two devices, is refused.
"""

import contextlib

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnf.flow import ConditionalModel
from cnf.layers import ActNorm
from cnf.layers.base import checks_values
from cnf.nets import Network
from cnf.replication.config import PRESETS, build, load_config

# operations that make the host wait until the device has computed a value, or the number of values
WAITING = "_local_scalar_dense nonzero masked_select unique _unique2 equal is_nonzero "
WAITING += "_linalg_check_errors _assert_async allclose"
NAMES = sorted(path.stem for path in PRESETS.glob("*.yml"))


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, and those that make the host wait."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        if name in WAITING.split():
            raise AssertionError(f"{name} makes the host wait")
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        # a number may stay on the CPU
        devices = {t.device.type for t in given if t.dim() or t.device.type != "cpu"}
        result = function(*args, **kwargs)
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        devices |= {t.device.type for t in made if t.dim() and given}
        if len(devices) > 1:
            raise AssertionError(f"{name} joins {sorted(devices)}")
        return result


@pytest.fixture(autouse=True)
def without_autocast(monkeypatch):
    """PyTorch has none for `meta`."""
    monkeypatch.setattr(Network, "autocast", lambda self, device: contextlib.nullcontext())


def built(name: str) -> tuple[ConditionalModel, Tensor, Tensor]:
    fewer = ["model.steps=2"] if "-flow-" in name else []  # of the same
    fewer += ["model.features.blocks=1"] if name.startswith("sr") else []
    config = load_config(name, fewer)
    with torch.device("meta"):
        model = build(config)
    for part in model.modules():
        if isinstance(part, ActNorm):  # it has read that it is started, as after the first step
            part._read = part.initialised, part.initialised._version, True
    if config.training.recompute:
        model.recompute = True
    side = 16 * model.multiple // min(model.multiple, 16)
    channels = 3 if config.task == "sr" else 1
    y = torch.empty(2, channels, side, side, device="meta")
    x = torch.empty(2, 3, side // model.factor, side // model.factor, device="meta")
    return model, y, x


def step(model: ConditionalModel, y: Tensor, x: Tensor) -> None:
    loss, _ = model.train().loss(y, x)
    loss.backward()
    assert loss.device.type == "meta"
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if "control" not in n])  # these are fitted
def test_a_training_step_of_every_preset_stays_on_its_device(name):
    model, y, x = built(name)
    with OneDevice():
        step(model, y, x)


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_every_preset_are_drawn_on_their_device(name, monkeypatch):
    """But for the one look at x, which a user may have made of anything."""
    model, y, x = built(name)
    monkeypatch.setattr(ConditionalModel, "check_input", lambda self, x: None)
    with OneDevice():
        drawn = model.eval().sample(x, 2, 0.8)
    assert drawn.shape == (2, *y.shape)


def test_a_wait_and_a_mix_are_seen():
    t = torch.empty(2, device="meta")
    with OneDevice():
        with pytest.raises(AssertionError, match="nonzero makes the host wait"):
            t.nonzero()
        with pytest.raises(AssertionError, match="joins .'cpu', 'meta'."):
            t.add_(torch.empty(2).to("meta"))


def test_checks_look_at_values_but_in_a_training_step_on_a_device():
    norm, there, here = ActNorm(2), torch.empty(2, device="meta"), torch.empty(2)
    assert [checks_values(norm.train(), t) for t in (there, here)] == [False, True]
    assert checks_values(norm.eval(), there)


def test_only_a_changed_flag_is_read_again():
    """`initialised` is a buffer; training reads it only if it was written or moved."""
    norm = ActNorm(2).train()
    assert not norm.is_initialised
    norm(torch.randn(3, 2, 4, 4))
    assert norm.is_initialised
    with OneDevice():
        norm(torch.randn(3, 2, 4, 4))
    norm.initialised.fill_(False)
    assert not norm.is_initialised
    norm.load_state_dict({**norm.state_dict(), "initialised": torch.tensor(True)})
    assert norm.is_initialised
    fresh = ActNorm(2)
    assert not fresh.is_initialised
    fresh.initialised = torch.tensor(True)  # another buffer, as after a move
    assert fresh.is_initialised
