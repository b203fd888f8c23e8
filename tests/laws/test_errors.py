"""Misuse: each error says what was wrong, names the value, and says what to do."""

import json
import math

import numpy as np
import pytest
import torch

from cnf.errors import CnfError, ConfigError, DataError
from cnf.factorised import WeightedBernoulli
from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow, ConditionalModel
from cnf.layers import (
    ActNorm,
    AffineCoupling,
    ConditionalAffine,
    GaussianPrior,
    Split,
    Squeeze,
    Squeezed,
    Subbands,
    UniformDequantization,
)
from cnf.replication import plugs
from cnf.replication.config import build, from_dict, load_config
from cnf.replication.releases import RESULTS
from tests.laws.cases import (
    ALL_BIJECTIONS,
    ALL_DEQUANTIZATIONS,
    ALL_FACTORISED,
    ALL_FLOWS,
    ALL_LAYERS,
    ALL_MODELS,
    ALL_PRIORS,
    call,
    causal,
    net,
    noise_of,
)

ClassWeighted = plugs.plug("weighted_likelihood").ClassWeighted
every_model = pytest.mark.parametrize("case", ALL_MODELS, ids=str)
needs_features = pytest.mark.parametrize(
    "case", [c for c in ALL_LAYERS if c.uses_h and c.conditional and c.size], ids=str
)


@needs_features
def test_features_of_another_resolution_are_named_with_both_sizes(case):
    layer, y, h = case.make()
    fold = 2 if case.name == "Squeezed" else 1  # its couplings see the folded sizes
    small = h[..., :-fold, :]
    (a, b), (c, d) = ((t.shape[-2] // fold, t.shape[-1] // fold) for t in (small, y))
    with pytest.raises(ValueError, match=f"h is {a}x{b} but this level works at {c}x{d}"):
        call(layer, y, small)
    if case in ALL_BIJECTIONS:
        with pytest.raises(ValueError, match="pass features"):
            layer.inverse(y, small)
    if case in ALL_PRIORS and layer(y, h)[0] is not None:
        with pytest.raises(ValueError, match="pass features"):
            layer.sample(layer(y, h)[0], small)


@pytest.mark.parametrize("size", [(3, 4), (4, 3), (1, 1)])
@pytest.mark.parametrize("layer", [Squeeze(), Subbands(), Squeezed([])], ids=str)
def test_odd_sizes_cannot_be_squeezed(layer, size):
    with pytest.raises(ValueError, match=f"cannot squeeze {size[0]}x{size[1]}.*must be even"):
        layer(torch.zeros(1, 1, *size))


@pytest.mark.parametrize("case", ALL_DEQUANTIZATIONS, ids=str)
@pytest.mark.parametrize("value", [-1, 0.5, math.nan, math.inf, "bins"])
def test_a_target_out_of_range_is_refused_by_every_dequantization(case, value):
    layer, y, h = case.make()
    value = case.bins if value == "bins" else value
    y[1].view(-1)[-1] = value
    with pytest.raises(DataError, match=rf"y holds {value:g}, .*in 0\.\.{case.bins - 1}"):
        call(layer, y, h)


@every_model
@pytest.mark.parametrize("value", [-1, 0.5, math.nan, "bins"])
def test_a_target_out_of_range_is_refused_by_every_model(case, value):
    model, y, x = case.make()
    value = case.bins if value == "bins" else value
    y[1].view(-1)[1] = value
    for score in (model.log_prob, model.bits_per_dim, model.loss):
        with pytest.raises(DataError, match=f"y holds {value:g}"):
            score(y, x)
    with pytest.raises(DataError, match=f"y holds {value:g}"):
        model.importance_log_prob(y, x, 2)


@every_model
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_input_that_is_not_finite_is_refused(case, value):
    model, y, x = case.make()
    x[1].view(-1)[1] = value
    for use in (lambda: model.log_prob(y, x), lambda: model.sample(x)):
        with pytest.raises(DataError, match=f"x holds {value}: give finite values"):
            use()


@every_model
@pytest.mark.parametrize("temperature", [-0.5, math.nan, math.inf])
def test_a_temperature_below_zero_or_not_finite_is_refused(case, temperature):
    model, _, x = case.make()
    with pytest.raises(ValueError, match=f"temperature = {temperature}: choose a finite value"):
        model.sample(x, 1, temperature)


@every_model
def test_keyed_noise_needs_one_generator_a_sample(case):
    model, y, x = case.make()
    with pytest.raises(ValueError, match="2 generators for a batch of 3"):
        model.sample(x, 1, 1.0, noise_of(y[:2]))
    if not model.exact:
        with pytest.raises(ValueError, match="2 generators for a batch of 3"):
            model.log_prob(y, x, noise_of(y[:2]))


@every_model
def test_sizes_that_do_not_fit_are_named(case):
    model, y, x = case.make()
    if model.multiple == model.factor:
        return  # any size fits: test_any_multiple_of_the_stated_sizes_fits
    x = x[..., : x.shape[-1] - model.multiple // model.factor // 2]
    height, width = x.shape[-2:]
    step = model.multiple // model.factor
    sentence = f"x is {height}x{width}, but its sizes must be multiples of {step}: crop it, or pad"
    wide = model.factor * width
    for use in (lambda: model.log_prob(y[..., :wide], x), lambda: model.sample(x)):
        with pytest.raises(DataError, match=sentence):
            use()


@pytest.mark.parametrize("case", [c for c in ALL_MODELS if c not in ALL_FLOWS], ids=str)
def test_a_target_of_another_shape_does_not_broadcast(case):
    model, y, x = case.make()
    wide = torch.cat([y, y], dim=1)
    for wrong in (wide, y[..., :1], y[:, :1, :1]):
        with pytest.raises(DataError, match=r"y is \(.*\) but x gives \(.*\)"):
            model.log_prob(wrong, x)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1, math.nan])
def test_beta_lies_between_zero_and_one(beta):
    for model in (WeightedBernoulli, ClassWeighted):
        with pytest.raises(ValueError, match=f"beta = {beta}: choose a value between 0 and 1"):
            model(RawFeatures(1), beta)


def test_published_configurations_are_read():
    published = sorted(RESULTS.glob("*/config.json"))
    assert len(published) > 40
    for path in published:
        build(from_dict(json.loads(path.read_text())["config"]))


def test_a_flow_refuses_features_of_another_level():
    """The classic mistake: features of x at another resolution than y."""
    flow = ConditionalFlow(
        [UniformDequantization(), Squeeze(), AffineCoupling(12, net(6, 1, 12)), GaussianPrior(12)],
        RawFeatures(1, levels=1),
    )
    with pytest.raises(ValueError, match=r"y is \(1, 3, 4, 4\), but x asks for .*= \(8, 8\)"):
        flow.log_prob(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 8, 8))


# -- lists of layers -------------------------------------------------------------------------------

END = GaussianPrior(4)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (ActNorm(4), "norm is of 4"),
        (AffineCoupling(2, net(1, 0, 2)), "coupling is of 2"),
        (ConditionalAffine(1, net(0, 1, 2)), "map is of 1"),
        (Split(2, net(1, 0, 2)), "split is of 2"),
        (END, "prior is of 4"),
        (causal(5, 1), "prior is of 5"),
    ],
)
def test_other_channels_are_refused_and_do_not_broadcast(layer, said):
    y, h = torch.zeros(2, 3, 2, 2), torch.zeros(2, 1, 2, 2)
    for way in (layer, getattr(layer, "inverse", layer)):
        with pytest.raises(ValueError, match=f"y has 3 channels, but this {said}"):
            way(y, h)


@every_model
def test_samples_carry_no_graph(case):
    model, y, x = case.make()
    drawn = [model.sample(x, 2), model.mean(x, 2), *model.samples(x, 2)]
    assert not any(t.requires_grad for t in drawn)
    assert model.log_prob(y, x).requires_grad


@every_model
def test_models_answer_by_the_same_names(case):
    """Samples in one call and one after the other, and the mean: the model's own if it has one."""
    model, y, x = case.make()
    together = model.sample(x, 5, 1.0, noise_of(y))
    assert torch.equal(torch.stack([*model.samples(x, 5, 1.0, noise_of(y))]), together)
    h = model.condition(x)
    assert torch.equal(model.labels(model.sample_given(h, 5, 1.0, noise_of(y))), together)
    mean = model.mean(x, 5, noise_of(y))
    assert mean.shape == y.shape
    assert model.has_mean == (case in ALL_FACTORISED)
    if not model.has_mean:
        torch.testing.assert_close(mean, together.mean(0), rtol=1e-12, atol=1e-12)
    assert torch.equal(model.log_prob_given(y, h, noise_of(y)), model.log_prob(y, x, noise_of(y)))


# -- x and y as they were given --------------------------------------------------------------------


@every_model
def test_numpy_arrays_are_taken_as_tensors_are(case):
    model, y, x = case.make()
    given = y.numpy(), x.numpy()[::-1][::-1]  # strides that PyTorch does not take
    for score in (model.log_prob, model.bits_per_dim):
        assert torch.equal(score(*given, noise_of(y)), score(y, x, noise_of(y)))
    if type(model).loss is ConditionalModel.loss:  # those of experiments are for training
        assert torch.equal(model.loss(*given, noise_of(y))[0], model.loss(y, x, noise_of(y))[0])
    scores = [model.importance_log_prob(*pair, 2, noise_of(y)) for pair in (given, (y, x))]
    if isinstance(model, ConditionalFlow):
        encoded = [model.encode(v, model.condition(u), noise_of(y))[1] for v, u in (given, (y, x))]
        assert torch.equal(*encoded)
        errors = [model.reconstruction_error(*pair, noise_of(y)) for pair in (given, (y, x))]
        assert errors[0] == errors[1]
    assert torch.equal(*scores)
    draws = [model.sample(t, 2, 1.0, noise_of(y)) for t in (given[1], x)]
    assert torch.equal(*draws)
    assert torch.equal(*(model.mean(t, 2, noise_of(y)) for t in (given[1], x)))


KINDS = ("flow", "baseline")
PRESETS = [load_config(f"{task}-{kind}-smoke") for task in ("sr", "vessels") for kind in KINDS]


@pytest.mark.parametrize("config", PRESETS, ids=lambda config: config.preset)
def test_grey_levels_from_0_to_1_are_refused_and_black_is_not(config):
    model = build(config).eval()
    x = torch.zeros(1, 3, 16, 16)
    x[..., 3] = 1.0
    model.sample(x)  # nearly black
    x[..., 5] = 0.5
    with pytest.raises(DataError, match=r"x lies in 0\.\.1, but levels .*: give 255 \* x"):
        model.sample(x)
    x[..., 6] = -0.01  # unrounded x overshoots
    model.sample(x)


@pytest.mark.parametrize("case", ALL_FLOWS, ids=lambda case: case.name)
def test_an_empty_y_is_refused(case):
    model, y, x = case.make()
    with pytest.raises(DataError, match="y holds no picture or vector: give one or more"):
        model.log_prob(y[:0], x[:1])


@every_model
def test_weights_of_16_bits_are_refused(case):
    model, y, x = case.make()
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        for use in (lambda: model.log_prob(y, x), lambda: model.sample(x)):
            model.to(dtype)
            with pytest.raises(DataError, match=f"the weights are {name}, .*: call model.float()"):
                use()


@pytest.mark.parametrize("case", ALL_FLOWS, ids=str)
@pytest.mark.parametrize("change", [-1, 1, 3])
def test_a_target_of_other_channels_is_told_those_of_the_model(case, change):
    model, y, x = case.make()
    channels = y.shape[1] + change
    if not channels:
        return
    wrong = y[:, :1].expand(-1, channels, *y.shape[2:])
    said = f"of {channels} channels, but the model is of y of {y.shape[1]}: give .{len(y)}, "
    with pytest.raises(DataError, match=said):
        model.log_prob(wrong, x)


def test_a_layer_that_may_change_channels_leaves_them_open():
    assert ConditionalFlow([Squeeze(), ActNorm(4), END], RawFeatures(1, levels=1)).channels == 1
    strange = AffineCoupling(4, net(2, 0, 2))
    strange.channels = None
    assert ConditionalFlow([strange, END], RawFeatures(1)).channels is None


def test_what_is_no_tensor_or_lies_elsewhere_is_named():
    model, y, x = ALL_FLOWS[0].make()
    for wrong, said in (
        (x.tolist(), "x is a list: give a tensor, or a NumPy array"),
        (x.to("meta"), "x is on meta, but the model is on cpu: .* meta tensors hold no values"),
    ):
        for use in (lambda x: model.log_prob(y, x), model.sample, model.mean, model.condition):
            with pytest.raises(DataError, match=said):
                use(wrong)
    with pytest.raises(DataError, match="y is on meta, but the model is on cpu"):
        model.log_prob(y.to("meta"), x)
    with pytest.raises(DataError, match="x is on meta, and meta tensors hold no values"):
        model.to("meta").eval().sample(x.to("meta"))


def test_whole_numbers_and_labels_are_taken_in_the_type_of_the_weights():
    model = build(load_config("vessels-flow-smoke")).eval()
    x, y = torch.full((1, 3, 16, 16), 128.0), torch.zeros(1, 1, 16, 16)
    expected = model.log_prob(y, x, noise_of(y))
    for kind in (np.uint8, np.uint16):
        assert torch.equal(model.log_prob(y.bool(), x.numpy().astype(kind), noise_of(y)), expected)


def test_numbers_beyond_the_type_of_the_weights_are_named():
    model = build(load_config("vessels-flow-smoke")).eval()
    x, y = torch.full((1, 3, 16, 16), 1e300, dtype=torch.float64), torch.zeros(1, 1, 16, 16)
    with pytest.raises(DataError, match="x holds inf"):
        model.log_prob(y, x)
    with pytest.raises(DataError, match="x holds inf"):
        model.sample(x)


def test_numbers_of_another_kind_are_named():
    model, y, x = ALL_FLOWS[0].make()
    for use, said in (
        (lambda: model.sample(x.to_sparse()), r"x is sparse: give x.to_dense\(\)"),
        (lambda: model.log_prob(y * 1j, x), "y is complex: give real numbers"),
        (lambda: model.sample(x, 2.5), "n = 2.5: draw 1 sample or more, a whole number"),
        (lambda: model.sample(x, 1, 1.0, 7), r"generator = 7, a number: give .*_seed\(7\)"),
        (lambda: model.sample(x, 1, 1.0, np.int64(7)), "generator = 7, a number"),
        (
            lambda: model.sample(x, 1, 1.0, [np.random.default_rng(n) for n in range(len(x))]),
            r"generator 0 of the batch is a numpy.Generator: give .* as cnf.noise.keyed",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            use()
    pictures = build(load_config("sr-flow-smoke")).eval()
    with pytest.raises(DataError, match=r"x has 16 channels, .*: give x.permute\(0, 3, 1, 2\)"):
        pictures.sample(torch.full((1, 16, 24, 3), 128.0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: messages not seen")
def test_a_tensor_on_another_device_is_told_where_the_model_is():
    model, y, x = ALL_FLOWS[0].make()
    with pytest.raises(DataError, match="x is on cuda:0, but the model is on cpu: give x.to"):
        model.sample(x.cuda())
    model.cuda()
    assert model.log_prob(y.numpy(), x.numpy()).device.type == "cuda"
    with pytest.raises(DataError, match="y is on cpu, but the model is on cuda:0"):
        model.log_prob(y, x.cuda())


def test_weights_that_cannot_be_written_are_said_in_one_line(tmp_path):
    model, _, _ = ALL_FLOWS[0].make()
    for path in (tmp_path / "nowhere" / "mine.safetensors", tmp_path):
        with pytest.raises(CnfError, match=f"{path} cannot be written .*: give another path"):
            model.save(path)


def test_a_file_that_holds_no_configuration_is_named(tmp_path):
    path = tmp_path / "own.yml"
    for content in (b"", b"- a", b"a: [", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="own.yml (is no YAML file|holds no options)"):
            load_config(str(path))
    with pytest.raises(ConfigError, match="is no YAML file .*Is a directory"):
        (tmp_path / "dir.yml").mkdir()
        load_config(str(tmp_path / "dir.yml"))
    with pytest.raises(ConfigError, match="none.yml: no such file"):
        load_config(str(tmp_path / "none.yml"))
    for override in ("model.kind=[1]", "model.features.kind=[]"):
        with pytest.raises(ConfigError, match=r"'\[1\]'|features.kind = \[\]"):
            load_config("sr-flow-smoke", [override])
