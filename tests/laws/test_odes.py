"""The laws of continuous flows find what is planted, and name it; what is right passes."""

import math

import pytest
import torch
from torch import Tensor, nn

from cnf.testing_ode import along, check_ode, euler, midpoint, runge_kutta, standard_normal, trace

MEAN, SIGMA = 1.0, 0.3


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def to_normal(t: float, x: Tensor) -> Tensor:
    """The exact velocity of the linear paths from N(0, 1) to N(MEAN, SIGMA^2), entry by entry."""
    variance = (1 - t) ** 2 + (SIGMA * t) ** 2
    return MEAN + (SIGMA**2 * t - (1 - t)) / variance * (x - MEAN * t)


def exact(x: Tensor) -> Tensor:
    return torch.distributions.Normal(MEAN, SIGMA).log_prob(x).flatten(1).sum(1)


def end(x: Tensor) -> Tensor:
    """Where the exact paths from the data lead."""
    return (x - MEAN) / SIGMA


def start(z: Tensor) -> Tensor:
    """And back."""
    return MEAN + SIGMA * z


def solved(
    x: Tensor, n: int = 200, step=runge_kutta, sign: float = -1.0, velocity=to_normal
) -> Tensor:
    """log p by n steps from the data (t = 1) to the base; `sign` of the divergence."""
    h, total = -1 / n, x.new_zeros(len(x))
    for k in range(n):
        dx, dd = step(lambda t, y: trace(velocity, t, y, None), 1 + k * h, h, x)
        x, total = x + dx, total - dd
    return standard_normal(x) + sign * total


def probed(x: Tensor) -> Tensor:
    """Hutchinson's estimate of the divergence of `twisted`, from a fresh probe."""
    e = torch.randint(0, 2, x.shape) * 2.0 - 1
    return estimate(x, e)


def estimate(x: Tensor, e: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (g,) = torch.autograd.grad((twisted(0.0, x) * e).sum(), x)
    return (g * e).flatten(1).sum(1)


MATRIX = torch.tensor([[0.5, -1.0, 0.3], [0.7, -0.2, 0.9], [-0.4, 0.6, 1.1]], dtype=torch.float64)


def twisted(t: float, x: Tensor) -> Tensor:
    return torch.tanh(x @ MATRIX) + (0.5 - t) * x


def test_an_exact_likelihood_obeys_every_law():
    for shape in ((1,), (2,), (1, 1, 3)):
        report = check_ode(to_normal, shape, log_prob=exact, to_base=end, to_data=start)
        report.assert_ok()
    assert report.measured["largest error of log_prob, nats"] < 1e-7


WRONG = {
    "the sign of the divergence": lambda x: solved(x, sign=1.0),
    "the divergence is left out": lambda x: solved(x, sign=0.0),
    "one Euler step": lambda x: solved(x, 1, euler),
    "20 Euler steps": lambda x: solved(x, 20, euler),
    "5 midpoint steps": lambda x: solved(x, 5, midpoint),
    "taken at x": lambda x: standard_normal(x) + exact(x) - standard_normal((x - MEAN) / SIGMA),
    "in bits": lambda x: exact(x) / math.log(2),
    "a loss": lambda x: -exact(x),
    "divided by the number of entries": lambda x: exact(x) / 3,
    "averaged over the batch": lambda x: exact(x).mean().expand(len(x)),
    "d/2 log 2 pi is missing": lambda x: exact(x) + 1.5 * math.log(2 * math.pi),
    "off by the constant +0.25": lambda x: exact(x) + 0.25,
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_likelihood_is_found_and_named(words):
    result = check_ode(to_normal, (3,), log_prob=WRONG[words])["log_prob"]
    assert result.status == "failed"
    assert words in result.likely


def test_time_that_runs_the_other_way_is_named():
    report = check_ode(to_normal, (2,), log_prob=exact, times=(1.0, 0.0))
    assert "time runs the other way" in report["log_prob"].likely


def test_a_density_of_too_few_steps_has_another_integral():
    report = check_ode(to_normal, (1,), log_prob=lambda x: solved(x, 1, euler))
    assert report["mass"].status == "failed"


@pytest.mark.parametrize("step, order", [(euler, 1), (midpoint, 2), (runge_kutta, 4)])
def test_the_order_of_a_solver_is_measured(step, order):
    report = check_ode(twisted, (3,), in_steps=steps_of(step), order=order)
    assert report["order"].status == "passed"
    # the next term of the error still counts a little at these numbers of steps
    assert abs(report.measured["order of the solver"] - order) < 0.4


def steps_of(step):
    return lambda x, n: solved(x, n, step, velocity=twisted)


def test_a_solver_of_lower_order_than_it_says_is_found():
    report = check_ode(twisted, (3,), in_steps=steps_of(euler), order=4)
    assert report["order"].status == "failed"
    assert "order one" in report["order"].likely


def test_a_number_of_steps_that_is_ignored_is_found():
    def ignores(x: Tensor, n: int) -> Tensor:
        return solved(x, 1, midpoint, velocity=twisted)

    report = check_ode(twisted, (3,), in_steps=ignores, order=2)
    assert "ignored" in report["order"].likely


def test_an_unbiased_estimate_of_the_divergence_passes_and_its_spread_is_told():
    report = check_ode(lambda t, x: twisted(0.0, x), (3,), divergence=lambda t, x: probed(x))
    report.assert_ok()
    assert 0.1 < report.measured["standard deviation of a divergence"] < 10


def test_the_trace_of_the_transpose_is_right():
    def transposed(t: float, x: Tensor) -> Tensor:
        full = torch.autograd.functional.jacobian(lambda y: twisted(0.0, y).sum(0), x)
        return full.permute(1, 2, 0).diagonal(dim1=1, dim2=2).sum(1)

    check_ode(lambda t, x: twisted(0.0, x), (3,), divergence=transposed).assert_ok()


def test_one_probe_that_is_kept_is_named():
    probe = torch.tensor([1.0, -1.0, 1.0])

    def kept(t: float, x: Tensor) -> Tensor:
        return estimate(x, probe)

    result = check_ode(lambda t, x: twisted(0.0, x), (3,), divergence=kept)["divergence"]
    assert "one probe is kept" in result.likely


@pytest.mark.parametrize(
    "words, wrong",
    {
        "its sign is wrong": lambda x: -probed(x),
        "averaged over the entries": lambda x: probed(x) / 3,
        "summed over the batch": lambda x: probed(x).sum().expand(len(x)),
    }.items(),
)
def test_a_wrong_divergence_is_named(words, wrong):
    report = check_ode(lambda t, x: twisted(0.0, x), (3,), divergence=lambda t, x: wrong(x))
    assert words in report["divergence"].likely


def test_ends_of_paths_are_judged():
    swapped = check_ode(to_normal, (2,), to_base=start, to_data=end)
    assert "time runs the other way" in swapped["to_base"].likely
    assert swapped["to_data"].status == "failed"
    apart = check_ode(to_normal, (2,), to_base=end, to_data=lambda z: MEAN + 1.1 * SIGMA * z)
    assert apart["to_base"].status == "passed"
    assert apart["back"].status == "failed"


def test_dropout_is_found():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Linear(8, 2))
    result = check_ode(lambda t, x: net(x), (2,))["repeats"]
    assert "dropout" in result.likely


def test_batch_statistics_join_rows():
    net = nn.BatchNorm1d(2)
    assert check_ode(lambda t, x: net(x), (2,))["rows"].status == "failed"


def test_context_that_is_ignored_is_found():
    report = check_ode(lambda t, x, c: to_normal(t, x), (2,), (3,))
    assert report["context"].likely == "the context is ignored"


def test_a_shape_that_differs_and_a_velocity_that_is_infinite_are_found():
    assert check_ode(lambda t, x: x.flatten(1), (2, 2))["velocity"].status == "failed"
    report = check_ode(lambda t, x: x / (1 - torch.as_tensor(t)), (2,))
    assert "1 - t" in report["velocity"].likely


def test_the_end_of_a_path_is_that_of_the_closed_form():
    """A check of the checker: z = (x - mean) / sigma for the linear paths between Gaussians."""
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))

    class Given:
        velocity, times = staticmethod(to_normal), (0.0, 1.0)

    z, total = along(Given, x, None, 256)
    torch.testing.assert_close(z, (x - MEAN) / SIGMA, rtol=0, atol=1e-8)
    right = torch.full((5,), -2 * math.log(SIGMA))
    torch.testing.assert_close(total, right, rtol=0, atol=1e-8)
