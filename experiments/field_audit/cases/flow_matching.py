import torch
from flow_matching.path.scheduler import (
    CondOTScheduler,
    CosineScheduler,
    LinearVPScheduler,
    PolynomialConvexScheduler,
    VPScheduler,
)
from flow_matching.solver import ODESolver
from torch.distributions import Normal

from experiments.field_audit.audit import Cases, ode

LIBRARY = "flow_matching"
MEAN, SIGMA = 1.0, 0.3


def to_normal(t, x):
    """The exact velocity of linear paths from N(0, 1) to N(MEAN, SIGMA^2)."""
    variance = (1 - t) ** 2 + (SIGMA * t) ** 2
    return MEAN + (SIGMA**2 * t - (1 - t)) / variance * (x - MEAN * t)


def twisted(t, x):
    matrix = torch.tensor([[0.5, -1.0, 0.3], [0.7, -0.2, 0.9], [-0.4, 0.6, 1.1]])
    return torch.tanh(x @ matrix.to(x)) + (0.5 - t) * x


def constant(t, x):
    return torch.full_like(x, 0.5)


def base(z):
    return Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)


def solver(velocity, single=False, **how):
    """ODESolver's likelihood and samples; of float64 numbers where float32 is the default type."""

    def make():
        solve = ODESolver(lambda x, t: velocity(t, x))
        times = {"step_size": None, **how}
        paths = {k: v for k, v in times.items() if k != "exact_divergence"}

        def log_prob(x):
            torch.set_default_dtype(torch.float32 if single else torch.float64)
            try:
                return solve.compute_likelihood(x, base, **times)[1]
            finally:
                torch.set_default_dtype(torch.float64)

        return {
            "velocity": velocity,
            "log_prob": log_prob,
            "to_data": lambda z: solve.sample(z, **paths),
            "to_base": lambda x: solve.sample(x, time_grid=torch.tensor([1.0, 0.0]), **paths),
        }

    return make


def ordered(method):
    def make():
        solve = ODESolver(lambda x, t: twisted(t, x))

        def in_steps(x, n):
            how = {"method": method, "step_size": 1 / n, "exact_divergence": True}
            return solve.compute_likelihood(x, base, **how)[1]

        return {"velocity": twisted, "in_steps": in_steps}

    return make


def scheduled(scheduler):
    """The path of one data point y by the velocity of its scheduler: from the noise to y."""

    def make():
        def velocity(t, x, y):
            s = scheduler(torch.as_tensor(t, dtype=x.dtype))
            return s.d_alpha_t * y + s.d_sigma_t / s.sigma_t * (x - s.alpha_t * y)

        first, last = (scheduler(torch.tensor(t)) for t in (0.1, 0.9))

        def to_data(x, y):
            return last.alpha_t * y + last.sigma_t / first.sigma_t * (x - first.alpha_t * y)

        return {"velocity": velocity, "to_data": to_data}

    return make


exact = {"method": "dopri5", "exact_divergence": True}
CASES: Cases = {
    "compute_likelihood as it is": ode(solver(to_normal), (1,)),
    "compute_likelihood midpoint": ode(solver(to_normal, method="midpoint", step_size=0.01), (1,)),
    "compute_likelihood dopri5": ode(solver(to_normal, method="dopri5"), (1,)),
    "compute_likelihood dopri5 exact": ode(solver(twisted, **exact), (3,)),
    "compute_likelihood dopri5 probe": ode(solver(twisted, method="dopri5"), (3,)),
    "compute_likelihood of pictures": ode(solver(to_normal, method="dopri5"), (2, 1, 2)),
    "compute_likelihood of pictures exact": ode(solver(to_normal, **exact), (2, 1, 2)),
    "compute_likelihood of float64": ode(solver(to_normal, True, method="dopri5"), (3,)),
    "compute_likelihood constant": ode(solver(constant, method="dopri5"), (2,)),
    "order of euler": ode(ordered("euler"), (3,), order=1),
    "order of midpoint": ode(ordered("midpoint"), (3,), order=2),
    "order of heun3": ode(ordered("heun3"), (3,), order=3),
    "order of rk4": ode(ordered("rk4"), (3,), order=4),
}
for scheduler in (
    CondOTScheduler(),
    PolynomialConvexScheduler(3),
    VPScheduler(),
    LinearVPScheduler(),
    CosineScheduler(),
):
    CASES[type(scheduler).__name__] = ode(scheduled(scheduler), (2,), (2,), times=(0.1, 0.9))
