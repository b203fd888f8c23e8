"""The fast paths are the layers: fused steps and rebuilt activations against the plain list."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cnf import fused
from cnf.features import RawFeatures
from cnf.flow import ConditionalFlow, with_levels
from cnf.fused import FusedSteps, fuse
from cnf.layers import ActNorm, AffineCoupling, Conv1x1, GaussianPrior
from cnf.nets import set_precision
from cnf.noise import keyed
from cnf.replication.config import build
from tests.laws.cases import ALL_FLOWS, net, noise_of, randomise

STEPPED = [c for c in ALL_FLOWS if c.config or not c.size]  # the other toys have no whole step
every_stepped = pytest.mark.parametrize("case", STEPPED, ids=str)


@pytest.fixture(autouse=True)
def rebuild_however_small(monkeypatch):
    monkeypatch.setattr(fused, "MIN_REBUILD_BYTES", -1)


def gradients(model: ConditionalFlow, y: Tensor, x: Tensor) -> dict[str, Tensor]:
    """Of the training loss, by every parameter and by the features."""
    model.zero_grad()
    h = [t.detach().requires_grad_() for t in model.condition(x)]
    (-model.encode(y, h, noise_of(y))[1].sum()).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return found | {f"h[{n}]": t.grad for n, t in enumerate(h) if t.grad is not None}


@every_stepped
def test_every_step_of_a_flow_is_in_a_chain(case):
    model, _, _ = case.make()
    parts = fuse(model.layers)
    assert not any(isinstance(part, AffineCoupling) for part in parts)
    alone = [part for part in parts if not isinstance(part, FusedSteps)]
    inside = [
        layer for part in parts if isinstance(part, FusedSteps) for s in part.steps for layer in s
    ]
    assert len(alone) + len(inside) == len(model.layers)


@pytest.mark.equation("eq-speed-fold", "eq-speed-folded-logdet", "eq-speed-batched")
@every_stepped
def test_a_chain_has_the_likelihood_of_its_layers(case):
    model, y, x = case.make()
    h = model.condition(x)
    fast, fast_log_p = model.encode(y, h, noise_of(y))
    model.fast = False
    plain, log_p = model.encode(y, h, noise_of(y))
    # float64: a fold of two matrices and other orders of summation
    torch.testing.assert_close(fast_log_p, log_p, rtol=1e-10, atol=1e-10)
    for one, other in zip(fast, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.equation("eq-speed-unfold")
@every_stepped
def test_a_chain_samples_what_its_layers_sample(case):
    model, y, x = case.make()
    h = model.condition(x)
    model.fast = True
    fast = model.sample_given(h, 1, 0.7, noise_of(y))
    model.fast = False
    torch.testing.assert_close(
        fast, model.sample_given(h, 1, 0.7, noise_of(y)), rtol=1e-10, atol=1e-10
    )


@pytest.mark.equation(
    "eq-memory-rebuild", "eq-memory-coupling", "eq-memory-net", "eq-memory-matrix"
)
@every_stepped
@pytest.mark.parametrize("recompute", [False, True], ids=["stored", "rebuilt"])
def test_a_chain_has_the_gradients_of_its_layers(case, recompute):
    model, y, x = case.make()
    model.fast, model.recompute = False, False
    expected = gradients(model, y, x)
    model.fast, model.recompute = True, recompute
    found = gradients(model, y, x)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        # rebuilding loses a few digits of 16; the largest gradients are of order 1e3
        scale = gradient.abs().max().item()
        distance = (found[name] - gradient).abs().max().item()
        assert distance <= 1e-9 * (1 + scale), name


@pytest.mark.parametrize("precision, bound", [("fp32", 1e-4), ("bf16", 0.1)])
def test_rebuilt_gradients_hold_in_training_precision(precision, bound):
    """float32 carries 7 digits through 4 steps; bfloat16 2 to 3 in every network."""
    case = next(c for c in STEPPED if c.name == "sr-subbands")
    model, y, x = case.make(dtype=torch.float32)
    set_precision(model, precision)
    stored = gradients(model, y, x)
    model.recompute = True
    rebuilt = gradients(model, y, x)
    assert rebuilt.keys() == stored.keys()
    for name, gradient in stored.items():
        distance = (rebuilt[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert distance < bound, name


def test_features_without_gradient_and_frozen_parameters_receive_none():
    model, y, x = STEPPED[0].make()
    model.recompute = True
    frozen = next(layer for layer in model.layers if isinstance(layer, Conv1x1))
    frozen.matrix.requires_grad_(False)
    h = [t.detach() for t in model.condition(x)]
    (-model.encode(y, h, noise_of(y))[1].sum()).backward()
    assert frozen.matrix.grad is None
    others = [p for layer in model.layers for p in layer.parameters() if p is not frozen.matrix]
    assert all(p.grad is not None for p in others)
    assert all(t.grad is None for t in h)


def test_frozen_norms_and_matrices_leave_the_gradients_of_the_couplings():
    model, y, x = STEPPED[0].make()
    for layer in model.layers:
        layer.requires_grad_(not isinstance(layer, ActNorm | Conv1x1))
    stored = gradients(model, y, x)
    model.recompute = True
    rebuilt = gradients(model, y, x)
    assert rebuilt.keys() == stored.keys()
    for name, gradient in stored.items():
        torch.testing.assert_close(rebuilt[name], gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shared", [[2], [0, 1, 2]], ids=["coupling", "step"])
def test_steps_that_share_layers_sum_their_gradients(shared):
    steps = [[ActNorm(4), Conv1x1(4), AffineCoupling(4, net(2, 1, 4))] for _ in range(2)]
    for place in shared:
        steps[1][place] = steps[0][place]
    model = ConditionalFlow([*steps[0], *steps[1], GaussianPrior(4)], RawFeatures(1))
    model = randomise(model).double()
    y, x = torch.randn(3, 4, 4, 4).double(), torch.randn(3, 1, 4, 4).double()
    model.fast = False
    expected = gradients(model, y, x)
    model.fast = model.recompute = True
    found = gradients(model, y, x)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-9)


class Doubled(AffineCoupling):
    """As a reader may try one."""

    def forward(self, y, h=None):
        z, log_det = super().forward(y, h)
        return 2 * z, log_det + y[0].numel() * math.log(2)


@pytest.mark.parametrize("kind", [AffineCoupling, Doubled])
@pytest.mark.parametrize("given", [(0, 1), (1, 0)])
def test_steps_of_own_layers_are_scored_as_the_layers_say(kind, given):
    """A first network that does not see h, a class made of a layer."""
    steps = [[ActNorm(4), Conv1x1(4), kind(4, net(2, h, 4))] for h in given]
    model = ConditionalFlow([*steps[0], *steps[1], GaussianPrior(4)], RawFeatures(1))
    model = randomise(model).double()
    y, x = torch.randn(3, 4, 4, 4).double(), torch.randn(3, 1, 4, 4).double()
    expected = sum(term for _, term in model.terms(y, x))
    torch.testing.assert_close(model.log_prob(y, x), expected, rtol=1e-10, atol=1e-10)


def saved_bytes(model: ConditionalFlow, y: Tensor, x: Tensor) -> int:
    """Of what autograd keeps of the layers for backward, parameters left out."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return t

    h = [t.detach() for t in model.condition(x)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = model.encode(y, h, noise_of(y))[1].sum()
    del loss
    return sum(kept.values())


@pytest.mark.equation("eq-memory-rebuilt")
def test_rebuilt_activations_are_not_kept():
    """Memory of a chain does not grow with its steps; that of stored activations does."""
    case = next(c for c in STEPPED if c.name == "sr-uniform")
    sizes = {}
    for steps in (2, 8):
        torch.manual_seed(0)
        config = replace(case.config, model=case.config.model | {"steps": steps, "levels": 1})
        model = randomise(build(config))
        y, x = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 8, 8)
        for recompute in (False, True):
            model.recompute = recompute
            sizes[steps, recompute] = saved_bytes(model, y, x)
    assert sizes[8, False] > 2 * sizes[2, False]
    assert sizes[8, True] == sizes[2, True] < 0.5 * sizes[2, False]


def test_small_levels_keep_their_activations(monkeypatch):
    case = next(c for c in STEPPED if c.name == "sr-uniform")  # 2 levels of 2 steps, width 8
    model, y, x = case.make(dtype=torch.float32, batch=2, size=(32, 32))
    model.recompute = True
    sizes = []
    # hidden maps: 2 steps x 2 maps x 8 channels x 2 pictures x 4 bytes x 16^2, then 8^2 positions
    for least in (2 * 2 * 8 * 2 * 4 * n**2 for n in (0, 8, 16)):
        monkeypatch.setattr(fused, "MIN_REBUILD_BYTES", least)
        sizes.append(saved_bytes(model, y, x))
    assert sizes[1] - sizes[0] >= 2 * 2 * 8 * 2 * 4 * 8**2
    assert sizes[2] - sizes[1] >= 2 * 2 * 8 * 2 * 4 * 16**2


@every_stepped
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_samples_of_one_x_together_are_those_drawn_apart(case, fast):
    model, _, x = case.make(batch=2)
    model.fast = fast
    together = model.sample(x, 3, 0.8, keyed(0, [5, 6]))
    assert together.shape[:2] == (3, 2)
    for index in range(2):  # each x in a batch of its own, and fewer samples of it
        alone = model.sample(x[index : index + 1], 2, 0.8, keyed(0, [5 + index]))
        # whole numbers: a float64 rounding may move a value over the edge of its cell, once in 1e12
        torch.testing.assert_close(together[:2, index], alone[:, 0], rtol=0, atol=0)
    assert not torch.equal(together[0], together[1])


@pytest.mark.equation("eq-features-once")
@every_stepped
def test_several_samples_are_those_of_repeated_x(case):
    """What is computed once for n samples of one x is what each would have computed."""
    model, _, x = case.make(batch=2)
    h = model.condition(x)
    generators = [g for n in range(3) for g in keyed(n, [5, 6])]
    many = model.sample_given([torch.cat([t] * 3) for t in h], 1, 0.8, generators)[0]
    generators = [g for n in range(3) for g in keyed(n, [5, 6])]
    shared = model.sample_given(h, 3, 0.8, generators).flatten(0, 1)
    torch.testing.assert_close(shared, many, rtol=1e-10, atol=1e-10)


def test_activation_norms_start_one_after_the_other():
    """The first batch in training mode goes layer by layer: each norm sees what the last made."""
    model, y, x = STEPPED[0].make()
    norms = [layer for layer in model.layers if isinstance(layer, ActNorm)]
    for norm in norms:
        norm.initialised.fill_(False)
    model.train()
    model.log_prob(y, x, noise_of(y))
    assert all(norm.initialised for norm in norms)
    state = y
    with torch.no_grad():
        h = model.condition(x)
        for layer, level in with_levels(model.layers):
            state = layer(state, h[level], *([noise_of(y)] if level == 0 and state is y else []))[0]
            if isinstance(layer, ActNorm):
                std, mean = torch.std_mean(state, dim=(0, 2, 3), correction=0)
                torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-9)
                torch.testing.assert_close(std, torch.ones_like(std))


def test_matrices_of_float32_are_inverted_in_float64():
    layer, identity = Conv1x1(24), torch.eye(24).view(24, 24, 1, 1)
    exact = torch.linalg.inv(layer.matrix.double())
    # rounded to float32 once, by half a last digit; an inverse in float32 is off by several
    half = torch.finfo(torch.float32).eps / 2
    for found in (
        layer.inverse(identity)[0][..., 0, 0].T,
        fused.inverse_affine(layer.matrix[None], torch.zeros(1, 24))[0][0],
    ):
        torch.testing.assert_close(found.double(), exact, rtol=half, atol=1e-12)
    single = torch.linalg.inv(layer.matrix).double()
    assert not torch.allclose(single, exact, rtol=half, atol=1e-12)


@every_stepped
def test_the_reconstruction_error_is_rounding(case):
    model, y, x = case.make()
    # float64 has 16 digits; weights at random cost a few
    assert 0 <= model.reconstruction_error(y, x, noise_of(y)) < 1e-9


def test_a_badly_conditioned_flow_has_a_large_reconstruction_error():
    model, y, x = STEPPED[0].make(dtype=torch.float32)
    good = model.reconstruction_error(y, x, noise_of(y))
    conv = next(layer for layer in model.layers if isinstance(layer, Conv1x1))
    with torch.no_grad():
        conv.matrix[1] = conv.matrix[0] * (1 + 1e-6)  # two rows that float32 hardly tells apart
    assert model.reconstruction_error(y, x, noise_of(y)) > 1e3 * good
