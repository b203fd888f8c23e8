"""The curve that spline layers apply: increasing, smooth, and the identity outside."""

import pytest
import torch

from cnf.layers import AutoregressiveSpline, SplineCoupling
from cnf.layers.curve import Spline
from cnf.nets import MaskedNet
from tests.laws.cases import one_by_one, randomise, spline

SPLINE = Spline(bins=5, bound=3.0)


def curve(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """The free numbers of a curve far from the identity."""
    generator = torch.Generator().manual_seed(1)
    return (2 * torch.randn(SPLINE.numbers, generator=generator, dtype=torch.float64)).to(dtype)


def of(t: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    return raw.expand(*t.shape, -1)


def by_hand(y: float, raw: torch.Tensor) -> float:
    """Equations 4 and 5 of Durkan et al., one number at a time."""
    raw = 3 * torch.tanh(raw / 3)
    w, v = (6 * part.softmax(0) for part in (raw[:5], raw[5:10]))
    x_knots, z_knots = ([-3.0, *(t.cumsum(0) - 3).tolist()] for t in (w, v))
    slopes = [1.0, *raw[10:].exp().tolist(), 1.0]
    k = max(k for k in range(5) if x_knots[k] <= y)
    xi = (y - x_knots[k]) / w[k].item()
    s = v[k].item() / w[k].item()
    above = v[k].item() * (s * xi**2 + slopes[k] * xi * (1 - xi))
    below = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    return z_knots[k] + above / below


def test_a_spline_is_the_formula_of_its_paper():
    raw, y = curve(), torch.linspace(-2.99, 2.99, 61, dtype=torch.float64)
    expected = [by_hand(t.item(), raw) for t in y]
    torch.testing.assert_close(SPLINE.forward(y, of(y, raw))[0].tolist(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_spline_increases_and_its_inverse_undoes_it(dtype):
    raw, y = curve(dtype), torch.linspace(-4, 4, 4001, dtype=dtype)
    z, log_slope = SPLINE.forward(y, of(y, raw))
    assert (z.diff() > 0).all()
    back, again = SPLINE.inverse(z, of(z, raw))
    # slopes of this curve lie in e^-3..e^3: rounding grows by at most twenty times
    tol = 200 * torch.finfo(dtype).eps
    torch.testing.assert_close(back, y, rtol=tol, atol=tol)
    torch.testing.assert_close(again, log_slope, rtol=10 * tol, atol=10 * tol)


def test_outside_of_its_bound_a_spline_is_exactly_the_identity():
    raw = curve()
    y = torch.tensor([-1e6, -3.5, -3.0, 3.0, 3.5, 1e6], dtype=torch.float64)
    for way in (SPLINE.forward, SPLINE.inverse):
        out, log_slope = way(y, of(y, raw))
        assert torch.equal(out, y) and not log_slope.any()


def test_the_slope_has_no_jump_at_a_knot_or_at_an_end():
    raw, eps = curve(), 1e-9
    for knot in SPLINE.knots(raw)[0].tolist():
        y = torch.tensor([knot - eps, knot + eps], dtype=torch.float64)
        _, log_slope = SPLINE.forward(y, of(y, raw))
        # the logarithm of the slope changes by at most some thousands a unit
        assert log_slope.diff().abs() < 1e-4
    torch.testing.assert_close(SPLINE.knots(raw)[2, 1:-1], (3 * torch.tanh(raw[10:] / 3)).exp())


def test_zeros_make_the_identity():
    y = torch.linspace(-4, 4, 101, dtype=torch.float64)
    z, log_slope = SPLINE.forward(y, y.new_zeros(101, SPLINE.numbers))
    # 8 bins of equal sizes, added up in float64
    torch.testing.assert_close(z, y, rtol=0, atol=1e-14)
    torch.testing.assert_close(log_slope, torch.zeros_like(y), rtol=0, atol=1e-14)


@pytest.mark.parametrize("flip", [False, True])
def test_each_number_sees_those_before_it_and_no_others(flip):
    net = MaskedNet(5, 0, 23, width=10, activation="silu")  # a ReLU may be off
    layer = randomise(AutoregressiveSpline(net, flip)).double()
    y = torch.randn(5, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda t: layer(t[None])[0][0], y)
    assert (jacobian.triu(1) if not flip else jacobian.tril(-1)).abs().max() == 0
    sees = jacobian.tril(-1) if not flip else jacobian.triu(1)
    assert (sees != 0).sum() == 10


def test_wrong_sizes_are_named_with_their_remedy():
    with pytest.raises(ValueError, match=r"bins = 0, bound = 4\.0: give 1 or more"):
        Spline(bins=0)
    with pytest.raises(ValueError, match="bound = 0"):
        spline(4, 0, bound=0)
    with pytest.raises(ValueError, match=r"net has 3 outputs a number: .* give it 3 K - 1"):
        AutoregressiveSpline(MaskedNet(2, 0, 3))
    with pytest.raises(ValueError, match="width = 3 for vectors of 5 numbers: give 5 or more"):
        MaskedNet(5, 0, width=3)
    with pytest.raises(ValueError, match=r"this layer is of vectors \(B, D\)"):
        one_by_one(4, 0)(torch.zeros(2, 4, 3, 3))
    with pytest.raises(ValueError, match="returns 46 channels where 16 are needed"):
        layer = spline(4, 0)
        SplineCoupling(4, layer.net, bins=3)(torch.zeros(2, 4, 3, 3))
