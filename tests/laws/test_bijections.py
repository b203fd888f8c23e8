"""Laws of bijections: the inverse undoes forward, log_det is autograd's."""

import pytest
import torch

from tests.laws.cases import ALL_BIJECTIONS

every_bijection = pytest.mark.parametrize("case", ALL_BIJECTIONS, ids=str)


@pytest.mark.equation("eq-change-sign", "eq-coupling-inverse")
@every_bijection
def test_inverse_undoes_forward(case):
    layer, y, h = case.make()
    z, log_det = layer(y, h)
    back, log_det_back = layer.inverse(z, h)
    # float64 rounding, times the condition of a random 1x1 matrix (below 1e3)
    torch.testing.assert_close(back, y, rtol=1e-11, atol=1e-11)
    # necessary, not sufficient: see the autograd test
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-12, atol=1e-12)


@every_bijection
def test_forward_undoes_inverse(case):
    layer, y, h = case.make()
    z = layer(torch.randn_like(y), h)[0]
    z = torch.randn_like(z)
    torch.testing.assert_close(layer(layer.inverse(z, h)[0], h)[0], z, rtol=1e-11, atol=1e-11)


@pytest.mark.equation(
    "eq-change-chain",
    "eq-coupling-logdet",
    "eq-norms-actnorm",
    "eq-norms-conv",
    "eq-norms-lu",
    "eq-norms-squeeze",
    "eq-better-residual",
    "eq-vflow-checkerboard",
)
@every_bijection
def test_log_det_matches_autograd(case):
    layer, y, h = case.make(batch=2)
    log_det = layer(y, h)[1]
    for i in range(2):
        h_i = None if h is None else h[i : i + 1]

        def flat(u, h_i=h_i, shape=y[:1].shape):
            return layer(u.view(shape), h_i)[0].flatten()

        jacobian = torch.autograd.functional.jacobian(flat, y[i].flatten(), vectorize=True)
        # a determinant of at most 75 rows in float64
        torch.testing.assert_close(
            log_det[i], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-10, atol=1e-10
        )


@every_bijection
def test_inverse_undoes_forward_far_out(case):
    """A scale that underflows or overflows would lose y."""
    layer, y, h = case.make()
    z, _ = layer(case.reach * y, h)
    # as above, relative to the largest entry
    torch.testing.assert_close(
        layer.inverse(z, h)[0], case.reach * y, rtol=1e-11, atol=1e-11 * case.reach
    )


@every_bijection
def test_float32_inverse_is_near(case):
    layer, y, h = case.make(torch.float32)
    back, _ = layer.inverse(layer(y, h)[0], h)
    # 6e-8 relative, times the condition of the random map (below 1e2)
    torch.testing.assert_close(back, y, rtol=1e-5, atol=1e-5)
