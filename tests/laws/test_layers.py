"""Laws of every layer, whatever its kind."""

import math

import pytest
import torch
from torch import Tensor

from cnf.layers import ActNorm, Bijection, Dequantization, Prior
from tests.laws.cases import ALL_LAYERS, call

EXACT = {"rtol": 0, "atol": 0}
# The same numbers summed in another order, in float64: 1e-16 a step, at most some thousand steps.
REORDERED = {"rtol": 1e-12, "atol": 1e-12}

every_layer = pytest.mark.parametrize("case", ALL_LAYERS, ids=str)


def output(layer, y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
    """(all of the layer's output in one tensor (B, ...), its term)."""
    out, term = call(layer, y, h)
    return (torch.empty(len(y), 0, dtype=y.dtype) if out is None else out), term


def pick(t: Tensor | None, index) -> Tensor | None:
    return None if t is None else t[index]


@every_layer
def test_a_term_is_one_number_a_sample_and_no_entry_is_lost(case):
    layer, y, h = case.make()
    out, term = output(layer, y, h)
    assert term.shape == (len(y),)
    if isinstance(layer, Dequantization):
        assert out.shape == y.shape
    left = layer.latent(y).numel() if isinstance(layer, Prior) else 0
    assert out.numel() + left == y.numel()


@every_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_type_and_device_are_kept(case, dtype):
    layer, y, h = case.make(dtype)
    out, term = output(layer, y, h)
    assert (out.dtype, term.dtype) == (dtype, dtype)
    assert (out.device, term.device) == (y.device, y.device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: GPU terms not compared")
def test_a_gpu_gives_the_terms_of_the_cpu():
    for case in ALL_LAYERS:
        layer, y, h = case.make()
        expected, expected_term = output(layer, y, h)
        out, term = output(layer.cuda(), y.cuda(), None if h is None else h.cuda())
        assert out.is_cuda and term.is_cuda, case
        # keyed noise is drawn on the CPU, so only the order of sums differs
        torch.testing.assert_close(out.cpu(), expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(term.cpu(), expected_term, rtol=1e-10, atol=1e-10)


@every_layer
def test_a_sample_never_sees_another(case):
    layer, y, h = case.make()
    other, other_y, other_h = case.make(seed=1)
    changed_y, changed_h = y.clone(), None if h is None else h.clone()
    changed_y[1] = other_y[1] if case.bins is None else case.bins - 1 - y[1]
    if h is not None:
        changed_h[1] = other_h[1]
    (out, term), (new_out, new_term) = output(layer, y, h), output(layer, changed_y, changed_h)
    for i in (0, 2):
        torch.testing.assert_close(new_out[i], out[i], **REORDERED)
        torch.testing.assert_close(new_term[i], term[i], **REORDERED)
    assert out.numel() == 0 or not torch.equal(new_out[1], out[1])


@every_layer
def test_a_batch_of_one_gives_the_same_as_a_place_in_a_batch(case):
    layer, y, h = case.make()
    out, term = output(layer, y, h)
    first_out, first_term = output(layer, y[:1], pick(h, slice(1)))
    torch.testing.assert_close(first_out, out[:1], **REORDERED)
    torch.testing.assert_close(first_term, term[:1], **REORDERED)


@pytest.mark.parametrize("case", [c for c in ALL_LAYERS if c.conditional], ids=str)
def test_features_are_used_where_the_layer_says_so_and_ignored_elsewhere(case):
    layer, y, h = case.make()
    out, term = output(layer, y, h)
    new_out, new_term = output(layer, y, h + 0.1)
    changed = not (torch.equal(out, new_out) and torch.equal(term, new_term))
    assert changed == case.uses_h


@every_layer
def test_noise_and_only_noise_follows_the_generator(case):
    layer, y, h = case.make()
    out, term = call(layer, y, h, seed=0)
    same_out, same_term = call(layer, y, h, seed=0)
    assert torch.equal(same_term, term) and (out is None or torch.equal(same_out, out))
    if out is not None:
        differs = not torch.equal(call(layer, y, h, seed=1)[0], out)
        assert differs == isinstance(layer, Dequantization)


@every_layer
@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided"])
def test_the_layout_in_memory_changes_nothing(case, layout):
    def laid_out(t: Tensor | None) -> Tensor | None:
        if t is None:
            return None
        match layout:
            case "channels_last":
                form = torch.channels_last if t.dim() == 4 else torch.contiguous_format
                return t.contiguous(memory_format=form)
            case "transposed":
                return t.mT.contiguous().mT
            case "strided":
                return torch.stack([t, t + 1], dim=-1).flatten(-2)[..., ::2]

    layer, y, h = case.make()
    assert torch.equal(laid_out(y), y)
    got_twice = output(layer, laid_out(y), laid_out(h))
    for expected, got in zip(output(layer, y, h), got_twice, strict=True):
        torch.testing.assert_close(got, expected, **REORDERED)


@every_layer
def test_weights_that_are_saved_and_loaded_give_the_same_terms(case, tmp_path):
    layer, y, h = case.make()
    torch.save(layer.state_dict(), tmp_path / "weights.pt")
    loaded = case.make(seed=1)[0]
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    for expected, got in zip(output(layer, y, h), output(loaded, y, h), strict=True):
        torch.testing.assert_close(got, expected, **EXACT)


@every_layer
def test_float32_is_near_float64(case):
    layer, y, h = case.make(torch.float64)
    single, y32, h32 = case.make(torch.float32)
    (out, term), (out32, term32) = output(layer, y, h), output(single, y32, h32)
    # float32 has 6e-8 relative; a dozen operations on numbers below 100 leave 1e-5, and the same
    # for each dimension of the term
    torch.testing.assert_close(out32.double(), out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(term32.double(), term, rtol=1e-5, atol=1e-5 * y[0].numel())


@every_layer
@pytest.mark.parametrize("sign", [1, -1])
def test_terms_and_gradients_stay_finite_at_extreme_input(case, sign):
    """`reach` is far outside of what data or features give; float32 must not overflow."""
    layer, y, h = case.make(torch.float32)
    if case.bins is None:
        y = (sign * case.reach * y).requires_grad_()
    else:
        y = torch.full_like(y, (case.bins - 1) * (sign > 0))
    h = None if h is None else (sign * case.reach * h).requires_grad_()
    out, term = output(layer, y, h)
    assert out.isfinite().all() and term.isfinite().all()
    total = term.sum() + out.sum()
    if total.requires_grad:  # uniform noise on fixed levels: nothing to differentiate
        total.backward()
    for t in (y, h, *layer.parameters()):
        assert t is None or t.grad is None or t.grad.isfinite().all()


@every_layer
def test_every_weight_moves_the_likelihood(case):
    """A weight without gradient is dead: the paper's released code has 0.44 M of them."""
    layer, y, h = case.make()
    y = y.requires_grad_() if case.bins is None else y
    out, term = output(layer, y, h)
    total = term.sum() + (out.square() * torch.linspace(1, 2, out[0].numel()).view_as(out[0])).sum()
    for name, p in layer.named_parameters():
        (gradient,) = torch.autograd.grad(total, p, retain_graph=True, allow_unused=True)
        assert gradient is not None and gradient.abs().max() > 0, name


@pytest.mark.equation("eq-norms-start")
def test_actnorm_starts_from_its_first_training_batch_only():
    first, second = (3 + 2 * torch.randn(8, 3, 4, 5).double() for _ in range(2))
    layer = ActNorm(3).double()
    z, log_det = layer.train()(first)
    std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
    # the batch itself is normalised, to rounding error
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
    torch.testing.assert_close(std, torch.ones_like(std), rtol=0, atol=1e-12)
    old_std = torch.std(first, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(log_det, (-20 * old_std.log().sum()).expand(8))  # H W sum_c l_c
    z, _ = layer(second)
    assert not torch.allclose(z.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-3)
    assert torch.equal(layer(first)[0], (first + layer.bias) * layer.log_scale.exp())


def test_actnorm_does_not_start_in_evaluation_or_after_loading():
    y = 3 + 2 * torch.randn(8, 3, 4, 5)
    fresh = ActNorm(3).eval()
    assert torch.equal(fresh(y)[0], y) and not fresh.initialised
    trained, loaded = ActNorm(3).train(), ActNorm(3).train()
    trained(y)
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded(y - 1)[0], trained(y - 1)[0])


def test_actnorm_survives_a_constant_channel():
    y = torch.randn(8, 2, 4, 5)
    y[:, 1] = 0.25
    z, log_det = ActNorm(2).train()(y)
    assert z.isfinite().all() and not z[:, 1].any()  # its mean is its value
    log_scales = -y[:, 0].std(correction=0).log() - math.log(1e-4)
    torch.testing.assert_close(log_det, (20 * log_scales).expand(8))


@every_layer
def test_every_layer_says_whether_its_term_is_exact(case):
    layer = case.make()[0]
    assert layer.exact is isinstance(layer, Bijection | Prior)
