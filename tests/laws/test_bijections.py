"""Laws of bijections: the inverse undoes forward, log_det is autograd's."""

import pytest
import torch

from cnf.testing import check_bijection
from tests.laws.cases import ALL_BIJECTIONS

every_bijection = pytest.mark.parametrize("case", ALL_BIJECTIONS, ids=str)


@pytest.mark.equation(
    "eq-change-chain",
    "eq-change-sign",
    "eq-coupling-inverse",
    "eq-coupling-logdet",
    "eq-norms-actnorm",
    "eq-norms-conv",
    "eq-norms-lu",
    "eq-norms-squeeze",
    "eq-better-residual",
    "eq-vflow-checkerboard",
)
@every_bijection
def test_the_laws_of_bijections_hold(case):
    # float64 rounding, times the condition of a random 1x1 matrix; determinants of at most 105 rows
    tol, known = 1e-10, () if case.uses_h or not case.conditional else ("context",)
    options = {"codomain": "real", "tol": tol, "known": known}
    case.holds(check_bijection(case.new, case.shape, case.context, **options))


@every_bijection
def test_inverse_undoes_forward_far_out(case):
    """A scale that underflows or overflows would lose y."""
    layer, y, h = case.make()
    z, _ = layer(case.reach * y, h)
    # as above, relative to the largest entry
    torch.testing.assert_close(
        layer.inverse(z, h)[0], case.reach * y, rtol=1e-11, atol=1e-11 * case.reach
    )
