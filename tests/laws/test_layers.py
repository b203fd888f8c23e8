"""Laws of every layer, whatever its kind."""

import math

import pytest
import torch
from torch import Tensor

from cnf.layers import ActNorm, Bijection, Dequantization, Prior
from cnf.testing import check_layer
from tests.laws.cases import ALL_DEQUANTIZATIONS, ALL_LAYERS, ALL_PRIORS, call

# The same numbers summed in another order, in float64: 1e-16 a step, at most some thousand steps.
REORDERED = {"rtol": 1e-12, "atol": 1e-12}

every_layer = pytest.mark.parametrize("case", ALL_LAYERS, ids=str)


def output(layer, y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
    """(all of the layer's output in one tensor (B, ...), its term)."""
    out, term = call(layer, y, h)
    return (torch.empty(len(y), 0, dtype=y.dtype) if out is None else out), term


@pytest.mark.parametrize("case", ALL_PRIORS + ALL_DEQUANTIZATIONS, ids=str)
def test_the_laws_of_every_layer_hold(case):
    """Those of bijections are among the laws of `test_bijections.py`."""

    def levels(rows: int, generator: torch.Generator) -> Tensor:
        return torch.randint(case.bins, (rows, *case.shape), generator=generator)

    domain = "real" if case.bins is None else levels
    known = () if case.uses_h or not case.conditional else ("context",)
    options = {"forward": output, "known": known}
    case.holds(check_layer(case.new, case.shape, case.context, domain, **options))


@every_layer
def test_a_term_is_one_number_a_sample_and_no_entry_is_lost(case):
    layer, y, h = case.make()
    out, term = output(layer, y, h)
    assert term.shape == (len(y),)
    if isinstance(layer, Dequantization):
        assert out.shape == y.shape
    left = layer.latent(y).numel() if isinstance(layer, Prior) else 0
    assert out.numel() + left == y.numel()


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


def test_actnorm_starts_where_no_gradient_is_kept():
    y = 3 + 2 * torch.randn(8, 3, 4, 5)
    with torch.inference_mode():
        made = ActNorm(3).train()
        z, _ = made(y)
    torch.testing.assert_close(z, ActNorm(3).train()(y)[0])


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
