"""Laws of dequantizations: v stays in the cell of y, q is a density on it and -log_q is its log."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from cnf import noise
from cnf.layers import BinaryDequantization, UniformDequantization, VariationalDequantization
from cnf.noise import keyed
from cnf.testing import check_dequantization
from tests.laws.cases import ALL_DEQUANTIZATIONS, affine, call, randomise

every_dequantization = pytest.mark.parametrize("case", ALL_DEQUANTIZATIONS, ids=str)
elementwise = pytest.mark.parametrize(
    "case", [c for c in ALL_DEQUANTIZATIONS if "couplings" not in c.name], ids=str
)


@contextmanager
def noise_is(eps: Tensor):
    """Let every draw return eps, so that v is a function of the noise."""
    with mock.patch.object(noise, "_draw", lambda *arguments: eps):
        yield


def distribution(layer) -> scipy.stats.rv_continuous:
    """pi, the law of the noise, by name in SciPy."""
    if isinstance(layer, UniformDequantization):
        return scipy.stats.uniform
    if isinstance(layer, VariationalDequantization):
        return scipy.stats.norm
    return {"logistic": scipy.stats.logistic, "gaussian": scipy.stats.norm}[layer.noise]


def log_pi(layer, eps: Tensor) -> Tensor:
    return torch.from_numpy(distribution(layer).logpdf(eps.detach().numpy()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("bins", [2, 3, 5, 49, 100, 256, 65536])
def test_the_edges_of_every_cell_come_back(bins, dtype):
    """u next to 0 and next to 1: y + u rounds to the cell's edges, and so may (y + u) / N."""
    y = torch.arange(bins, dtype=dtype).view(1, 1, 1, -1)
    layer = UniformDequantization(bins)
    for u in (0.0, 1e-30, torch.finfo(dtype).eps, 1 - torch.finfo(dtype).eps, 1.0):
        with noise_is(torch.full_like(y, u)):
            v, _ = layer(y)
        assert torch.equal(layer.inverse(v), y) and (v >= 0).all() and (v < 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("t", [-1e4, -100.0, -15.0, 0.0, 15.0, 100.0, 1e4])
@pytest.mark.parametrize("raw", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("kind", ["variational", "logistic", "gaussian"])
def test_no_parameters_of_q_lose_y(kind, raw, t, dtype):
    """However far training drives q, the label comes back and log_q stays finite."""
    bins = 256 if kind == "variational" else 2
    layers = [affine(1, 1)]
    with torch.no_grad():
        layers[0].net.last.bias.copy_(torch.tensor([raw, t]))
    layer = (
        VariationalDequantization(layers)
        if kind == "variational"
        else BinaryDequantization(layers, noise=kind)
    ).to(dtype)
    y = (torch.arange(4096) % bins).to(dtype).view(1, 1, 64, 64)
    v, term = layer(y, None, torch.Generator().manual_seed(0))
    assert torch.equal(layer.inverse(v), y)
    assert v.isfinite().all() and term.isfinite().all()
    term.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.equation("eq-deq-reparametrisation", "eq-binary-reparametrisation")
@every_dequantization
def test_v_lies_in_the_cell_of_y(case):
    layer, y, h = case.make(batch=16)
    v, _ = call(layer, y, h)
    if isinstance(layer, BinaryDequantization):
        assert torch.equal(v > 0.5, y == 1) and torch.equal(v < 0.5, y == 0)
    else:
        assert ((case.bins * v >= y) & (case.bins * v < y + 1)).all()


@pytest.mark.equation("eq-deq-log-q", "eq-binary-log-q")
@every_dequantization
def test_log_q_is_the_density_of_v(case):
    """q(v) = pi(eps) / |det dv/deps|, the determinant by autograd."""
    layer, y, h = case.make(batch=2)
    for i in range(2):
        y_i, h_i = y[i : i + 1], None if h is None else h[i : i + 1]
        eps = torch.from_numpy(distribution(layer).rvs(size=y_i.shape, random_state=i))

        def v_of(flat, y_i=y_i, h_i=h_i):
            with noise_is(flat.view(y_i.shape)):
                return layer(y_i, h_i)[0].flatten()

        jacobian = torch.autograd.functional.jacobian(v_of, eps.flatten())
        expected = log_pi(layer, eps).sum() - torch.linalg.slogdet(jacobian).logabsdet
        with noise_is(eps):
            log_q = -layer(y_i, h_i)[1][0]
        # a determinant of at most 45 rows in float64
        torch.testing.assert_close(log_q, expected, rtol=1e-10, atol=1e-10)


@elementwise
def test_q_integrates_to_one_on_the_cell_of_y(case):
    """Trapezoids under exp(log_q), one entry at a time moving through its cell."""
    layer, y, h = case.make(batch=1)
    n, quantiles = 4001, distribution(layer).ppf
    # quantiles of pi, from one end of its support to the other, dense towards both
    tail = np.logspace(-14, np.log10(0.5), n // 2 + 1)
    grid = torch.from_numpy(quantiles(np.concatenate([tail[:-1], 1 - tail[::-1]])))
    rest = torch.from_numpy(quantiles(np.full(y.shape, 0.3)))
    entry = (0, 0, *(size // 2 for size in y.shape[2:]))
    eps = rest.expand(len(grid), *y.shape[1:]).clone()
    eps[(slice(None), *entry[1:])] = grid
    batch = [None if t is None else t.expand(len(grid), *t.shape[1:]) for t in (y, h)]
    with noise_is(eps):
        v, term = layer(*batch)
    others = log_q_of_the_others(layer, y, h, rest, entry)
    q, v = (-term - others).exp(), v[(slice(None), *entry[1:])]
    assert (v[0] < v[-1]) == (y[entry] >= 1 or not isinstance(layer, BinaryDequantization))
    # trapezoids on 4001 points: 1e-4 is ten times the error that halving the grid shows
    assert torch.trapezoid(q, v).abs().item() == pytest.approx(1, abs=1e-3)
    if not isinstance(layer, BinaryDequantization):
        edges = case.bins * v[[0, -1]] - y[entry]
        assert edges[0] < 0.01 and edges[1] > 0.99  # the whole cell was walked


def log_q_of_the_others(layer, y: Tensor, h: Tensor | None, eps: Tensor, entry: tuple) -> Tensor:
    """log q of all entries but one, from the change of variables: elementwise, dv_j/deps_j each."""
    eps = eps.clone().requires_grad_()
    with noise_is(eps):
        (slope,) = torch.autograd.grad(layer(y, h)[0].sum(), eps, allow_unused=True)
    log_q = log_pi(layer, eps) - slope.abs().log()
    log_q[entry] = 0
    return log_q.sum()


@pytest.mark.equation("eq-binary-threshold")
@every_dequantization
def test_every_draw_is_read_back_and_the_mean_of_one_over_q_is_a_volume(case):
    """What every importance bound rests on: E_q[1(v in a box) / q(v)] is the volume of the box."""
    couplings = "couplings" in case.name
    # couplings are tested on four entries at once: wild weights would give 1/q heavy tails there
    size, scale = (2, 2) if couplings else tuple(1 for _ in case.size), 0.1 if couplings else 0.5
    context = None if case.context is None else (*case.context[:1], *size)
    report = check_dequantization(
        case.new, (case.channels, *size), case.bins, context, draws=10_000, scale=scale
    )
    report.assert_ok()
    assert report["volume"].status == "passed"


@every_dequantization
def test_noise_is_not_shared_between_samples_or_entries(case):
    layer, y, h = case.make(batch=1)
    y, h = (None if t is None else t.expand(4, *t.shape[1:]) for t in (torch.zeros_like(y), h))
    for generator in (keyed(0, range(4)), torch.Generator().manual_seed(0), None):
        v, _ = layer(y, h, generator)
        assert len(v.flatten().unique()) == v.numel()


@pytest.mark.equation("eq-binary-exponential", "eq-binary-reparametrisation")
def test_softplus_of_logistic_noise_is_exponential():
    """P(softplus(w) < t) = sigmoid(log(e^t - 1)) = 1 - e^-t."""
    layer = BinaryDequantization()
    y = torch.ones(1, 1, 100, 200, dtype=torch.float64)
    v, _ = layer(y, None, torch.Generator().manual_seed(0))
    distance = (v - 0.5).flatten().numpy()
    # 20000 draws: the 1 % point of the statistic is 0.0115; Gaussian noise, below, gives far more
    assert scipy.stats.kstest(distance, "expon").pvalue > 0.01
    gaussian, _ = BinaryDequantization(noise="gaussian")(y, None, torch.Generator().manual_seed(0))
    assert scipy.stats.kstest((gaussian - 0.5).flatten().numpy(), "expon").pvalue < 1e-6


@pytest.mark.equation("eq-deq-bpd")
def test_uniform_dequantization_costs_log_n_a_dimension():
    y = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    for bins in (2, 4, 256):
        term = UniformDequantization(bins)(y)[1]
        torch.testing.assert_close(term, torch.full((2,), -60 * np.log(bins)).double())


@pytest.mark.equation("eq-deq-reparametrisation", "eq-deq-log-q")
def test_an_idle_variational_q_is_the_logistic_normal():
    """No layers: u = sigmoid(eps), whose density SciPy gives through the normal."""
    y = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for eps in (-2.0, 0.0, 1.5):
        with noise_is(torch.full_like(y, eps)):
            v, term = VariationalDequantization([], bins=4)(y)
        u = 4 * v.item()
        assert u == pytest.approx(1 / (1 + np.exp(-eps)))
        density = scipy.stats.norm.pdf(np.log(u / (1 - u))) / (u * (1 - u)) * 4
        assert -term.item() == pytest.approx(np.log(density), abs=1e-12)


def test_q_sees_the_target():
    for make, bins in ((VariationalDequantization, 256), (BinaryDequantization, 2)):
        layer = randomise(make([affine(1, 1)])).double()
        terms = []
        for level in (0, bins - 1):
            y = torch.full((1, 1, 2, 2), float(level)).double()
            terms.append(layer(y, None, keyed(0, [0]))[1])
        assert not torch.allclose(*terms)


@pytest.mark.equation("eq-binary-threshold")
def test_the_threshold_itself_is_no_vessel():
    """P(y|v) asks v > 1/2 of y = 1; a tie has no mass, and one answer."""
    v = torch.tensor([-1.0, 0.0, 0.5, 0.5 + 1e-6, 2.0])
    assert BinaryDequantization().inverse(v).tolist() == [0, 0, 0, 1, 1]
