"""What someone does with a flow who never saw this repository: copies it, wraps it, misspells an
option, brings a feature network of their own. Nothing of it may go wrong in silence."""

import copy

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import cnf
import cnf.fused
from cnf import noise
from cnf.errors import CheckpointError, CnfError, DataError
from cnf.nets import set_precision
from cnf.replication import plugs


def small(**options):
    return cnf.glow(channels=1, context=2, **{"levels": 1, "steps": 2, "width": 4} | options)


def banded():
    """A flow of subbands, whose matrices depend on the size of y."""
    layers = [cnf.Subbands(), cnf.GaussianPrior(4, cnf.CouplingNet(0, 2, 8, 4))]
    return cnf.ConditionalFlow(layers, cnf.RawFeatures(2, 1))


@pytest.fixture
def y():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def x():
    return torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def test_a_copy_of_a_started_flow_can_be_started_again(y, x):
    fresh = small()
    first = copy.deepcopy(fresh)
    first.log_prob(5 * y + 3, x)
    assert first.layers[1].is_initialised
    again = copy.deepcopy(first)
    again.load_state_dict(fresh.state_dict())
    again.log_prob(5 * y + 3, x)
    assert torch.equal(again.layers[1].bias, first.layers[1].bias)


def test_second_derivatives_are_refused_where_nothing_was_kept(y, x, monkeypatch):
    monkeypatch.setattr(cnf.fused, "MIN_REBUILD_BYTES", -1)
    flow = small()
    flow.log_prob(y, x)
    flow.recompute = True
    y.requires_grad_()
    (slope,) = torch.autograd.grad(flow.log_prob(y, x).sum(), y, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable|not have been used"):
        torch.autograd.grad(slope.square().sum(), flow.layers[1].bias)


def test_training_goes_on_after_samples_in_inference_mode(y, x):
    flow = banded()
    with torch.inference_mode():
        flow.eval().sample(x[:, :, :6, :6])
    flow.train().log_prob(y[..., :6, :6], x[..., :6, :6]).sum().backward()


def test_an_export_leaves_nothing_behind_and_still_refuses_bad_values():
    class Scored(nn.Module):
        def __init__(self):
            super().__init__()
            self.flow = banded().eval()

        def forward(self, y, x):
            return self.flow.log_prob(y, x)

    scored, given = Scored(), (torch.rand(4, 1, 20, 20), torch.rand(4, 2, 20, 20))
    exported = torch.export.export(scored, given).module()
    assert type(scored(*given)) is torch.Tensor
    torch.testing.assert_close(exported(*given), scored(*given))
    for wrong in ((given[0] / 0, given[1]), (given[0], given[1] / 0)):
        with pytest.raises(RuntimeError, match="assertion failed"):
            exported(*wrong)


def test_processes_do_not_start_norms_each_in_its_own_way(y, x, tmp_path):
    flow = small()
    where = f"file://{tmp_path}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=where, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="norms have not started: call log_prob"):
            flow(y, x)
        flow.log_prob(y, x)
        assert flow(y, x)[0].isfinite()
    finally:
        torch.distributed.destroy_process_group()


def test_autocast_around_a_model_is_refused_with_what_to_do_instead(y, x):
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(DataError, match="set_precision"):
        small().log_prob(y, x)


class OwnShift(cnf.layers.base.Bijection):
    """z = y + a convolution of h, which is no `Network`."""

    channels = 3

    def __init__(self, h_channels):
        super().__init__()
        self.conv = nn.Conv2d(h_channels, 3, 1)

    def forward(self, y, h=None):
        return y + self.conv(h), torch.zeros(len(y))

    def inverse(self, z, h=None):
        return z - self.conv(h), torch.zeros(len(z))


@pytest.mark.parametrize("fast", [True, False])
def test_a_layer_with_a_convolution_of_its_own_works_beside_networks_in_bf16(fast):
    features = cnf.features.UNetFeatures(levels=0, channels=5, scales=2)
    flow = cnf.ConditionalFlow([OwnShift(features.channels[0]), cnf.GaussianPrior(3)], features)
    flow.eval()
    flow.fast = fast
    set_precision(flow, "bf16")
    y, x = torch.rand(2, 3, 8, 8), 255 * torch.rand(2, 3, 8, 8)
    assert flow.condition(x)[0].dtype == torch.bfloat16
    latents, term = flow.encode(y, flow.condition(x))
    assert term.dtype == torch.float32
    assert flow.sample(x, 2).isfinite().all()
    torch.testing.assert_close(flow.decode(latents, flow.condition(x)), y)


def test_a_target_that_is_not_finite_starts_nothing(y, x):
    flow, bad = small(), y.clone()
    bad[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="y holds nan"):
        flow.log_prob(bad, x)
    assert flow.log_prob(y, x).isfinite().all()


def test_weights_of_a_flow_with_other_options_are_refused(y, x, tmp_path):
    def own(**options):
        features = cnf.RawFeatures(2, 1)
        return cnf.glow(channels=1, features=features, levels=1, steps=2, width=4, **options)

    own(scale="softplus").save(tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="scale = softplus, not bounded"):
        cnf.load(tmp_path / "a.safetensors", into=own())
    cnf.load(tmp_path / "a.safetensors", into=own(scale="softplus"))


def test_channels_may_be_any_integer(tmp_path):
    cnf.glow(channels=np.int64(1), context=2).save(tmp_path / "a.safetensors")
    assert cnf.load(tmp_path / "a.safetensors").arguments["channels"] == 1


def test_rows_of_noise_are_not_handed_out_twice(x):
    rows = noise.Rows(torch.Generator().manual_seed(0), total=2, start=1)
    with pytest.raises(ValueError, match="noise of 2 rows"):
        small().eval().sample(x[1:2], n=2, generator=rows)


def test_keyed_noise_is_drawn_on_the_cpu_whatever_the_default_device():
    with torch.device("meta"):
        drawn = noise.normal((1, 2), noise.keyed(0, [0]), torch.zeros(1, device="cpu"))
    assert torch.equal(drawn, noise.normal((1, 2), noise.keyed(0, [0]), torch.zeros(1)))


class Half(nn.Module):
    """A feature network that returns another type of float."""

    channels = (2, 2)

    def forward(self, x):
        h = x.bfloat16()
        return h, nn.functional.avg_pool2d(h, 2)


@pytest.mark.parametrize("dequantization", ["uniform", "variational", "binary"])
def test_one_x_for_many_y(dequantization):
    torch.manual_seed(0)
    options = {"levels": 1, "steps": 1, "width": 4, "dequantization": dequantization}
    flow = cnf.glow(1, 2, bins=2, **options).eval()
    y, x = torch.randint(0, 2, (3, 1, 4, 4)).float(), torch.rand(1, 2, 4, 4)
    each = flow.log_prob(y, x.expand(3, -1, -1, -1), generator=noise.keyed(0, range(3)))
    torch.testing.assert_close(flow.log_prob(y, x, generator=noise.keyed(0, range(3))), each)


def test_features_of_your_own_may_be_of_any_type_of_float(y, x):
    flow = cnf.glow(channels=1, features=Half(), levels=1, steps=1, width=4)
    assert flow.log_prob(y, x).dtype == torch.float32
    for yardstick in (
        plugs.plug("exact_yardstick").Autoregressive(Half(), 4, 1),
        cnf.factorised.Bernoulli(Half()),
    ):
        assert yardstick.log_prob((y > 0).float(), x).dtype == torch.float32


@pytest.mark.parametrize("make", [small, lambda: cnf.factorised.Bernoulli(cnf.RawFeatures(2, 0))])
def test_as_many_y_as_x_or_one_x(make, y, x):
    model = make()
    y = (y > 0).float()
    assert model.log_prob(y, x[:1]).shape == (len(y),)
    for wrong in (y[:1], y[:-1]):
        for call in (model.log_prob, model.loss):
            with pytest.raises(DataError, match=f"{len(wrong)} y for {len(x)} x: give one x"):
                call(wrong, x)


class Concatenated(cnf.CouplingNet):
    """A network that looks like ours and is not."""

    def __init__(self):
        super().__init__(2, 2, 4, 8)
        self.one = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, y_a, h):
        return self.one(torch.cat([y_a, h], 1))


def test_networks_of_your_own_and_hooks_are_not_run_over(y, x):
    def flow(net):
        steps = [cnf.ActNorm(4), cnf.Conv1x1(4), cnf.AffineCoupling(4, net)]
        layers = [cnf.Squeeze(), *steps, cnf.GaussianPrior(4)]
        return cnf.ConditionalFlow(layers, cnf.RawFeatures(2, 1)).eval()

    assert flow(Concatenated()).sample(x, n=3).shape == (3, *y.shape)
    seen, watched = [], flow(cnf.CouplingNet(2, 2, 4, 8))
    for layer in watched.layers:
        layer.register_forward_hook(lambda layer, *_: seen.append(type(layer).__name__))
    y.requires_grad_()
    back = flow(cnf.CouplingNet(2, 2, 4, 8))
    back.layers[1].register_full_backward_hook(lambda *_: seen.append("backward"))
    back.log_prob(y, x).sum().backward()
    assert seen.pop() == "backward" and not seen
    watched.log_prob(y, x)
    assert seen == ["Squeeze", "ActNorm", "Conv1x1", "AffineCoupling", "GaussianPrior"]


def test_files_hold_what_was_saved_or_nothing_is_written(tmp_path):
    plain = cnf.ConditionalFlow([cnf.Squeeze(), cnf.GaussianPrior(4)], cnf.RawFeatures(2, 1))
    plain.save(tmp_path / "none.safetensors")
    cnf.load(tmp_path / "none.safetensors", into=plain)
    wide = small()
    wide.layers[1].bias.data.fill_(1e6)
    with pytest.raises(CnfError, match="layers.1.bias holds values too large for float16"):
        wide.save(tmp_path / "wide.safetensors", half=True)
    assert not (tmp_path / "wide.safetensors").exists()


def test_damaged_arguments_of_a_file_are_named(tmp_path):
    path = tmp_path / "cut.safetensors"
    flow = small()
    tensors = {name: t.contiguous() for name, t in flow.state_dict().items()}
    said = {"kind": "glow", "arguments": '{"levels": '}
    safetensors.torch.save_file(tensors, path, metadata=said)
    for into in (None, flow):
        with pytest.raises(CheckpointError, match="cut.safetensors describes no model of this"):
            cnf.load(path, into=into)
    newer = cnf.glow(1, 2, levels=1, steps=1, width=4)
    for config in ('{"task": "sr", "future": 1}', '{"task": ', "[1]"):
        newer.save(path, metadata={"config": config})
        with pytest.raises(CheckpointError, match="cut.safetensors .* use the version that made"):
            cnf.load(path)


def test_a_network_that_is_trained_keeps_its_biases():
    net = cnf.nets.CausalNet(1, 2, 4, 1, 3 * 2)
    net.last.bias.data.fill_(7.0)
    assert (cnf.AutoregressivePrior(net).net.last.bias == 7).all()
